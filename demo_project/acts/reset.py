"""The administrator orders one device to start over; what it had not synced is recovered. Then takes that back."""

from dataclasses import dataclass

from demo_project.acts.cast import Cast, Followed
from demo_project.comparison import Rows, count_by_model, differences
from demo_project.inspector import DEFECT, FLIGHT, INSPECTION
from demo_project.operator import Operator
from demo_project.telling import check, ledger, say

__all__ = ["Recovered", "force", "undo_and_repeat"]


@dataclass(frozen=True, kw_only=True)
class Recovered:
    """A recovery by its id, and what the server had before it and after it."""

    recovery: str
    before: Rows
    after: Rows


def force(cast: Cast, rows: Followed) -> Recovered:
    """Ben's device is reset with everything that he did offline still unsynced."""
    with Operator(cast.stage.url) as admin:
        admin.force_reset(cast.ben.replica.client_id)
    say("admin", "ordered and confirmed")
    before = cast.rows()
    reset = cast.ben.sync_after_reset("admin_forced")
    ledger("The ledger of Ben's recovery", {"ben": reset.totals})
    cast.ada.sync()
    after = cast.rows()
    check(
        _merged_as_the_rules_say(after, rows)
        | {
            "both devices hold what the server holds": cast.devices_hold(after),
            "the backup is kept on Ben's device": reset.backup is not None and reset.backup.exists(),
        }
    )
    return Recovered(recovery=str(reset.recovery), before=before, after=after)


def undo_and_repeat(cast: Cast, recovered: Recovered) -> None:
    """The recovery is undone in the admin, and done again."""
    with Operator(cast.stage.url) as admin:
        admin.undo(recovered.recovery)
        undone = cast.rows()
        lost = len(differences(recovered.after, undone))
        say("admin", f"undone: [b]{lost}[/b] things are not on the server any more, for the time being")
        _sync_both(cast)
        check(
            {
                "every row is as it was before the recovery": not differences(recovered.before, undone),
                "both devices follow": cast.devices_hold(undone),
            }
        )
        admin.recover_again(recovered.recovery)
    say("admin", "recovered again, from the same snapshot")
    _sync_both(cast)
    again = cast.rows()
    check(
        {
            "every row is as the first recovery had left it": not differences(recovered.after, again),
            "both devices hold what the server holds": cast.devices_hold(again),
        }
    )


def _sync_both(cast: Cast) -> None:
    for person in (cast.ada, cast.ben):
        person.sync()


def _merged_as_the_rules_say(server: Rows, rows: Followed) -> dict[str, bool]:
    shared, contested = server[FLIGHT, rows.shared], server[FLIGHT, rows.contested]
    rescued = server.get((INSPECTION, rows.rescued), {})
    counts = count_by_model(server)
    return {
        "different fields of one flight: both are kept": (shared["gate"], shared["stand_notes"])
        == ("B22", "Ben: chocks are worn"),
        "the same field: the later write won": contested["stand_notes"] == "Ben: belt loader on the right",
        "Ben's edit of what Ada deleted brought it back": rescued.get("remarks") == "found a dent",
        "the other inspection stays deleted": (INSPECTION, rows.deleted) not in server,
        "both new inspections and the defect are there": (counts[INSPECTION], counts[DEFECT]) == (3, 1),
    }
