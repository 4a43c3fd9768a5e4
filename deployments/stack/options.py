"""StackOptions: what a user chose about the local stack."""

from __future__ import annotations

from pt_core.record import Record


class StackOptions(Record):
    """What ``pt-pipeline up`` was told."""

    home: str
    """The home folder, absolute."""
    host: str = "127.0.0.1"
    """Address that the servers listen on."""
    prefect_port: int = 4200
    """Port of Prefect's API and pages."""
    mlflow_port: int = 5000
    """Port of MLflow's API and pages."""
    webhook_port: int = 8090
    """Port of the webhook receiver."""
    auth: bool = False
    """Whether both servers ask for a password."""
    prefect_database: str | None = None
    """PostgreSQL address for Prefect, which may hold a password; ``None`` is a SQLite file in the home folder."""
    mlflow_database: str | None = None
    """PostgreSQL address for MLflow, which may hold a password; ``None`` is a SQLite file in the home folder."""
    webhook: bool = True
    """Whether the webhook receiver is started."""
    prefect_file: str | None = None
    """The file of deployments to apply; ``None`` is the product's own."""
