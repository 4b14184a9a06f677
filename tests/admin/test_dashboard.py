"""The dashboard: every number leads to what it counts, nobody sees what is not theirs to see, and it costs little."""

import html
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from pytest_django import Settings

from syncreset.admin.shown.plot import HEIGHT, WIDTH, stacked_bars
from syncreset.clients.client import Client
from syncreset.clients.resets import Reset
from syncreset.ledger.item import Item, ItemState
from syncreset.operations.states import CLIENT_STATES
from syncreset.operations.statistics import beginning_of, last_days, outcomes_by_day
from syncreset.protocol import uuid7
from syncreset.protocol.clock import now
from syncreset.recovery.job import Recovery
from syncreset.recovery.orders import preview
from syncreset.recovery.run import run
from syncreset.recovery.uploads import Upload, create_upload
from syncreset.tracking.triggers import install as triggers
from tests.shelters.models import Dog, Shelter, Vet
from tests.support.commands import client_of, days_ago
from tests.support.dogs import DOG, dog_fields
from tests.support.factories import DeviceFactory
from tests.support.operators import Operator, OperatorFactory
from tests.support.snapshots import edited, forced, made_here, recover
from tests.support.untracked import drop_triggers

pytestmark = pytest.mark.django_db(transaction=True)

Merged = Callable[[], Recovery]
STATES = [state.value for state in ItemState]


@pytest.fixture
def merged(device: DeviceFactory, shelter: Shelter) -> Merged:
    """Makes recoveries of one client each, with an item applied, one parked and one rejected."""

    def make() -> Recovery:
        dog = Dog.objects.create(shelter=shelter, name="Rex")
        phone = device(shelter)
        phone.pull()
        Dog.objects.filter(pk=dog.pk).update(notes="the server's")
        return recover(
            phone,
            forced(phone),
            [
                edited(phone.rows[DOG, str(dog.pk)], notes="the client's"),
                made_here(DOG, str(uuid7()), dog_fields(shelter)),
                made_here(DOG, str(uuid7()), dog_fields(shelter, age="x")),
            ],
        )

    return make


def dashboard(of: Operator, **query: str) -> str:
    return of.get(reverse("admin:syncreset_dashboard_changelist"), 200, **query)


def queries(boss: Operator) -> int:
    with CaptureQueriesContext(connection) as captured:
        dashboard(boss)
    # The catalogue is asked about each tracked table; these are as many as the project has models.
    return len([query for query in captured if not re.search(r"\b(pragma|pg)_", query["sql"])])


def listed(of: Operator, url: str) -> int:
    """How many records the list at an address of a page has."""
    count: int = of.browser.get(html.unescape(url)).context["cl"].result_count
    return count


def tiles(page: str) -> dict[str, tuple[int, str]]:
    """The numbers of clients by label, each with the address it leads to."""
    found = re.findall(
        r'<li><a href="([^"]+)">\s*<strong>([\d,]+)</strong>\s*<span[^>]*>([^<]+)</span>', page
    )
    return {label: (int(count.replace(",", "")), url) for url, count, label in found}


def calls(page: str) -> dict[str, tuple[int, str]]:
    """What needs a person, each with its number and the address it leads to."""
    found = re.findall(r'<li class="syncreset-(?:bad|warn)">\s*<a href="([^"]+)">([\d,]+) ([^<]+)</a>', page)
    return {what: (int(count.replace(",", "")), url) for url, count, what in found}


def test_the_admins_pages_lead_to_it(operator: OperatorFactory) -> None:
    boss = operator(superuser=True)
    link = f'href="{reverse("admin:syncreset_dashboard_changelist")}"'

    for page in ("admin:index", "admin:syncreset_client_changelist"):
        assert link in boss.get(reverse(page))
    index = boss.get(reverse("admin:app_list", args=["syncreset"]))

    assert f"{link}>Dashboard: clients" in index
    assert index.index("What needs a person now") < index.index(">Recoveries<")


def test_nobody_sees_what_they_may_not_view(merged: Merged, operator: OperatorFactory) -> None:
    Recovery.objects.filter(pk=merged().pk).update(state="failed")
    guest, clerk, medic = (
        operator("shelters.view_dog"),
        operator("syncreset.view_client"),
        operator("syncreset.view_recovery"),
    )

    guest.get(reverse("admin:syncreset_dashboard_changelist"), status=403)
    assert "/syncreset/dashboard/" not in guest.get(reverse("admin:index"))
    of_clients, of_recoveries = dashboard(clerk), dashboard(medic)
    index = medic.get(reverse("admin:app_list", args=["syncreset"]))

    assert len(tiles(of_clients)) == len(CLIENT_STATES) + 1
    assert "Oldest unsynced" in of_clients
    for absent in ("What needs a person", "What recoveries came to", "Resets by reason", "failed recovery"):
        assert absent not in of_clients
    for page in (of_recoveries, index):
        assert list(calls(page)) == ["failed recovery"]
        assert tiles(page) == {}
    assert "What recoveries came to" not in of_recoveries, "its numbers are those of items"


def test_each_number_of_clients_leads_to_these_clients(
    device: DeviceFactory, shelter: Shelter, operator: OperatorFactory
) -> None:
    behind, old, silent, resetting, later, current, _ = (device(shelter) for _ in range(7))
    for each in (behind, old, silent, resetting, later):
        each.pull()
    Dog.objects.create(shelter=shelter, name="Rex")
    current.pull()
    client_of(old, schema="f" * 32)
    client_of(silent, last_seen=days_ago(31))
    Reset.objects.force([client_of(resetting)])
    Reset.objects.force([client_of(later)], not_before=now() + 10**9)
    boss = operator(superuser=True)

    found = tiles(dashboard(boss))

    assert {label: count for label, (count, _) in found.items()} == {
        "all clients": 7,
        **dict.fromkeys(CLIENT_STATES.values(), 1),
    }
    for label, (count, url) in found.items():
        assert listed(boss, url) == count, label


def test_the_oldest_unsynced_come_first(
    device: DeviceFactory, shelter: Shelter, operator: OperatorFactory
) -> None:
    young, old, synced = (device(shelter) for _ in range(3))
    young_client = client_of(young, pending=2)
    old_client = client_of(old, pending=5, last_seen=days_ago(9))
    client_of(synced, pending=0, last_seen=days_ago(90))
    boss = operator(superuser=True)

    page = dashboard(boss)

    assert 0 < page.index(str(old_client)) < page.index(str(young_client))
    assert "Changes that exist nowhere else: 7, on 2 of the clients." in page
    assert "1\xa0week ago" in page
    assert listed(boss, reverse("admin:syncreset_client_changelist") + "?unsynced=yes") == 2


def test_what_needs_a_person_is_counted_and_listed(merged: Merged, operator: OperatorFactory) -> None:
    failed, idle, review = (merged() for _ in range(3))
    run(preview(review).pk)
    Recovery.objects.filter(pk=failed.pk).update(state="failed")
    Recovery.objects.filter(pk=idle.pk).update(state="queued", created=days_ago(1), lease_until=0)
    Reset.objects.filter(pk=idle.reset_id).update(not_before=days_ago(8))
    Reset.objects.filter(pk=failed.reset_id).update(not_before=days_ago(6))
    (upload, other) = (create_upload(failed.reset, length=9, metadata={"sha256": "0" * 64}) for _ in range(2))
    Upload.objects.filter(pk=upload.pk).update(offset=9, refused="it is no snapshot")
    Upload.objects.filter(pk=other.pk).update(offset=9)
    boss = operator(superuser=True)

    found = calls(dashboard(boss))

    assert {what: count for what, (count, _) in found.items()} == {
        "failed recovery": 1,
        "recovery that nobody works on": 1,
        "refused upload": 1,
        "parked items": 3,
        "overdue reset": 1,
    }
    for what, (count, url) in found.items():
        assert listed(boss, url) == count, what
    assert found == calls(boss.get(reverse("admin:app_list", args=["syncreset"])))


def test_writes_that_are_not_tracked_need_a_person(operator: OperatorFactory) -> None:
    drop_triggers(Vet)

    try:
        page = dashboard(operator(superuser=True))
    finally:
        triggers.install(connection, [Vet])

    assert "1 table whose writes are not tracked: shelters_vet" in page


def test_it_says_when_nothing_needs_a_person(operator: OperatorFactory) -> None:
    boss, medic = operator(superuser=True), operator("syncreset.view_recovery")

    assert "All clear" in dashboard(boss)
    assert "All clear" in boss.get(reverse("admin:app_list", args=["syncreset"]))
    assert "All clear" not in dashboard(medic), "what they may not see may well need somebody"
    assert "Nothing of what you may see" in dashboard(medic)


def test_resets_are_counted_by_reason_within_the_range(
    device: DeviceFactory, shelter: Shelter, operator: OperatorFactory
) -> None:
    _, done, old = (Reset.objects.force([client_of(device(shelter))])[0] for _ in range(3))
    Reset.objects.filter(pk=done.pk).update(bootstrapped=now())
    Reset.objects.filter(pk=old.pk).update(created=days_ago(60))
    boss = operator(superuser=True)

    def numbers(**query: str) -> list[int]:
        found = re.findall(
            r'<a href="([^"]*/reset/\?reason__exact=admin_forced[^"]*)">(\d+)</a>', dashboard(boss, **query)
        )
        assert [listed(boss, url) for url, _ in found] == [int(count) for _, count in found]
        return [int(count) for _, count in found]

    assert numbers() == [1, 1, 2]
    assert numbers(days="90") == [2, 1, 3]
    assert "history diverged" not in dashboard(boss)


def test_recoveries_are_drawn_by_day_and_state(merged: Merged, operator: OperatorFactory) -> None:
    today, yesterday, earlier = merged(), merged(), merged()
    run(preview(today).pk)
    Recovery.objects.filter(pk=yesterday.pk).update(created=days_ago(1))
    Recovery.objects.filter(pk=earlier.pk).update(created=days_ago(40))
    boss = operator(superuser=True)

    page = dashboard(boss)
    longer = dashboard(boss, days="90")

    bars = re.findall(r'<rect class="syncreset-bar-(\w+)"', page)
    assert bars == ["applied", "parked", "rejected"] * 2
    assert len(re.findall("<rect", longer)) == 9
    assert "6 items in 30 days: 2 applied, 2 parked, 2 rejected." in page
    assert 'role="img"' in page
    (shown,) = re.findall(r'href="([^"]+)">Show these recoveries', page)
    assert listed(boss, shown) == 2


@pytest.mark.parametrize("asked", ["0", "31", "-7", "x", "7;--", "٣٠", "9" * 400])
def test_a_range_that_there_is_not_is_the_usual_one(operator: OperatorFactory, asked: str) -> None:
    page = dashboard(operator(superuser=True), days=asked)

    assert '<strong aria-current="true">30 days</strong>' in page
    assert "No snapshot was recovered within the last 30 days." in page


def test_it_costs_the_same_queries_however_much_there_is(merged: Merged, operator: OperatorFactory) -> None:
    boss = operator(superuser=True)
    merged()
    few = queries(boss)
    for _ in range(4):
        client = merged().client
        Client.objects.filter(pk=client.pk).update(pending=3)

    assert queries(boss) == few
    assert few < 20


def test_the_drawing_is_the_same_in_every_language(
    merged: Merged, operator: OperatorFactory, settings: Settings
) -> None:
    settings.LANGUAGE_CODE = "de"
    settings.USE_THOUSAND_SEPARATOR = True
    merged()

    page = dashboard(operator(superuser=True))

    places = re.findall(
        r'\b(?:x|y|x1|x2|y1|y2|width|height|viewBox)="([^"]*)"', page.partition("<svg class=")[2]
    )
    assert len(places) > 20
    assert not [place for place in places if "," in place]


@pytest.mark.parametrize(
    ("zone", "began", "day"),
    [
        ("UTC", "2026-03-10 23:59:59", "2026-03-10"),
        ("Europe/Oslo", "2026-03-10 22:59:59", "2026-03-10"),
        ("Europe/Oslo", "2026-03-10 23:00:00", "2026-03-11"),
        # The day on which the clocks are set an hour on has 23 hours, and the next begins at 22:00 UTC.
        ("Europe/Oslo", "2026-03-28 22:59:59", "2026-03-28"),
        ("Europe/Oslo", "2026-03-29 21:59:59", "2026-03-29"),
        ("Europe/Oslo", "2026-03-29 22:00:00", "2026-03-30"),
        ("Asia/Kathmandu", "2026-03-10 18:14:59", "2026-03-10"),
        ("Asia/Kathmandu", "2026-03-10 18:15:00", "2026-03-11"),
        ("America/New_York", "2026-03-11 03:59:59", "2026-03-10"),
    ],
)
def test_days_are_those_of_the_time_zone(merged: Merged, zone: str, began: str, day: str) -> None:
    moment = datetime.fromisoformat(began).replace(tzinfo=UTC)
    Recovery.objects.filter(pk=merged().pk).update(created=int(moment.timestamp()) * 1_000_000 + 999_999)
    days = [date(2026, 3, 1) + timedelta(days=number) for number in range(31)]

    with timezone.override(zone):
        counted = outcomes_by_day(days)

    assert list(counted) == days
    assert {str(each): dict(states) for each, states in counted.items() if states} == {
        day: {"applied": 1, "parked": 1, "rejected": 1}
    }


def test_a_day_outside_is_not_counted(merged: Merged) -> None:
    first, last = date(2026, 3, 10), date(2026, 3, 11)
    inside, before, after = (merged() for _ in range(3))
    for recovery, began in (
        (inside, beginning_of(first)),
        (before, beginning_of(first) - 1),
        (after, beginning_of(last + timedelta(days=1))),
    ):
        Recovery.objects.filter(pk=recovery.pk).update(created=began)

    counted = outcomes_by_day([first, last])

    assert [sum(states.values()) for states in counted.values()] == [3, 0]


def test_the_last_days_end_with_today_where_the_user_is() -> None:
    with timezone.override("Pacific/Kiritimati"):
        east = last_days(3)
    with timezone.override("Pacific/Niue"):
        west = last_days(3)

    assert [(day - east[0]).days for day in east] == [0, 1, 2]
    assert east[-1] > west[-1], "25 hours lie between them"


def test_undoings_are_no_outcomes(merged: Merged) -> None:
    recovery = merged()
    Recovery.objects.filter(pk=recovery.pk).update(kind="undo")
    assert Item.objects.filter(recovery=recovery).exists()

    assert not any(outcomes_by_day(last_days(2)).values())


@pytest.mark.parametrize("highest", [1, 5, 6, 24, 99, 100, 101, 12_345, 10**9])
def test_bars_stand_on_each_other_within_the_drawing(highest: int) -> None:
    days = last_days(90)
    counted: dict[date, dict[str, int]] = {day: {} for day in days}
    counted[days[4]] = {"applied": highest - 1, "parked": 1}

    plot = stacked_bars(counted, STATES)

    *_, lower, upper = [None, *plot.bars]
    assert upper is not None
    assert upper.state == "parked"
    assert upper.height >= 2, "one item among thousands can be seen"
    assert upper.text.endswith(": 1 parked")
    if lower is not None:
        assert upper.y + upper.height == pytest.approx(lower.y, abs=0.2)
        assert lower.y + lower.height == pytest.approx(plot.bottom, abs=0.2)
    assert all(bar.x >= 0 and bar.x + bar.width <= WIDTH and 0 <= bar.y < HEIGHT for bar in plot.bars)
    assert plot.lines[0].place == plot.bottom
    assert plot.lines[-1].place == pytest.approx(plot.top)
    assert int(plot.lines[-1].text.replace(",", "")) >= highest


@pytest.mark.parametrize("length", [1, 7, 30, 90])
def test_the_last_day_is_named_and_names_do_not_crowd(length: int) -> None:
    days = last_days(length)

    plot = stacked_bars({day: {} for day in days}, STATES)

    assert plot.days[-1].text == f"{days[-1].day} {days[-1]:%b}"
    places = [mark.place for mark in plot.days]
    assert all(later - earlier > 50 for earlier, later in pairwise(places))
