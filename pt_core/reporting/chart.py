"""An interactive picture as plain values, drawn by ``chart.html.j2`` with HTML and CSS alone: no script, no file."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

Kind = Literal["pass", "fail", "insufficient", "not-measured", "champion", "reference"]
Side = Literal["right", "left", "above", "below"]
Scale = Callable[[float], float]
"""From a value to percent along an axis."""

_WIDTH, _HEIGHT, _LETTER, _LINE = 760.0, 340.0, 6.8, 17.0
"""The size that names are placed for, in CSS pixels; a narrow page shows the chosen one's alone."""
_SIDES: tuple[Side, ...] = ("above", "below", "right", "left")
"""Where a name may stand, the best first: lines run rather to the sides."""
_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)

Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""


class Tick(NamedTuple):
    """One place of an axis."""

    at: float
    """Percent from the left, or from the top."""
    text: str
    """What stands there."""


class Mark(NamedTuple):
    """One sign in the plot."""

    x: float
    """Percent from the left."""
    y: float
    """Percent from the top."""
    kind: Kind
    """Decides its shape and colour."""
    diameter: float = 13.0
    """In CSS pixels."""
    is_hollow: bool = False
    """Whether only its outline is drawn."""
    low: float | None = None
    """Left end of its interval, in percent."""
    high: float | None = None
    """Right end."""


class Entry(NamedTuple):
    """One thing to point at: its marks, its name below the plot, and what appears when it is pointed at."""

    name: str
    """Its name."""
    state: str
    """Its verdict in a word or two."""
    marks: tuple[Mark, ...]
    """Where it stands; the first is the one that its details appear at."""
    facts: tuple[tuple[str, str], ...]
    """Names and numbers."""
    reason: str = ""
    """One sentence more."""
    is_chosen: bool = False
    """Whether it stands out."""
    side: Side | None = None
    """Where its name stands in the plot; ``None`` where there is no room."""


class Line(NamedTuple):
    """A line behind the marks."""

    kind: Literal["front", "winner", "reference", "break"]
    """Decides its look."""
    points: tuple[tuple[float, float], ...]
    """In percent from the left and the top."""


class Chart(NamedTuple):
    """An interactive picture."""

    key: str
    """Unique on its page."""
    title: str
    """What it shows."""
    x_title: str
    """What runs to the right."""
    y_title: str
    """What runs up."""
    x_ticks: tuple[Tick, ...]
    """Along the bottom."""
    y_ticks: tuple[Tick, ...]
    """Along the left."""
    entries: tuple[Entry, ...]
    """What can be pointed at."""
    lines: tuple[Line, ...] = ()
    """Behind them."""
    band: tuple[float, float] | None = None
    """A grey band, from and to in percent from the left."""
    floor: Tick | None = None
    """A limit, with everything below it shaded."""
    notes: tuple[Tick, ...] = ()
    """Words at the top of the plot, by their left edge."""
    names_below: bool = True
    """Whether the names stand below the plot; they are read aloud in any case."""


def linear(low: float, high: float) -> Scale:
    """Return the scale of values that rise (or fall) evenly; one value alone stands in the middle."""
    return lambda value: 50.0 if high == low else 100 * (value - low) / (high - low)


def logarithmic(low: float, high: float) -> Scale:
    """Return the scale on which equal ratios are equally far apart."""
    inner = linear(math.log(low), math.log(high))
    return lambda value: inner(math.log(value))


def round_ticks(low: float, high: float, *, at_most: int = 6) -> list[float]:
    """Return round values inside a range, no more than so many."""
    if high <= low:
        return [low]
    size = 10 ** math.floor(math.log10((high - low) / at_most))
    step = next((s * size for s in _STEPS if (high - low) / (s * size) <= at_most), 10 * size)
    first = math.ceil(low / step - 1e-9)
    return [number * step for number in range(first, first + at_most + 1) if number * step <= high + 1e-12]


def with_names(entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """Place each name beside its first mark where it covers no mark and no other name; the chosen one's first."""
    taken = [_around(mark) for entry in entries for mark in entry.marks]
    order = sorted(range(len(entries)), key=lambda number: not entries[number].is_chosen)
    placed = list(entries)
    for number in order:
        entry = entries[number]
        for side in _SIDES:
            box = _beside(entry, side)
            if _is_inside(box) and not any(_overlap(box, other) for other in taken):
                placed[number] = entry._replace(side=side)
                taken.append(box)
                break
    return tuple(placed)


def _pixels(mark: Mark) -> tuple[float, float]:
    return mark.x * _WIDTH / 100, mark.y * _HEIGHT / 100


def _around(mark: Mark) -> Box:
    x, y = _pixels(mark)
    reach = mark.diameter / 2
    return x - reach, y - reach, x + reach, y + reach


def _beside(entry: Entry, side: Side) -> Box:
    mark = entry.marks[0]
    (x, y), width = _pixels(mark), len(entry.name) * _LETTER
    reach = mark.diameter / 2 + 4
    left = {"right": x + reach, "left": x - reach - width}.get(side, x - width / 2)
    top = {"above": y - reach - _LINE, "below": y + reach}.get(side, y - _LINE / 2)
    return left, top, left + width, top + _LINE


def _is_inside(box: Box) -> bool:
    return box[0] >= 0 and box[1] >= 0 and box[2] <= _WIDTH and box[3] <= _HEIGHT


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
