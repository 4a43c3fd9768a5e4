"""From what a user calls a model to the artifact that answers: a registered version, a release, or an artifact."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from flows.home import Home
from flows.servers import check_servers
from pt_core.artifacts.artifact import Artifact
from pt_core.errors import ConfigError
from pt_core.keys import Trust
from pt_core.release.release import open_for_use

SCHEME = "models:"
"""What the name of a registered version begins with."""


class Served(NamedTuple):
    """A model that may be loaded."""

    name: str
    """What it is: ``models:/NAME/NUMBER``, or its folder."""
    artifact: Artifact
    """Its artifact, every byte verified."""


def check_model(model: str) -> None:
    """Refuse a folder that is not there, before anything is opened.

    Raises:
        ConfigError: there is none.
    """
    if not model.startswith(SCHEME) and not Path(model).is_dir():
        raise ConfigError(
            f"{model}: no such folder; expected a release, an artifact, models:/NAME@champion or models:/NAME/3"
        )


def open_model(model: str, home: Home, *, trust: Trust) -> Served:
    """Return the artifact behind ``models:/NAME@ALIAS``, ``models:/NAME/NUMBER``, or a release's or artifact's folder.

    A registered version is fetched into the home, verified, and used from there the next time.

    Raises:
        ConfigError: there is no such version or folder, or the tracking server does not answer.
        IntegrityError: a byte differs, or nobody vouches for a release or for a program.
    """
    if model.startswith(SCHEME):
        check_servers(home)
        # MLflow takes seconds to import, which a folder needs not.
        from tasks.registry import download, resolve

        version = resolve(home.tracking_uri, model)
        directory = download(home.tracking_uri, version, folder=home.releases, trust=trust)
        return Served(version.uri, open_for_use(directory, trust=trust))
    check_model(model)
    folder = Path(model).resolve()
    return Served(str(folder), open_for_use(folder, trust=trust))
