"""Fixtures over :mod:`tiny`; a conftest imports the ones its folder needs, and all folders share what is built."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import tiny

from pt_core.data.dataset import Dataset


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return _dataset(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="session")
def builder(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> tiny.Builder:
    return _builder(tmp_path_factory.getbasetemp())


@cache
def _dataset(base: Path) -> Dataset:
    return tiny.digits(base / "tiny-data")


@cache
def _builder(base: Path) -> tiny.Builder:
    store = base / "tiny-store"
    return tiny.Builder(tiny.checkpoint(store, _dataset(base)), _dataset(base), store)


@pytest.fixture
def root(dataset, tmp_path):
    return tiny.root_artifact(tiny.checkpoint(tmp_path, dataset), tmp_path)


@pytest.fixture
def made(tmp_path):
    """Return a function that converts or quantizes in this process and returns the unsealed artifact."""
    return lambda plugin, source, data=None: tiny.apply(plugin, source, tmp_path, data)
