"""Accuracy-aware quantization: which layers to keep in floating point until INT8 loses no more than it may."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from pt_core.artifacts.artifact import LayerDamage, QuantizationTry
from pt_core.errors import AccuracyNotReached
from pt_core.inference.postprocess import centred
from pt_core.isolation import report_progress
from pt_core.record import Record

Candidate = TypeVar("Candidate")
Kept = tuple[str, ...]
"""Names of the layers that stay in floating point, the most damaging first."""

_MAX_NAMES = 5
"""How many of the layers kept a line of a message names."""
_TINY = float(np.finfo(np.float64).tiny)


class Found(NamedTuple, Generic[Candidate]):
    """What a search ended with."""

    candidate: Candidate
    """The quantized network that keeps to the limit with the fewest layers kept."""
    tries: tuple[QuantizationTry, ...]
    """Every network that was tried, in order."""
    damage: tuple[LayerDamage, ...]
    """The layers by damage, the worst first; empty where the first try was good enough."""


class Search(Record):
    """What a search that found nothing had tried, as an error keeps it."""

    tries: tuple[QuantizationTry, ...]
    """Every network that was tried, in order."""
    damage: tuple[LayerDamage, ...]
    """The layers by damage, the worst first."""


def search(
    quantize: Callable[[Kept], Candidate],
    accuracy_of: Callable[[Candidate], float],
    rank: Callable[[], tuple[LayerDamage, ...]],
    *,
    scheme: str,
    float_accuracy: float,
    max_accuracy_drop: float,
    max_tries: int,
) -> Found[Candidate]:
    """Return the quantized network that loses at most ``max_accuracy_drop`` with the fewest layers kept.

    Everything is quantized first. Where that loses too much, layers are ranked once, the 1, 2, 4, ... most
    damaging are kept, and when a number is enough, the tries that are left halve the gap below it.

    Args:
        quantize: makes the network with these layers kept.
        accuracy_of: its accuracy on the calibration split, 0 to 1.
        rank: every layer that can be kept, by damage, the worst first; called at most once.
        scheme: the quantizer's name, for the message.
        float_accuracy: accuracy of the floating point network on the same samples, 0 to 1.
        max_accuracy_drop: absolute, 0 to 1.
        max_tries: networks that may be made, the first included.

    Raises:
        AccuracyNotReached: no try kept to the limit; the details list each.
    """
    tries: list[QuantizationTry] = []
    best: Candidate | None = None
    damage: tuple[LayerDamage, ...] = ()
    # The greatest number of kept layers that is known to be too few, and the least that is enough.
    too_few = -1
    enough: int | None = None
    count: int | None = 0
    while count is not None and len(tries) < max_tries:
        kept = tuple(layer.layer for layer in damage[:count])
        start = time.monotonic()
        candidate = quantize(kept)
        made = _make_try(kept, accuracy_of(candidate), float_accuracy, start)
        tries.append(made)
        report_progress(
            len(tries), max_tries, f"{len(kept)} layers kept, accuracy drop {made.accuracy_drop:.4f}"
        )
        if made.accuracy_drop <= max_accuracy_drop:
            best, enough = candidate, count
        else:
            too_few = count
        if enough is None and not damage:
            damage = rank()
        count = _next_count(too_few, enough, num_layers=len(damage))
    if best is None:
        raise _not_reached(scheme, tries, max_accuracy_drop, max_tries, damage=damage)
    return Found(best, tuple(tries), damage)


def rank_layers(
    layers: tuple[str, ...],
    logits_with: Callable[[str], NDArray[np.float32]],
    expected: NDArray[np.float32],
) -> tuple[LayerDamage, ...]:
    """Return the layers by damage, the worst first.

    Args:
        layers: their names.
        logits_with: the calibration logits (N, C) of the network with this layer alone in INT8.
        expected: those of the floating point network.
    """
    found = []
    for index, layer in enumerate(layers):
        found.append(LayerDamage(layer=layer, damage=noise_to_signal(logits_with(layer), expected)))
        report_progress(index + 1, len(layers), f"damage of {layer}: {found[-1].damage:.2e}")
    return tuple(sorted(found, key=lambda layer: -layer.damage))


def noise_to_signal(observed: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """Return the noise-to-signal ratio of logits (N, C): |o - e|^2 / |e|^2, each row less its mean.

    It is 10^(-SQNR/10). Softmax does not depend on the mean of a row, so that is no signal.
    """
    wanted = centred(expected)
    noise = float(np.square(centred(observed) - wanted).sum())
    return noise / max(float(np.square(wanted).sum()), _TINY)


def accuracy(logits: NDArray[np.float32], targets: NDArray[np.int64]) -> float:
    """Return the share of samples whose greatest logit is their class, 0 to 1."""
    return float((logits.argmax(axis=1) == targets).mean())


def _next_count(too_few: int, enough: int | None, *, num_layers: int) -> int | None:
    """Return how many layers to keep next; ``None`` when nothing is left to try."""
    if enough is not None:
        return None if enough - too_few <= 1 else (too_few + enough) // 2
    # One layer at least must become INT8, or nothing is quantized.
    count = min(max(1, 2 * too_few), num_layers - 1)
    return count if count > too_few else None


def _make_try(kept: Kept, observed: float, float_accuracy: float, start: float) -> QuantizationTry:
    return QuantizationTry(
        kept_layers=kept,
        accuracy=observed,
        accuracy_drop=float_accuracy - observed,
        seconds=time.monotonic() - start,
    )


def _not_reached(
    scheme: str,
    tries: list[QuantizationTry],
    limit: float,
    max_tries: int,
    *,
    damage: tuple[LayerDamage, ...],
) -> AccuracyNotReached:
    nearest = min(tries, key=lambda one: one.accuracy_drop)
    remedy = (
        f"raise max_tries (now {max_tries})"
        if len(tries) == max_tries
        else "every number of layers was tried"
    )
    error = AccuracyNotReached(
        f"{scheme}: the least accuracy drop on the calibration split is {nearest.accuracy_drop:.4f}, with "
        f"{len(nearest.kept_layers)} of {len(damage)} layers kept in floating point, expected at most {limit:g} "
        f"(max_accuracy_drop); {remedy}, or allow more, or use int8-qat",
        details=[
            f"{len(one.kept_layers)} layers kept{_named(one.kept_layers)}: accuracy {one.accuracy:.4f}, "
            f"drop {one.accuracy_drop:.4f}, {one.seconds:.1f} s"
            for one in tries
        ],
    )
    error.evidence = Search(tries=tuple(tries), damage=damage).to_json()
    return error


def _named(kept: Kept) -> str:
    shown = [*kept[:_MAX_NAMES], *(["..."] if len(kept) > _MAX_NAMES else [])]
    return f" ({', '.join(shown)})" if shown else ""
