"""Format "torchscript": a frozen TorchScript program, one .pt file that C++ and mobile runtimes load too."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pt_core.artifacts.artifact import Artifact, Precision
from pt_core.artifacts.plugin import Predictor
from pt_core.record import Record

if TYPE_CHECKING:
    from torch import nn

FILE = "model.pt"

_NO_COMPUTATION = frozenset(
    f"prim::{name}"
    for name in (
        "Constant",
        "ConstantMKLDNNTensor",
        "GetAttr",
        "ListConstruct",
        "ListUnpack",
        "TupleConstruct",
        "TupleUnpack",
    )
)
"""Kinds of nodes that hold or pack values."""


class TorchScriptFormat(Record):
    """TorchScript, frozen."""

    name: ClassVar[str] = "torchscript"
    is_program: ClassVar[bool] = True
    sources: ClassVar[tuple[str, ...]] = ("torch",)
    precision: ClassVar[Precision | None] = None

    method: Literal["trace", "script"] = "trace"
    """"trace" records the operations of example inputs; "script" compiles the code, control flow included."""

    def unavailable(self) -> str | None:
        """Return ``None``: torch is a dependency of the product."""
        return None

    def convert(self, source: Artifact, destination: Path) -> None:
        """Trace or script, freeze, and write; optimisation waits until loading.

        A program saved after ``optimize_for_inference`` cannot be loaded again, and ``torch.jit.save`` to a
        path aborts the process on a full disk: hence the frozen program, by way of a buffer.
        """
        import torch

        from pt_core.formats.torch_ import load_module

        network = load_module(source)
        buffer = io.BytesIO()
        with _expected_notices(), torch.no_grad():
            program = torch.jit.freeze(self._capture(network, source))
            torch.jit.save(program, buffer)
        (destination / FILE).write_bytes(buffer.getbuffer())

    def _capture(self, network: nn.Module, source: Artifact) -> nn.Module:
        import torch

        from pt_core.formats.capture import example_inputs
        from pt_core.modeling.normalized import Normalized

        if self.method == "script" and isinstance(network, Normalized):
            # A trace keeps the control flow of the scripted parts in it, and our own layer has none.
            network.network = torch.jit.script(network.network)
        traced: nn.Module = torch.jit.trace(  # type: ignore[no-untyped-call]
            # Parity compares on more than the second run of the same example that torch would make.
            network,
            (example_inputs(source),),
            check_trace=False,
        )
        return traced

    def load(self, artifact: Artifact, device: str) -> Predictor:
        """Load the frozen program and optimise it for this machine."""
        import torch

        from pt_core.inference.torch_predictor import TorchPredictor, check_device

        check_device(device)
        with _expected_notices():
            program = torch.jit.load(  # type: ignore[no-untyped-call]
                str(Path(artifact.directory) / FILE), map_location=device
            )
            # Counted first: what is optimised is changed in place.
            num_nodes = _count_nodes(program.graph)
            optimized = torch.jit.optimize_for_inference(program)
        return TorchPredictor(
            optimized,
            spec=artifact.spec,
            provider="TorchScript",
            device=device,
            count_nodes=lambda: (num_nodes, _count_nodes(optimized.graph)),
        )


def _count_nodes(graph: Any) -> int:
    """Return the nodes of a graph or block and of the blocks in it, constants and the packing of lists left out."""
    nodes = list(graph.nodes())
    inside = sum(_count_nodes(block) for node in nodes for block in node.blocks())
    return inside + sum(node.kind() not in _NO_COMPUTATION for node in nodes)


@contextmanager
def _expected_notices() -> Iterator[None]:
    # TorchScript is deprecated upstream and offered here on purpose.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.jit.*is deprecated", category=DeprecationWarning)
        yield
