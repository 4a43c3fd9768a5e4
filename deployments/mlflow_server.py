"""Run a command of ``mlflow`` once the databases that the environment names are there, whole."""

from __future__ import annotations

import os
import sys
from configparser import ConfigParser

from tasks.mlflow_database import make_database, make_users_database


def main() -> None:
    """Make the databases, and become MLflow.

    Raises:
        ConfigError: the folder of one cannot be made or written to.
    """
    make_database(os.environ["MLFLOW_BACKEND_STORE_URI"])
    if settings := os.environ.get("MLFLOW_AUTH_CONFIG_PATH"):
        users = ConfigParser()
        users.read(settings)
        make_users_database(users["mlflow"]["database_uri"])
    # Not in this process, whose memory would hold twice what only the making of it needs.
    os.execv(sys.executable, [sys.executable, "-P", "-m", "mlflow", *sys.argv[1:]])  # noqa: S606 - no shell


if __name__ == "__main__":
    main()
