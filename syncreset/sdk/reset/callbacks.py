"""The app's callbacks around a reset: what each is called with, and what becomes of what it raises."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..errors import CallbackFailed
from ..reports import ResetEvent, ResetOutcome
from ..store.store import Store
from .entries import PendingCallback


@dataclass(frozen=True, kw_only=True)
class Callbacks:
    """What the app wants to be called with: events, a backup's path, or an outcome. None where it wants nothing."""

    listeners: tuple[Callable[[ResetEvent], None], ...] = ()
    manual: Callable[[Path], None] | None = None
    before: Callable[[Path], None] | None = None
    after: Callable[[Path], None] | None = None
    fallback: Callable[[ResetOutcome], None] | None = None

    def tell(self, event: ResetEvent) -> None:
        """Tell the listeners. Raises CallbackFailed if one raises."""
        for listener in self.listeners:
            try:
                listener(event)
            except Exception as error:
                raise CallbackFailed(f"on_reset raised at {event.stage!r}: {error!r}") from error

    def hand_over(self, backup: Path, live: Store) -> None:
        """Let the app take over from a backup what it wants, into the live store. Raises CallbackFailed."""
        if self.manual is None:
            raise CallbackFailed("the mode is manual, and the replica has no on_manual callback")
        try:
            with live.lent():
                self.manual(backup)
        except Exception as error:
            raise CallbackFailed(f"on_manual raised: {error!r}") from error

    def call(self, pending: PendingCallback, backup: Path, live: Store) -> None:
        """Call what is pending, with the backup at a path. Raises CallbackFailed.

        ``after`` may write to the live store, which is one transaction: of a callback that raised nothing is left when
        it is called again.
        """
        try:
            if pending.callback == "before" and self.before is not None:
                self.before(backup)
            elif pending.callback == "after" and self.after is not None:
                with live.lent():
                    self.after(backup)
            elif pending.callback == "fallback" and self.fallback is not None:
                self.fallback(ResetOutcome(**{**(pending.outcome or {}), "backup": backup}))
        except Exception as error:
            raise CallbackFailed(f"on_{pending.callback} raised: {error!r}") from error
