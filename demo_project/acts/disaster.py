"""The server's database is replaced by last night's copy, and what the devices hold heals it."""

from demo_project.acts.cast import Cast, Followed
from demo_project.comparison import Rows, count_by_model, differences, rows_of_replica
from demo_project.inspector import FLIGHT, INSPECTION, VEHICLE
from demo_project.telling import check, console, ledger, table

__all__ = ["compare", "heal", "strike", "work_all_morning"]


def work_all_morning(cast: Cast, rows: Followed) -> Rows:
    """Both work and sync, and all of it is acknowledged. Returns what the server has then."""
    ada, ben = cast.ada, cast.ben
    birds = ada.inspect(rows.contested, "bird strike")
    ada.report_defect(birds, code="72-00", severity="major", description="fan blade nicked")
    ada.replica.update(FLIGHT, rows.contested, gate="B31")
    ada.sync()
    ben.sync()
    ben.inspect(rows.shared, "one more, while Ada is away")
    ben.replica.update(INSPECTION, birds, result="grounded")
    ben.replica.delete(INSPECTION, rows.rescued)
    ben.replica.update(VEHICLE, rows.tug, stand="B31", fuel=20)
    ben.sync()
    check({"the server has acknowledged everything": ada.replica.pending() == ben.replica.pending() == 0})
    return cast.rows()


def strike(cast: Cast, before: Rows) -> None:
    """Put the copy in place of the database. The services must be down."""
    cast.stage.restore()
    lost = differences(before, cast.rows())
    check({f"the server has forgotten {len(lost)} things that it had acknowledged": len(lost) >= 7})


def heal(cast: Cast) -> None:
    """Both devices meet the restored server, which nobody has told of what happened."""
    totals = {
        person.name: person.sync_after_reset("history_diverged").totals for person in (cast.ada, cast.ben)
    }
    cast.ada.sync()
    ledger("The ledgers of the healing", totals)


def compare(cast: Cast, before: Rows) -> None:
    """The last word: the server and both devices, field by field, against what there was before the disaster."""
    holders = {
        "server": cast.rows(),
        "ada": rows_of_replica(cast.ada.replica),
        "ben": rows_of_replica(cast.ben.replica),
    }
    counts = [count_by_model(rows) for rows in (before, *holders.values())]
    table(
        "Rows, compared field by field with those before",
        ("model", "before", *holders),
        [(model, *(str(counted.get(model, 0)) for counted in counts)) for model in counts[0]],
    )
    found = [f"{name}: {words}" for name, rows in holders.items() for words in differences(before, rows)]
    for words in found[:20]:
        console.print(f"   [red]{words}[/red]")
    check({"nothing is missing, and nothing differs: on the server and on both devices": not found})
