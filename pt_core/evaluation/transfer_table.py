"""TransferTable: accuracy on samples crafted on one variant and scored on another, and what it gives away."""

from __future__ import annotations

from collections.abc import Iterator

from pt_core.record import Record

MASKING_MARGIN = 0.1
"""A direct attack that leaves this much more accuracy than one crafted elsewhere is called much weaker.

With the default 64 samples it is seven of them, more than a tie of two equal attacks strays by chance.
"""

GRADIENT_FREE = "square"
"""The attack that asks for no gradient."""


class TransferRow(Record):
    """One set of samples, scored on every variant."""

    crafted_on: str
    """Variant that it was crafted on."""
    attack: str
    """"fgsm", "pgd", or "square" for what needs no gradient."""
    accuracy: tuple[float, ...]
    """Share still right, 0 to 1, of each variant in the order of ``scored_on``."""


class TransferTable(Record):
    """Every set of samples on every variant, all at one strength."""

    epsilon: float
    """L-infinity radius, in the units of the configuration."""
    num_samples: int
    """Samples in each set."""
    num_queries: int
    """Queries that Square could spend on one sample."""
    scored_on: tuple[str, ...]
    """Names of the variants."""
    clean: tuple[float, ...]
    """Share right of the same samples unperturbed, in the same order."""
    rows: tuple[TransferRow, ...]
    """The gradient attacks first, then Square, each in the order of the variants."""


def gradient_masking(table: TransferTable) -> tuple[str, ...]:
    """Return a sentence for each variant whose direct attack is much weaker than another one.

    An attack that reads a variant's own gradients is expected to be the strongest of all. Where one that
    was crafted on another variant, or that asked for no gradient, leaves lower accuracy by more than
    :data:`MASKING_MARGIN`, the gradients point nowhere and the direct attack proves nothing (gradient
    masking, Athalye et al. 2018, https://arxiv.org/abs/1802.00420). A runtime without gradients has Square
    alone for a direct attack; that is compared with Square crafted elsewhere.
    """
    return tuple(
        sentence
        for column, name in enumerate(table.scored_on)
        for sentence in _sentences(table, name, column)
    )


def _sentences(table: TransferTable, name: str, column: int) -> Iterator[str]:
    own = [row for row in table.rows if row.crafted_on == name]
    gradient = [row for row in own if row.attack != GRADIENT_FREE]
    searched = [row for row in own if row.attack == GRADIENT_FREE]
    others = [row for row in table.rows if row not in gradient]
    if gradient:
        yield from _compare(table, name, column, direct=gradient, others=others)
    else:
        alike = [row for row in others if row.attack == GRADIENT_FREE and row not in searched]
        yield from _compare(table, name, column, direct=searched, others=alike)


def _compare(
    table: TransferTable, name: str, column: int, *, direct: list[TransferRow], others: list[TransferRow]
) -> Iterator[str]:
    if not direct or not others:
        return
    weak = min(direct, key=lambda row: row.accuracy[column])
    strong = min(others, key=lambda row: row.accuracy[column])
    if weak.accuracy[column] - strong.accuracy[column] > MASKING_MARGIN:
        elsewhere = "itself" if strong.crafted_on == name else strong.crafted_on
        yield (
            f"{name} looks stronger than it is: at epsilon {table.epsilon:g}, {weak.attack} crafted on itself leaves "
            f"{weak.accuracy[column]:.2f} of {table.num_samples} samples right, but {strong.attack} crafted on "
            f"{elsewhere} only {strong.accuracy[column]:.2f}; its own answers give an attack no direction "
            "(gradient masking), so trust the lower number"
        )
