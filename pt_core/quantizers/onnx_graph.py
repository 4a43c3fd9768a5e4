"""What a quantized ONNX graph really holds: which nodes read INT8 weights, and their share of all weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pt_core.artifacts.artifact import Quantization
from pt_core.errors import NothingQuantized

_PASS_THROUGH = ("DequantizeLinear", "QuantizeLinear", "Transpose", "Reshape", "Identity", "Cast")
"""Nodes between a weight and the node that computes with it."""


def describe_quantization(path: Path, *, scheme: str) -> Quantization:
    """Return the layers of a graph whose weights are INT8, the others, and the INT8 share of weight elements.

    A weight is a constant with at least two dimensions longer than 1, of INT8 or of a floating point type:
    index tables and masks are none. Its layer is the node that
    computes with it.

    Raises:
        NothingQuantized: no weight is INT8.
    """
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    types = onnx.TensorProto
    int8_types = (types.INT8, types.UINT8)
    float_types = (types.FLOAT, types.FLOAT16, types.BFLOAT16, types.DOUBLE)
    quantized: dict[str, int] = {}
    kept: dict[str, int] = {}
    for tensor in graph.initializer:
        if sum(size > 1 for size in tensor.dims) < 2 or tensor.data_type not in (*int8_types, *float_types):
            continue
        layer = _consumer(graph, tensor.name)
        weights = quantized if tensor.data_type in int8_types else kept
        weights[layer] = weights.get(layer, 0) + _num_elements(tensor)
    if not quantized:
        operators = sorted({node.op_type for node in graph.node})
        raise NothingQuantized(f"{scheme}: no weight became INT8; the graph has {', '.join(operators)[:300]}")
    return Quantization.of_weights(scheme, quantized=quantized, kept=kept)


def _consumer(graph: Any, name: str) -> str:
    """Return the name of the node that computes with a constant, behind those that only reshape it."""
    for node in graph.node:
        if name in node.input:
            if node.op_type in _PASS_THROUGH:
                return _consumer(graph, node.output[0])
            return str(node.name or node.output[0])
    return name


def _num_elements(tensor: Any) -> int:
    count = 1
    for size in tensor.dims:
        count *= size
    return count
