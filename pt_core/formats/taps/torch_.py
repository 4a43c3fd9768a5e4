"""The layers of an eager network: the output of every module, caught by forward hooks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pt_core.artifacts.layers import LOGITS, Layer
from pt_core.formats.taps.naming import WRAPPER, plain_name


class _Call(NamedTuple):
    name: str
    kind: str
    value: torch.Tensor


def eager_layers(network: nn.Module, batch: NDArray[np.float32]) -> Iterator[Layer]:
    """Yield what each module gives for a batch.

    A module that only hands on what its last part gave is left out. Consecutive calls of one module count as
    one, as in a graph, where nothing tells them apart.
    """
    calls: list[_Call] = []
    wrappers = [name for name, module in network.named_modules() if type(module).__name__ == WRAPPER]
    handles = [
        module.register_forward_hook(_hook(plain_name(name, wrappers), calls))
        for name, module in network.named_modules()
        if name and name not in wrappers
    ]
    try:
        with torch.inference_mode():
            logits = network(torch.from_numpy(batch.copy()))
    finally:
        for handle in handles:
            handle.remove()
    totals = Counter(call.name for call in calls)
    seen: Counter[str] = Counter()
    for call in calls:
        yield Layer(call.name, call.kind, seen[call.name], totals[call.name], to_float(call.value))
        seen[call.name] += 1
    yield Layer(LOGITS, LOGITS, 0, 1, to_float(logits))


def to_float(value: torch.Tensor) -> NDArray[np.float32]:
    """Return a tensor of any type as float32."""
    plain = value.dequantize() if value.is_quantized else value
    return plain.detach().float().cpu().numpy()


def first_tensor(value: object) -> torch.Tensor | None:
    """Return the first tensor of what a module returned; recurrent ones return more than one."""
    while isinstance(value, tuple | list) and value:
        value = value[0]
    return value if isinstance(value, torch.Tensor) else None


def _hook(name: str, calls: list[_Call]) -> Callable[[nn.Module, object, object], None]:
    def keep(module: nn.Module, inputs: object, output: object) -> None:
        value = first_tensor(output)
        if value is None:
            return
        last = calls[-1] if calls else None
        if last is not None and last.name == name:
            calls.pop()
        elif last is not None and next(module.children(), None) is not None and _is_same(value, last.value):
            return
        # A copy: the next module may work in place.
        calls.append(_Call(name, type(module).__name__, value.clone()))

    return keep


def _is_same(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and torch.equal(a, b)
