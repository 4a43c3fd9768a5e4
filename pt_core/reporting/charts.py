"""The interactive pictures: accuracy, latency and size of variants, and the same of a pipeline's runs over time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal

from pt_core.decision.compare import ComparisonRow, drop_text, human_bytes
from pt_core.decision.history import RunRow
from pt_core.decision.result import RunResult
from pt_core.reporting.chart import (
    Chart,
    Entry,
    Kind,
    Line,
    Mark,
    Scale,
    Tick,
    linear,
    logarithmic,
    round_ticks,
    with_names,
)
from pt_core.reporting.operating_points import accuracy_floor, noise_band

_RATIOS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)
_MAX_TICKS = 6
_DIAMETERS = (11.0, 30.0)
"""Of the smallest and the largest artifact, in CSS pixels; the area grows with the bytes."""
_UNDEFINED = "-"

Value = Callable[[RunRow], float | None]


def variants_chart(
    result: RunResult, rows: Sequence[ComparisonRow], *, key: str = "variants"
) -> Chart | None:
    """Return accuracy over latency with sizes, of the variants and the champion; ``None`` if nothing was both scored and timed."""
    shown = [row for row in rows if row.accuracy is not None and row.latency_ratio is not None]
    if not shown:
        return None
    floor = accuracy_floor(result)
    y_low, y_high = _accuracy_range(
        [row.accuracy or 0.0 for row in shown] + ([] if floor is None else [floor])
    )
    x_low = min(0.8, *(row.latency_ratio_low or 1.0 for row in shown)) / 1.3
    x_high = max(1.25, *(row.latency_ratio_high or 1.0 for row in shown)) * 1.3
    x, y = logarithmic(x_low, x_high), linear(y_high, y_low)
    largest = max(row.size_bytes or 0 for row in shown)
    low, high = noise_band(result)
    return Chart(
        key=key,
        title="Accuracy over latency, by size",
        x_title=f"latency / {result.reference} (left is faster)",
        y_title="accuracy",
        x_ticks=_thinned([Tick(x(r), f"{r:g} x") for r in _RATIOS if x_low <= r <= x_high]),
        y_ticks=_accuracy_ticks(y, y_low, y_high),
        entries=with_names([_variant(row, x, y, largest) for row in shown]),
        lines=_front(shown, x, y),
        band=(max(0.0, x(low)), min(100.0, x(high))),
        floor=None if floor is None else Tick(y(floor), f"accuracy floor {floor:.4f}"),
    )


def history_charts(rows: Sequence[RunRow]) -> tuple[Chart, ...]:
    """Return accuracy, latency ratio and size of each run's winner over time; a line breaks where samples change."""
    accuracy = _over_time(
        rows, "accuracy", "Accuracy of the winner", lambda r: r.accuracy, lambda r: r.reference_accuracy
    )
    latency = _over_time(
        rows,
        "latency",
        "Latency of the winner over its reference",
        lambda r: r.latency_ratio,
        lambda r: None if r.latency_ratio is None else 1.0,
    )
    size = _over_time(
        rows,
        "size",
        "Size of the winner, KiB",
        lambda r: r.size_bytes and r.size_bytes / 1024,
        lambda r: r.reference_size_bytes and r.reference_size_bytes / 1024,
    )
    return tuple(chart for chart in (accuracy, latency, size) if chart)


def _variant(row: ComparisonRow, x: Scale, y: Scale, largest: int) -> Entry:
    smallest, full = _DIAMETERS
    share = (row.size_bytes or 0) / max(1, largest)
    kind: Kind = "champion" if row.verdict is None else _kind(row.verdict)
    mark = Mark(
        x(row.latency_ratio or 1.0),
        y(row.accuracy or 0.0),
        kind,
        diameter=round(smallest + (full - smallest) * share**0.5, 1),
        is_hollow=row.dominated_by is not None,
        low=None if row.latency_ratio_low is None else x(row.latency_ratio_low),
        high=None if row.latency_ratio_high is None else x(row.latency_ratio_high),
    )
    facts = (
        ("accuracy", _four(row.accuracy)),
        ("drop", drop_text(row)),
        ("robust", _four(row.robust_accuracy)),
        ("latency", _ratio_text(row)),
        ("size", human_bytes(row.size_bytes)),
    )
    return Entry(row.variant, row.standing, (mark,), facts, row.reason, row.chosen)


def _front(rows: Sequence[ComparisonRow], x: Scale, y: Scale) -> tuple[Line, ...]:
    front = sorted(
        (x(row.latency_ratio or 1.0), y(row.accuracy or 0.0))
        for row in rows
        if row.verdict == "pass" and row.dominated_by is None
    )
    return (Line("front", tuple(front)),) if len(front) > 1 else ()


def _over_time(rows: Sequence[RunRow], key: str, title: str, own: Value, reference: Value) -> Chart | None:
    values = [value for row in rows for value in (own(row), reference(row)) if value is not None]
    if not values:
        return None
    low, high = _accuracy_range(values) if key == "accuracy" else (0.0, 1.08 * max(values))
    x, y = _places(len(rows)), linear(high, low)
    ticks = tuple(Tick(y(value), _plain(value)) for value in round_ticks(low, high))
    return Chart(
        key=key,
        title=title,
        x_title="run, the oldest first",
        y_title="",
        x_ticks=_thinned([Tick(x(number), _day(row)) for number, row in enumerate(rows)], at_most=4),
        y_ticks=_accuracy_ticks(y, low, high) if key == "accuracy" else ticks,
        entries=tuple(_run(row, x(number), y, own, reference) for number, row in enumerate(rows)),
        lines=(
            *_lines("reference", rows, x, y, reference),
            *_lines("winner", rows, x, y, own),
            *_breaks(rows, x),
        ),
        notes=_samples(rows, x),
        names_below=False,
    )


def _run(row: RunRow, x: float, y: Scale, own: Value, reference: Value) -> Entry:
    mine, other = own(row), reference(row)
    # A run that chose nothing has its mark at the bottom, so that it can be pointed at.
    marks = [Mark(x, 100.0, "fail", diameter=14) if mine is None else Mark(x, y(mine), "pass")]
    if other is not None:
        marks.append(Mark(x, y(other), "reference", diameter=16, is_hollow=True))
    facts = (
        ("started", row.started_at[:16].replace("T", " ")),
        ("winner", row.winner or "none"),
        ("accuracy", _four(row.accuracy)),
        (row.reference, _four(row.reference_accuracy)),
        ("latency", _ratio_text(row)),
        ("size", human_bytes(row.size_bytes)),
        ("samples", f"{row.samples}, {row.num_samples}"),
    )
    state = "pass" if row.winner else "refused"
    return Entry(row.run, state, tuple(marks), facts, row.note)


def _lines(
    kind: Literal["winner", "reference"], rows: Sequence[RunRow], x: Scale, y: Scale, value: Value
) -> list[Line]:
    """Return one line for each stretch of runs on the same samples that have a value."""
    stretches: list[list[tuple[float, float]]] = [[]]
    before = ""
    for number, row in enumerate(rows):
        found = value(row)
        if found is None or row.samples != before:
            stretches.append([])
        if found is not None:
            stretches[-1].append((x(number), y(found)))
        before = row.samples
    return [Line(kind, tuple(points)) for points in stretches if len(points) > 1]


def _breaks(rows: Sequence[RunRow], x: Scale) -> list[Line]:
    found = []
    for number, (one, other) in enumerate(pairwise(rows)):
        if one.samples != other.samples:
            at = (x(number) + x(number + 1)) / 2
            found.append(Line("break", ((at, 0.0), (at, 100.0))))
    return found


def _samples(rows: Sequence[RunRow], x: Scale) -> tuple[Tick, ...]:
    """Return which samples each stretch of runs rests on; nothing where all rest on the same."""
    if len({row.samples for row in rows}) == 1:
        return ()
    starts = [n for n, row in enumerate(rows) if n == 0 or rows[n - 1].samples != row.samples]
    return tuple(Tick(max(0.0, x(n) - 50 / len(rows)), rows[n].samples) for n in starts)


def _places(count: int) -> Scale:
    """Return the scale that gives each of so many runs its own column."""
    return lambda number: 100 * (number + 0.5) / count


def _accuracy_range(values: Sequence[float]) -> tuple[float, float]:
    margin = max(0.004, 0.22 * (max(values) - min(values)))
    # Room for a sign at 1, though no tick stands above it.
    return max(-0.02, min(values) - margin), min(1.0 + 0.6 * margin, max(values) + margin)


def _accuracy_ticks(y: Scale, low: float, high: float) -> tuple[Tick, ...]:
    return tuple(
        Tick(y(value), _plain(value)) for value in round_ticks(low, high) if -1e-9 <= value <= 1 + 1e-9
    )


def _thinned(ticks: Sequence[Tick], *, at_most: int = _MAX_TICKS) -> tuple[Tick, ...]:
    every = -(-len(ticks) // at_most)
    return tuple(ticks[::every]) if ticks else ()


def _kind(state: str) -> Kind:
    kinds: dict[str, Kind] = {"pass": "pass", "fail": "fail", "insufficient": "insufficient"}
    return kinds.get(state, "not-measured")


def _day(row: RunRow) -> str:
    return row.started_at[5:16].replace("T", " ")


def _ratio_text(row: ComparisonRow | RunRow) -> str:
    if row.latency_ratio is None:
        return _UNDEFINED
    if row.latency_ratio_low is None or row.latency_ratio_high is None:
        return f"{row.latency_ratio:.3g} x"
    return f"{row.latency_ratio:.3g} x ({row.latency_ratio_low:.3g} to {row.latency_ratio_high:.3g})"


def _four(value: float | None) -> str:
    return _UNDEFINED if value is None else f"{value + 0.0:.4f}"


def _plain(value: float) -> str:
    return f"{value + 0.0:,.0f}" if abs(value) >= 100 else f"{value + 0.0:.4g}"
