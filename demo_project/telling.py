"""How the walk-through tells its story on the terminal: acts, checked facts, ledgers, and a reset as it happens."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn
from rich.table import Table

from syncreset.sdk import ResetEvent

__all__ = ["StoryFailed", "Told", "act", "check", "command", "console", "ledger", "say", "table"]

console = Console(highlight=False)

STATES = ("applied", "merged", "identical", "superseded", "parked", "rejected")
_numbers = count(1)


class StoryFailed(Exception):
    """Something ended otherwise than it must. The message says what."""


@contextmanager
def act(title: str) -> Iterator[None]:
    """The next numbered part of the walk-through."""
    console.print()
    console.rule(f"[b]{next(_numbers)}. {title}[/b]", align="left")
    yield


def say(who: str, words: str) -> None:
    """One line of the story: what somebody does or, where ``who`` is empty, what happens. Markup is rich's."""
    console.print(f"   {who}: {words}" if who else f"   {words}", soft_wrap=True)


def command(words: str) -> None:
    """A command that is run now, as one would type it."""
    console.print(f"   [bold]$ {escape(words)}[/bold]", soft_wrap=True)


def check(facts: Mapping[str, bool]) -> None:
    """Show which facts hold. Raises StoryFailed if one does not."""
    for words, true in facts.items():
        console.print(f"   {'[green]✓[/green]' if true else '[red]✗[/red]'} {escape(words)}", soft_wrap=True)
    wrong = [words for words, true in facts.items() if not true]
    if wrong:
        raise StoryFailed(f"not true: {'; '.join(wrong)}")


def ledger(title: str, totals: Mapping[str, Mapping[str, int]]) -> None:
    """One line a recovery: how many of its items ended in which state. ``totals`` by device."""
    table(
        title,
        ("device", *STATES, "items"),
        [
            (name, *(str(counted.get(state, 0)) for state in STATES), str(sum(counted.values())))
            for name, counted in totals.items()
        ],
    )


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table whose first column is words and whose others are numbers."""
    shown = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    for place, column in enumerate(columns):
        shown.add_column(column, justify="right" if place else "left")
    for row in rows:
        shown.add_row(*row)
    console.print()
    console.print(shown)


class Told:
    """Tells a reset as it happens on a device, with a bar for what takes time."""

    WORDS: Mapping[str, str] = {
        "noted": "the server orders a reset: [yellow]{event.reason}[/yellow]",
        "backed_up": "the store is set aside as a backup",
        "downloaded": "a fresh copy has been downloaded; the app is usable again",
        "recovered": "the server has merged the backup and sent its receipt",
        "refused": "[red]refused: {event.problem}[/red]",
    }
    BARS: Mapping[str, str] = {"downloading": "downloading", "uploaded": "uploading", "recovering": "merging"}

    def __init__(self, name: str) -> None:
        self.name = name
        self._progress: Progress | None = None
        self._bars: dict[str, TaskID] = {}

    def __call__(self, event: ResetEvent) -> None:
        if event.stage in self.BARS and event.total:
            self._advance(self.BARS[event.stage], event.sent, event.total)
        elif event.stage in self.WORDS:
            self._finish()
            say(self.name, self.WORDS[event.stage].format(event=event))

    def _advance(self, word: str, done: int, total: int) -> None:
        if self._progress is None:
            columns = (TextColumn("        {task.description:<11}"), BarColumn(), TaskProgressColumn())
            self._progress = Progress(*columns, console=console)
            self._progress.start()
        if word not in self._bars:
            self._bars[word] = self._progress.add_task(word, total=total)
        self._progress.update(self._bars[word], completed=done, total=total)

    def _finish(self) -> None:
        """The last answer says that it is done, not how far it was."""
        if self._progress is not None:
            for task in self._progress.tasks:
                self._progress.update(task.id, completed=task.total)
            self._progress.stop()
        self._progress, self._bars = None, {}
