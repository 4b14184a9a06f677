"""A second release is deployed while a device with unsynced work is offline, and its schema breaks with the first.

What it changes is in `demo_project/ground`: a field is renamed, one has another type, and one is gone.
"""

from collections.abc import Mapping
from typing import Any

from demo_project.acts.cast import Cast, Followed
from demo_project.inspector import AIRPORT, VEHICLE
from demo_project.stage import Stage
from demo_project.telling import check, command, console, ledger, say

__all__ = ["come_back", "deploy", "work_offline"]

KEY_NOTE = "with Lou, at the fuel farm"


def work_offline(cast: Cast, rows: Followed) -> str:
    """Ben works with the fields of the first release. Returns the key of the vehicle that he adds."""
    ben = cast.ben
    ben.replica.update(VEHICLE, rows.tug, place="B24", fuel="quarter", key_note=KEY_NOTE)
    added = ben.replica.create(VEHICLE, airport=AIRPORT, name="GPU 2", place="B26", fuel="half")
    say("ben", "moves the tug, notes its fuel and who has its key, and adds a power unit")
    check({"two changes wait on Ben's device": ben.replica.pending() == 2})
    return added


def deploy(stage: Stage) -> None:
    """The services are down: ask what the release will mean, and migrate."""
    command("manage.py syncreset plan")
    with console.status("comparing the schemas"):
        plan = stage.plan(release=2)
    for planned in plan["differences"]:
        say("", f"  {_fate_of(planned)}")
    clients = plan["clients"]
    check(
        {
            "the plan knows that the release breaks the schema": plan["breaking"],
            "and that both devices must start over": clients["must_reset"] == clients["total"] == 2,
        }
    )
    command("manage.py migrate")
    with console.status("migrating"):
        stage.deploy(release=2)


def _fate_of(planned: Mapping[str, Any]) -> str:
    """A difference between both schemas, and what becomes of the values that devices have not synced."""
    fates = "; ".join(fate["detail"] for fate in planned["unsynced"])
    return (
        f"{planned['detail']}: unsynced values are [yellow]{fates}[/yellow]" if fates else planned["detail"]
    )


def come_back(cast: Cast, rows: Followed, added: str) -> None:
    """Both devices meet the new release, Ben's with what he did under the old one."""
    totals = {
        person.name: person.sync_after_reset("schema_incompatible").totals for person in (cast.ben, cast.ada)
    }
    ledger("The ledgers of the schema change", totals)
    server = cast.rows()
    tug, unit = server[VEHICLE, rows.tug], server.get((VEHICLE, added), {})
    parked = cast.ben.parked()
    for item in parked:
        say("parked", f"{item.model} {_client_values(item.fields)}: {item.detail}")
    check(
        {
            "Ben's place of the tug is its stand now": tug["stand"] == "B24",
            "the word that he had for its fuel is percent now": tug["fuel"] == 25,
            "the vehicle that he added is there": (unit.get("stand"), unit.get("fuel")) == ("B26", 50),
            "who has the key has no field any more, and is parked word for word": [
                _client_values(item.fields) for item in parked
            ]
            == [{"key_note": KEY_NOTE}],
            "both devices hold what the server holds": cast.devices_hold(server),
        }
    )


def _client_values(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: sides["client"] for name, sides in fields.items()}
