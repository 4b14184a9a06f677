"""A recovery looked at beforehand, and given back afterwards, in the admin."""

from typing import Any

import pytest
from django.contrib.admin.models import LogEntry

from syncreset.ledger.item import Item
from syncreset.protocol import uuid7
from syncreset.protocol.clock import now
from syncreset.protocol.snapshot.lines import TombstoneLine
from syncreset.recovery.job import Recovery, RecoveryKind, RecoveryState
from syncreset.recovery.run import run
from tests.shelters.models import Dog, Shelter, Visit
from tests.support.dogs import DOG, dog_fields
from tests.support.factories import DeviceFactory
from tests.support.operators import OperatorFactory, page_url
from tests.support.snapshots import edited, forced, made_here, recover

pytestmark = pytest.mark.django_db(transaction=True)

RECOVERIES = "syncreset_recovery"
MAY_UNDO = ("syncreset.view_recovery", "syncreset.undo_recovery")
MAY_REPEAT = ("syncreset.view_recovery", "syncreset.recover_again_recovery")
SUBMIT = 'type="submit" class="default"'


def rows() -> list[tuple[Any, ...]]:
    return list(Dog.objects.order_by("name").values_list("name", "age", "notes"))


@pytest.fixture
def before(shelter: Shelter) -> list[tuple[Any, ...]]:
    """The dogs as they are before the recovery."""
    for name in ("Edited", "Deleted", "Noted"):
        Dog.objects.create(shelter=shelter, name=name, age=1, notes="old")
    return rows()


@pytest.fixture
def recovery(before: object, device: DeviceFactory, shelter: Shelter) -> Recovery:
    """One that changes a dog, makes another one, deletes a third, and parks the notes of a fourth."""
    phone = device(shelter)
    phone.pull()
    lines = {dog.name: phone.rows[DOG, str(dog.pk)] for dog in Dog.objects.all()}
    Dog.objects.filter(name="Noted").update(notes="the server's")
    gone = lines["Deleted"]
    return recover(
        phone,
        forced(phone),
        [
            edited(lines["Edited"], age=2),
            edited(lines["Noted"], age=3, notes="the client's"),
            made_here(DOG, str(uuid7()), dog_fields(shelter, name="Made")),
            TombstoneLine(model=DOG, pk=gone["pk"], at=now(), base=gone["updated"], pulled=False),
        ],
    )


def newest(kind: RecoveryKind) -> Recovery:
    return Recovery.objects.filter(kind=kind).order_by("-created")[0]


def test_a_preview_is_queued_with_the_chosen_strategy_and_writes_no_row(
    recovery: Recovery, operator: OperatorFactory
) -> None:
    boss = operator(*MAY_REPEAT)
    as_recovered = rows()

    question = boss.act(RECOVERIES, "preview", recovery)
    assert "No row is written" in question
    answer = boss.act(RECOVERIES, "preview", recovery, confirmed="yes", strategy="overwrite")
    rehearsal = newest(RecoveryKind.PREVIEW)
    run(rehearsal.pk)

    rehearsal.refresh_from_db()
    assert page_url(rehearsal) in answer
    assert (rehearsal.strategy, rehearsal.created_by, rehearsal.state) == ("overwrite", boss.user, "done")
    assert rows() == as_recovered
    assert LogEntry.objects.get().object_id == str(recovery.pk)


def test_the_page_of_a_preview_says_that_nothing_was_written_and_offers_to_write_it(
    recovery: Recovery, operator: OperatorFactory
) -> None:
    boss = operator(*MAY_REPEAT, *MAY_UNDO)
    boss.act(RECOVERIES, "preview", recovery, confirmed="yes", strategy="overwrite")
    rehearsal = newest(RecoveryKind.PREVIEW)
    run(rehearsal.pk)

    page = boss.page_of(rehearsal)
    boss.act(RECOVERIES, "recover_again", rehearsal, confirmed="yes", strategy="")
    written = newest(RecoveryKind.MERGE)
    run(written.pk)

    assert "No row was written." in page
    assert "Recover with this strategy" in page
    assert ">Undo<" not in page
    assert f"/item/?recovery={rehearsal.pk}&amp;state__exact=applied" in page
    assert (written.strategy, written.strategy_chosen) == ("overwrite", True)
    assert Dog.objects.get(name="Noted").notes == "the client's"


def test_the_items_that_a_preview_would_park_do_not_make_it_wait(
    recovery: Recovery, operator: OperatorFactory
) -> None:
    Dog.objects.filter(name="Noted").update(notes="the server's again")
    boss = operator(*MAY_REPEAT)
    boss.act(RECOVERIES, "preview", recovery, confirmed="yes", strategy="")
    rehearsal = newest(RecoveryKind.PREVIEW)
    run(rehearsal.pk)

    page = boss.page_of(rehearsal)

    assert Item.objects.filter(recovery=rehearsal, state="parked").exists()
    assert "previewed" in page
    assert "which wait for a person" not in page


def test_undo_asks_first_says_how_many_rows_and_then_gives_them_back(
    recovery: Recovery, operator: OperatorFactory, before: list[tuple[Any, ...]]
) -> None:
    boss = operator(*MAY_UNDO)

    question = boss.act(RECOVERIES, "undo", recovery)
    assert not Recovery.objects.filter(kind=RecoveryKind.UNDO).exists()
    answer = boss.act(RECOVERIES, "undo", recovery, confirmed="yes")
    undoing = newest(RecoveryKind.UNDO)
    run(undoing.pk)

    assert "<td>2</td><td>1</td><td>1</td>" in question, "changed, made and deleted rows"
    assert page_url(undoing) in answer
    assert undoing.created_by == boss.user
    assert LogEntry.objects.get().object_id == str(recovery.pk)
    noted = [("Noted", 1, "the server's")]
    assert rows() == sorted([row for row in before if row[0] != "Noted"] + noted)


def test_an_undone_recovery_and_its_undoing_lead_to_each_other(
    recovery: Recovery, operator: OperatorFactory
) -> None:
    boss = operator(*MAY_UNDO)
    boss.act(RECOVERIES, "undo", recovery, confirmed="yes")
    undoing = newest(RecoveryKind.UNDO)
    run(undoing.pk)

    undone, giving_back = boss.page_of(recovery), boss.page_of(undoing)

    assert f'given back by <a href="{page_url(undoing)}">' in undone
    assert f'gives back what <a href="{page_url(recovery)}">' in giving_back


def test_what_a_person_has_decided_since_is_given_back_with_what_was_merged_at_once(
    recovery: Recovery, operator: OperatorFactory, before: list[tuple[Any, ...]]
) -> None:
    boss = operator(*MAY_UNDO, "syncreset.view_item", "syncreset.resolve_item")
    item = Item.objects.get(state="parked")
    boss.browser.post(f"{page_url(item).removesuffix('change/')}resolve/", {"keep": "client"})
    assert ("Noted", 3, "the client's") in rows()

    boss.act(RECOVERIES, "undo", recovery, confirmed="yes")
    run(newest(RecoveryKind.UNDO).pk)

    assert ("Noted", 1, "the server's") in rows()


def test_what_others_changed_before_a_decision_is_not_given_back(
    recovery: Recovery, operator: OperatorFactory
) -> None:
    boss = operator(*MAY_UNDO, "syncreset.view_item", "syncreset.resolve_item")
    Dog.objects.filter(name="Noted").update(name="Renamed", age=40)
    item = Item.objects.get(state="parked")
    boss.browser.post(f"{page_url(item).removesuffix('change/')}resolve/", {"keep": "client"})

    boss.act(RECOVERIES, "undo", recovery, confirmed="yes")
    undoing = newest(RecoveryKind.UNDO)
    run(undoing.pk)

    assert ("Renamed", 40, "the server's") in rows()
    assert [(item.op, list(item.change["fields"])) for item in _parked(undoing)] == [
        ("put", ["age", "notes"])
    ]


def test_an_item_decided_after_the_undoing_leaves_the_recovery_undone(
    recovery: Recovery, operator: OperatorFactory
) -> None:
    boss = operator(*MAY_UNDO, "syncreset.view_item", "syncreset.resolve_item")
    item = Item.objects.get(state="parked")
    boss.act(RECOVERIES, "undo", recovery, confirmed="yes")
    run(newest(RecoveryKind.UNDO).pk)

    boss.browser.post(f"{page_url(item).removesuffix('change/')}resolve/", {"keep": "server"})

    recovery.refresh_from_db()
    assert (recovery.state, recovery.totals["parked"]) == (RecoveryState.UNDONE, 0)


@pytest.mark.parametrize("why", ["merging", "failed", "undone", "being undone", "a preview"])
def test_what_cannot_be_undone_is_left_out(recovery: Recovery, operator: OperatorFactory, why: str) -> None:
    boss = operator(*MAY_UNDO, *MAY_REPEAT)
    if why == "a preview":
        boss.act(RECOVERIES, "preview", recovery, confirmed="yes", strategy="")
        recovery = newest(RecoveryKind.PREVIEW)
        run(recovery.pk)
    elif why == "being undone":
        boss.act(RECOVERIES, "undo", recovery, confirmed="yes")
    else:
        Recovery.objects.update(state=why)
    count = Recovery.objects.count()

    question = boss.act(RECOVERIES, "undo", recovery)
    boss.act(RECOVERIES, "undo", recovery, confirmed="yes")

    assert "Left out: 1 of the selected" in question
    assert SUBMIT not in question
    assert ">Undo<" not in boss.page_of(recovery)
    assert Recovery.objects.count() == count


def test_undoing_has_a_permission_of_its_own(recovery: Recovery, operator: OperatorFactory) -> None:
    guest = operator(*MAY_REPEAT, "syncreset.change_recovery")

    assert ">Undo<" not in guest.page_of(recovery)
    assert "Undo the selected" not in guest.list_of(RECOVERIES)
    guest.act(RECOVERIES, "undo", recovery, confirmed="yes")
    other = operator(*MAY_UNDO)
    other.act(RECOVERIES, "preview", recovery, confirmed="yes", strategy="")

    assert Recovery.objects.count() == 1


def _parked(recovery: Recovery) -> list[Item]:
    return list(Item.objects.filter(recovery=recovery, state="parked"))


def test_the_page_of_a_deletion_says_what_it_took_along(
    operator: OperatorFactory, device: DeviceFactory, shelter: Shelter
) -> None:
    mother = Dog.objects.create(shelter=shelter, name="Mother")
    Dog.objects.create(shelter=shelter, name="Puppy", mother=mother)
    visit = Visit.objects.create(shelter=shelter, dog=mother, at="2026-01-01T00:00Z")
    phone = device(shelter)
    phone.pull()
    row = phone.rows[DOG, str(mother.pk)]
    recover(
        phone,
        forced(phone),
        [TombstoneLine(model=DOG, pk=row["pk"], at=now(), base=row["updated"], pulled=False)],
    )

    page = operator("syncreset.view_item").get(page_url(Item.objects.get()))

    assert "Other rows that the deletion changed" in page
    assert str(visit.pk) in page
    assert "deleted with it" in page
    assert f'from <code class="syncreset-wire">&quot;{mother.pk}&quot;</code>' in page
