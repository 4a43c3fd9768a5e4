"""Compare layers with their namesakes batch by batch, keeping sums only, so that no activation is kept."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pt_core.artifacts.layers import Layer
from pt_core.evaluation.difference import LayerDifference
from pt_core.evaluation.parity_metrics import Tolerance

_FOLLOWERS = 2
"""A layer may hold what the next ones gave: batch normalisation, then the activation, folded into it."""
_FOLDED = 0.1
"""Folded means that the error against the follower is less than this share of the error against the namesake."""
_MAX_FUSED = 3
"""Where more layers than this are missing, they could not be seen, which is not to say that they were fused."""
_FLOOR = 1e-6
"""Least divisor of a relative error: an output that is all zero has no scale of its own."""


@dataclass
class _Sums:
    max_abs_error: float = 0
    max_abs_expected: float = 0
    error_power: float = 0
    expected_power: float = 0
    observed_power: float = 0
    product: float = 0

    def add(self, observed: NDArray[np.float32], expected: NDArray[np.float32]) -> None:
        wide, reference = observed.astype(np.float64).ravel(), expected.astype(np.float64).ravel()
        with np.errstate(invalid="ignore", over="ignore"):
            error = wide - reference
            self.max_abs_error = max(self.max_abs_error, _largest(error))
            self.max_abs_expected = max(self.max_abs_expected, _largest(reference))
            self.error_power += float(error @ error)
            self.expected_power += float(reference @ reference)
            self.observed_power += float(wide @ wide)
            self.product += float(wide @ reference)

    @property
    def is_finite(self) -> bool:
        return math.isfinite(self.error_power) and math.isfinite(self.max_abs_error)

    @property
    def relative(self) -> float:
        return self.max_abs_error / max(self.max_abs_expected, _FLOOR) if self.is_finite else math.inf

    @property
    def amplitude(self) -> float:
        """The error's share of the output, as a ratio of amplitudes."""
        return math.sqrt(self.error_power / max(self.expected_power, _FLOOR**2))

    @property
    def cosine(self) -> float:
        norms = math.sqrt(self.expected_power * self.observed_power)
        return min(1.0, max(-1.0, self.product / norms)) if norms else float(self.error_power == 0)


@dataclass
class _Pair:
    """One layer, against its namesake and against those that follow it."""

    layer: Layer
    taken_in: tuple[str, ...]
    """Names of the layers just before it that the other form does not have: they are fused into this one."""
    sums: list[_Sums] = field(default_factory=list)

    @property
    def best(self) -> tuple[int, _Sums]:
        """Return how many layers are folded into it, and the sums against the last of them."""
        own = self.sums[0]
        for number, other in enumerate(self.sums[1:], start=1):
            if other.relative < _FOLDED * own.relative:
                return number, other
        return 0, own


class LayerErrors:
    """What the layers of two forms of a network differ by, summed over batches."""

    def __init__(self, tolerance: Tolerance) -> None:
        """Start without a batch."""
        self._tolerance = tolerance
        self._pairs: dict[tuple[str, int], _Pair] = {}

    def add(self, observed: Sequence[Layer], expected: Sequence[Layer]) -> None:
        """Add one batch; layers that are called another number of times, or have another shape, are left out."""
        found = {(layer.name, layer.call): layer for layer in observed}
        missing: list[str] = []
        for number, reference in enumerate(expected):
            key = (reference.name, reference.call)
            layer = found.get(key)
            if layer is None or not _comparable(layer, reference):
                missing.append(reference.name)
                continue
            pair = self._pairs.setdefault(key, _Pair(_without_value(reference), tuple(missing)))
            missing.clear()
            followers = [
                f for f in expected[number : number + 1 + _FOLLOWERS] if f.value.shape == layer.value.shape
            ]
            for place, follower in enumerate(followers):
                if place == len(pair.sums):
                    pair.sums.append(_Sums())
                pair.sums[place].add(layer.value, follower.value)

    def differences(self) -> tuple[LayerDifference, ...]:
        """Return every layer that could be compared, in the order of the reference's execution."""
        found = []
        amplitudes: list[tuple[str, float]] = []
        for pair in self._pairs.values():
            sums = pair.best[1]
            # What a module's own code combines is what its parts gave, on whichever branch.
            own = [amplitude for name, amplitude in amplitudes if name.startswith(f"{pair.layer.name}.")]
            before = max([amplitude for _, amplitude in amplitudes[-1:]] + own, default=0.0)
            found.append(self._difference(pair, sums, before))
            amplitudes.append((pair.layer.name, sums.amplitude if sums.is_finite else before))
        return tuple(found)

    def _difference(self, pair: _Pair, sums: _Sums, before: float) -> LayerDifference:
        layer = pair.layer
        name = f"{layer.name} [call {layer.call + 1}]" if layer.num_calls > 1 else layer.name
        kind = _kind(pair)
        if not sums.is_finite:
            return LayerDifference(
                layer=name,
                kind=kind,
                max_abs_error=None,
                relative_error=None,
                sqnr_db=None,
                cosine=None,
                jump=None,
                within=False,
            )
        limit = self._tolerance
        has_both = sums.error_power > 0 and sums.expected_power > 0
        return LayerDifference(
            layer=name,
            kind=kind,
            max_abs_error=sums.max_abs_error,
            relative_error=sums.relative,
            sqnr_db=10 * math.log10(sums.expected_power / sums.error_power) if has_both else None,
            cosine=sums.cosine,
            jump=sums.amplitude - before,
            within=sums.relative <= limit.max_relative_error and sums.cosine >= limit.min_cosine,
        )


def worst_first(differences: Sequence[LayerDifference], count: int) -> tuple[LayerDifference, ...]:
    """Return the layers that do the most damage themselves, those that are not finite before all others."""
    return tuple(sorted(differences, key=_damage, reverse=True)[:count])


def _kind(pair: _Pair) -> str:
    if pair.best[0]:
        return f"{pair.layer.kind}, with what follows folded in"
    # Operations in a module's own code have other names in every graph.
    fused = [name for name in pair.taken_in if "/" not in name]
    if not 0 < len(fused) <= _MAX_FUSED:
        return pair.layer.kind
    return f"{pair.layer.kind}, with {', '.join(fused)} fused in"


def _damage(difference: LayerDifference) -> float:
    return math.inf if difference.jump is None else difference.jump


def _comparable(layer: Layer, reference: Layer) -> bool:
    return layer.num_calls == reference.num_calls and layer.value.shape == reference.value.shape


def _without_value(layer: Layer) -> Layer:
    return layer._replace(value=np.empty(0, dtype=np.float32))


def _largest(values: NDArray[np.float64]) -> float:
    return float(np.abs(values).max(initial=0))
