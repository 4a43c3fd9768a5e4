"""pt-pipeline diff: names and folders, what the run stored, and exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import run_results
import tiny
from divergences import divergence, layer, link
from tiny_fixtures import dataset
from typer.testing import CliRunner

from flows.__main__ import app
from pt_core.artifacts.artifact import Step
from pt_core.evaluation.difference import Divergence

__all__ = ["dataset"]

FOUND = divergence(link(layer()))


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home with one run, whose failed variant has a divergence."""
    result = run_results.make_run_result(tmp_path)
    variants = tuple(
        v.model_copy(update={"divergence": FOUND}) if v.state == "failed" else v for v in result.variants
    )
    folder = tmp_path / "runs" / result.run_name
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(result.model_copy(update={"variants": variants}).to_json())
    monkeypatch.setenv("PT_PIPELINE_HOME", str(tmp_path))
    return tmp_path


def diff(*arguments: str):
    return CliRunner().invoke(app, ["diff", *arguments])


def test_the_sentence_says_layer_step_error_and_tolerance():
    assert FOUND.sentence == (
        "first layer over tolerance: network.0.3 (Conv2d), at the step exported -> onnx: "
        "relative error 0.41, allowed 0.05"
    )


def test_a_variant_that_failed_shows_what_its_run_found(home):
    answer = diff("torch", "int8-dynamic", "--json")
    assert answer.exit_code == 1
    assert Divergence.model_validate(json.loads(answer.stdout)) == FOUND
    shown = diff("torch", "int8-dynamic")
    assert shown.exit_code == 1
    assert "network.0.3" in shown.stdout


@pytest.mark.parametrize(
    ("pair", "match"),
    [
        (("torch", "onxn"), "did you mean 'onnx'?"),
        (("torch", "onnx-int8-static"), "there is no artifact to open, it was skipped"),
        (("torch", "onnx", "--run", "gone"), "no run named 'gone'"),
    ],
)
def test_what_cannot_be_compared_is_bad_input(home, pair, match):
    answer = diff(*pair)
    assert answer.exit_code == 2
    assert match in " ".join(answer.stderr.split())


def test_two_folders_are_compared_without_a_run(tmp_path, dataset, monkeypatch):
    monkeypatch.setenv("PT_PIPELINE_HOME", str(tmp_path / "home"))
    root = tiny.root_artifact(tiny.checkpoint(tmp_path, dataset), tmp_path)
    answer = diff(root.directory, root.directory, "--json")
    assert answer.exit_code == 0, answer.output
    found = Divergence.model_validate(json.loads(answer.stdout))
    assert found.agrees
    assert found.ranked
    assert Path(root.directory).is_dir()


def test_a_form_that_cannot_run_here_is_neither_agreement_nor_difference(tmp_path, dataset, monkeypatch):
    monkeypatch.setenv("PT_PIPELINE_HOME", str(tmp_path / "home"))
    root = tiny.root_artifact(tiny.checkpoint(tmp_path, dataset), tmp_path)
    steps = (Step(name="compiled"),)
    # Compiled code of which only the description is there.
    changes = {
        "format": "compiled",
        "steps": steps,
        "parent_digest": root.digest,
        "directory": str(tmp_path / "x"),
    }
    (tmp_path / "x").mkdir()
    hollow = tiny.reseal(root.model_copy(update=changes), tmp_path)
    refused = diff(root.directory, hollow.directory)
    assert refused.exit_code == 1
    assert f"--trust-unsigned {Path(hollow.directory).name}" in refused.output
    answer = diff(root.directory, hollow.directory, "--trust-unsigned", hollow.digest)
    assert answer.exit_code == 2, answer.output
    assert "torch and compiled cannot be compared" in " ".join(answer.stdout.split())
