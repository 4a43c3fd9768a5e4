"""Small checkpoints, the digits, and networks that break in the ways converters meet."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import nn

from pt_core.artifacts.artifact import GOLDEN, Artifact, ArtifactInfo, Step
from pt_core.artifacts.checkpoint import Checkpoint, CheckpointInfo
from pt_core.artifacts.checkpoint_files import save_checkpoint
from pt_core.artifacts.plugin import Plugin, Quantizer, Rewrite, StepData
from pt_core.artifacts.registry import plugin_target
from pt_core.building.build import StepRequest, checkpoint_source, run_step
from pt_core.bundle import MANIFEST, seal, staging
from pt_core.data.config import DataConfig
from pt_core.data.dataset import Dataset, Samples, load_split
from pt_core.data.prepare import prepare
from pt_core.data.requests import PrepareRequest
from pt_core.environment import describe_environment
from pt_core.limits import Limits
from pt_core.modeling.network import build_network
from pt_core.modeling.spec import ModelSpec


class Branching(nn.Module):
    """Centres a batch of more than one: a trace keeps the branch it saw, and is silently wrong at batch 1."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 10)
        print("a network that branches", flush=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.flatten(1)
        if x.shape[0] > 1:
            x = x - x.mean(dim=0)
        return self.linear(x)


class Baked(nn.Module):
    """Reshapes to the number of samples of the first batch it ever sees."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x.reshape(int(x.shape[0]), 64))


class Fixed(nn.Module):
    """Only ever takes eight samples, in two groups of four, besides what its checkpoint was tried with."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[0] == 8:
            x = x.reshape(2, 4, 64)
        return self.linear(x.reshape(-1, 64))


class Random(nn.Module):
    """Leaves dropout on when it is evaluated."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(nn.functional.dropout(x.flatten(1), training=True))


class RandomAlone(Random):
    """Is random for a single sample only, so that a replay of a batch does not notice."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) if len(x) == 1 else self.linear(x.flatten(1))


class Convolutional(nn.Module):
    """Has no linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 10, kernel_size=8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x).flatten(1)


class TwoConvolutions(nn.Module):
    """Makes 32 channels of one, and reads them again."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 32, kernel_size=3, padding=1)
        self.second = nn.Conv2d(32, 10, kernel_size=8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(x).relu()).flatten(1)


class Tied(nn.Module):
    """Has two layers that share one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(64, 64)
        self.second = nn.Linear(64, 64)
        self.second.weight = self.first.weight
        self.last = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.second(self.first(x.flatten(1)).relu()).relu())


class Stacked(nn.Module):
    """Three linear layers, an activation that is called twice, and a sum in its own code."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(64, 32)
        self.second = nn.Linear(32, 32)
        self.act = nn.LeakyReLU(0.5)
        self.last = nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act(self.first(x.flatten(1)))
        return self.last(self.act(self.second(x)) + x)


class Outlier(nn.Module):
    """Has one hidden channel a thousand times the others, which take their last bits with it when it becomes INT8."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(64, 32)
        self.second = nn.Linear(32, 32)
        self.last = nn.Linear(32, 10)
        with torch.no_grad():
            self.first.weight[0] = self.first.weight[0].abs() * 1000
            self.second.weight[:, 0] /= 1000

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.second(self.first(x.flatten(1)).relu()).relu())


class Scaling(nn.Module):
    """Has neither a convolution nor a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(10))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1)[:, 20:30] * self.scale


class Recurrent(nn.Module):
    """Has one layer with two matrices, which reads the rows of a picture."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = nn.LSTM(8, 16, batch_first=True)
        self.last = nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.rows(x.squeeze(1))[0][:, -1])


def digits(store: Path) -> Dataset:
    """Return the digits, split by seed 0."""
    request = PrepareRequest(
        config=DataConfig(), seed=0, base_dir=str(store), source_sha256=None, store=str(store)
    )
    return prepare(request)


def checkpoint(store: Path, dataset: Dataset, *, target: str = "pt_core.modeling.cnn:cnn") -> Checkpoint:
    """Return a checkpoint of a network as it was initialised with seed 0."""
    arguments = {"input_shape": [1, 8, 8], "num_classes": 10, "width": 8} if target.endswith(":cnn") else {}
    spec = ModelSpec(
        target=target,
        arguments=arguments,
        input_shape=dataset.input_shape,
        num_classes=len(dataset.labels),
        mean=dataset.mean,
        std=dataset.std,
        input_range=dataset.input_range,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build_network(spec)
    info = CheckpointInfo(
        spec=spec,
        labels=dataset.labels,
        dataset_digest=dataset.digest,
        data_fingerprint=dataset.fingerprint,
        config={},
        seed=0,
        precision="fp32",
        precision_reason="a test",
        device="cpu",
        epoch=1,
        history=(),
        num_parameters=sum(p.numel() for p in network.parameters()),
        environment=describe_environment(),
    )
    inputs = torch.from_numpy(np.array(load_split(dataset, "test").x[:16]))
    with torch.random.fork_rng(devices=[]):
        return save_checkpoint(
            store, info=info, network=network, training_state={"epoch": 1}, golden_inputs=inputs
        )


def reseal_checkpoint(trained: Checkpoint, store: Path) -> Checkpoint:
    """Return a copy of a checkpoint's files under a manifest of what the record now says."""
    info = CheckpointInfo.model_validate(trained.model_dump(include=set(CheckpointInfo.model_fields)))
    with staging(store) as folder:
        for path in Path(trained.directory).iterdir():
            if path.name != MANIFEST:
                shutil.copyfile(path, folder / path.name)
        bundle = seal(folder, name="checkpoint", kind="checkpoint", info=info)
    return Checkpoint.model_validate(info.model_dump() | bundle.model_dump())


def reseal(artifact: Artifact, store: Path) -> Artifact:
    """Return a copy of an artifact's files, as they are now, under a manifest that fits them."""
    info = ArtifactInfo.model_validate(artifact.model_dump(include=set(ArtifactInfo.model_fields)))
    with staging(store) as folder:
        for path in Path(artifact.directory).iterdir():
            if path.name != MANIFEST:
                shutil.copyfile(path, folder / path.name)
        bundle = seal(folder, name="resealed", kind="artifact", info=info)
    return Artifact.model_validate(info.model_dump() | bundle.model_dump())


def root_artifact(source: Checkpoint, store: Path) -> Artifact:
    """Return a checkpoint as a sealed "torch" artifact, without the processes and checks of ``run_step``."""
    return reseal(checkpoint_source(source).model_copy(update={"format": "torch"}), store)


class Builder:
    """Builds chains with the real ``run_step`` and keeps what it built."""

    def __init__(self, source: Checkpoint, dataset: Dataset, store: Path) -> None:
        self.checkpoint = source
        self.dataset = dataset
        self.store = store
        self._built: dict[tuple[str, ...], Artifact] = {}

    def chain(self, *names: str) -> Artifact:
        """Return the artifact at the end of a chain of steps with default options; none is the root."""
        if names not in self._built:
            source = self.chain(*names[:-1]) if names else checkpoint_source(self.checkpoint)
            self._built[names] = self.step(source, Step(name=names[-1] if names else "torch"))
        return self._built[names]

    def step(self, source: Artifact, step: Step) -> Artifact:
        """Run one step."""
        request = StepRequest(
            source=source,
            reference=None if source.format == "checkpoint" else self.chain(),
            step=step,
            dataset=self.dataset,
            store=str(self.store),
        )
        return run_step(request, limits=Limits(timeout_s=240))


def apply(plugin: Plugin, source: Artifact, parent: Path, data: StepData | None = None) -> Artifact:
    """Return what a plugin writes from a source, unsealed, in a folder named after it."""
    destination = parent / f"made-{plugin.name}-{len(list(parent.iterdir()))}"
    destination.mkdir()
    quantization = None
    if isinstance(plugin, Quantizer):
        quantization = plugin.quantize(source, destination, data)
    elif isinstance(plugin, Rewrite):
        plugin.rewrite(source, destination)
    else:
        plugin.convert(source, destination)
    shutil.copyfile(Path(source.directory) / GOLDEN, destination / GOLDEN)
    changes = {"directory": str(destination), "format": plugin_target(plugin), "quantization": quantization}
    return source.model_copy(update=changes)


def step_data(x: np.ndarray) -> StepData:
    """Return samples as what a quantizer calibrates on; their labels are all 0."""
    y = np.zeros(len(x), dtype=np.int64)
    return StepData(calibration=Samples(x, y, np.arange(len(x))), training=None)


class _Scaled(nn.Module):
    def __init__(self, inner: nn.Module, factor: float) -> None:
        super().__init__()
        self.inner = inner
        self.factor = factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x) * self.factor


def scaled(program: Artifact, factor: float) -> Artifact:
    """Return a TorchScript artifact whose logits are multiplied, written over the one given."""
    path = str(Path(program.directory) / "model.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        traced = torch.jit.trace(_Scaled(torch.jit.load(path), factor), torch.zeros(2, 1, 8, 8))
        torch.jit.save(torch.jit.freeze(traced.eval()), path)
    return program
