"""A user's modules, written on the fly."""

from __future__ import annotations

import itertools
import textwrap

import pytest

_numbers = itertools.count()


@pytest.fixture
def write_module(tmp_path, monkeypatch):
    """Return a function that puts code into a module of a new name on sys.path, and returns the name."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(code):
        name = f"user_model_{next(_numbers)}"
        (tmp_path / f"{name}.py").write_text("import torch\nfrom torch import nn\n" + textwrap.dedent(code))
        return name

    return write
