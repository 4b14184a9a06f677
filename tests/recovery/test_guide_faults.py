"""The five faults of the sample in Realm's guide "Manual Client Reset Data Recovery".

Each scenario is played twice: as syncreset does it, where nothing is lost, and with the guide's fault put in, where it
is. So each of these tests is known to fail when its fault comes back.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from syncreset.apply import prepare as preparing
from syncreset.clients.client import LastSynced
from syncreset.protocol.changes import ROW_CLOCK, Change, Row
from syncreset.protocol.clock import now
from syncreset.protocol.snapshot.lines import RowLine
from syncreset.recovery.merge import derive as deriving
from syncreset.recovery.merge import rules as rules_in_force
from syncreset.recovery.merge import snapshot as merging
from syncreset.recovery.merge.derive import Derived
from syncreset.recovery.merge.lines import Numbered
from syncreset.recovery.merge.rules import Met, Rules
from syncreset.rules.instruction import Instruction
from syncreset.rules.strategies import STRATEGIES, Strategy, Synced
from tests.shelters.models import Dog, Shelter
from tests.support.dogs import DOG
from tests.support.factories import DeviceFactory
from tests.support.snapshots import edited, forced, recover, row_line

pytestmark = pytest.mark.django_db(transaction=True)

MINUTE = 60_000_000
HOUR = 60 * MINUTE

Fault = Callable[[pytest.MonkeyPatch], None]


def faultless(_: pytest.MonkeyPatch) -> None:
    """syncreset as it is."""


def use_strategy(monkeypatch: pytest.MonkeyPatch, name: str, strategy: Strategy) -> None:
    monkeypatch.setattr(rules_in_force, "STRATEGIES", {**STRATEGIES, name: strategy})


def delete_what_the_backup_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    def derive(batch: Sequence[Numbered], rules: Rules, met: Met) -> list[Derived]:
        derived = deriving.derive(batch, rules, met)
        held = {item.line.pk for item in batch if isinstance(item.line, RowLine)}
        for dog in Dog.objects.filter(last_updated__lte=rules.last_synced[DOG]).exclude(pk__in=held):
            change = Instruction(
                model=DOG,
                pk=str(dog.pk),
                op="delete",
                clocks={ROW_CLOCK: now()},
                base={ROW_CLOCK: dog.last_updated},
            )
            derived.append(Derived(number=batch[-1].number, part=1, change=change))
        return derived

    monkeypatch.setattr(merging, "derive", derive)


def replay_downloads_as_local_edits(monkeypatch: pytest.MonkeyPatch) -> None:
    def strategy(line: RowLine, synced: Synced) -> Change | None:
        change = STRATEGIES["by_base"](replace(line, base=dict.fromkeys(line.row.fields, 0)), synced)
        return None if change is None else replace(change, clocks=dict.fromkeys(change.fields, now()))

    use_strategy(monkeypatch, "by_field", strategy)


def note_the_time_after_the_upload(monkeypatch: pytest.MonkeyPatch) -> None:
    LastSynced.objects.update(at=now())


def believe_device_clocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparing, "corrected", lambda clocks, **_: dict(clocks))


def write_whole_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    def strategy(line: RowLine, synced: Synced) -> Change | None:
        fields = {name: value for name, value in line.row.fields.items() if name != "intake_no"}
        clocks = dict.fromkeys(fields, now())
        return Change(model=line.model, pk=line.pk, op="put", fields=fields, clocks=clocks, base={})

    use_strategy(monkeypatch, "by_base", strategy)


@pytest.mark.parametrize(("fault", "survives"), [(faultless, True), (delete_what_the_backup_lacks, False)])
def test_fault_1_rows_that_the_device_never_had_are_not_deleted(
    device: DeviceFactory, shelter: Shelter, monkeypatch: pytest.MonkeyPatch, fault: Fault, survives: bool
) -> None:
    phone = device(shelter)
    held = Dog.objects.create(shelter=shelter, name="Held")
    unheld = Dog.objects.create(shelter=shelter, name="Never on this device")
    phone.pull()
    reset = forced(phone)
    fault(monkeypatch)

    recover(phone, reset, [edited(phone.rows[DOG, str(held.pk)], age=4)], last_synced={DOG: now()})

    assert Dog.objects.filter(pk=unheld.pk).exists() is survives


@pytest.mark.parametrize(("fault", "survives"), [(faultless, True), (replay_downloads_as_local_edits, False)])
def test_fault_2_a_downloaded_edit_is_not_replayed_over_newer_data(
    device: DeviceFactory, shelter: Shelter, monkeypatch: pytest.MonkeyPatch, fault: Fault, survives: bool
) -> None:
    dog = Dog.objects.create(shelter=shelter, name="First")
    phone, tablet = device(shelter), device(shelter)
    phone.pull()
    tablet.pull()
    tablet.push(tablet.put(DOG, str(dog.pk), {"name": "Second"}))
    phone.pull()
    tablet.pull()
    tablet.push(tablet.put(DOG, str(dog.pk), {"name": "Third"}))
    reset = forced(phone)
    fault(monkeypatch)

    downloaded = row_line(phone.rows[DOG, str(dog.pk)], {})
    recover(phone, reset, [downloaded], strategy="by_field", full=False, last_synced={DOG: 0})

    assert (Dog.objects.get().name == "Third") is survives


@pytest.mark.parametrize(("fault", "survives"), [(faultless, True), (note_the_time_after_the_upload, False)])
def test_fault_3_a_write_between_upload_and_noting_the_time_is_recovered(
    device: DeviceFactory, shelter: Shelter, monkeypatch: pytest.MonkeyPatch, fault: Fault, survives: bool
) -> None:
    dog = Dog.objects.create(shelter=shelter, name="Rex", age=1)
    phone = device(shelter)
    phone.pull()
    line = row_line(phone.rows[DOG, str(dog.pk)], {}, age=2)  # the guide's device knows no bases
    fault(monkeypatch)
    reset = forced(phone)

    recover(phone, reset, [line], strategy="by_field", full=False, last_synced={DOG: now()})

    assert (Dog.objects.get().age == 2) is survives


@pytest.mark.parametrize(("fault", "survives"), [(faultless, True), (believe_device_clocks, False)])
def test_fault_4_a_device_with_a_fast_clock_does_not_win_over_a_later_write(
    device: DeviceFactory, shelter: Shelter, monkeypatch: pytest.MonkeyPatch, fault: Fault, survives: bool
) -> None:
    dog = Dog.objects.create(shelter=shelter, name="First")
    phone, tablet = device(shelter), device(shelter)
    phone.pull()
    tablet.pull()
    early = phone.put(DOG, str(dog.pk), {"name": "Earlier, on a clock ten hours fast"})
    early["clocks"] = {"name": early["clocks"]["name"] + 10 * HOUR - MINUTE}
    tablet.push(tablet.put(DOG, str(dog.pk), {"name": "Later"}))
    fault(monkeypatch)

    phone.push(early, client_time=now() + 10 * HOUR)

    assert (Dog.objects.get().name == "Later") is survives


@pytest.mark.parametrize(("fault", "survives"), [(faultless, True), (write_whole_objects, False)])
def test_fault_5_other_peoples_fields_of_an_edited_row_stay(
    device: DeviceFactory, shelter: Shelter, monkeypatch: pytest.MonkeyPatch, fault: Fault, survives: bool
) -> None:
    dog = Dog.objects.create(shelter=shelter, name="Rex", age=1)
    phone, tablet = device(shelter), device(shelter)
    phone.pull()
    tablet.pull()
    tablet.push(tablet.put(DOG, str(dog.pk), {"name": "Max"}))
    reset = forced(phone)
    fault(monkeypatch)

    recover(phone, reset, [edited(phone.rows[DOG, str(dog.pk)], age=2)])

    assert Dog.objects.get().age == 2
    assert (Dog.objects.get().name == "Max") is survives


def test_a_snapshot_keeps_the_values_it_was_written_with() -> None:
    """The scenarios above stand on this: a line is the row of the device, not that of the server."""
    pulled = {"model": DOG, "pk": "1", "fields": {"age": 1}, "updated": 5, "clocks": {"*": 5}}
    line = edited(pulled, age=2)

    assert line.row == Row(
        fields={"age": 2}, updated=line.row.updated, clocks={"*": 5, "age": line.row.updated}
    )
    assert line.base == {"age": 5}
