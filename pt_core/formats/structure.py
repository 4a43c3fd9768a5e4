"""Structure of a "torch" artifact: how its network differs from what its code builds, as names in one small file."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from pt_core.artifacts.artifact import Artifact
from pt_core.errors import IntegrityError, PlanError
from pt_core.record import Record

STRUCTURE = "structure.json"
"""Absent where the network is as its code builds it."""


class Fold(Record):
    """A batch normalisation that was folded into the layer before it."""

    layer: str
    """Name of the convolution or linear layer, which has a bias from then on."""
    norm: str
    """Name of the normalisation, which is an identity from then on."""


class HalfPrecision(Record):
    """A network whose floating-point tensors are BF16."""

    channels_last: bool
    """Whether images and filters lie in memory with their channels last."""


class Structure(Record):
    """What was done to a network, in this order."""

    folds: tuple[Fold, ...] = ()
    """Normalisations that are gone."""
    int8_layers: tuple[str, ...] = ()
    """Names of the dynamically quantized ``nn.Linear`` layers."""
    bf16: HalfPrecision | None = None
    """BF16 weights and activations, if it has them."""


def read_structure(folder: Path) -> Structure:
    """Return the structure that a folder names.

    Raises:
        IntegrityError: the file holds something else.
    """
    path = folder / STRUCTURE
    if not path.exists():
        return Structure()
    try:
        return Structure.from_json(path.read_bytes())
    except ValidationError as error:
        raise IntegrityError(f"{path}: not a structure of a network: {error}"[:1000]) from error


def write_structure(folder: Path, structure: Structure) -> None:
    """Write a structure beside the weights that fit it."""
    (folder / STRUCTURE).write_text(structure.to_json())


def refuse_lowered(step: str, source: Artifact) -> None:
    """Refuse a source that is not FP32 any more.

    Raises:
        PlanError: with the order that works.
    """
    if source.precision != "fp32":
        raise PlanError(
            f"{step}: the source {source.chain} is {source.precision}, expected fp32; put {step} before that step"
        )
