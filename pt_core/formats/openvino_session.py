"""Run an OpenVINO graph as a Predictor: the CPU plugin, one stream, pinned threads, the precision it was judged in."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray

from pt_core.artifacts.plugin import RuntimeInfo
from pt_core.environment import num_inference_threads
from pt_core.errors import StepFailed, StepUnavailable
from pt_core.formats.openvino_ import read_model
from pt_core.inference.preprocess import check_batch
from pt_core.modeling.spec import ModelSpec

DEVICE = "CPU"
_NOT_EXECUTED = frozenset({"Parameter", "Constant", "Result", "Input", "Const", "Output"})
"""Node types that hold data, by their names in a graph and in a compiled one."""
_LAYERS = frozenset({"Convolution", "FullyConnected", "MatMul", "Deconvolution", "RNNCell", "RNNSeq"})
"""Types of compiled nodes that a precision is chosen for."""
_INSTRUCTION_SET = re.compile(r"(?:avx|sse|amx|sve|asimd|neon)\w*?(?=_[A-Z]|_[fiu]\d|_bf16$|$)")
"""In the name of a kernel such as jit_avx512_amx_FP32."""


class OpenVinoPredictor:
    """A compiled graph behind NumPy arrays."""

    def __init__(self, path: Path, *, spec: ModelSpec, device: str, inference_precision: str) -> None:
        """Compile the graph, run it once and check that it computes in the precision that was asked for.

        Raises:
            StepUnavailable: the device is not the CPU, or OpenVINO computes in another precision here.
            StepFailed: OpenVINO runs it elsewhere, or refuses it.
        """
        if device != "cpu":
            raise StepUnavailable(f"openvino: device {device} is not supported here, expected cpu")
        self._spec = spec
        self._num_threads = num_inference_threads()
        model = read_model(path)
        self._num_nodes = sum(node.get_type_name() not in _NOT_EXECUTED for node in model.get_ops())
        self._compiled = compile_model(model, inference_precision, num_threads=self._num_threads)
        self._request = self._compiled.create_infer_request()
        # Kernels are chosen at the first call, because the batch is not known before.
        self.logits(np.zeros((2, *spec.input_shape), dtype=np.float32))
        check_kernels(self._compiled, inference_precision)

    def logits(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return (N, num_classes) float32 logits of (N, *input_shape) float32 raw inputs."""
        inputs = check_batch(batch, self._spec)
        try:
            outputs = self._request.infer([inputs], share_inputs=True)[0]
        except RuntimeError as error:
            raise StepFailed(
                f"openvino: the runtime refused a batch {inputs.shape}: {str(error)[:1000]}"
            ) from error
        return np.ascontiguousarray(outputs)

    def runtime(self) -> RuntimeInfo:
        """Return OpenVINO's version, its device with the precisions of the layers, its threads and node counts."""
        layers = precisions(self._compiled)
        return RuntimeInfo(
            runtime=f"openvino {openvino.__version__.partition('-')[0]}",
            provider=f"{DEVICE} ({', '.join(f'{count} {name}' for name, count in layers.items()) or 'no layer'})",
            num_threads=self._compiled.get_property("INFERENCE_NUM_THREADS"),
            instruction_set=instruction_set(self._compiled),
            inputs=tuple(port.get_any_name() for port in self._compiled.inputs),
            outputs=tuple(port.get_any_name() for port in self._compiled.outputs),
            num_nodes=self._num_nodes,
            num_nodes_optimized=sum(kind not in _NOT_EXECUTED for kind, _ in _compiled_nodes(self._compiled)),
        )


def compile_model(model: Any, inference_precision: str, *, num_threads: int) -> Any:
    """Return a graph compiled for one call at a time, after reading back where and in which precision it runs.

    Raises:
        StepUnavailable: OpenVINO fell back to another precision.
        StepFailed: it chose another device.
    """
    compiled = openvino.Core().compile_model(
        model,
        DEVICE,
        {
            "INFERENCE_PRECISION_HINT": inference_precision,
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": num_threads,
            # Pinned threads of several processes would all sit on the first cores.
            "ENABLE_CPU_PINNING": False,
            # What is INT8 is in the graph; the plugin is to quantize nothing by itself.
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,
        },
    )
    used = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    if used != inference_precision:
        raise StepUnavailable(
            f"openvino: asked for {inference_precision}, OpenVINO computes in {used} on this processor; "
            "convert the onnx again without options.precision"
        )
    devices = compiled.get_property("EXECUTION_DEVICES")
    if list(devices) != [DEVICE]:
        raise StepFailed(f"openvino: runs on {', '.join(devices)}, expected {DEVICE}")
    return compiled


def precisions(compiled: Any) -> Counter[str]:
    """Return how many layers of a compiled graph compute in each precision, the most frequent first."""
    found = Counter(precision for kind, precision in _compiled_nodes(compiled) if kind in _LAYERS)
    return Counter(dict(found.most_common()))


def instruction_set(compiled: Any) -> str | None:
    """Return the instruction sets in the names of the kernels of its layers, the most frequent first."""
    nodes = (node.get_rt_info() for node in compiled.get_runtime_model().get_ops())
    kernels = [
        info["primitiveType"].astype(str) for info in nodes if info["layerType"].astype(str) in _LAYERS
    ]
    found = Counter(name for kernel in kernels for name in _INSTRUCTION_SET.findall(kernel))
    return ", ".join(name for name, _ in found.most_common()) or None


def check_kernels(compiled: Any, inference_precision: str) -> None:
    """Refuse a compiled graph in which a layer is neither INT8 nor of the precision that was asked for."""
    allowed = {"f32", "i8", "u8", inference_precision}
    found = precisions(compiled)
    wrong = set(found) - allowed
    nothing_in_bf16 = inference_precision == "bf16" and set(found) == {"f32"}
    if wrong or nothing_in_bf16:
        layers = ", ".join(f"{count} in {name}" for name, count in found.items())
        raise StepUnavailable(
            f"openvino: asked for {inference_precision}, but of the layers {layers}; "
            "convert the onnx again without options.precision"
        )


def _compiled_nodes(compiled: Any) -> list[tuple[str, str]]:
    """Return the type and the precision of every node of a compiled graph."""
    infos = [node.get_rt_info() for node in compiled.get_runtime_model().get_ops()]
    return [(info["layerType"].astype(str), info["runtimePrecision"].astype(str)) for info in infos]
