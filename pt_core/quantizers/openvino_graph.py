"""What a quantized OpenVINO graph really holds: which layers read INT8, and the INT8 share of all weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pt_core.artifacts.artifact import Quantization
from pt_core.errors import NothingQuantized

_INT8_TYPES = frozenset({"i8", "u8"})
_FLOAT_TYPES = frozenset({"f32", "f16", "bf16", "f64"})
_PASS_THROUGH = frozenset(
    {"MaxPool", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Relu", "Concat", "Split", "Slice", "Pad"}
)
"""Nodes between the quantization of an activation and the layer that reads it, which keep INT8 as it is."""


def describe_model(model: Any, *, scheme: str) -> Quantization:
    """Return the layers of a graph that multiply INT8 by INT8, the others, and the INT8 share of weight elements.

    A weight is a constant with at least two dimensions longer than 1, of INT8 or of a floating point type. Its
    layer is the first node behind it that reads something else than constants too. A layer is INT8 if its weight
    is stored so and what it reads besides has gone through a FakeQuantize node.

    Raises:
        NothingQuantized: no layer is INT8.
    """
    quantized: dict[str, int] = {}
    kept: dict[str, int] = {}
    for constant in model.get_ordered_ops():
        if not _is_weight(constant):
            continue
        layers = list(_layers(constant))
        is_int8 = constant.get_output_element_type(0).get_type_name() in _INT8_TYPES
        counts = quantized if is_int8 and layers and all(_reads_int8(layer) for layer in layers) else kept
        # A weight that several layers share is counted once.
        names = [layer.get_friendly_name() for layer in layers] or [constant.get_friendly_name()]
        sizes = [_num_elements(constant), *[0] * (len(names) - 1)]
        for name, size in zip(names, sizes, strict=True):
            counts[name] = counts.get(name, 0) + size
    if not quantized:
        kinds = sorted({node.get_type_name() for node in model.get_ops()})
        raise NothingQuantized(f"{scheme}: no layer became INT8; the graph has {', '.join(kinds)[:300]}")
    return Quantization(
        scheme=scheme,
        quantized_layers=tuple(name for name in quantized if name not in kept),
        kept_layers=tuple(kept),
        weight_share=sum(quantized.values()) / (sum(quantized.values()) + sum(kept.values())),
    )


def _is_weight(node: Any) -> bool:
    if node.get_type_name() != "Constant":
        return False
    kind = node.get_output_element_type(0).get_type_name()
    return kind in _INT8_TYPES | _FLOAT_TYPES and sum(size > 1 for size in node.get_output_shape(0)) >= 2


def _layers(node: Any) -> Iterator[Any]:
    """Yield the nodes that compute with a constant, behind those that only convert, scale or reshape it."""
    for port in node.output(0).get_target_inputs():
        reader = port.get_node()
        if _is_constant(reader):
            yield from _layers(reader)
        else:
            yield reader


def _is_constant(node: Any) -> bool:
    """Return whether a node is computed from constants alone."""
    if node.get_type_name() == "Constant":
        return True
    inputs = node.input_values()
    return bool(inputs) and all(_is_constant(value.get_node()) for value in inputs)


def _reads_int8(layer: Any) -> bool:
    activations = [value.get_node() for value in layer.input_values() if not _is_constant(value.get_node())]
    return bool(activations) and _is_quantized(activations[0])


def _is_quantized(node: Any) -> bool:
    kind = node.get_type_name()
    if kind == "FakeQuantize":
        return True
    return kind in _PASS_THROUGH and _is_quantized(node.input_value(0).get_node())


def _num_elements(node: Any) -> int:
    count = 1
    for size in node.get_output_shape(0):
        count *= size
    return count
