"""Make a new database of MLflow whole or not at all; imports mlflow only where one has to be made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from filelock import FileLock
from sqlalchemy import URL, Engine, create_engine, make_url

from pt_core.errors import ConfigError
from tasks.mlflow_settings import quiet, settle


def make_database(uri: str) -> None:
    """Make the file of an SQLite address if it is not there; do nothing for another address.

    MLflow fills it by dozens of migrations, none of them in a transaction. Killed among them it leaves a file with which
    nothing starts again, and of two processes that begin at once each trips over the tables of the other. So it is
    filled beside its place, by one process at a time, and gets its name when it is whole.

    Args:
        uri: ``sqlite:///`` and the path of the file, or any other address of MLflow.

    Raises:
        ConfigError: the folder cannot be made or written to.
    """
    _make(uri, _fill)


def make_users_database(uri: str) -> None:
    """Make the file of MLflow's users and their rights likewise.

    Raises:
        ConfigError: the folder cannot be made or written to.
    """
    _make(uri, _fill_with_users)


def _make(uri: str, fill: Callable[[Engine], None]) -> None:
    if not uri.startswith("sqlite:///"):
        return
    url = make_url(uri)
    if url.query or url.database in (None, "", ":memory:"):
        return
    path = Path(str(url.database))
    if path.exists():
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            if not path.exists():
                _make_beside(path, url, fill)
    except OSError as error:
        raise ConfigError(f"{uri}: the database cannot be made: {error}") from error


def _make_beside(path: Path, url: URL, fill: Callable[[Engine], None]) -> None:
    unfinished = path.with_name(f"{path.name}.new")
    for left in (unfinished, Path(f"{unfinished}-journal")):
        left.unlink(missing_ok=True)
    settle()
    engine = create_engine(url.set(database=str(unfinished)))
    try:
        fill(engine)
    finally:
        engine.dispose()
    unfinished.replace(path)


def _fill(engine: Engine) -> None:
    # What MLflow's own stores call where a database is empty; mlflow db upgrade does not take an empty one.
    from mlflow.store.db.utils import _initialize_tables

    quiet()
    _initialize_tables(engine)


def _fill_with_users(engine: Engine) -> None:
    from mlflow.server.auth.db.utils import migrate

    quiet()
    migrate(engine, "head")
