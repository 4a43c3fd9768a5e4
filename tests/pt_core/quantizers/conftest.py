"""The small checkpoint as a root artifact, without processes."""

import pytest
import tiny
from tiny_fixtures import dataset

__all__ = ["dataset"]


@pytest.fixture
def root(dataset, tmp_path):
    return tiny.root_artifact(tiny.checkpoint(tmp_path, dataset), tmp_path)


@pytest.fixture
def made(tmp_path):
    """Return a function that converts or quantizes in this process and returns the unsealed artifact."""
    return lambda plugin, source, data=None: tiny.apply(plugin, source, tmp_path, data)
