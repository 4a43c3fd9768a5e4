"""The two halves of a step, each run in a fresh process: write the payload, then reload and compare it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pt_core.artifacts.artifact import Artifact, Parity, Precision
from pt_core.artifacts.integrity import replay_golden
from pt_core.artifacts.plugin import Plugin, Predictor, Quantizer, Rewrite, StepData
from pt_core.artifacts.registry import make_format, make_step
from pt_core.artifacts.tensors import read_golden, write_golden
from pt_core.building.requests import CheckRequest, CheckResult, Conversion, ConvertRequest
from pt_core.bundle import check_digest
from pt_core.data.dataset import load_split
from pt_core.errors import DataError, NothingQuantized, ParityError, StepFailed, StepUnavailable
from pt_core.evaluation.parity import BATCH_SIZES, check_parity
from pt_core.inference.predictor import load_predictor

ANOTHER_RUNTIME: dict[Precision, Precision] = {"fp32": "fp32", "fp16": "fp16", "bf16": "bf16", "int8": "bf16"}
"""Tolerance of a conversion against its own source: INT8 values rounded the other way are about a bf16 apart."""


def convert(request: ConvertRequest) -> Conversion:
    """Run the step's plugin on its source, whose bytes are checked first.

    Raises:
        IntegrityError: the source is not the one that the record names.
        StepUnavailable: this machine lacks what the step needs.
        NothingQuantized: the source is quantized already, or no weight became INT8.
        StepFailed: the plugin wrote no file.
    """
    check_digest(request.source)
    plugin = make_step(request.step)
    missing = plugin.unavailable()
    if missing:
        raise StepUnavailable(f"{plugin.name}: {missing}")
    destination = Path(request.destination)
    quantization = None
    if isinstance(plugin, Quantizer):
        _refuse_second(plugin, request.source)
        quantization = plugin.quantize(request.source, destination, _data_for(plugin, request))
    elif isinstance(plugin, Rewrite):
        plugin.rewrite(request.source, destination)
    else:
        plugin.convert(request.source, destination)
    files = [path for path in sorted(destination.rglob("*")) if path.is_file()]
    if not files:
        raise StepFailed(f"{plugin.name}: wrote no file, expected its payload")
    if quantization is not None and request.dataset is not None and plugin_calibrates(plugin):
        split = request.dataset.split("calibration")
        quantization = quantization.model_copy(
            update={"calibration_ids_sha256": split.ids_sha256, "num_calibration_samples": split.num_samples}
        )
    return Conversion(
        payload=tuple(path.relative_to(destination).as_posix() for path in files),
        payload_bytes=sum(path.stat().st_size for path in files),
        quantization=quantization,
    )


def check(request: CheckRequest) -> CheckResult:
    """Reload a staged artifact by its own runtime, compare it, and write its golden outputs beside it.

    Raises:
        ParityError: its logits differ from those of its source or its reference by more than allowed.
        IntegrityError: a root does not reproduce its checkpoint's outputs.
    """
    staged = request.staged
    candidate = make_format(staged.format).load(staged, "cpu")
    samples = _samples(request)
    parity = None
    if request.reference is None:
        _check_root(candidate, request, samples)
    else:
        parity = _check_against(request, candidate, samples)
    inputs, _ = read_golden(request.source)
    write_golden(Path(staged.directory), inputs, candidate.logits(inputs))
    return CheckResult(parity=parity)


def _refuse_second(plugin: Quantizer, source: Artifact) -> None:
    if source.quantization is not None:
        raise NothingQuantized(
            f"{plugin.name}: the source {source.chain} is quantized by {source.quantization.scheme} already, "
            "expected one that is not; quantize once"
        )
    if source.precision != "fp32":
        raise NothingQuantized(
            f"{plugin.name}: the source {source.chain} is {source.precision}, expected fp32; quantize instead of casting"
        )


def plugin_calibrates(plugin: Plugin) -> bool:
    """Return whether a plugin reads the calibration split."""
    return isinstance(plugin, Quantizer) and plugin.needs != "nothing"


def _data_for(plugin: Quantizer, request: ConvertRequest) -> StepData | None:
    if not plugin_calibrates(plugin):
        return None
    if request.dataset is None:
        raise DataError(f"{plugin.name}: needs {plugin.needs} samples and got no dataset")
    check_digest(request.dataset)
    return StepData(
        calibration=load_split(request.dataset, "calibration"),
        training=load_split(request.dataset, "train") if plugin.needs == "training" else None,
    )


def _samples(request: CheckRequest) -> NDArray[np.float32]:
    """Return the rows that parity reads; the whole calibration split may not fit in memory."""
    if request.dataset is None:
        return read_golden(request.source)[0]
    check_digest(request.dataset)
    return np.array(load_split(request.dataset, "calibration").x[: max(BATCH_SIZES) + len(BATCH_SIZES)])


def _check_root(candidate: Predictor, request: CheckRequest, samples: NDArray[np.float32]) -> None:
    spec = request.staged.spec
    replay_golden(
        request.source, candidate.logits, input_shape=spec.input_shape, num_classes=spec.num_classes
    )
    # Against itself: the reference of every other artifact must be the same twice, at every batch size.
    _compare(candidate, candidate, samples, "fp32", where="torch against itself")


def _check_against(request: CheckRequest, candidate: Predictor, samples: NDArray[np.float32]) -> Parity:
    staged, source, reference = request.staged, request.source, request.reference
    assert reference is not None
    step = staged.steps[-1].name
    is_conversion = staged.precision == source.precision
    if is_conversion and source.digest != reference.digest:
        _compare(
            load_predictor(source),
            candidate,
            samples,
            ANOTHER_RUNTIME[staged.precision],
            where=f"{step} against its source {source.format}",
        )
    return _compare(
        load_predictor(reference), candidate, samples, staged.precision, where=f"{step} against the reference"
    )


def _compare(
    reference: Predictor,
    candidate: Predictor,
    samples: NDArray[np.float32],
    precision: Precision,
    *,
    where: str,
) -> Parity:
    try:
        return check_parity(reference, candidate, samples, precision)
    except ParityError as error:
        raise ParityError(f"{where}: {error.message}", details=error.details) from error
