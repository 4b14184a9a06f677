"""An account of all that is written, kept without asking the product: who wrote what, and what of it had been seen.

Every value is written once, so a value names its write. A value counts as superseded where somebody who saw it wrote
another one, or deleted the row; any other must be somewhere at the end.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

RowName = tuple[str, str]


@dataclass
class Write:
    """A value of a field. ``over`` is the value that its writer saw there."""

    row: RowName
    name: str
    by: str
    over: str


@dataclass
class Deletion:
    """A row that is deleted, maybe ``with_another``, with the values of it that were seen.

    ``place`` is how much had been touched before. In a ``reset`` the deleter does not see what it did before: that
    comes home meanwhile, and on top of what others wrote it is an edit that the deletion had not seen.
    """

    row: RowName
    by: str
    seen: frozenset[str]
    with_another: bool
    place: int
    reset: bool


@dataclass
class Count:
    """A step of a counter, or an element that is added to a set. ``held`` says by whom: devices, and the server."""

    row: RowName
    by: str
    amount: int = 0
    element: str = ""
    held: set[str] = field(default_factory=set)


SERVER = "the server"


class Account:
    """``lost`` are writes that nobody can have any more, for their last holder was put back to an older state.

    ``lost_before`` are those that one of these had superseded.

    ``unsure`` are rows whose counters and sets nobody can foretell. ``deletions_unsure`` says that the server was made
    what it had been before, by a restore or by a person, or that somebody's rights have changed.
    """

    def __init__(self) -> None:
        self.writes: dict[str, Write] = {}
        self.deletions: list[Deletion] = []
        self.counts: list[Count] = []
        self.lost: set[str] = set()
        self.lost_before: set[str] = set()
        self.unsure: set[RowName] = set()
        self._touched: list[tuple[RowName, str]] = []
        self.deletions_unsure = False
        self.removed: set[tuple[RowName, str]] = set()
        self._number = 0

    def value(self, by: str) -> str:
        """A value that has never been."""
        self._number += 1
        return f"{by}.{self._number}."

    def wrote(self, row: RowName, name: str, value: str, *, by: str, over: str) -> None:
        self.writes[value] = Write(row, name, by, over)

    def deleted(
        self, row: RowName, *, by: str, seen: Iterable[str], with_another: bool = False, reset: bool = False
    ) -> None:
        values = frozenset(value for value in seen if value)
        self.deletions.append(Deletion(row, by, values, with_another, len(self._touched), reset))
        self.unsure.add(row)

    def counted(self, row: RowName, amount: int, *, by: str) -> None:
        self.touched(row, by=by)
        self.counts.append(Count(row, by, amount=amount, held={by}))

    def marked(self, row: RowName, element: str, *, by: str) -> None:
        self.touched(row, by=by)
        self.counts.append(Count(row, by, element=element, held={by}))

    def unmarked(self, row: RowName, element: str, *, by: str) -> None:
        self.touched(row, by=by)
        self.removed.add((row, element))

    def touched(self, *rows: RowName, by: str) -> None:
        """Something was done to rows that is no value: a step, a code, a reference, another room."""
        self._touched += [(row, by) for row in rows]

    def touched_beside(self, deletion: Deletion) -> bool:
        """Whether somebody else touched the row, or the deleter after the deletion, as in a reset that shows it."""
        return any(
            row == deletion.row and (by != deletion.by or place >= deletion.place or deletion.reset)
            for place, (row, by) in enumerate(self._touched)
        )

    def sums(self) -> dict[RowName, int]:
        """What was counted, by row."""
        sums: dict[RowName, int] = defaultdict(int)
        for count in self.counts:
            sums[count.row] += count.amount
        return sums

    def elements(self) -> dict[RowName, set[str]]:
        """What was added and never removed, by row."""
        elements: dict[RowName, set[str]] = defaultdict(set)
        for count in self.counts:
            if count.element and (count.row, count.element) not in self.removed:
                elements[count.row].add(count.element)
        return elements

    def superseded(self) -> set[str]:
        """Values that somebody who saw them has replaced by a write which is not lost, or deleted."""
        over = {write.over for value, write in self.writes.items() if value not in self.lost}
        return over.union(*(deletion.seen for deletion in self.deletions))

    # -- who holds what -------------------------------------------------------------------------------------------

    def reached_server(self, device: str) -> None:
        """The device has nothing left to send."""
        for count in self.counts:
            if device in count.held:
                count.held.add(SERVER)

    def copied(self, device: str, other: str) -> None:
        """The other one may send what is unsent, too."""
        self._touched += [(row, other) for row, by in self._touched if by == device]
        for count in self.counts:
            if device in count.held:
                count.held.add(other)

    def held_by(self, holder: str) -> set[int]:
        return {number for number, count in enumerate(self.counts) if holder in count.held}

    def holds_again(self, holder: str, numbers: set[int]) -> None:
        """The holder is as it was: what nobody else holds is gone, and its row's counter with it."""
        for number, count in enumerate(self.counts):
            if holder in count.held and number not in numbers:
                count.held.discard(holder)
                if not count.held - {SERVER} and (holder == SERVER or SERVER not in count.held):
                    self.unsure.add(count.row)

    def lost_by(self, event: Callable[[], None], holders: Callable[[], str]) -> None:
        """Carry an event out. What was somewhere before and is nowhere after it is lost by it, and by nothing else.

        So is what a lost write had superseded, unless it is there again.
        """
        before, superseded = holders(), self.superseded()
        event()
        after = holders()
        self.lost |= {value for value in self.writes if value in before and value not in after}
        self.lost_before |= {value for value in superseded - self.superseded() if value not in after}
