"""What the server does with a change, beside what a client says in it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..protocol.changes import Change, Row, Value


@dataclass(frozen=True, kw_only=True)
class Instruction(Change):
    """A change, and how the server is to take it. No client can say any of this.

    ``whole`` is the row as the client's snapshot holds it, from which a row that the server has lost can be made
    again. ``healing`` marks what is taken from acknowledged data because a restored server has forgotten it. One that
    ``overrides`` wins every conflict. One that ``restores`` brings back a row that was deleted. ``includes`` are the
    ids of steps, by field, that are in the values of this change already, with the server's clocks (µs) of their
    answers, None where there was none: they count as counted. ``from_nothing`` are the values of counters and sets
    for a row that is made anew, where ``fields`` say by how much they change.
    """

    whole: Row | None = None
    healing: bool = False
    overrides: bool = False
    restores: bool = False
    includes: Mapping[str, Mapping[str, int | None]] = field(default_factory=dict)
    from_nothing: Mapping[str, Value] = field(default_factory=dict)

    @classmethod
    def of(cls, change: Change) -> "Instruction":
        """A client's change, to be taken as it is; an instruction stays the one it is."""
        return change if isinstance(change, cls) else cls(**vars(change))

    @property
    def makes_row(self) -> bool:
        """Whether it holds a whole row: one made by the client, or one that a restored server lacks."""
        return self.base is None or (self.whole is not None and len(self.fields) >= len(self.whole.fields))

    def of_new_row(self) -> Mapping[str, Value]:
        """The values of a row that is made of this change alone."""
        return {name: self.from_nothing.get(name, value) for name, value in self.fields.items()}
