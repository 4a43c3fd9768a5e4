"""The home folder: where every bundle, database and report of this machine lives."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from flows.stack_state import NO_PROXY, client_environment, running_stack
from pt_core.errors import ConfigError
from pt_core.isolation import CODE_PATH_VARIABLE
from pt_core.keys import DEFAULT_HOME, HOME_VARIABLE, Keys, Trust, keys_of
from pt_core.record import Record

FETCHED = "fetched"
"""File in the folder of a run that another home made."""


class Home(Record):
    """Absolute paths inside one home folder."""

    root: str
    """The home folder."""

    @property
    def store(self) -> str:
        """Where bundles live: datasets, checkpoints, artifacts, attacks, evaluations."""
        return str(Path(self.root) / "store")

    @property
    def runs(self) -> Path:
        """Where each run keeps its result and report."""
        return Path(self.root) / "runs"

    @property
    def releases(self) -> Path:
        """Where releases fetched from the registry are kept, by their digest."""
        return Path(self.root) / "releases"

    @property
    def promotions(self) -> Path:
        """Where the journal of promotions and their locks are."""
        return Path(self.root) / "promotions"

    @property
    def tracking_uri(self) -> str:
        """MLflow's address: the server in MLFLOW_TRACKING_URI, or a SQLite file here."""
        return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{self.root}/mlflow.db"

    @property
    def mlflow_artifacts(self) -> str:
        """Where MLflow keeps its artifacts when it runs on the SQLite file."""
        return str(Path(self.root) / "mlartifacts")

    @property
    def keys(self) -> Keys:
        """The key that signs, and the folder of those that are trusted: the environment's, or those in ``keys`` here."""
        return keys_of(Path(self.root))

    def trust(self, unsigned: tuple[str, ...] = ()) -> Trust:
        """Return whose bundles load where loading runs code in them; ``unsigned`` are those that the user named."""
        return Trust(trusted_keys=self.keys.trusted, unsigned=unsigned)


def may_be_stored(home: Home) -> bool:
    """Return whether there is an MLflow to ask for a run: asking makes the database where there is none."""
    database = home.tracking_uri.removeprefix("sqlite:///")
    return database == home.tracking_uri or Path(database).is_file()


def current_home() -> Home:
    """Return the home folder of this process: PT_PIPELINE_HOME, or .pt-pipeline here."""
    return Home(root=str(Path(os.environ.get(HOME_VARIABLE) or DEFAULT_HOME).resolve()))


def choose_home(home: Path | None) -> Home:
    """Choose the home folder of this process and its children, and make it for its owner alone.

    Raises:
        ConfigError: its path cannot be written in the address of a database.
    """
    if home is not None:
        os.environ[HOME_VARIABLE] = str(home.resolve())
    chosen = current_home()
    if "?" in chosen.root:
        # SQLAlchemy takes the rest for options, and would make a database beside the home.
        raise ConfigError(
            f"{chosen.root}: a home folder has no question mark in its path; choose another --home"
        )
    Path(chosen.root).mkdir(mode=0o700, parents=True, exist_ok=True)
    os.environ[HOME_VARIABLE] = chosen.root
    return chosen


def activate(home: Path | None) -> Home:
    """Choose the home folder and point Prefect and MLflow at it; call before either is imported.

    Settings the user made in the environment win, then the servers that ``pt-pipeline up`` runs in this home.
    Both libraries' telemetry is switched off.
    """
    chosen = choose_home(home)
    defaults = {
        "PREFECT_HOME": f"{chosen.root}/prefect",
        "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
    }
    found = _stack_environment(chosen)
    # The user's own list is in it.
    os.environ.update({name: found.pop(name) for name in NO_PROXY if name in found})
    for name, value in {**defaults, **found}.items():
        os.environ.setdefault(name, value)
    return chosen


def _stack_environment(home: Home) -> dict[str, str]:
    """Return where the servers that are up in this home answer, with their passwords.

    A server of the user's own choice gets no password of ours.
    """
    stack = running_stack(Path(home.root))
    if stack is None:
        return {}
    found = client_environment(stack, Path(home.root))
    for address, own in (
        ("PREFECT_API_URL", "PREFECT_API_AUTH"),
        ("MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_"),
    ):
        if os.environ.get(address, found[address]) != found[address]:
            found = {name: value for name, value in found.items() if not name.startswith(own)}
    return found


def add_code_path(folder: Path) -> None:
    """Let this process and its children import the user's modules in ``folder``, after all others."""
    path = str(folder.resolve())
    known = [entry for entry in os.environ.get(CODE_PATH_VARIABLE, "").split(os.pathsep) if entry]
    if path not in known:
        os.environ[CODE_PATH_VARIABLE] = os.pathsep.join([*known, path])
    if path not in sys.path:
        sys.path.append(path)
