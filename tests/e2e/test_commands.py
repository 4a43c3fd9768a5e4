"""Commands as a stranger meets them: bad input is one line and exit code 2, and the starter project runs as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200)]


def test_a_bad_configuration_ends_with_2_before_any_work(workplace: Any, tmp_path: Path) -> None:
    config = tmp_path / "typo.yaml"
    config.write_text("name: t\nvariants: [{name: torch, steps: []}, {name: o, steps: [onx]}]\n")
    done = workplace.call("run", str(config), "--home", str(tmp_path / "h"))
    assert done.code == 2
    assert "onx" in done.stderr
    assert "onnx" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "h" / "store").exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("verify", "nowhere"), "nowhere: no such directory"),
        (("predict", "nowhere", "nothing.npy"), "no such file or directory: nowhere, nothing.npy"),
        (("compare", "no-such-run"), "no run"),
        (("run", "nowhere.yaml"), "nowhere.yaml: no such file"),
        (("plan", "nowhere.yaml"), "nowhere.yaml: no such file"),
        (("doctor", "--home", "/dev/null/x"), "/dev/null/x: Not a directory"),
        (("init", "/dev/null/x"), "/dev/null"),
    ],
)
def test_what_does_not_exist_is_named_with_exit_code_2(
    workplace: Any, tmp_path: Path, arguments: tuple[str, ...], expected: str
) -> None:
    done = workplace.call(*arguments, cwd=tmp_path)
    assert done.code == 2, done.stderr
    assert expected in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_model_function_names_the_nearest_one(workplace: Any, tmp_path: Path) -> None:
    done = workplace.call("plan", "--set", "model.target=pt_core.modeling.cnn:cn", cwd=tmp_path)
    assert done.code == 2
    assert "did you mean pt_core.modeling.cnn:cnn?" in done.stderr


@pytest.mark.parametrize(
    ("variable", "problem"),
    [
        ("PREFECT_API_URL", "PREFECT_API_URL: the server at 127.0.0.1:9 does not answer"),
        # That nobody answers there would be no reason to refuse: what is for MLflow waits in an outbox.
        ("MLFLOW_TRACKING_URI", "a name or password in the address would be stored with the run"),
    ],
)
def test_a_server_that_cannot_be_used_is_named_before_any_work(
    workplace: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, problem: str
) -> None:
    monkeypatch.setenv(variable, "http://user:s3cret@127.0.0.1:9/api")
    done = workplace.call("run", "--json", cwd=tmp_path)
    assert done.code == 2
    assert problem in done.document["error"]["message"]
    assert "s3cret" not in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


def test_doctor_reports_every_step_and_version(workplace: Any) -> None:
    findings = workplace.call("doctor", "--json").document
    by_section: dict[str, set[str]] = {}
    for finding in findings:
        by_section.setdefault(finding["section"], set()).add(finding["name"])
    assert {"torch", "torchscript", "exported", "onnx", "int8-dynamic"} <= by_section["steps"]
    assert {"cpu", "cuda", "mps", "training"} <= by_section["devices"]
    assert {"prefect", "fastapi", "sqlalchemy", "mlflow"} <= by_section["versions"]
    assert {"avx512_vnni", "amx_int8"} <= by_section["machine"]
    assert {"Prefect server", "MLflow server"} <= by_section["servers"]


def test_the_starter_project_runs_as_it_is(workplace: Any, tmp_path: Path) -> None:
    folder = tmp_path / "project"
    assert workplace.call("init", str(folder)).code == 0
    again = workplace.call("init", str(folder))
    assert again.code == 2
    done = workplace.run(str(folder / "pipeline.yaml"))
    assert done.code == 0, done.stderr
    assert done.document["pipeline"] == "starter"
    assert done.variant("onnx")["verdict"]["state"] == "pass"
