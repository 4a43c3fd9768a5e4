"""A prepared dataset of digits, and user modules written on the fly."""

from __future__ import annotations

import itertools
import textwrap

import pytest

from pt_core.data.config import DataConfig
from pt_core.data.prepare import prepare
from pt_core.data.requests import PrepareRequest

_numbers = itertools.count()


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
