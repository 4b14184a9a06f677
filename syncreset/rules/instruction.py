"""What the server does with a change, beside what a client says in it."""

from dataclasses import dataclass

from ..protocol.changes import Change, Row, same


@dataclass(frozen=True, kw_only=True)
class Instruction(Change):
    """A change, and how the server is to take it. No client can say any of this.

    ``whole`` is the row as the client's snapshot holds it, from which a row that the server has lost can be made
    again. ``healing`` marks what is taken from acknowledged data because a restored server has forgotten it. One that
    ``overrides`` wins every conflict. One that ``restores`` brings back a row that was deleted.
    """

    whole: Row | None = None
    healing: bool = False
    overrides: bool = False
    restores: bool = False

    @classmethod
    def of(cls, change: Change) -> "Instruction":
        """A client's change, to be taken as it is; an instruction stays the one it is."""
        return change if isinstance(change, cls) else cls(**vars(change))

    @property
    def makes_row(self) -> bool:
        """Whether it holds a whole row: one made by the client, or one that a restored server lacks."""
        return self.base is None or (self.whole is not None and len(self.fields) >= len(self.whole.fields))

    def whole_values(self) -> set[str]:
        """The fields whose values are a whole row's, be it a new one or a snapshot's, and not what was done to it."""
        if self.base is None:
            return set(self.fields)
        whole = {} if self.whole is None else self.whole.fields
        return {name for name, value in self.fields.items() if name in whole and same(whole[name], value)}
