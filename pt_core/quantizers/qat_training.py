"""Quantization-aware training of a captured program: fine-tune under fake quantization and keep the best epoch."""

from __future__ import annotations

import copy
import math
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.fx import GraphModule

from pt_core.artifacts.plugin import StepData
from pt_core.isolation import report_progress
from pt_core.quantizers.pt2e import fake_quantizers
from pt_core.training.batches import count_batches, make_fetch, ordered_rows, shuffled_rows
from pt_core.training.config import TrainConfig
from pt_core.training.epoch import EpochResult, train_epoch, validate
from pt_core.training.optim import make_optimizer
from pt_core.training.schedule import make_schedule
from pt_core.training.seed import seed_everything
from pt_core.training.session import Session

FROZEN_SHARE = 1 / 3
"""Share of the epochs, the last ones, that train under the statistics and ranges found until then."""

TORCHAO_EPSILON = 1e-5
"""Epsilon of batch normalisation in torchao's patterns (qat_utils.py, "TODO: allow setting eps")."""

_ATEN = torch.ops.aten
_TRAINING_ARGUMENT = {
    _ATEN.batch_norm.default: 5,
    _ATEN.dropout.default: 2,
    _ATEN.dropout_.default: 2,
    _ATEN.feature_dropout.default: 2,
    _ATEN.feature_dropout_.default: 2,
    _ATEN.alpha_dropout.default: 2,
}
"""Operators that differ in training, and the position of the argument that says so."""


class Prepared(nn.Module):
    """A prepared graph with the train and eval of a module: batch normalisation, dropout and observers follow."""

    def __init__(self, graph: GraphModule) -> None:
        """Keep the graph, in training mode."""
        super().__init__()
        self.graph_module = graph
        self.is_frozen = False
        for module in fake_quantizers(graph):
            # Under autocast an activation may come in bf16, which the fused kernel of torch refuses.
            module.register_forward_pre_hook(lambda _, inputs: (inputs[0].float(), *inputs[1:]))
        self.train()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (N, num_classes) logits of (N, *input_shape) raw inputs under fake quantization."""
        logits: torch.Tensor = self.graph_module(x)
        return logits

    def train(self, mode: bool = True) -> Prepared:
        """Switch the graph; once frozen, statistics and ranges stay as they are in training too."""
        self.training = mode
        is_learning = mode and not self.is_frozen
        set_training(self.graph_module, is_training=is_learning)
        for module in fake_quantizers(self.graph_module):
            module.enable_observer(is_learning)
        return self


def set_training(graph: GraphModule, *, is_training: bool) -> None:
    """Set the mode of batch normalisation and dropout.

    In place of torchao's ``move_exported_model_to_train``, which gives every dropout the probability 0.5,
    whatever the network's was.
    """
    for node in graph.graph.nodes:
        position = _TRAINING_ARGUMENT.get(node.target)
        if position is not None:
            arguments = list(node.args)
            arguments[position] = is_training
            node.args = tuple(arguments)
    graph.recompile()


def settle_epsilons(network: nn.Module) -> None:
    """Give every batch normalisation the epsilon 1e-5 that torchao writes into its place, and its variance the rest.

    The network computes the same; without this, one of another epsilon would start from other activations.
    """
    for module in network.modules():
        variance = getattr(module, "running_var", None)
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and variance is not None:
            variance.add_(module.eps - TORCHAO_EPSILON).clamp_(min=0)
            module.eps = TORCHAO_EPSILON


class Kept(NamedTuple):
    """The best epoch so far."""

    epoch: int
    """Its number, from 1."""
    result: EpochResult
    """What it gave on the calibration split."""
    state: dict[str, Any]
    """The graph's tensors after it."""


def fine_tune(graph: GraphModule, data: StepData, config: TrainConfig, *, seed: int, precision: str) -> Kept:
    """Train a prepared graph in place, and leave it frozen in evaluation mode with its best epoch's weights.

    The best epoch has the greatest accuracy on the calibration split under fake quantization, and of equals
    the lowest loss. In the last third of the epochs batch normalisation and ranges are frozen, as in
    https://arxiv.org/abs/1806.08342, section 3.2.

    Raises:
        StepFailed: the loss became NaN or infinite.
    """
    assert data.training is not None
    seed_everything(seed)
    network = Prepared(graph)
    fetch_training, fetch_calibration = (
        make_fetch(samples, device="cpu", channels_last=False)
        for samples in (data.training, data.calibration)
    )
    num_training, num_calibration = len(data.training.y), len(data.calibration.y)
    session = _start(network, config, num_training, seed=seed, precision=precision)
    kept: Kept | None = None
    for epoch in range(1, config.epochs + 1):
        network.is_frozen = epoch > config.epochs - math.floor(config.epochs * FROZEN_SHARE)
        rows = shuffled_rows(num_training, batch_size=config.batch_size, generator=session.shuffle)
        trained = train_epoch(session, fetch=fetch_training, rows=rows, epoch=epoch)
        rows = ordered_rows(num_calibration, batch_size=config.batch_size)
        result = validate(session, fetch=fetch_calibration, rows=rows, epoch=epoch)
        if kept is None or _rank(result) >= _rank(kept.result):
            kept = Kept(epoch, result, copy.deepcopy(graph.state_dict()))
        report_progress(
            epoch, config.epochs, f"loss {trained.loss:.3f}, calibration accuracy {result.accuracy:.3f}"
        )
    assert kept is not None
    graph.load_state_dict(kept.state)
    network.is_frozen = True
    network.eval()
    return kept


def _rank(result: EpochResult) -> tuple[float, float]:
    return result.accuracy, -result.loss


def _start(network: Prepared, config: TrainConfig, num_samples: int, *, seed: int, precision: str) -> Session:
    optimizer = make_optimizer(network, config)
    total_steps = config.epochs * count_batches(num_samples, config.batch_size)
    return Session(
        network=network,
        parameters=tuple(network.parameters()),
        optimizer=optimizer,
        schedule=make_schedule(optimizer, config, total_steps=total_steps),
        scaler=torch.amp.GradScaler("cpu", enabled=False),
        shuffle=torch.Generator().manual_seed(seed),
        config=config,
        device="cpu",
        precision=precision,
    )
