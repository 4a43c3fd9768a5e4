"""Which file of deployments a stack applies, and which one it says that it leaves alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployments.stack.prefect_file import find_prefect_file, unused_prefect_file


def test_a_file_in_the_working_directory_that_is_not_used_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    products = find_prefect_file(None)
    assert unused_prefect_file(products) is None
    own = tmp_path / "prefect.yaml"
    own.write_text("deployments: []")
    assert unused_prefect_file(products) == Path("prefect.yaml")
    assert unused_prefect_file(find_prefect_file("prefect.yaml")) is None
    own.unlink()
    # As in a checkout.
    own.symlink_to(products)
    assert unused_prefect_file(products) is None
