"""A prepared dataset of digits, and user modules written on the fly."""

from __future__ import annotations

import itertools
import textwrap

import pytest
import torch

from pt_core.data.config import DataConfig
from pt_core.data.prepare import prepare
from pt_core.data.requests import PrepareRequest

_numbers = itertools.count()


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Compute with one thread: on a busy machine two that wait for each other are many times slower."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def digits(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("digits"))
    return prepare(
        PrepareRequest(config=DataConfig(), seed=0, base_dir=folder, source_sha256=None, store=folder)
    )


@pytest.fixture
def write_module(tmp_path, monkeypatch):
    """Return a function that puts code into a module of a new name on sys.path, and returns the name."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(code):
        name = f"user_model_{next(_numbers)}"
        (tmp_path / f"{name}.py").write_text("import torch\nfrom torch import nn\n" + textwrap.dedent(code))
        return name

    return write
