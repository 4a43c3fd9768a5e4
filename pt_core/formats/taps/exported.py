"""The layers of a torch.export program: every value of its graph, named by the modules it was captured from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.export import ExportedProgram
from torch.fx import GraphModule, Interpreter, Node

from pt_core.artifacts.layers import LOGITS, Layer
from pt_core.formats.taps.naming import Scope, Value, name_values
from pt_core.formats.taps.torch_ import first_tensor, to_float


def program_layers(program: ExportedProgram, batch: NDArray[np.float32]) -> Iterator[Layer]:
    """Yield what each layer of the program gives for a batch."""
    module = program.module()
    assert isinstance(module, GraphModule)
    values = [_describe(node) for node in module.graph.nodes if node.op == "call_function"]
    results = [node.name for node in module.graph.output_node().all_input_nodes]
    places = name_values(values, results)
    catcher = _Catcher(module, set(places))
    with torch.inference_mode():
        output = first_tensor(catcher.run(torch.from_numpy(batch.copy())))
    assert output is not None
    for name, place in places.items():
        if name in catcher.caught:
            yield Layer(*place, value=catcher.caught[name])
    yield Layer(LOGITS, LOGITS, 0, 1, to_float(output))


class _Catcher(Interpreter):
    """Runs a graph node by node and keeps the values that were asked for."""

    def __init__(self, module: GraphModule, names: set[str]) -> None:
        super().__init__(module)
        self._names = names
        self.caught: dict[str, NDArray[np.float32]] = {}

    def run_node(self, n: Node) -> Any:
        value = super().run_node(n)
        tensor = first_tensor(value) if n.name in self._names else None
        if tensor is not None:
            # A copy: the next node may work in place.
            self.caught[n.name] = to_float(tensor).copy()
        return value


def _describe(node: Node) -> Value:
    stack = node.meta.get("nn_module_stack") or {}
    scopes = tuple(Scope(path, str(kind).rpartition(".")[2]) for path, kind in stack.values())
    operation = str(node.target).removeprefix("aten.").partition(".")[0]
    return Value(node.name, scopes, operation, tuple(source.name for source in node.all_input_nodes))
