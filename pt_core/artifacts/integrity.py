"""What is checked of any bundle: its bytes, and its golden outputs by replaying them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pt_core.artifacts.artifact import Artifact, Precision
from pt_core.artifacts.integrity_report import IntegrityReport
from pt_core.artifacts.tensors import read_golden
from pt_core.bundle import Bundle, Manifest
from pt_core.errors import IntegrityError

__all__ = ["GOLDEN_RELATIVE_TOLERANCE", "IntegrityReport", "replay_golden", "report_bytes"]

GOLDEN_RELATIVE_TOLERANCE = 1e-4
"""Greatest difference of a replayed FP32 logit, as a share of the greatest absolute golden logit."""

RELATIVE_TOLERANCE: dict[Precision, float] = {
    "fp32": GOLDEN_RELATIVE_TOLERANCE,
    "fp16": 1e-2,
    "bf16": 5e-2,
    "int8": 5e-2,
}
"""The same by the precision of an artifact: kernels of another CPU round elsewhere."""


def report_bytes(bundle: Bundle, manifest: Manifest) -> IntegrityReport:
    """Report a bundle of which the bytes, and nothing else, were checked."""
    num_files = len(manifest.files)
    return IntegrityReport(
        kind=manifest.kind,
        directory=bundle.directory,
        digest=bundle.digest,
        num_files=num_files,
        size_bytes=bundle.size_bytes,
        checks=(
            f"The size and SHA-256 of {num_files} files ({bundle.size_bytes} bytes) match the manifest.",
        ),
        golden_max_abs_error=None,
    )


def replay_artifact(
    artifact: Artifact, bundle: Bundle, logits_of: Callable[[NDArray[np.float32]], NDArray[np.float32]]
) -> tuple[float, tuple[str, ...]]:
    """Run an artifact's golden inputs again, within the tolerance of its precision; see :func:`replay_golden`.

    Raises:
        IntegrityError: the golden file, the shape of the output or its values are not as they should be.
    """
    return replay_golden(
        bundle,
        logits_of,
        input_shape=artifact.spec.input_shape,
        num_classes=artifact.spec.num_classes,
        relative_tolerance=RELATIVE_TOLERANCE[artifact.precision],
    )


def replay_golden(
    bundle: Bundle,
    logits_of: Callable[[NDArray[np.float32]], NDArray[np.float32]],
    *,
    input_shape: tuple[int, ...],
    num_classes: int,
    relative_tolerance: float = GOLDEN_RELATIVE_TOLERANCE,
) -> tuple[float, tuple[str, ...]]:
    """Run a bundle's golden inputs again; return the greatest absolute error and what was checked.

    Raises:
        IntegrityError: the golden file, the shape of the output or its values are not as they should be.
    """
    inputs, expected = read_golden(bundle)
    where = bundle.directory
    if inputs.shape[1:] != input_shape:
        raise IntegrityError(f"{where}: golden inputs are {inputs.shape[1:]}, the model takes {input_shape}")
    logits = logits_of(inputs)
    shape = (len(inputs), num_classes)
    if logits.shape != shape or expected.shape != shape:
        raise IntegrityError(
            f"{where}: the model gives {logits.shape} and its golden logits are {expected.shape}, expected {shape}"
        )
    error = float(np.abs(logits.astype(np.float64) - expected).max())
    limit = relative_tolerance * float(np.abs(expected).max())
    # Written so that a NaN error is refused.
    if not error <= limit:
        # The same inputs once more: a network that does not repeat itself says nothing about the bytes.
        again = float(np.abs(logits_of(inputs).astype(np.float64) - logits).max())
        cause = (
            "the weights, the model's code or the runtime are not those that wrote it"
            if again <= limit
            else f"two calls on the same inputs differ by {again:.3g}: the model is random in evaluation mode, as with "
            "dropout left on, or keeps state between calls"
        )
        raise IntegrityError(
            f"{where}: golden outputs differ by {error:.3g}, at most {limit:.3g} is allowed; {cause}"
        )
    return error, (
        f"Outputs of {len(inputs)} samples have the shape {shape}.",
        f"Golden outputs were replayed within {error:.2g} (limit {limit:.2g}).",
    )
