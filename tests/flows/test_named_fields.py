"""A remedy that the command line and Prefect's pages both show names the option and the field of the form."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from flows.check import Checked
from flows.evaluate import _samples
from flows.existing import check_for_checkpoint
from flows.home import Home
from flows.load import load_config
from pt_core.building.plan import make_plan
from pt_core.errors import ConfigError


def test_an_evaluation_of_a_checkpoint_names_both_for_its_configuration() -> None:
    with pytest.raises(ConfigError, match=r"trained with: --config FILE, or the field config$"):
        check_for_checkpoint("mine", "", ())


def test_an_evaluation_that_misses_the_runs_samples_names_both_for_its_configuration(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "name: mine\ndata: {source: table, path: gone.csv, table: {target: label}}\nvariants: [{name: torch, steps: []}]\n"
    )
    settings = load_config(path, ())
    checked = Checked(name="mine", path=str(path), settings=settings, plan=make_plan(settings.variants))
    run = SimpleNamespace(config=None, seed=settings.seed, dataset=None)
    with pytest.raises(ConfigError, match="give --config FILE, or the field config, whose data are relative"):
        _samples(run, checked, Home(root=str(tmp_path)), is_own=True)
