"""Count the nodes of an ONNX graph: as they are in the file, and as ONNX Runtime executes them."""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnx
import onnxruntime

_ERRORS_ONLY = 3
_SMALL_BYTES = 1024
"""Constants above this are written beside the optimized graph, where nobody reads them."""


def count_nodes(path: Path) -> int:
    """Return the number of nodes in a file."""
    return len(onnx.load(path, load_external_data=False).graph.node)


def count_executed_nodes(path: Path, level: onnxruntime.GraphOptimizationLevel) -> int:
    """Return the number of nodes left after ONNX Runtime's optimisation at a level, on this processor.

    Nodes that it adds, such as those that change the memory layout, count too.
    """
    with tempfile.TemporaryDirectory(prefix="pt-onnx-") as scratch:
        optimized = Path(scratch) / "optimized.onnx"
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = level
        options.intra_op_num_threads = 1
        options.log_severity_level = _ERRORS_ONLY
        options.optimized_model_filepath = str(optimized)
        for entry, value in (("file_name", "constants.bin"), ("min_size_in_bytes", str(_SMALL_BYTES))):
            options.add_session_config_entry(f"session.optimized_model_external_initializers_{entry}", value)
        onnxruntime.InferenceSession(str(path), sess_options=options, providers=["CPUExecutionProvider"])
        return count_nodes(optimized)
