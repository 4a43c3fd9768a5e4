"""pt-pipeline compare: every view in every form, over real folders of finished runs."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from run_results import make_run_result
from typer.testing import CliRunner

from flows.__main__ import app

FIRST, SECOND, OTHER, REFUSED = "digits-1", "digits-2", "other-1", "digits-3"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three runs of one pipeline, the last on other samples and refused, and an older one of another."""
    root = tmp_path_factory.mktemp("home")
    result = make_run_result(root / "store")
    dataset = result.dataset.model_copy(update={"fingerprint": "e" * 64, "digest": "e" * 64})
    changes = {
        OTHER: {"pipeline": "other", "started_at": "2026-01-01T00:00:00Z"},
        FIRST: {"started_at": "2026-01-02T00:00:00Z"},
        SECOND: {"started_at": "2026-01-03T00:00:00Z", "winner": "onnx-int8-dynamic"},
        REFUSED: {"started_at": "2026-01-04T00:00:00Z", "winner": None, "dataset": dataset},
    }
    for seconds, (name, change) in enumerate(changes.items()):
        folder = root / "runs" / name
        folder.mkdir(parents=True)
        text = result.model_copy(update={"run_name": name, **change}).to_json()
        (folder / "run.json").write_text(text)
        os.utime(folder / "run.json", (1_000_000 + seconds,) * 2)
    return root


@pytest.fixture
def call(home, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PT_PIPELINE_HOME", str(home))
    return lambda *arguments: CliRunner().invoke(app, ["compare", *arguments])


def words(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize(
    ("arguments", "lines", "column"),
    [
        ((FIRST,), 7, "latency_ratio"),
        ((FIRST, SECOND), 14, "verdict"),
        (("--view", "time"), 3, "samples"),
        (("--view", "champion", FIRST, SECOND), 0, "difference"),
    ],
)
def test_every_view_is_csv_json_markdown_and_a_page(call, arguments, lines, column):
    rows = list(csv.DictReader(io.StringIO(call(*arguments, "--csv").stdout)))
    assert len(rows) == lines or (not lines and len(rows) > 15)
    assert column in rows[0]
    assert json.loads(call(*arguments, "--json").stdout)
    markdown = call(*arguments, "--markdown").stdout.splitlines()
    assert len(markdown) == len(rows) + 2
    assert set(markdown[1]) <= set("| -:")
    done = call(*arguments, "--json", "--html", "page.html")
    assert done.exit_code == 0
    json.loads(done.stdout)
    page = Path("page.html").read_text()
    assert page.startswith("<!doctype html>")
    assert "<script" not in page
    assert "default-src 'none'" in page
    assert "prefers-color-scheme: dark" in page


def test_over_time_takes_the_runs_of_the_latest_run_s_pipeline_and_says_where_samples_change(call):
    document = json.loads(call("--view", "time", "--json").stdout)
    assert [row["run"] for row in document["runs"]] == [FIRST, SECOND, REFUSED]
    assert [row["samples"] for row in document["runs"]] == ["A", "A", "B"]
    shown = call("--view", "time")
    assert "digits-3: other test samples (360 of A, now 360 of B): accuracy is not comparable" in words(
        shown.stdout
    )
    assert (
        json.loads(call("--view", "time", "--pipeline", "other", "--json").stdout)["runs"][0]["run"] == OTHER
    )


def test_the_latest_runs_are_taken_and_the_rest_is_said_to_be_left_out(call):
    document = json.loads(call("--view", "time", "--last", "2", "--json").stdout)
    assert [row["run"] for row in document["runs"]] == [SECOND, REFUSED]
    assert document["older_left_out"]
    assert not json.loads(call("--view", "time", "--last", "3", "--json").stdout)["older_left_out"]
    assert "older runs are left out" in call("--view", "time", "--last", "2").stdout


def test_a_damaged_run_is_left_out_of_a_history_with_a_word(home, call):
    folder = home / "runs" / "torn"
    folder.mkdir()
    (folder / "run.json").write_text("{")
    try:
        done = call("--view", "time", "--json")
    finally:
        (folder / "run.json").unlink()
        folder.rmdir()
    assert len(json.loads(done.stdout)["runs"]) == 3
    assert "left out:" in done.stderr


def test_winners_of_two_runs_are_compared_on_their_common_samples_and_shown_where_they_differ(call):
    document = json.loads(call("--view", "champion", FIRST, SECOND, "--json", "--html", "page.html").stdout)
    assert document["accuracy_drop"]["num_samples"] == 360
    assert "less accurate" in document["sentence"]
    page = Path("page.html").read_text()
    lost = document["accuracy_drop"]["pairs"]["only_reference_right"]
    won = document["accuracy_drop"]["pairs"]["only_variant_right"]
    assert f"{lost} lost, {won} won" in page
    assert page.count('class="sample"') == lost + won
    assert "data:image/png;base64," in page


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--json", "--csv"), "--json and --csv: expected one of them"),
        (("--view", "champion", REFUSED, FIRST), "digits-3 chose no variant"),
        (("--view", "champion", FIRST), "digits-1 was compared with no champion; name two runs"),
        (("--view", "champion", FIRST, SECOND, OTHER), "3 runs named"),
        (("--view", "champion", FIRST, FIRST), "is named twice"),
        (("--view", "time", FIRST, OTHER), "runs of 2 pipelines have no common history"),
        (("--view", "time", "--pipeline", "nothing"), "no run of pipeline 'nothing'"),
        (("--pipeline", "digits"), "it chooses the runs of --view time"),
        ((FIRST, REFUSED), "the runs rest on different datasets"),
        ((FIRST, "--html", "no/such/folder/page.html"), "expected a file in a folder that exists"),
        ((FIRST, "--html", "."), "expected a file in a folder that exists"),
        (("--view", "tme"), "is not one of"),
    ],
)
def test_what_cannot_be_compared_is_bad_input(call, arguments, said):
    done = call(*arguments)
    assert done.exit_code == 2
    assert said in words(done.stderr).replace("│ ", "")
    assert "Traceback" not in done.stderr


def test_comparing_imports_no_heavy_library_even_for_a_page(home, tmp_path):
    code = (
        "import sys; from typer.testing import CliRunner; from flows.__main__ import app\n"
        f"done = CliRunner().invoke(app, ['compare', {FIRST!r}, '--json', '--html', 'page.html'])\n"
        "heavy = ('torch', 'prefect', 'mlflow', 'onnx', 'sklearn', 'matplotlib')\n"
        "print(done.exit_code, [m for m in heavy if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PT_PIPELINE_HOME": str(home), "PATH": "/usr/bin:/bin", "PYTHONPATH": str(Path.cwd())},
        check=True,
    )
    assert done.stdout.split(maxsplit=1) == ["0", "[]\n"]
