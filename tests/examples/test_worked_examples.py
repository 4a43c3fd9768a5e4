"""The worked examples run as their READMEs say: data by their script, then the installed command."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e

EXAMPLES = Path(__file__).parents[2] / "examples"
QUICK = [
    f"--set=efficiency.{setting}"
    for setting in ("rounds=5", "extra_rounds=0", "max_seconds=2", "cold_starts=false")
]
"""Speed is measured by other tests."""
COMMAND = Path(sys.executable).with_name("pt-pipeline")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("examples") / "home"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Return a function that copies an example, makes its data, and returns its folder."""

    def make(name):
        folder = tmp_path_factory.mktemp(name) / name
        shutil.copytree(EXAMPLES / name, folder, ignore=shutil.ignore_patterns("__pycache__", "data*"))
        shutil.copy(EXAMPLES / name / "make_data.py", folder)
        subprocess.run([sys.executable, "make_data.py"], cwd=folder, check=True)
        return folder

    return make


def call(folder, home, *arguments):
    environment = {**os.environ, "PT_PIPELINE_HOME": str(home)}
    done = subprocess.run(
        [COMMAND, *arguments, "--json"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
    )
    return done.returncode, json.loads(done.stdout), done.stderr


def check_both_variants(document):
    assert document["exit_code"] == 0
    assert len(document["variants"]) == 2
    assert {variant["verdict"]["state"] for variant in document["variants"]} == {"pass"}


@pytest.mark.parametrize("name", ["image-folder", "table"])
def test_an_example_runs_from_its_data_to_a_verdict(made, home, name):
    code, document, stderr = call(made(name), home, "run", "pipeline.yaml", *QUICK)
    assert code == 0, stderr
    check_both_variants(document)


@pytest.fixture(scope="module")
def waves(made):
    return made("own-package")


@pytest.fixture(scope="module")
def trained(waves, home):
    code, document, stderr = call(waves, home, "train", "pipeline.yaml")
    assert code == 0, stderr
    return document


def test_training_alone_ends_with_a_verified_checkpoint(trained, waves, home):
    checkpoint = trained["checkpoint"]
    assert any("Golden outputs were replayed" in line for line in trained["checks"])
    assert checkpoint["validation_accuracy"] > 0.7
    code, report, stderr = call(waves, home, "verify", checkpoint["directory"])
    assert code == 0, stderr
    assert report["digest"] == checkpoint["digest"]
    # By hand: 2 multiplications and additions for each weight at each place of the 32 after the stem's stride.
    convolutions = 7 * 1 * 16 + 2 * 2 * 5 * 16 * 16
    assert checkpoint["flops_per_sample"] == 2 * (32 * convolutions + 16 * 3)


def test_a_checkpoint_that_was_trained_alone_goes_through_the_rest_without_training(trained, waves, home):
    directory = trained["checkpoint"]["directory"]
    code, document, stderr = call(waves, home, "run", "pipeline.yaml", "--from", directory, *QUICK)
    assert code == 0, stderr
    check_both_variants(document)
    assert document["checkpoint"] == {"directory": directory, "digest": trained["checkpoint"]["digest"]}
    assert not re.search(r"train waves", stderr)
    assert f"--from {directory}" in document["reproduce"]
