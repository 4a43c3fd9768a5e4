"""Run an ONNX graph as a Predictor: a given graph level, one pinned thread count, the CPU provider."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi.onnxruntime_pybind11_state import (
    EPFail,
    Fail,
    InvalidArgument,
    InvalidGraph,
    InvalidProtobuf,
    NotImplemented,
    RuntimeException,
)

from pt_core.artifacts.plugin import EXPORT_BATCH, RuntimeInfo
from pt_core.environment import num_inference_threads
from pt_core.errors import StepFailed, StepUnavailable
from pt_core.formats.onnx_nodes import PROVIDER, count_executed_nodes, count_nodes
from pt_core.formats.onnx_runtime import GraphLevel, as_setting
from pt_core.inference.preprocess import check_batch
from pt_core.modeling.spec import ModelSpec

_ERRORS_ONLY = 3
REFUSALS = (EPFail, Fail, InvalidArgument, InvalidGraph, InvalidProtobuf, NotImplemented, RuntimeException)
"""What ONNX Runtime raises where it does not take a graph or a batch; none is a RuntimeError."""
_LEVELS: dict[GraphLevel, onnxruntime.GraphOptimizationLevel] = {
    "disable": onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "basic": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "all": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
}


class OnnxPredictor:
    """A session of ONNX Runtime behind NumPy arrays."""

    def __init__(self, path: Path, *, spec: ModelSpec, device: str, graph_level: GraphLevel) -> None:
        """Open the session and run it once, so that the first real call is like every other."""
        if device != "cpu":
            raise StepUnavailable(f"onnx: device {device} is not supported here, expected cpu")
        self._path = path
        self._spec = spec
        self._num_threads = num_inference_threads()
        self._graph_level: GraphLevel = graph_level
        options = session_options(num_threads=self._num_threads, graph_level=graph_level)
        try:
            # By default a provider that fails, here or in a call, is replaced by another.
            self._session = onnxruntime.InferenceSession(
                str(path), sess_options=options, providers=[PROVIDER], enable_fallback=0
            )
        except REFUSALS as error:
            raise StepFailed(
                f"onnx: ONNX Runtime cannot load the graph at {as_setting(graph_level)}: {str(error)[:1000]}"
            ) from error
        used = self._session.get_providers()
        if used != [PROVIDER]:
            raise StepFailed(f"onnx: ONNX Runtime uses {', '.join(used)}, expected {PROVIDER}")
        self._input = self._session.get_inputs()[0].name
        self.logits(np.zeros((EXPORT_BATCH, *spec.input_shape), dtype=np.float32))

    def logits(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return (N, num_classes) float32 logits of (N, *input_shape) float32 raw inputs."""
        inputs = check_batch(batch, self._spec)
        try:
            outputs = self._session.run(None, {self._input: inputs})[0]
        except REFUSALS as error:
            raise StepFailed(
                f"onnx: ONNX Runtime refused a batch {inputs.shape}: {str(error)[:1000]}"
            ) from error
        return np.ascontiguousarray(outputs)

    def runtime(self) -> RuntimeInfo:
        """Return ONNX Runtime's version, the provider it really uses, its threads, level and tensors."""
        return RuntimeInfo(
            runtime=f"onnxruntime {onnxruntime.__version__}",
            provider=self._session.get_providers()[0],
            num_threads=self._num_threads,
            inputs=tuple(tensor.name for tensor in self._session.get_inputs()),
            outputs=tuple(tensor.name for tensor in self._session.get_outputs()),
            setting=as_setting(self._graph_level),
        )

    def count_nodes(self) -> tuple[int, int]:
        """Return the nodes in the file and those that are executed, for which the graph is optimised once more."""
        options = session_options(num_threads=1, graph_level=self._graph_level)
        return count_nodes(self._path), count_executed_nodes(self._path, options)


def session_options(*, num_threads: int, graph_level: GraphLevel) -> onnxruntime.SessionOptions:
    """Return the options of a session that runs with so many threads at a graph level."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = _LEVELS[graph_level]
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.intra_op_num_threads = num_threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    # Threads that spin between calls would take the cores from whatever is timed beside them.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options
