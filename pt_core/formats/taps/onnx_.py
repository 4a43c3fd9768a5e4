"""The layers of an ONNX graph: its values as further outputs, as the file has them or as ONNX Runtime executes them.

Values are named by what the exporter wrote into the file. A quantizer drops or moves those names but keeps
the names of values, so they are taken from the exported file that the quantized one was made from.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import numpy_helper

from pt_core.artifacts.layers import LOGITS, Layer
from pt_core.errors import StepFailed
from pt_core.formats.onnx_nodes import PROVIDER, executed_graph
from pt_core.formats.onnx_runtime import GraphLevel
from pt_core.formats.onnx_session import REFUSALS, session_options
from pt_core.formats.taps.naming import Place, Scope, Value, name_values

_PREFIX = "pkg.torch.onnx."
_QUANTIZED, _DEQUANTIZED = "_QuantizeLinear_Output", "_DequantizeLinear_Output"
_LAYOUT = ("Transpose", "ReorderInput", "ReorderOutput")
"""Operations that only change the order of elements in memory, as a further output may need."""
_MAX_TRIES = 6


class _Tap(NamedTuple):
    """A value that shows what a layer computed."""

    place: Place
    """The layer."""
    value: str
    """Its name in the graph."""
    scale: NDArray[np.float32] | None
    """Its scale and zero point where the value is INT8."""
    zero_point: NDArray[np.int32] | None


def named_values(path: Path) -> dict[str, Place]:
    """Return the layer of each value of an exported file; empty where its exporter names none."""
    graph = onnx.load(path, load_external_data=False).graph
    constants = {tensor.name for tensor in graph.initializer}
    values = [_describe(node, constants) for node in graph.node if node.output]
    return name_values(values, [output.name for output in graph.output])


def written_layers(path: Path, places: Mapping[str, Place]) -> _Opened:
    """Return the graph with every layer shown and no optimisation, as the file has it."""
    model = onnx.load(path)
    produced = {name for node in model.graph.node for name in node.output}
    taps = []
    for name, place in places.items():
        # What the next layer reads: rounding is damage of the layer whose output is rounded.
        shown = next((n for n in (name + _DEQUANTIZED, name) if n in produced), None)
        if shown:
            taps.append(_Tap(place, shown, None, None))
    return _Opened(_with_outputs(model, path, taps), taps, "disable")


def optimized_layers(path: Path, places: Mapping[str, Place], level: GraphLevel) -> _Opened:
    """Return the graph as ONNX Runtime executes it, with those layers shown that its optimisation left.

    An output in the middle of what would be fused stops the fusion. So a layer is only shown if the executed
    graph has the same operations with it as without it, those that change the layout left out.
    """
    expected = _operations(_executed(str(path), level))
    taps = _candidates(path, places)
    for _ in range(_MAX_TRIES):
        model = _with_outputs(onnx.load(path), path, taps)
        excess = _operations(_executed(model, level)) - expected
        if not excess:
            return _Opened(model, taps, level)
        taps = _without_readers(onnx.load_from_string(model).graph, taps, set(excess))
    return _Opened(_with_outputs(onnx.load(path), path, []), [], level)


class _Opened:
    """A session whose further outputs are layers."""

    def __init__(self, model: bytes, taps: list[_Tap], level: GraphLevel) -> None:
        self._session = onnxruntime.InferenceSession(
            model, sess_options=session_options(num_threads=1, graph_level=level), providers=[PROVIDER]
        )
        self._taps = taps

    def __call__(self, batch: NDArray[np.float32]) -> Iterator[Layer]:
        """Yield the layers of a batch."""
        name = self._session.get_inputs()[0].name
        names = [output.name for output in self._session.get_outputs()]
        try:
            found = dict(zip(names, self._session.run(None, {name: batch}), strict=True))
        except REFUSALS as error:
            raise StepFailed(
                f"onnx: ONNX Runtime refused a batch {batch.shape}: {str(error)[:1000]}"
            ) from error
        for tap in self._taps:
            yield Layer(*tap.place, value=_to_float(tap, found[tap.value]))
        yield Layer(LOGITS, LOGITS, 0, 1, found[names[0]])


def _describe(node: Any, constants: set[str]) -> Value:
    notes = {note.key.removeprefix(_PREFIX): note.value for note in node.metadata_props}
    paths, kinds = (_parse(notes.get(key, "")) for key in ("name_scopes", "class_hierarchy"))
    if len(paths) != len(kinds):
        paths = kinds = []
    # The last of each is the operation itself.
    scopes = tuple(Scope(path, kind.rpartition(".")[2]) for path, kind in zip(paths, kinds, strict=True))[:-1]
    operation = kinds[-1].removeprefix("aten.").partition(".")[0] if kinds else node.op_type
    inputs = tuple(name for name in node.input if name and name not in constants)
    return Value(node.output[0], scopes, operation, inputs)


def _parse(text: str) -> list[str]:
    try:
        return [str(item) for item in ast.literal_eval(text)]
    except (ValueError, SyntaxError):
        return []


def _candidates(path: Path, places: Mapping[str, Place]) -> list[_Tap]:
    """Return what may be shown: INT8 values where there are any, else what the first two levels leave."""
    graph = onnx.load(path).graph
    left = {name for node in _executed(str(path), "extended").node for name in node.output}
    constants = {tensor.name: tensor for tensor in graph.initializer}
    produced = {name for node in graph.node for name in node.output}
    taps = []
    for name, place in places.items():
        scale, zero_point = constants.get(f"{name}_scale"), constants.get(f"{name}_zero_point")
        if name + _QUANTIZED in produced and scale is not None and zero_point is not None:
            parts = numpy_helper.to_array(scale), numpy_helper.to_array(zero_point).astype(np.int32)
            taps.append(_Tap(place, name + _QUANTIZED, *parts))
        elif name in left and name in produced:
            taps.append(_Tap(place, name, None, None))
    return taps


def _without_readers(graph: Any, taps: list[_Tap], operations: set[str]) -> list[_Tap]:
    """Return the taps without those that the given operations read, which a fusion would have taken in."""
    read = {name for node in graph.node if node.op_type in operations for name in node.input}
    return [tap for tap in taps if tap.value not in read]


def _with_outputs(model: Any, path: Path, taps: list[_Tap]) -> bytes:
    known = {output.name for output in model.graph.output}
    for tap in taps:
        if tap.value not in known:
            model.graph.output.append(onnx.ValueInfoProto(name=tap.value))
    try:
        content: bytes = model.SerializeToString()
    except ValueError as error:
        raise StepFailed(f"{path}: {error}: a graph above 2 GiB cannot be opened layer by layer") from error
    return content


def _executed(model: bytes | str, level: GraphLevel) -> Any:
    return executed_graph(model, session_options(num_threads=1, graph_level=level))


def _operations(graph: Any) -> Counter[str]:
    return Counter(node.op_type for node in graph.node if node.op_type not in _LAYOUT)


def _to_float(tap: _Tap, value: NDArray[Any]) -> NDArray[np.float32]:
    if tap.scale is None or tap.zero_point is None:
        return value.astype(np.float32)
    return ((value.astype(np.int32) - tap.zero_point) * tap.scale).astype(np.float32)
