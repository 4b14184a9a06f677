"""Where the bars, lines and words of a plot of stacked bars go. How it looks is said by the template and stylesheet."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

#: The drawing in its own units, which are pixels where it is shown at its full size.
WIDTH, HEIGHT = 900, 280
LEFT, RIGHT, TOP, BOTTOM = 60, 24, 20, 30
#: At most so many lines across, and so many days named below.
LINES, DAYS_NAMED = 5, 12
#: Even one item among thousands must be seen: it may be the one that matters.
LEAST = 2.0
#: How much of a day's width is bar.
FILLED = 0.8


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One state of one day: a rectangle by its upper left corner, and what it says in words."""

    state: str
    x: float
    y: float
    width: float
    height: float
    text: str


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A word on an axis, at its place along it."""

    place: float
    text: str


@dataclass(frozen=True, kw_only=True)
class Plot:
    """A drawing from (0, 0) to (``width``, ``height``)."""

    width: int
    height: int
    #: Between these edges stand the bars.
    left: int
    right: int
    top: int
    bottom: int
    #: One bar a day and state.
    bars: Sequence[Bar]
    #: The lines across, with what they count.
    lines: Sequence[Mark]
    #: The days below.
    days: Sequence[Mark]


def stacked_bars(counted: Mapping[date, Mapping[str, int]], states: Sequence[str]) -> Plot:
    """A bar for each day in their order, in which the states stand on each other, the first at the bottom."""
    floor = HEIGHT - BOTTOM
    step = _step(max((sum(day.values()) for day in counted.values()), default=0))
    unit = (floor - TOP) / (step * LINES)
    slot = (WIDTH - LEFT - RIGHT) / max(len(counted), 1)
    bars = [
        bar
        for place, (day, counts) in enumerate(counted.items())
        for bar in _stack(day, counts, states, LEFT + (place + (1 - FILLED) / 2) * slot, slot * FILLED, unit)
    ]
    return Plot(
        width=WIDTH,
        height=HEIGHT,
        left=LEFT,
        right=WIDTH - RIGHT,
        top=TOP,
        bottom=floor,
        bars=bars,
        lines=[
            Mark(place=round(floor - step * line * unit, 1), text=f"{step * line:,}")
            for line in range(LINES + 1)
        ],
        days=_named_days(list(counted), slot),
    )


def _stack(
    day: date, counts: Mapping[str, int], states: Sequence[str], x: float, width: float, unit: float
) -> list[Bar]:
    bars = []
    y = float(HEIGHT - BOTTOM)
    for state in states:
        items = counts.get(state, 0)
        if items:
            height = max(items * unit, LEAST)
            y -= height
            bars.append(
                Bar(
                    state=state,
                    x=round(x, 1),
                    y=round(y, 1),
                    width=round(width, 1),
                    height=round(height, 1),
                    text=f"{_name(day)}: {items:,} {state}",
                )
            )
    return bars


def _step(highest: int) -> int:
    """From line to line: the least of 1, 2, 5, 10, 20, 50, … with which the lines reach the highest bar."""
    step = 1
    while step * LINES < highest:
        step = step * 5 // 2 if str(step).startswith("2") else step * 2
    return step


def _named_days(days: Sequence[date], slot: float) -> list[Mark]:
    """Counted back from the last day, which is always named."""
    every = -(-len(days) // DAYS_NAMED)
    return [
        Mark(place=round(LEFT + (place + 0.5) * slot, 1), text=_name(day))
        for place, day in enumerate(days)
        if (len(days) - 1 - place) % max(every, 1) == 0
    ]


def _name(day: date) -> str:
    return f"{day.day} {day:%b}"
