"""Rewrite "fused": batch normalisations folded into the convolution or linear layer before them, shown to be equal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pt_core.artifacts.artifact import Artifact, Precision
from pt_core.errors import NothingFused, StepFailed
from pt_core.record import Record

if TYPE_CHECKING:
    from torch import Tensor

MAX_RELATIVE_ERROR = 1e-4
"""Largest difference that folding may make, as a share of the largest absolute logit: that of FP32 sums reordered."""


class Fused(Record):
    """Fewer layers in eager PyTorch, and in all that is converted from it."""

    name: ClassVar[str] = "fused"
    sources: ClassVar[tuple[str, ...]] = ("torch",)
    target: ClassVar[str] = "torch"
    precision: ClassVar[Precision | None] = None

    def unavailable(self) -> str | None:
        """Return ``None``: torch is a dependency of the product."""
        return None

    def rewrite(self, source: Artifact, destination: Path) -> None:
        """Fold what can be folded, and compare the network with itself before.

        Raises:
            PlanError: the source is not FP32.
            NothingFused: no normalisation is the only reader of such a layer.
            StepFailed: folding changed the logits of the golden inputs by more than rounding does.
        """
        import torch

        from pt_core.artifacts.checkpoint import WEIGHTS
        from pt_core.artifacts.tensors import read_golden, save_tensors
        from pt_core.artifacts.weights import state_arrays
        from pt_core.formats.capture import export_program
        from pt_core.formats.fold import find_folds, fold_in_place
        from pt_core.formats.structure import read_structure, refuse_lowered, write_structure
        from pt_core.formats.torch_ import load_module

        refuse_lowered(self.name, source)
        network = load_module(source)
        folds = find_folds(export_program(source), network)
        if not folds:
            raise NothingFused(
                f"{self.name}: no batch normalisation is the only reader of a convolution or linear layer; "
                "leave this step out"
            )
        inputs = torch.from_numpy(read_golden(source)[0])
        with torch.inference_mode():
            before = network(inputs)
        fold_in_place(network, folds)
        with torch.inference_mode():
            _prove_equal(network(inputs), before, num_folds=len(folds))
        save_tensors(destination / WEIGHTS, state_arrays(network))
        structure = read_structure(Path(source.directory))
        write_structure(destination, structure.model_copy(update={"folds": (*structure.folds, *folds)}))


def _prove_equal(after: Tensor, before: Tensor, *, num_folds: int) -> None:
    error = float((after - before).abs().max())
    limit = MAX_RELATIVE_ERROR * float(before.abs().max())
    # Written so that a NaN error is refused.
    if not error <= limit:
        raise StepFailed(
            f"fused: folding {num_folds} normalisations changed the logits of the golden inputs by {error:.3g}, "
            f"expected at most {limit:.3g}; a variance near zero makes it inexact: leave this step out"
        )
