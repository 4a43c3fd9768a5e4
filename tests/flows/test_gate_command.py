"""The command that judges a finished run again: what would change, from run.json alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from run_results import make_run_result
from typer.testing import CliRunner

from flows.__main__ import app
from pt_core.decision.config import GateConfig
from pt_core.decision.drops import measure_drops
from pt_core.decision.pareto import place

NAME = "digits-20261123-101500"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with one finished run, whose store is then thrown away."""
    root = tmp_path_factory.mktemp("home")
    result = make_run_result(root / "store")
    reference = result.variants[0]
    measured = [v.model_copy(update={"drops": measure_drops(v, reference)}) for v in result.variants]
    smoke = GateConfig(preset="smoke")
    result = result.model_copy(update={"variants": place(measured, smoke.selection), "policy": smoke})
    folder = root / "runs" / NAME
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(result.to_json())
    (root / "store").rename(root / "gone")
    return root


@pytest.fixture
def call(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PT_PIPELINE_HOME", str(home))
    return lambda *arguments: CliRunner().invoke(app, ["gate", NAME, *arguments])


def test_the_document_says_what_would_change_and_why(call) -> None:
    done = call("--policy", "balanced", "--json")
    document = json.loads(done.stdout)
    assert done.exit_code == document["exit_code"] == 0
    found = {variant["variant"]: variant for variant in document["variants"]}
    assert found["onnx"]["after"] == "pass"
    assert found["int8-dynamic"]["after"] == "not measured"
    noisy = found["onnx-int8-dynamic"]
    assert noisy["after"] in ("fail", "insufficient")
    assert noisy["checks"][1]["method"] == "newcombe-tango"
    assert all(v["changed"] == (v["before"] != v["after"]) for v in document["variants"])
    assert document["policy"]["preset"] == "balanced"


def test_without_a_policy_the_run_s_own_is_taken_and_overrides_change_it(call) -> None:
    own = json.loads(call("--json").stdout)
    assert own["policy"]["preset"] == "smoke"
    smallest = json.loads(call("--json", "--set", "selection.strategy=size").stdout)
    assert smallest["policy"]["selection"]["strategy"] == "size"
    assert smallest["winner"] != own["winner"]


def test_a_policy_may_be_a_file(call) -> None:
    Path("mine.yaml").write_text("rules: [{metric: accuracy/accuracy, at_least: 1.01}]\n")
    done = call("--policy", "mine.yaml")
    assert done.exit_code == 3
    assert "would be" in done.stdout
    assert "the winner changes from onnx to none" in " ".join(done.stdout.split())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["--policy", "stric"],
            "stric: no such policy file, and no preset of that name; did you mean strict?",
        ),
        (["--set", "min_sample=3"], "min_sample: unknown setting; did you mean min_samples?"),
        (["--set", "preset=strict"], "--set preset=strict: use --policy strict instead"),
        (["--policy", "bad.yaml"], "bad.yaml: rules[0].metrc: unknown setting; did you mean metric?"),
    ],
)
def test_a_bad_policy_is_refused_in_one_line(call, arguments: list[str], said: str) -> None:
    Path("bad.yaml").write_text(
        "rules: [{metrc: accuracy/accuracy, at_least: 0.9, metric: accuracy/accuracy}]\n"
    )
    done = call(*arguments)
    assert done.exit_code == 2
    assert said in " ".join(done.stderr.split())


def test_a_run_that_does_not_exist_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PT_PIPELINE_HOME", str(home))
    done = CliRunner().invoke(app, ["gate", "nothing", "--policy", "smoke"])
    assert done.exit_code == 2


def test_judging_again_imports_no_heavy_library(home: Path) -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from flows.__main__ import app\n"
        f"done = CliRunner().invoke(app, ['gate', {NAME!r}, '--policy', 'strict', '--json'])\n"
        "heavy = [m for m in ('torch', 'prefect', 'mlflow', 'onnx', 'sklearn') if m in sys.modules]\n"
        "print(done.exit_code, heavy)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={"PT_PIPELINE_HOME": str(home), "PATH": "/usr/bin:/bin"},
        check=True,
    )
    assert done.stdout.split(maxsplit=1)[1].strip() == "[]"
