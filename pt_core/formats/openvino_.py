"""Format "openvino": OpenVINO's graph and weights, made from the ONNX graph, run by its CPU plugin in a stated precision."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

from pydantic import ValidationError

from pt_core.artifacts.artifact import Artifact
from pt_core.artifacts.plugin import Predictor
from pt_core.environment import cpu_capabilities
from pt_core.errors import IntegrityError, StepFailed
from pt_core.formats.onnx_ import FILE as ONNX_FILE
from pt_core.formats.onnx_ import missing_packages
from pt_core.record import Record

FILE, WEIGHTS, RUNTIME = "model.xml", "model.bin", "runtime.json"
_BF16_CAPABILITIES = ("avx512_bf16", "amx_bf16")

InferencePrecision = Literal["f32", "bf16"]


class OpenVinoRuntime(Record):
    """How a graph is to be compiled, kept beside it: what was judged is what runs."""

    inference_precision: InferencePrecision
    """Precision of whatever is not INT8. Without it OpenVINO would choose bf16 wherever the processor has it."""


class OpenVinoFormat(Record):
    """OpenVINO on the CPU."""

    name: ClassVar[str] = "openvino"
    is_program: ClassVar[bool] = False
    sources: ClassVar[tuple[str, ...]] = ("onnx",)

    precision: Literal["bf16"] | None = None
    """"bf16" computes in bf16 on a processor that has it; by default the source's precision is kept."""

    def unavailable(self) -> str | None:
        """Return which package or which instruction set is missing, if one is."""
        return missing_openvino("openvino") or (missing_bf16(cpu_capabilities()) if self.precision else None)

    def convert(self, source: Artifact, destination: Path) -> None:
        """Read the ONNX graph and write it as OpenVINO's.

        Raises:
            StepFailed: the source is in a precision that the CPU plugin lacks, or has an operator it lacks.
        """
        if source.precision not in ("fp32", "int8"):
            raise StepFailed(
                f"{self.name}: the source {source.chain} is {source.precision}, expected fp32 or int8: its weights would "
                "be rounded twice; convert the fp32 onnx, with options.precision bf16 for speed"
            )
        model = read_model(Path(source.directory) / ONNX_FILE)
        write_model(model, destination, inference_precision="bf16" if self.precision else "f32")

    def load(self, artifact: Artifact, device: str) -> Predictor:
        """Compile the graph for this processor; no extension library is ever loaded."""
        import_openvino()
        from pt_core.formats.openvino_session import OpenVinoPredictor

        folder = Path(artifact.directory)
        precision = read_runtime(folder).inference_precision
        return OpenVinoPredictor(
            folder / FILE, spec=artifact.spec, device=device, inference_precision=precision
        )


def import_openvino() -> Any:
    """Return the package; neither it nor NNCF, imported after it, reports its use over the network.

    Both send an event to their makers for an import and for each conversion, through a package that is theirs
    and optional: where it cannot be imported they go without.
    """
    sys.modules.setdefault("openvino_telemetry", cast(Any, None))
    return importlib.import_module("openvino")


def read_model(path: Path) -> Any:
    """Return the ``openvino.Model`` of an ONNX file or of OpenVINO's own.

    Raises:
        StepFailed: the graph has what OpenVINO cannot read.
    """
    try:
        return import_openvino().Core().read_model(path)
    except RuntimeError as error:
        raise StepFailed(f"openvino: cannot read {path.name}: {str(error)[:1000]}") from error


def write_model(model: Any, destination: Path, *, inference_precision: InferencePrecision) -> None:
    """Write a graph with its weights as they are, and how it is to be compiled."""
    import_openvino().save_model(model, destination / FILE, compress_to_fp16=False)
    runtime = OpenVinoRuntime(inference_precision=inference_precision)
    (destination / RUNTIME).write_text(runtime.to_json())


def read_runtime(folder: Path) -> OpenVinoRuntime:
    """Return how the graph in a folder is to be compiled.

    Raises:
        IntegrityError: the file does not say it.
    """
    try:
        return OpenVinoRuntime.from_json((folder / RUNTIME).read_bytes())
    except (OSError, ValidationError) as error:
        raise IntegrityError(f"{folder / RUNTIME}: does not say how to compile the graph: {error}") from error


def missing_openvino(*names: str) -> str | None:
    """Return what to install for packages of the extra that are not here, or ``None``."""
    missing = missing_packages(*names)
    return missing and f"{missing.partition(';')[0]}; pip install 'pt-pipeline[openvino]'"


def missing_bf16(capabilities: tuple[str, ...]) -> str | None:
    """Return why a processor with these instruction sets cannot compute in bf16, or ``None`` where it can."""
    if any(name in capabilities for name in _BF16_CAPABILITIES):
        return None
    has = ", ".join(capabilities) or "none that is known"
    return (
        f"bf16 needs a processor with {' or '.join(_BF16_CAPABILITIES)}, this one has {has}; leave bf16 out"
    )
