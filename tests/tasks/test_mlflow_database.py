"""A new database of MLflow: made whole whatever kills who makes it, and by one of those who begin at once."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pt_core.errors import ConfigError
from tasks import registry
from tasks.mlflow_database import make_database

# Killed by itself right after a statement, so at the same place of the migrations each time.
KILLED_AFTER = """
import os, signal, sys
from sqlalchemy import Engine, event

@event.listens_for(Engine, "after_cursor_execute")
def kill(connection, cursor, statement, *_):
    if sys.argv[-1] in statement.replace(chr(34), ""):
        os.kill(os.getpid(), signal.SIGKILL)

"""
ASK = "import sys; from tasks.registry import asked\nwith asked(sys.argv[1]) as client: client.create_experiment(sys.argv[2])"
USERS = "import sys; from tasks.mlflow_database import make_users_database; make_users_database(sys.argv[1])"
KNOWN = "import sys; from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore; SqlAlchemyStore().init_db(sys.argv[1])"


def python(code: str, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], cwd=Path(__file__).parents[2], stderr=subprocess.PIPE
    )


def kill_after(statement: str, code: str, *arguments: str) -> None:
    process = python(KILLED_AFTER + code, *arguments, statement)
    said = process.communicate()[1].decode()
    assert process.returncode == -signal.SIGKILL, said


def test_a_database_whose_maker_was_killed_is_made_anew(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/home/mlflow.db"
    (tmp_path / "home").mkdir()
    kill_after("CREATE TABLE logged_models", ASK, uri, "killed")
    with registry.asked(uri) as client:
        assert client.get_experiment_by_name("killed") is None
        assert client.create_experiment("next")
    assert not list((tmp_path / "home").glob("*.new*"))


def test_two_that_begin_at_once_both_find_the_database(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/home/mlflow.db"
    both = [python(ASK, uri, name) for name in ("one", "two")]
    said = [one.communicate()[1].decode() for one in both]
    assert [one.returncode for one in both] == [0, 0], said
    with registry.asked(uri) as client:
        assert {"one", "two"} <= {one.name for one in client.search_experiments()}


def test_a_database_of_users_whose_maker_was_killed_is_made_anew(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/users.db"
    kill_after("CREATE TABLE experiment_permissions", USERS, uri)
    for code in (USERS, KNOWN):
        done = python(code, uri)
        said = done.communicate()[1].decode()
        assert done.returncode == 0, said


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"file/home/mlflow\.db: the database cannot be made: .*directory"):
        make_database(f"sqlite:///{tmp_path}/file/home/mlflow.db")


@pytest.mark.parametrize(
    "uri", ["http://127.0.0.1:1", "postgresql://u@h/d", "sqlite://", "sqlite:///:memory:"]
)
def test_what_is_no_file_is_left_to_mlflow(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_database(uri)
    assert list(tmp_path.iterdir()) == []
