"""Two inspectors download what they may hold, and work offline on the same rows."""

import time

from demo_project.acts.cast import Cast, Followed
from demo_project.comparison import rows_of_replica
from demo_project.inspector import AIRPORT, FLIGHT, INSPECTION, VEHICLE, Inspector
from demo_project.telling import check, console, say

__all__ = ["begin", "work"]


def begin(cast: Cast) -> Followed:
    """Both download everything; between, Ada makes two inspections and registers a tug."""
    ada = cast.ada
    with console.status("downloading"):
        ada.sync()
    (shared,), (contested,) = ada.replica.connection.execute(
        "SELECT id FROM ramp_flight ORDER BY sched_dep, id LIMIT 2"
    ).fetchall()
    followed = Followed(
        shared=shared,
        contested=contested,
        deleted=ada.inspect(shared, "to go"),
        rescued=ada.inspect(shared, "to argue over"),
        tug=ada.replica.create(VEHICLE, airport=AIRPORT, name="Tug 7", place="B20", fuel="full"),
    )
    ada.sync()
    with console.status("downloading"):
        cast.ben.sync()
    held = rows_of_replica(ada.replica)
    check({f"both hold the same {len(held):,} rows": cast.devices_hold(held)})
    return followed


def work(cast: Cast, rows: Followed) -> None:
    """The offline changes of both, Ada's first. Then she is back in reach of the server."""
    _work_of_ada(cast.ada, rows)
    time.sleep(0.01)
    _work_of_ben(cast.ben, rows)
    for person, words in (
        (cast.ada, "an inspection with a defect, two flights edited, two inspections deleted"),
        (cast.ben, "an inspection, the same flights edited (one in plain SQL), and what Ada deletes"),
    ):
        say(person.name, f"{words} — [b]{person.replica.pending()}[/b] changes wait")
    cast.ada.sync()
    check(
        {
            "all that Ada did is with the server": cast.ada.replica.pending() == 0,
            "all that Ben did is on his device alone": cast.ben.replica.pending() == 4,
        }
    )


def _work_of_ada(ada: Inspector, rows: Followed) -> None:
    leak = ada.inspect(rows.shared, "hydraulic leak")
    ada.report_defect(leak, code="29-10", severity="major", description="wet wheel well")
    ada.replica.update(FLIGHT, rows.shared, gate="B22")
    ada.replica.update(FLIGHT, rows.contested, stand_notes="Ada: belt loader on the left")
    ada.replica.delete(INSPECTION, rows.deleted)
    ada.replica.delete(INSPECTION, rows.rescued)


def _work_of_ben(ben: Inspector, rows: Followed) -> None:
    ben.inspect(rows.contested, "all well")
    ben.replica.update(FLIGHT, rows.contested, stand_notes="Ben: belt loader on the right")
    ben.replica.update(INSPECTION, rows.rescued, result="defects", remarks="found a dent")
    with ben.replica.transaction():
        # Any program may write to a replica: these are tables.
        ben.replica.connection.execute(
            "UPDATE ramp_flight SET stand_notes = 'Ben: chocks are worn' WHERE id = ?", (rows.shared,)
        )
