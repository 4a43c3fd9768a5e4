"""The commit of a run, in real checkouts: that of the folder of its configuration, and the one that was pushed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flows.check import check
from flows.flow_run import tags
from flows.pushed import PUSH_COMMIT_VARIABLE, check_pushed
from flows.source import enter_source
from pt_core.environment import SOURCE_VARIABLE, describe_environment
from pt_core.errors import ConfigError
from pt_core.isolation import CODE_PATH_VARIABLE


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture(autouse=True)
def _apart_from_other_tests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.setenv(SOURCE_VARIABLE, "")
    monkeypatch.delenv(PUSH_COMMIT_VARIABLE, raising=False)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    (folder / "settings").mkdir(parents=True)
    (folder / "settings" / "mine.yaml").write_text("name: mine\nvariants: [{name: torch, steps: []}]\n")
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "one")
    return folder


def test_a_run_is_of_the_commit_of_its_configurations_folder(
    project: Path, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    enter_source(check(str(project / "settings" / "mine.yaml"), ()))
    assert describe_environment().git_commit == git(project, "rev-parse", "HEAD")


def test_a_shipped_configuration_says_nothing_of_the_users_code(project: Path, monkeypatch) -> None:
    monkeypatch.chdir(project)
    enter_source(check("digits", ()))
    assert describe_environment().git_commit == git(project, "rev-parse", "HEAD")


def test_only_a_clean_checkout_of_the_pushed_commit_runs(project: Path, monkeypatch) -> None:
    first = git(project, "rev-parse", "HEAD")
    monkeypatch.setenv(PUSH_COMMIT_VARIABLE, first)
    check_pushed(project / "settings")
    (project / "settings" / "mine.yaml").write_text("name: other\n")
    with pytest.raises(ConfigError, match="but tracked files were changed since, or Python files added"):
        check_pushed(project)
    git(project, "commit", "-qam", "two")
    with pytest.raises(
        ConfigError, match=f"at commit {git(project, 'rev-parse', 'HEAD')}, expected the pushed {first}"
    ):
        check_pushed(project)


def test_code_that_was_never_committed_is_no_code_of_the_pushed_commit(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PUSH_COMMIT_VARIABLE, git(project, "rev-parse", "HEAD"))
    (project / ".gitignore").write_text("ignored/\n")
    for name in (".hidden", "ignored", "venv/lib/site-packages/net", "settings/notes"):
        (project / name).mkdir(parents=True)
        (project / name / ("net.txt" if "notes" in name else "net.py")).write_text("")
    check_pushed(project)
    (project / "settings" / "net.py").write_text("")
    with pytest.raises(ConfigError, match="or Python files added; expected a clean checkout"):
        check_pushed(project / "settings")
    monkeypatch.delenv(PUSH_COMMIT_VARIABLE)
    enter_source(check(str(project / "settings" / "mine.yaml"), ()))
    assert tags("mine")["git_dirty"] == "true"


def test_a_configuration_outside_of_the_pushed_repository_is_refused(
    project: Path, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setenv(PUSH_COMMIT_VARIABLE, git(project, "rev-parse", "HEAD"))
    with pytest.raises(ConfigError, match="at commit none, it is no Git checkout"):
        check_pushed(tmp_path)


def test_a_push_is_run_with_its_own_code_and_never_with_another_copy_of_it(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    config = project / "settings" / "mine.yaml"
    config.write_text(config.read_text() + "model: {target: 'pushed_net:make'}\n")
    (project / "settings" / "pushed_net.py").write_text("def make(): ...\n")
    git(project, "add", ".")
    git(project, "commit", "-q", "-m", "two")
    other = tmp_path / "other"
    other.mkdir()
    (other / "pushed_net.py").write_text("def make(): ...\n")
    monkeypatch.setenv(CODE_PATH_VARIABLE, str(other))
    monkeypatch.setenv(PUSH_COMMIT_VARIABLE, git(project, "rev-parse", "HEAD"))
    check(str(config), ())
    assert os.environ[CODE_PATH_VARIABLE] == str(config.parent), "a folder that the worker's starter had"
    monkeypatch.syspath_prepend(str(other))
    with pytest.raises(
        ConfigError, match=r"model\.target: the pushed commit has pushed_net in .*settings"
    ) as caught:
        check(str(config), ())
    assert str(other / "pushed_net.py") in str(caught.value)
    monkeypatch.setenv(PUSH_COMMIT_VARIABLE, "0" * 40)
    monkeypatch.setattr("flows.check.make_plan", None)
    with pytest.raises(ConfigError, match="expected the pushed 0000"):
        check(str(config), ())
