"""PT2E quantization through torchao: observe or train a captured program, make it INT8, and say what became INT8."""

from __future__ import annotations

import copy
import importlib
import logging
import warnings
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.fx import GraphModule, Node

from pt_core.artifacts.artifact import Artifact, Quantization
from pt_core.errors import NothingQuantized
from pt_core.formats.capture import capture, example_inputs
from pt_core.formats.exported import save_program

_ANNOTATION = "quantization_annotation"
"""Where torchao keeps what it decided about a node."""


def prepare_static(program: ExportedProgram, *, kept: Collection[str], reduce_range: bool) -> GraphModule:
    """Return a copy of a program in evaluation mode with observers on what is to become INT8."""
    with quiet_torchao():
        from torchao.quantization.pt2e.quantize_pt2e import prepare_pt2e

        module = _graph_module(program)
        _mark_kept(module, kept)
        prepared: GraphModule = prepare_pt2e(module, _quantizer(is_qat=False, reduce_range=reduce_range))
    return prepared


def prepare_training(program: ExportedProgram, *, reduce_range: bool) -> GraphModule:
    """Return a copy of a program in training mode with fake quantization on what is to become INT8."""
    with quiet_torchao():
        from torchao.quantization.pt2e.quantize_pt2e import prepare_qat_pt2e

        module = _graph_module(program)
        with _patterns_of(module):
            prepared: GraphModule = prepare_qat_pt2e(
                module, _quantizer(is_qat=True, reduce_range=reduce_range)
            )
    _drop_batch_counters(prepared)
    return prepared


def make_int8(prepared: GraphModule) -> GraphModule:
    """Return the INT8 graph of a prepared one, which is used up; no weight is in it twice."""
    with quiet_torchao():
        from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e

        _keep_trained_ranges(prepared)
        with _patterns_of(prepared):
            converted: GraphModule = convert_pt2e(prepared)
    _drop_unused(converted)
    return converted


def write_int8(converted: GraphModule, source: Artifact, destination: Path) -> None:
    """Write an INT8 graph as the payload of an "exported" artifact, its batch and declared axes dynamic."""
    with torch.no_grad():
        program = capture(converted, example_inputs(source), axes=source.spec.dynamic_axes)
    save_program(program, destination)


def only_layer(prepared: GraphModule, layer: str) -> GraphModule:
    """Return a copy of an observed graph in which one layer alone is to become INT8."""
    with quiet_torchao():
        alone = copy.deepcopy(prepared)
    observers = {node for node in alone.graph.nodes if node.op == "call_module"}
    for node in alone.graph.nodes:
        if node.op == "call_function" and _layer_of(node) != layer:
            for observer in observers.intersection(node.all_input_nodes):
                node.replace_input_with(observer, observer.all_input_nodes[0])
    for observer in observers:
        if not observer.users:
            alone.graph.erase_node(observer)
    alone.recompile()
    return alone


def layers_with_weights(program: ExportedProgram) -> tuple[str, ...]:
    """Return the module path of every layer that torchao's X86 quantizer can make INT8, in graph order."""
    aten = torch.ops.aten
    targets = (aten.conv1d.default, aten.conv2d.default, aten.linear.default)
    nodes = program.graph.nodes
    return tuple(dict.fromkeys(_layer_of(node) for node in nodes if node.target in targets))


def describe_int8(converted: GraphModule, *, scheme: str) -> Quantization:
    """Return the layers whose weights the graph holds as INT8, the others, and the INT8 share of weight elements.

    A weight is a constant with at least two dimensions longer than 1; its layer is the module path of the
    node that computes with it.

    Raises:
        NothingQuantized: no weight is INT8.
    """
    position = {node: index for index, node in enumerate(converted.graph.nodes)}
    weights = [(position[_consumer(node)], node, value) for node, value in _weights(converted)]
    quantized: dict[str, int] = {}
    kept: dict[str, int] = {}
    for _, node, value in sorted(weights, key=lambda weight: weight[0]):
        sizes = quantized if value.dtype == torch.int8 else kept
        layer = _layer_of(_consumer(node))
        sizes[layer] = sizes.get(layer, 0) + value.numel()
    if not quantized:
        operators = sorted({str(node.target) for node in converted.graph.nodes if node.op == "call_function"})
        raise NothingQuantized(
            f"{scheme}: no weight became INT8; convolutions and linear layers can, and the graph has "
            f"{', '.join(operators)[:300]}"
        )
    return Quantization.of_weights(scheme, quantized=quantized, kept=kept)


def fake_quantizers(graph: GraphModule) -> list[Any]:
    """Return the modules of a graph in training that round as INT8 would."""
    with quiet_torchao():
        from torchao.quantization.pt2e.fake_quantize import FakeQuantizeBase

    return [module for module in graph.modules() if isinstance(module, FakeQuantizeBase)]


@contextmanager
def quiet_torchao() -> Iterator[None]:
    """Silence what torchao says of its optional CUDA kernels and of its own use of deprecated parts of torch."""
    loggers = [logging.getLogger(name) for name in ("torchao", "torch.utils._pytree")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            warnings.filterwarnings("ignore", category=FutureWarning)
            # Said of every pool behind a layer that was kept on purpose.
            warnings.filterwarnings(
                "ignore", message=".*is not quantized, skip annotate", category=UserWarning
            )
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def _patterns_of(graph: GraphModule) -> Iterator[None]:
    """Spare torchao the tracing of a hundred patterns of convolutions that a graph has none of: seconds each time."""
    qat_utils: Any = importlib.import_module("torchao.quantization.pt2e.qat_utils")
    names = ("_fuse_conv_bn_qat_helper", "_fold_conv_bn_qat_helper")
    helpers = {name: getattr(qat_utils, name) for name in names}
    present = {
        str(node.target).split(".")[1] for node in graph.graph.nodes if "aten.conv" in str(node.target)
    }

    def only_present(helper: Callable[..., GraphModule]) -> Callable[..., GraphModule]:
        def run(module: GraphModule, convolution: Any, *arguments: Any, **named: Any) -> GraphModule:
            if convolution.__name__ in present:
                return helper(module, convolution, *arguments, **named)
            return module

        return run

    for name, helper in helpers.items():
        setattr(qat_utils, name, only_present(helper))
    try:
        yield
    finally:
        for name, helper in helpers.items():
            setattr(qat_utils, name, helper)


def _keep_trained_ranges(prepared: GraphModule) -> None:
    """Let fake quantization become INT8 by the very scales that it trained with.

    torchao would calculate them anew from the observed extremes, and by another formula than the kernel that trains: of
    symmetric weights the one is max(|min|, max) / 127.5, the other max(|min| / 128, max / 127).
    """
    for module in fake_quantizers(prepared):
        module.calculate_qparams = partial(_trained_range, module)


def _trained_range(module: Any) -> tuple[torch.Tensor, torch.Tensor]:
    return module.scale, module.zero_point


def _quantizer(*, is_qat: bool, reduce_range: bool) -> Any:
    from torchao.quantization.pt2e.quantizer.x86_inductor_quantizer import (
        X86InductorQuantizer,
        get_default_x86_inductor_quantization_config,
    )

    config = get_default_x86_inductor_quantization_config(is_qat=is_qat, reduce_range=reduce_range)
    return X86InductorQuantizer().set_global(config)


def _graph_module(program: ExportedProgram) -> GraphModule:
    # Without the guards: they are a module call, and the program that is written gets its own.
    module = program.module(check_guards=False)
    assert isinstance(module, GraphModule)
    return module


def _mark_kept(module: GraphModule, kept: Collection[str]) -> None:
    """Annotate the nodes of layers that stay in floating point as decided, so that the quantizer passes them by."""
    from torchao.quantization.pt2e.quantizer import QuantizationAnnotation

    for node in module.graph.nodes:
        if node.op == "call_function" and _layer_of(node) in kept:
            node.meta[_ANNOTATION] = QuantizationAnnotation(_annotated=True)


def _weights(module: GraphModule) -> Iterator[tuple[Node, torch.Tensor]]:
    for node in module.graph.nodes:
        if node.op == "get_attr":
            value = attrgetter(node.target)(module)
            is_weight = isinstance(value, torch.Tensor) and sum(size > 1 for size in value.shape) >= 2
            if is_weight and (value.is_floating_point() or value.dtype == torch.int8):
                yield node, value


def _drop_batch_counters(graph: GraphModule) -> None:
    """Delete the nodes that count batches: nothing reads the count, and inference must not change it."""
    for node in list(graph.graph.nodes):
        if node.target is torch.ops.aten.add_.Tensor and "num_batches_tracked" in str(node.args[0]):
            node.replace_all_uses_with(node.args[0])
            graph.graph.erase_node(node)
    graph.graph.eliminate_dead_code()
    graph.recompile()


def _layer_of(node: Node) -> str:
    """Return the path of the module whose code made a node."""
    stack = node.meta.get("nn_module_stack") or {}
    path = next(reversed(list(stack.values())), ("", None))[0]
    return str(path) or node.name


def _consumer(node: Node) -> Node:
    """Return the node that computes with a constant, behind those that only dequantize or reshape it."""
    for user in node.users:
        if user.op == "call_function" and not user.meta.get("nn_module_stack"):
            return _consumer(user)
        return user
    return node


def _drop_unused(module: GraphModule) -> None:
    """Delete the tensors that no node reads: the floating point weights that INT8 ones have replaced."""
    used = {node.target for node in module.graph.nodes if node.op == "get_attr"}
    named: list[tuple[str, Any]] = [*module.named_parameters(), *module.named_buffers()]
    for name, _ in named:
        if name not in used:
            owner, _, attribute = name.rpartition(".")
            delattr(module.get_submodule(owner), attribute)


def run_batches(forward: Callable[[torch.Tensor], torch.Tensor], x: Any, *, batch_size: int) -> torch.Tensor:
    """Return the logits (N, num_classes) float32 of samples (N, *input_shape) float32, read batch by batch."""
    with torch.no_grad():
        return torch.cat(
            [
                forward(torch.tensor(x[start : start + batch_size])).float()
                for start in range(0, len(x), batch_size)
            ]
        )
