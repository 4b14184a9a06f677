"""Two severities for one defect: by its model a person decides, so one of them is parked for the administrator."""

from demo_project.acts.cast import Cast
from demo_project.inspector import DEFECT, Inspector
from demo_project.operator import ITEMS, Operator
from demo_project.telling import StoryFailed, check, say

__all__ = ["decide", "leave_one"]


def decide(cast: Cast) -> None:
    """Ada and Ben disagree, and the administrator decides for neither of them."""
    item, defect = _disagree(cast)
    with Operator(cast.stage.url) as admin:
        check({"the item's page in the admin shows both values": _shows_both(admin, item)})
        admin.decide(item, '"major"')
    say("admin", "has had a look at the wheel well, and decides: [b]major[/b]")
    for person in (cast.ada, cast.ben):
        person.sync()
    severities = {_severity(person, defect) for person in (cast.ada, cast.ben)}
    check(
        {
            "both devices hold what was decided": severities == {"major"},
            "nothing is parked any more": _parked(cast) == [],
        }
    )


def leave_one(cast: Cast) -> str:
    """Ada and Ben disagree once more, for whoever visits the admin. Returns the path of the item's page."""
    item, _ = _disagree(cast)
    with Operator(cast.stage.url) as admin:
        check({"its page offers both values": _shows_both(admin, item)})
    return f"{ITEMS}{item}/change/"


def _disagree(cast: Cast) -> tuple[str, str]:
    """Both set the severity of one defect offline, then sync. Returns the parked item and the defect."""
    defect = str(cast.ada.replica.all(DEFECT)[0]["id"])
    known = set(_parked(cast))
    cast.ada.replica.update(DEFECT, defect, severity="critical")
    cast.ben.replica.update(DEFECT, defect, severity="minor")
    say("", "offline, Ada calls the defect critical and Ben calls it minor")
    cast.ada.sync()
    cast.ben.sync()
    new = [item for item in _parked(cast) if item not in known]
    if len(new) != 1:
        raise StoryFailed(f"one item was to be parked, not {len(new)}")
    return new[0], defect


def _shows_both(admin: Operator, item: str) -> bool:
    page = admin.page_of(item)
    return '"critical"' in page and '"minor"' in page


def _parked(cast: Cast) -> list[str]:
    with Operator(cast.stage.url) as admin:
        return admin.parked()


def _severity(person: Inspector, defect: str) -> str:
    row = person.replica.get(DEFECT, defect)
    return "" if row is None else str(row["severity"])
