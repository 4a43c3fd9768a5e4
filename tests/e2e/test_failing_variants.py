"""A run in which a variant crashes, one hangs, one eats the memory and one raises: the others never notice."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200)]

STEPS = Path(__file__).parents[1] / "faults" / "failing_steps.py"

CONFIG = """
name: failing
train: {epochs: 1}
limits: {step_timeout_s: 40, step_memory_gib: 1}
variants:
  - {name: torch, steps: []}
  - {name: crash, steps: [{name: failing, options: {way: segfault}}]}
  - {name: aborted, steps: [{name: failing, options: {way: abort}}]}
  - {name: stuck, steps: [{name: failing, options: {way: hang}}]}
  - {name: greedy, steps: [{name: failing, options: {way: eat}}]}
  - {name: wrong, steps: [{name: failing, options: {way: raise}}]}
  - {name: good, steps: [torchscript]}
evaluation: {fgsm_epsilons: [], noise_sigmas: [0.1]}
gate: {rules: [{metric: accuracy/accuracy, max_drop: 0.02}]}
"""

EXPECTED = {
    "crash": "killed by SIGSEGV",
    "aborted": "killed by SIGABRT",
    "stuck": "no result after 40 s, killed; limits.step_timeout_s",
    "greedy": "the limit is 1.00 GiB, killed; limits.step_memory_gib",
    "wrong": "KeyError: 'a key that nobody has'",
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Run the command beside the module of steps and its entry points; return its home and its document."""
    folder = tmp_path_factory.mktemp("failing")
    info = folder / "failing_steps-1.0.dist-info"
    info.mkdir()
    shutil.copyfile(STEPS, folder / STEPS.name)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: failing_steps\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[pt_core.steps]\nfailing = failing_steps:FailingFormat\n")
    (folder / "pipeline.yaml").write_text(CONFIG)
    path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [str(Path(sys.executable).with_name("pt-pipeline")), "run", "--json", "pipeline.yaml"],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PT_PIPELINE_HOME": str(folder / "home"), "PYTHONPATH": path},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder / "home", json.loads(done.stdout)


def test_each_failing_variant_is_recorded_with_the_end_of_its_output(run: Any) -> None:
    found = {variant["name"]: variant for variant in run[1]["variants"]}
    for name, said in EXPECTED.items():
        assert found[name]["state"] == "failed"
        assert said in found[name]["problem"]
        assert "about to" in found[name]["problem"] or "failing_steps.py" in found[name]["problem"]
        assert "to run it alone: " in found[name]["problem"]


def test_the_others_are_built_measured_and_judged(run: Any) -> None:
    found = {variant["name"]: variant for variant in run[1]["variants"]}
    for name in ("torch", "good"):
        assert found[name]["state"] == "built"
        assert found[name]["verdict"]["state"] == "pass"


def test_the_store_holds_no_half_of_anything_and_one_script_for_each_failure(run: Any) -> None:
    store = run[0] / "store"
    assert not [path.name for path in store.iterdir() if path.name.startswith((".", "failing"))]
    scripts = sorted((store / "failures").glob("failing-*/reproduce.py"))
    assert len(scripts) == len(EXPECTED)
    named = {name: v["problem"] for v in run[1]["variants"] for name in EXPECTED if v["name"] == name}
    for name, problem in named.items():
        assert sum(str(script) in problem for script in scripts) == 1, name
