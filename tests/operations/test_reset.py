"""`syncreset reset`."""

from typing import Any

import pytest

from syncreset.clients.resets import Reset
from syncreset.protocol.clock import now
from tests.shelters.models import Shelter
from tests.support.commands import client_of, command, data_of, fails
from tests.support.factories import DeviceFactory

pytestmark = pytest.mark.django_db(transaction=True)

MINUTE = 60 * 1_000_000


def clients_in(told: dict[str, Any]) -> set[str]:
    return {client["client"] for client in told["clients"]}


def test_it_asks_which_clients(device: DeviceFactory, shelter: Shelter) -> None:
    phone = device(shelter)

    for arguments in ([], ["--all", "--client", phone.client]):
        assert "Say which clients" in fails("reset", *arguments)[1]

    assert not Reset.objects.exists()


def test_named_clients_must_reset(device: DeviceFactory, shelter: Shelter) -> None:
    first, second, other = (device(shelter) for _ in range(3))
    for each in (first, second, other):
        each.pull()

    told = data_of("reset", "--client", first.client, second.client, "--detail", "lost disk", "--full")

    assert clients_in(told) == {first.client, second.client}
    assert told["outcomes"] == {"ordered": 2, "kept": 0, "brought_forward": 0}
    resets = {str(reset.client_id): reset for reset in Reset.objects.all()}
    assert {(reset.reason, reset.detail, reset.full) for reset in resets.values()} == {
        ("admin_forced", "lost disk", True)
    }
    assert first.pull(status=409)["reset"] == str(resets[first.client].pk)
    other.pull()


def test_options_narrow_down_together(
    device: DeviceFactory, shelter: Shelter, other_shelter: Shelter, user_factory: Any
) -> None:
    ada = user_factory(shelter, other_shelter, name="ada")
    mine, foreign = device(user=ada), device(shelter)
    south = device(user=ada)
    for each in (mine, foreign, south):
        each.pull()
    client_of(mine, scopes=[f"shelters.shelter:{shelter.pk}"])
    client_of(foreign, scopes=[f"shelters.shelter:{shelter.pk}"])
    client_of(south, scopes=[f"shelters.shelter:{other_shelter.pk}"])
    key = f"shelters.shelter:{shelter.pk}"

    def chosen(*arguments: str) -> set[str]:
        return clients_in(data_of("reset", "--dry-run", *arguments))

    assert chosen("--all") == {mine.client, foreign.client, south.client}
    assert chosen("--user", "ada") == {mine.client, south.client}
    assert chosen("--scope", key) == {mine.client, foreign.client}
    assert chosen("--user", "ada", "--scope", key) == {mine.client}
    assert chosen("--user", "ada", "--client", foreign.client) == set()
    assert chosen("--scope", "shelters.shelter:none") == set()


def test_who_does_not_exist_is_an_error(device: DeviceFactory, shelter: Shelter) -> None:
    missing = "00000000-0000-4000-8000-000000000000"

    assert missing in fails("reset", "--client", device(shelter).client, missing)[1]
    assert "no user 'nobody'" in fails("reset", "--user", "nobody")[1]
    assert "invalid UUID value" in fails("reset", "--client", "12")[1]
    assert "no number from 1" in fails("reset", "--all", "--waves", "0")[1]
    assert not Reset.objects.exists()


def test_a_rehearsal_orders_nothing_and_says_what_is_unsynced(
    device: DeviceFactory, shelter: Shelter
) -> None:
    full, empty, told_before = (device(shelter) for _ in range(3))
    client_of(full, pending=7)
    client_of(told_before, pending=2)
    [kept] = Reset.objects.force([client_of(told_before)])

    told = data_of("reset", "--all", "--dry-run")

    assert told["dry_run"] is True
    assert told["outcomes"] == {"ordered": 2, "kept": 1, "brought_forward": 0}
    assert told["unsynced"] == {"clients": 2, "changes": 9}
    assert {client["client"]: client["reset"] for client in told["clients"]} == {
        full.client: None,
        empty.client: None,
        told_before.client: str(kept.pk),
    }
    assert list(Reset.objects.all()) == [kept]
    text = command("reset", "--all", "--dry-run")
    assert "2 clients would be ordered to reset; 1 keep an open reset." in text
    assert text.rstrip().endswith("This was a rehearsal: nothing was ordered.")


def test_a_rehearsal_tells_what_then_happens(device: DeviceFactory, shelter: Shelter) -> None:
    for pending in (0, 3, 1):
        client_of(device(shelter), pending=pending)
    [scheduled] = Reset.objects.force([client_of(device(shelter))], not_before=now() + 10**12)
    arguments = ("reset", "--all", "--waves", "2", "--every", "60")

    rehearsed = data_of(*arguments, "--dry-run")
    done = data_of(*arguments)

    def what(told: dict[str, Any]) -> list[Any]:
        return [(client["client"], client["outcome"], client["wave"]) for client in told["clients"]]

    assert what(rehearsed) == what(done)
    assert rehearsed["outcomes"] == {"ordered": 3, "kept": 0, "brought_forward": 1}
    scheduled.refresh_from_db()
    assert scheduled.not_before < now() + MINUTE + 1


def test_waves_begin_with_those_that_have_the_least_to_lose(device: DeviceFactory, shelter: Shelter) -> None:
    pending = {str(client_of(device(shelter), pending=number).pk): number for number in (4, 0, 9, 2, 6)}
    begun = now()

    told = data_of("reset", "--all", "--waves", "3", "--every", "600")

    waves = {client["client"]: client["wave"] for client in told["clients"]}
    assert [waves[each] for each in sorted(pending, key=lambda each: pending[each])] == [1, 1, 2, 2, 3]
    assert [wave["clients"] for wave in told["waves"]] == [2, 2, 1]
    assert [wave["unsynced"]["changes"] for wave in told["waves"]] == [2, 10, 9]
    for reset in Reset.objects.all():
        due = begun + (waves[str(reset.client_id)] - 1) * 10 * MINUTE
        assert due <= reset.not_before < due + MINUTE


def test_more_waves_than_clients_leave_none_empty(device: DeviceFactory, shelter: Shelter) -> None:
    for _ in range(2):
        device(shelter)

    assert "\nwave  from" in command("reset", "--all", "--waves", "5", "--dry-run")
    told = data_of("reset", "--all", "--waves", "5")

    assert [(wave["wave"], wave["clients"]) for wave in told["waves"]] == [(1, 1), (2, 1)]


def test_nobody_to_reset_is_no_error() -> None:
    assert command("reset", "--all") == "No client matches: nothing is ordered.\n"
