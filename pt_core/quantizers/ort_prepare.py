"""Prepare a graph for ONNX Runtime's quantizers: shapes inferred, constants folded, batch normalisation fused."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from onnxruntime.quantization.shape_inference import quant_pre_process


def prepare_graph(source: Path, scratch: Path) -> Path:
    """Return a prepared copy of the graph, written into ``scratch``."""
    prepared = scratch / "prepared.onnx"
    quant_pre_process(str(source), str(prepared))
    return prepared


@contextmanager
def quiet_quantizer() -> Iterator[None]:
    """Silence the quantizers' advice to prepare the graph, which was done."""
    logger = logging.getLogger()
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
