"""Where an artifact's time goes: its slowest kernels with their share, asked of the runtime's own profiler."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pt_core.artifacts.artifact import Artifact
from pt_core.artifacts.plugin import Predictor

_CALLS = 5
_NUM_SHOWN = 3
_SHORTEST_SHARE = 0.03


def slowest_kernels(artifact: Artifact, predictor: Predictor, batch: NDArray[np.float32]) -> str:
    """Return up to three kernels, e.g. "71 % Convolution brgconv_avx512_I8, 12 % Pooling jit_avx512_I8"."""
    folder = Path(artifact.directory)
    if artifact.format == "onnx":
        times = _onnx(folder, batch)
    elif artifact.format == "openvino":
        times = _openvino(folder, batch)
    else:
        times = _torch(predictor, batch)
    total = sum(times.values()) or 1
    shares = [(kernel, time / total) for kernel, time in times.most_common(_NUM_SHOWN)]
    return ", ".join(f"{share:.0%} {kernel}" for kernel, share in shares if share >= _SHORTEST_SHARE)


def _torch(predictor: Predictor, batch: NDArray[np.float32]) -> Counter[str]:
    """Return the seconds of each kernel of oneDNN by its name there, and of all that is none.

    torch's own profiler does not see inside compiled and scripted programs; oneDNN prints what it runs in any.
    """
    import torch

    predictor.logits(batch)
    start = time.perf_counter()
    for _ in range(_CALLS):
        predictor.logits(batch)
    total = time.perf_counter() - start
    with torch.backends.mkldnn.verbose(torch.backends.mkldnn.VERBOSE_ON):
        output = _printed(lambda: [predictor.logits(batch) for _ in range(_CALLS)])
    times: Counter[str] = Counter()
    for line in output.splitlines():
        parts = line.split(",")
        if parts[0] == "onednn_verbose" and parts[2:4] == ["primitive", "exec"]:
            times[f"{parts[5]} {parts[6]}"] += float(parts[-1]) / 1000
    times["outside oneDNN"] = max(0.0, total - sum(times.values()))
    return times


def _printed(call: Callable[[], object]) -> str:
    """Return what native code prints meanwhile."""
    sys.stdout.flush()
    before = os.dup(1)
    with tempfile.TemporaryFile() as stream:
        os.dup2(stream.fileno(), 1)
        try:
            call()
        finally:
            os.dup2(before, 1)
            os.close(before)
        stream.seek(0)
        return stream.read().decode(errors="replace")


def _onnx(folder: Path, batch: NDArray[np.float32]) -> Counter[str]:
    import onnxruntime

    from pt_core.formats.onnx_runtime import OnnxRuntime

    level = OnnxRuntime.read(folder).graph_level
    names = {
        "disable": "DISABLE_ALL",
        "basic": "ENABLE_BASIC",
        "extended": "ENABLE_EXTENDED",
        "all": "ENABLE_ALL",
    }
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, f"ORT_{names[level]}")
    options.log_severity_level = 3
    options.enable_profiling = True
    with tempfile.TemporaryDirectory() as scratch:
        options.profile_file_prefix = str(Path(scratch) / "profile")
        session = onnxruntime.InferenceSession(
            folder / "model.onnx", options, providers=["CPUExecutionProvider"]
        )
        for _ in range(_CALLS):
            session.run(None, {session.get_inputs()[0].name: batch})
        events = json.loads(Path(session.end_profiling()).read_text())
    times: Counter[str] = Counter()
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            times[event["args"]["op_name"]] += event["dur"]
    return times


def _openvino(folder: Path, batch: NDArray[np.float32]) -> Counter[str]:
    from pt_core.formats.openvino_ import import_openvino, read_runtime

    settings = {
        "INFERENCE_PRECISION_HINT": read_runtime(folder).inference_precision,
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "PERF_COUNT": True,
    }
    core = import_openvino().Core()
    request = core.compile_model(folder / "model.xml", "CPU", settings).create_infer_request()
    times: Counter[str] = Counter()
    for _ in range(_CALLS):
        request.infer([batch])
        for node in request.profiling_info:
            times[f"{node.node_type} {node.exec_type}"] += node.real_time.total_seconds()
    return times
