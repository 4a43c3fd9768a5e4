"""The two halves of a step, each run in a fresh process: write the payload, then reload and compare it."""

from __future__ import annotations

from pathlib import Path

from pt_core.artifacts.artifact import Artifact
from pt_core.artifacts.plugin import DeviceBound, Plugin, Quantizer, Rewrite, StepData
from pt_core.artifacts.registry import make_format, make_step
from pt_core.artifacts.tensors import read_golden, write_golden
from pt_core.building.proof import prove
from pt_core.building.requests import CheckRequest, CheckResult, Conversion, ConvertRequest
from pt_core.bundle import check_digest
from pt_core.data.dataset import load_split
from pt_core.errors import DataError, NothingQuantized, StepFailed, StepUnavailable


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

    One that this machine cannot run is inspected instead, and gets the golden outputs of its source, which are
    those that it must reproduce where it can run.

    Raises:
        ParityError: its logits differ from those of its source or its reference by more than allowed.
        StepFailed: its runtime cannot load it.
        IntegrityError: a root does not reproduce its checkpoint's outputs.
    """
    inspected = _inspect(request.staged)
    if inspected.not_run is not None:
        write_golden(Path(request.staged.directory), *read_golden(request.source))
        return inspected
    candidate, parity = prove(request)
    inputs, _ = read_golden(request.source)
    write_golden(Path(request.staged.directory), inputs, candidate.logits(inputs))
    return inspected.model_copy(update={"parity": parity})


def _inspect(staged: Artifact) -> CheckResult:
    """Return what a format that is bound to a device finds without running the artifact; of others nothing."""
    plugin = make_format(staged.format)
    if not isinstance(plugin, DeviceBound):
        return CheckResult(parity=None)
    return CheckResult(parity=None, **dict(plugin.inspect(staged)), not_run=plugin.not_runnable(staged))


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
