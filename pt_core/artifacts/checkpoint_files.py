"""Checkpoints on disk: saved whole or not at all, opened only where every byte matches, verified by replay."""

from __future__ import annotations

import contextlib
import copy
import pickle
import struct
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pt_core.artifacts.artifact import GOLDEN
from pt_core.artifacts.checkpoint import TRAINING_STATE, WEIGHTS, Checkpoint, CheckpointInfo, LoadReport
from pt_core.artifacts.integrity import IntegrityReport, replay_golden, report_bytes
from pt_core.artifacts.tensors import check_finite, load_tensors, save_tensors, write_golden
from pt_core.artifacts.training_state import MAX_TRAINING_STATE_BYTES, check_archive, check_tensors
from pt_core.artifacts.weights import load_partially, load_strictly, state_arrays
from pt_core.bundle import Bundle, Manifest, open_bundle, read_info, seal, staging
from pt_core.errors import IntegrityError, StepFailed
from pt_core.modeling.network import build_network
from pt_core.modeling.spec import ModelSpec

__all__ = [
    "LoadReport",
    "check_checkpoint",
    "load_network",
    "load_partially",
    "load_training_state",
    "open_checkpoint",
    "save_checkpoint",
    "verify_checkpoint",
]

FILES = frozenset({WEIGHTS, TRAINING_STATE, GOLDEN})

# What parsing a damaged or hostile file can raise; none of them is a reason to try a less safe reader.
_PARSE_ERRORS = (
    pickle.PickleError,
    struct.error,
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)


def save_checkpoint(
    store: Path,
    *,
    info: CheckpointInfo,
    network: nn.Module,
    training_state: dict[str, object],
    golden_inputs: Tensor,
    name: str = "checkpoint",
) -> Checkpoint:
    """Write a checkpoint into ``store``; under its final name it is complete or not there at all.

    Args:
        store: folder of checkpoints.
        info: goes into the manifest.
        network: its state dict and its golden logits are written; its mode is kept.
        training_state: whatever ``torch.load(weights_only=True)`` reads back: tensors, numbers, strings, containers.
        golden_inputs: (N, *input_shape) float32, replayed whenever the checkpoint is verified.
        name: what the directory's name begins with.

    Raises:
        ConfigError: the state dict holds something else than dense tensors.
        IntegrityError: a weight or an output is not finite, or the training state would not load safely.
        StepFailed: the disk refused a write; nothing was published and earlier checkpoints are untouched.
    """
    arrays = state_arrays(network)
    check_finite(store / WEIGHTS, arrays)
    logits = _golden_logits(network, golden_inputs)
    if not np.isfinite(logits).all():
        raise IntegrityError(f"{store}: epoch {info.epoch}: the outputs are not finite")
    try:
        with staging(store) as folder:
            save_tensors(folder / WEIGHTS, arrays)
            torch.save(training_state, folder / TRAINING_STATE)
            _read_training_state(folder / TRAINING_STATE)
            write_golden(folder, golden_inputs.detach().cpu().float().numpy(), logits)
            bundle = seal(folder, name=name, kind="checkpoint", info=info)
    # torch reports a full disk as a RuntimeError.
    except (OSError, RuntimeError) as error:
        raise StepFailed(
            f"{store}: the checkpoint of epoch {info.epoch} could not be written: {error}; "
            "free space there or choose another folder"
        ) from error
    return Checkpoint.model_validate({**info.model_dump(), **bundle.model_dump()})


def open_checkpoint(directory: Path) -> Checkpoint:
    """Check a checkpoint's bytes, then read its description.

    Raises:
        IntegrityError: the bytes are not what the manifest says, or it is no checkpoint.
    """
    bundle, manifest = open_bundle(directory, kind="checkpoint")
    return read_info(bundle, manifest, Checkpoint)


def load_network(bundle: Bundle, spec: ModelSpec) -> nn.Module:
    """Rebuild a network on the CPU from a checked bundle's weights file, in evaluation mode.

    Raises:
        IntegrityError: a tensor is missing, unexpected, not finite, or of another shape or type.
    """
    path = Path(bundle.directory) / WEIGHTS
    arrays = load_tensors(path, finite=True)
    # What building draws is overwritten, so it should not cost the caller random numbers.
    with torch.random.fork_rng(devices=[]):
        network = build_network(spec)
    load_strictly(network, arrays, source=path)
    return network.eval()


def load_training_state(
    checkpoint: Checkpoint, *, max_bytes: int = MAX_TRAINING_STATE_BYTES
) -> dict[str, Any]:
    """Return the optimizer's, scheduler's, scaler's and generators' state, its tensors on the CPU.

    Raises:
        IntegrityError: the file is compressed, too large, holds anything but data, or is damaged.
    """
    path = Path(checkpoint.directory) / TRAINING_STATE
    return _read_training_state(path, max_bytes=max_bytes)


def verify_checkpoint(directory: Path) -> IntegrityReport:
    """Check a checkpoint whole: bytes before anything is parsed, then weights, structure and outputs.

    Raises:
        IntegrityError: naming the file or the tensor that is wrong.
    """
    return check_checkpoint(*open_bundle(directory, kind="checkpoint"))


def check_checkpoint(bundle: Bundle, manifest: Manifest) -> IntegrityReport:
    """Check everything about a checkpoint whose bytes were compared with its manifest already.

    Raises:
        IntegrityError: naming the file or the tensor that is wrong.
    """
    names = {entry.path for entry in manifest.files}
    if names != FILES:
        raise IntegrityError(
            f"{bundle.directory}: not the files of a checkpoint",
            details=[
                *(f"{name}: missing" for name in sorted(FILES - names)),
                *(f"{name}: unexpected" for name in sorted(names - FILES)),
            ],
        )
    checkpoint = read_info(bundle, manifest, Checkpoint)
    load_training_state(checkpoint)
    network = load_network(checkpoint, checkpoint.spec)
    num_tensors = len(network.state_dict())
    error, replayed = replay_golden(
        bundle,
        lambda inputs: _golden_logits(network, torch.from_numpy(inputs)),
        input_shape=checkpoint.spec.input_shape,
        num_classes=checkpoint.spec.num_classes,
    )
    report = report_bytes(bundle, manifest)
    checks = (
        *report.checks,
        f"{TRAINING_STATE} is an uncompressed archive and holds nothing but data.",
        f"{num_tensors} weight tensors have the names, shapes and types of {checkpoint.spec.target}.",
        "Every weight is finite.",
        *replayed,
    )
    return report.model_copy(update={"checks": checks, "golden_max_abs_error": error})


def _read_training_state(path: Path, *, max_bytes: int = MAX_TRAINING_STATE_BYTES) -> dict[str, Any]:
    check_archive(path, max_bytes=max_bytes)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            state: object = torch.load(path, map_location="cpu", weights_only=True)
    except _PARSE_ERRORS as error:
        # torch wraps the reason in the advice to switch its safe loader off.
        reason = str(error.__context__ or error).strip()
        raise IntegrityError(
            f"{path}: refused by the safe loader, which reads data only: {type(error).__name__}: {reason[:300]}"
        ) from error
    if not isinstance(state, dict):
        raise IntegrityError(f"{path}: holds a {type(state).__name__}, expected a dict")
    check_tensors(path, state)
    return state


def _golden_logits(network: nn.Module, inputs: Tensor) -> NDArray[np.float32]:
    """Return FP32 logits computed on the CPU, where they are replayed too."""
    tensors = network.state_dict().values()
    if any(t.device.type != "cpu" or t.dtype in (torch.float16, torch.bfloat16) for t in tensors):
        network = copy.deepcopy(network).cpu().float()
    with _evaluating(network), torch.inference_mode(), torch.autocast("cpu", enabled=False):
        logits: Tensor = network(inputs.detach().cpu().float())
    return np.asarray(logits.float().numpy())


@contextlib.contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
