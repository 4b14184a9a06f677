"""Who and what the acts are about: the stage, two inspectors, and the rows that the story follows."""

from dataclasses import dataclass

from demo_project.comparison import Rows, differences, rows_of_replica
from demo_project.inspector import Inspector
from demo_project.stage import Stage
from demo_project.telling import console

__all__ = ["Cast", "Followed"]


@dataclass(frozen=True, kw_only=True)
class Followed:
    """The keys of the rows that the story follows: two flights, two inspections and a tug, there from the beginning."""

    shared: str
    contested: str
    deleted: str
    rescued: str
    tug: str


@dataclass(frozen=True, kw_only=True)
class Cast:
    """The stage and both inspectors, who hold the same airport."""

    stage: Stage
    ada: Inspector
    ben: Inspector

    def rows(self) -> Rows:
        """What the server has of their airport now."""
        with console.status("reading the server's rows"):
            return self.stage.rows_of(self.ada.name)

    def devices_hold(self, rows: Rows) -> bool:
        """Whether both devices hold exactly these rows."""
        return not any(differences(rows, rows_of_replica(person.replica)) for person in (self.ada, self.ben))
