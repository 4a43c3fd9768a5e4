"""A prepared dataset of digits, and user modules written on the fly."""

from __future__ import annotations

import pytest
from network_fixtures import write_module
from threads import one_thread

from pt_core.data.config import DataConfig
from pt_core.data.prepare import prepare
from pt_core.data.requests import PrepareRequest

__all__ = ["one_thread", "write_module"]


@pytest.fixture(scope="session")
def digits(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("digits"))
    return prepare(
        PrepareRequest(config=DataConfig(), seed=0, base_dir=folder, source_sha256=None, store=folder)
    )
