"""The forms that a network takes between two artifacts, each with what it was made from, opened as far as it can be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain, count
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pt_core.artifacts.artifact import Artifact, Precision
from pt_core.artifacts.layers import LOGITS, Layer, Opening, OpensLayers, PassesThrough
from pt_core.artifacts.plugin import Format, Predictor
from pt_core.artifacts.registry import make_format
from pt_core.errors import PtCoreError
from pt_core.evaluation.lineage import lineage
from pt_core.evaluation.parity_metrics import ANOTHER_RUNTIME


class Stage(NamedTuple):
    """One form of the network."""

    label: str
    """What it is."""
    artifact: Artifact
    """Where it comes from."""
    base: str | None
    """Label of the stage it was made from; ``None`` for the first."""
    precision: Precision
    """Decides how far it may be from its base."""
    opening: Opening | None
    """How to run it; ``None`` where it cannot run at all."""
    note: str | None
    """Why its layers cannot be seen, where they cannot."""


def stages_between(a: Artifact, b: Artifact, scratch: Path) -> tuple[Stage, ...]:
    """Return the stages from the nearest common ancestor to both artifacts.

    Args:
        a: what is right.
        b: what is compared with it.
        scratch: an empty folder for what is only made to be looked into.
    """
    a_line, b_line = lineage(a), lineage(b)
    shared = [one for one, other in zip(a_line, b_line, strict=False) if one.digest == other.digest]
    if not shared:
        first = _open(a, a_line, base=None)
        return (*first, *_distinct(_open(b, b_line, base=None), first))
    stages = list(_open(shared[-1], tuple(shared), base=None))
    for line in (a_line, b_line):
        end = stages[0].label
        for number in range(len(shared), len(line)):
            end = _grow(stages, line[: number + 1], end, scratch)
    return tuple(stages)


def _grow(stages: list[Stage], line: Sequence[Artifact], base: str, scratch: Path) -> str:
    """Add the stages of the last artifact of a line; return the label that the next one is made from."""
    artifact, parent = line[-1], line[-2]
    plugin = make_format(artifact.format)
    for name in plugin.through if isinstance(plugin, PassesThrough) else ():
        if name not in (parent.format, artifact.format) and parent.format != artifact.format:
            (made,) = _distinct([_pass_through(parent, name, tuple(line[:-1]), base, scratch)], stages)
            stages.append(made)
            base = made.label if made.opening else base
    is_rounded = artifact.precision != parent.precision
    precision = artifact.precision if is_rounded else ANOTHER_RUNTIME[artifact.precision]
    added = _distinct(_open(artifact, tuple(line), base=base, precision=precision), stages)
    stages.extend(added)
    return added[0].label


def _distinct(added: Sequence[Stage], stages: Sequence[Stage]) -> list[Stage]:
    """Return the stages of one artifact under labels of their own: one chain of steps may be run twice."""
    taken = {stage.label for stage in stages}
    found: list[Stage] = []
    for stage in added:
        others = (f"{stage.label} ({number})" for number in count(2))
        label = next(name for name in chain([stage.label], others) if name not in taken)
        found.append(stage._replace(label=label, base=found[-1].label if found else stage.base))
    return found


def _pass_through(parent: Artifact, name: str, line: tuple[Artifact, ...], base: str, scratch: Path) -> Stage:
    """Return the form that a conversion keeps in memory, made once more to be looked into."""
    label = f"{parent.chain} > {name}, in memory"
    precision = ANOTHER_RUNTIME[parent.precision]
    folder = scratch / f"{name}-{len(list(scratch.iterdir()))}"
    folder.mkdir()
    made = parent.model_copy(update={"format": name, "directory": str(folder), "digest": f"{name} in memory"})
    try:
        plugin = make_format(name)
        plugin.convert(parent, folder)
        opening = _openings(plugin, made, line)[0]._replace(label=label)
    except (PtCoreError, RuntimeError, ValueError, TypeError) as error:
        return Stage(label, made, base, precision, None, _first_line(error))
    return Stage(label, made, base, precision, opening, None)


def _open(
    artifact: Artifact, line: tuple[Artifact, ...], *, base: str | None, precision: Precision = "fp32"
) -> list[Stage]:
    plugin = make_format(artifact.format)
    # What a format lacks to build may not be what it needs to run, so it is tried and not asked.
    try:
        openings = _openings(plugin, artifact, line[:-1])
    except (PtCoreError, ImportError) as error:
        return _closed(plugin, artifact, base, precision, _first_line(error))
    if not openings:
        return _closed(
            plugin, artifact, base, precision, f"{artifact.format} cannot be opened layer by layer"
        )
    stages: list[Stage] = []
    for opening in openings:
        stages.append(Stage(opening.label, artifact, base, precision, opening, None))
        base, precision = opening.label, ANOTHER_RUNTIME[artifact.precision]
    return stages


def _openings(plugin: Format, artifact: Artifact, ancestors: tuple[Artifact, ...]) -> tuple[Opening, ...]:
    return plugin.open_layers(artifact, ancestors) if isinstance(plugin, OpensLayers) else ()


def _closed(
    plugin: Format, artifact: Artifact, base: str | None, precision: Precision, note: str
) -> list[Stage]:
    """Return an artifact of which only the logits can be seen."""
    try:
        predictor = plugin.load(artifact, "cpu")
    except (PtCoreError, RuntimeError, ValueError, OSError) as error:
        return [Stage(artifact.chain, artifact, base, precision, None, _first_line(error))]
    except ImportError as error:
        why = f"{artifact.format}: {plugin.unavailable() or _first_line(error)}"
        return [Stage(artifact.chain, artifact, base, precision, None, why)]
    opening = Opening(artifact.chain, partial(_logits_only, predictor))
    return [Stage(artifact.chain, artifact, base, precision, opening, note)]


def _logits_only(predictor: Predictor, batch: NDArray[np.float32]) -> Iterator[Layer]:
    yield Layer(LOGITS, LOGITS, 0, 1, predictor.logits(batch))


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:300] or type(error).__name__
