"""What benchmarks/runtimes.py times: two networks that nobody trained, with samples they can tell apart.

Weights are drawn by a seed. BatchNorm takes its statistics from a few batches, and the last layer becomes the
nearest class mean of what reaches it, a formula without a gradient: activations have the ranges, and classes the
margins, that quantization and agreement are about.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pt_core.artifacts.checkpoint import Checkpoint, CheckpointInfo
from pt_core.artifacts.checkpoint_files import save_checkpoint
from pt_core.data.config import DataConfig
from pt_core.data.dataset import Dataset, load_split
from pt_core.data.prepare import prepare
from pt_core.data.requests import PrepareRequest
from pt_core.environment import describe_environment
from pt_core.modeling.network import build_network
from pt_core.modeling.spec import ModelSpec

SEED = 0
SIDE = 224
NUM_CLASSES, PER_CLASS = 10, 28
_BATCH = 32
_NUM_GOLDEN = 8


class Subject(NamedTuple):
    """A network and its data."""

    name: str
    checkpoint: Checkpoint
    dataset: Dataset


def resnet18(store: Path) -> Subject:
    """Return a ResNet-18 for images of 224x224 pixels."""
    x, y = synthetic_images()
    np.savez(store / "images.npz", x=x, y=y)
    config = DataConfig(
        source="arrays",
        path="images.npz",
        input_range=(0, 1),
        validation_fraction=0.1,
        calibration_fraction=0.3,
        test_fraction=0.3,
    )
    return _make("ResNet-18, 224x224", "pt_core.modeling.resnet:resnet18", config, store)


def digits_cnn(store: Path) -> Subject:
    """Return the network of the default job, for images of 8x8 pixels."""
    return _make("digits CNN, 8x8", "pt_core.modeling.cnn:cnn", DataConfig(), store)


def synthetic_images() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return (280, 3, 224, 224) float32 in [0, 1] and their classes: a smooth pattern a class, and smooth noise."""
    generator = torch.Generator().manual_seed(SEED)
    y = torch.arange(NUM_CLASSES * PER_CLASS) % NUM_CLASSES
    patterns = torch.randn(NUM_CLASSES, 3, 7, 7, generator=generator)
    noise = torch.randn(len(y), 3, 14, 14, generator=generator)
    x = torch.sigmoid(1.5 * _enlarge(patterns)[y] + _enlarge(noise))
    return x.numpy(), y.numpy()


def _enlarge(fields: Tensor) -> Tensor:
    return nn.functional.interpolate(fields, size=(SIDE, SIDE), mode="bilinear")


def _make(name: str, target: str, config: DataConfig, store: Path) -> Subject:
    dataset = prepare(
        PrepareRequest(config=config, seed=SEED, base_dir=str(store), source_sha256=None, store=str(store))
    )
    spec = ModelSpec(
        target=target,
        arguments={"input_shape": list(dataset.input_shape), "num_classes": len(dataset.labels)},
        input_shape=dataset.input_shape,
        num_classes=len(dataset.labels),
        mean=dataset.mean,
        std=dataset.std,
        input_range=dataset.input_range,
    )
    torch.manual_seed(SEED)
    network = build_network(spec)
    train = load_split(dataset, "train")
    samples = torch.from_numpy(np.array(train.x[:512]))
    with torch.inference_mode():
        _take_statistics(network, samples)
        _classify_by_means(network.eval(), samples, torch.from_numpy(np.array(train.y[:512])))
    info = untrained(network, spec, dataset)
    golden = torch.from_numpy(np.array(load_split(dataset, "test").x[:_NUM_GOLDEN]))
    checkpoint = save_checkpoint(
        store, info=info, network=network, training_state={"epoch": 0}, golden_inputs=golden
    )
    return Subject(name, checkpoint, dataset)


def untrained(network: nn.Module, spec: ModelSpec, dataset: Dataset) -> CheckpointInfo:
    """Return what a checkpoint says of a network that nobody trained."""
    return CheckpointInfo(
        spec=spec,
        labels=dataset.labels,
        dataset_digest=dataset.digest,
        data_fingerprint=dataset.fingerprint,
        config={},
        seed=SEED,
        precision="fp32",
        precision_reason="not trained",
        device="cpu",
        epoch=0,
        history=(),
        num_parameters=sum(parameter.numel() for parameter in network.parameters()),
        environment=describe_environment(),
    )


def _take_statistics(network: nn.Module, samples: Tensor) -> None:
    """Let every BatchNorm average the statistics of its own input."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None
    for batch in samples.split(_BATCH):
        network.train()(batch)


def _classify_by_means(network: nn.Module, samples: Tensor, y: Tensor) -> None:
    """Make the last layer the nearest class mean: logit k is (f - g) (m_k - g) - |m_k - g|^2 / 2, in units of 1."""
    last = [module for module in network.modules() if isinstance(module, nn.Linear)][-1]
    seen: list[Tensor] = []
    hook = last.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    for batch in samples.split(_BATCH):
        network(batch)
    hook.remove()
    features = torch.cat(seen)
    means = torch.stack([features[y == label].mean(dim=0) for label in range(last.out_features)])
    average = means.mean(dim=0)
    directions = means - average
    logits = (features - average) @ directions.T
    scale = 4 / logits.std()
    last.weight.copy_(directions * scale)
    last.bias.copy_((-directions @ average - directions.square().sum(dim=1) / 2) * scale)
