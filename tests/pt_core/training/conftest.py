"""Small prepared datasets, and requests to train on them."""

from __future__ import annotations

import numpy as np
import pytest
from network_fixtures import write_module
from threads import one_thread

from pt_core.data.config import DataConfig
from pt_core.data.prepare import prepare
from pt_core.data.requests import PrepareRequest
from pt_core.modeling.spec import ModelConfig
from pt_core.training.config import TrainConfig
from pt_core.training.requests import TrainRequest

__all__ = ["one_thread", "write_module"]


def _prepare(folder, config):
    request = PrepareRequest(
        config=config, seed=0, base_dir=str(folder), source_sha256=None, store=str(folder)
    )
    return prepare(request)


@pytest.fixture(scope="session")
def digits(tmp_path_factory):
    return _prepare(tmp_path_factory.mktemp("digits"), DataConfig())


@pytest.fixture(scope="session")
def noise(tmp_path_factory):
    """A table whose labels mean nothing: what is learnt is memorised, and validation soon gets worse."""
    folder = tmp_path_factory.mktemp("noise")
    generator = np.random.default_rng(0)
    np.savez(folder / "noise.npz", x=generator.normal(size=(300, 20)), y=generator.integers(0, 3, 300))
    return _prepare(folder, DataConfig(source="arrays", path="noise.npz"))


@pytest.fixture
def make_request(tmp_path, digits):
    """Return a function that asks to train a small network; keywords change the training configuration."""

    def make(dataset=digits, *, model=None, seed=0, **changes):
        return TrainRequest(
            dataset=dataset,
            model=model or ModelConfig(arguments={"width": 8}, initialization="kaiming"),
            code_sha256="0" * 64,
            config=TrainConfig.model_validate({"epochs": 2, "precision": "fp32", "device": "cpu", **changes}),
            seed=seed,
            store=str(tmp_path / "checkpoints"),
        )

    return make
