"""The nodes of an ONNX graph: as they are in the file, and as ONNX Runtime executes them."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import onnx
import onnxruntime

PROVIDER = "CPUExecutionProvider"
_SMALL_BYTES = 1024
"""Constants above this are written beside the optimized graph, where nobody reads them."""


def count_nodes(path: Path) -> int:
    """Return the number of nodes in a file."""
    return len(onnx.load(path, load_external_data=False).graph.node)


def count_executed_nodes(path: Path, options: onnxruntime.SessionOptions) -> int:
    """Return the number of nodes that a session with these options executes, on this processor.

    Nodes that it adds, such as those that change the memory layout, count too.
    """
    return len(executed_graph(str(path), options).node)


def executed_graph(model: bytes | str, options: onnxruntime.SessionOptions) -> Any:
    """Return the graph that ONNX Runtime makes of a model, given as its path or its bytes, without large constants."""
    with tempfile.TemporaryDirectory(prefix="pt-onnx-") as scratch:
        optimized = Path(scratch) / "optimized.onnx"
        options.optimized_model_filepath = str(optimized)
        for entry, value in (("file_name", "constants.bin"), ("min_size_in_bytes", str(_SMALL_BYTES))):
            options.add_session_config_entry(f"session.optimized_model_external_initializers_{entry}", value)
        onnxruntime.InferenceSession(model, sess_options=options, providers=[PROVIDER])
        return onnx.load(optimized, load_external_data=False).graph
