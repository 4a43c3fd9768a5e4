"""A small dataset and a reference artifact made of one linear layer, whose every number can be worked out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from pt_core.artifacts.artifact import Artifact, ArtifactInfo
from pt_core.artifacts.checkpoint import WEIGHTS
from pt_core.bundle import seal, staging
from pt_core.data.config import SPLITS
from pt_core.data.dataset import Dataset, DatasetInfo, Split
from pt_core.environment import describe_environment
from pt_core.modeling.spec import ModelSpec

NUM_TEST, NUM_COLUMNS, NUM_CLASSES = 150, 6, 3
LABELS = ("low", "middle", "high")


def make_dataset(store, *, input_range, seed=0, scale=1.0):
    generator = np.random.default_rng(seed)
    y = generator.integers(0, NUM_CLASSES, NUM_TEST)
    x = (0.25 + 0.2 * y[:, None] + 0.1 * generator.normal(size=(NUM_TEST, NUM_COLUMNS))).clip(0, 1)
    x = (x * scale).astype(np.float32)
    info = DatasetInfo(
        source="arrays",
        fingerprint="f" * 64,
        labels=LABELS,
        input_shape=(NUM_COLUMNS,),
        input_range=input_range,
        mean=tuple(x.mean(axis=0).tolist()),
        std=tuple(x.std(axis=0).tolist()),
        splits=tuple(Split(name=name, num_samples=NUM_TEST, ids_sha256=name[0] * 64) for name in SPLITS),
    )
    with staging(store) as folder:
        for name in SPLITS:
            np.save(folder / f"{name}_x.npy", x)
            np.save(folder / f"{name}_y.npy", y)
            np.save(folder / f"{name}_ids.npy", np.arange(NUM_TEST))
        bundle = seal(folder, name="dataset", kind="dataset", info=info)
    return Dataset.model_validate({**info.model_dump(), **bundle.model_dump()})


def linear_weights(gain=8.0):
    weight = gain * np.array([[-1.0] * NUM_COLUMNS, [0.0] * NUM_COLUMNS, [1.0] * NUM_COLUMNS])
    weight[:, 1] *= 0.5
    bias = gain * np.array([0.35, 0.0, -0.55]) * NUM_COLUMNS
    return weight.astype(np.float32), bias.astype(np.float32)


def make_reference(
    store, dataset, *, gain=8.0, labels=LABELS, target="torch.nn.modules.linear:Linear", name="torch"
):
    spec = ModelSpec(
        target=target,
        arguments={"in_features": NUM_COLUMNS, "out_features": NUM_CLASSES},
        input_shape=dataset.input_shape,
        num_classes=NUM_CLASSES,
        mean=None,
        std=None,
        input_range=dataset.input_range,
    )
    weight, bias = linear_weights(gain)
    with staging(store) as folder:
        save_file({"network.weight": weight, "network.bias": bias}, folder / WEIGHTS)
        info = ArtifactInfo(
            format="torch",
            precision="fp32",
            steps=(),
            checkpoint_digest="c" * 64,
            parent_digest="c" * 64,
            spec=spec,
            labels=labels,
            payload=(WEIGHTS,),
            payload_bytes=(folder / WEIGHTS).stat().st_size,
            quantization=None,
            parity=None,
            environment=describe_environment(),
        )
        bundle = seal(folder, name=name, kind="artifact", info=info)
    return Artifact.model_validate({**info.model_dump(), **bundle.model_dump()})


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="session")
def dataset(store):
    return make_dataset(store, input_range=(0.0, 1.0))


@pytest.fixture(scope="session")
def reference(store, dataset):
    return make_reference(store, dataset)


@pytest.fixture(scope="session")
def new_reference():
    return make_reference


@pytest.fixture(scope="session")
def new_dataset():
    return make_dataset


@pytest.fixture
def relabelled_dataset(tmp_path):
    """A dataset whose test labels were rewritten after it was sealed."""
    damaged = make_dataset(tmp_path, input_range=(0.0, 1.0))
    file = Path(damaged.directory) / "test_y.npy"
    np.save(file, (np.load(file) + 1) % NUM_CLASSES)
    return damaged


@pytest.fixture(scope="session")
def weights_and_bias():
    return linear_weights
