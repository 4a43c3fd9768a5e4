"""Everything of a stack that is secret, gathered or made up before anything is started."""

from __future__ import annotations

import importlib.util
import secrets
from pathlib import Path

from deployments.stack.credentials import ensure_login, ensure_webhook_secret
from deployments.stack.databases import database_url
from deployments.stack.options import StackOptions
from deployments.stack.services import Secrets
from deployments.webhook.secret_files import read_secrets
from deployments.webhook_config import ensure, read_config
from flows.stack_state import stack_folder
from pt_core.errors import StepUnavailable
from pt_core.files import write_bytes_atomically


def gather(options: StackOptions) -> Secrets:
    """Return the addresses of the databases, the passwords, and where the receiver's files are.

    Raises:
        ConfigError: an address, a file of a password, or what the receiver reads is wrong.
        StepUnavailable: a driver, or what MLflow's passwords need, is not installed.
    """
    home = Path(options.home)
    prefect_login, mlflow_login = _logins(options, home)
    webhook, webhook_config = _receiver(home) if options.webhook else (None, None)
    return Secrets(
        prefect_database=database_url(
            "prefect", options.prefect_database, sqlite=home / "prefect" / "prefect.db"
        ),
        mlflow_database=database_url("mlflow", options.mlflow_database, sqlite=home / "mlflow.db"),
        prefect_login=prefect_login,
        mlflow_login=mlflow_login,
        mlflow_sessions=secrets.token_urlsafe(),
        webhook=webhook,
        webhook_config=webhook_config,
    )


def _logins(options: StackOptions, home: Path) -> tuple[str | None, tuple[str, str] | None]:
    if not options.auth:
        return None, None
    if importlib.util.find_spec("flask_wtf") is None:
        raise StepUnavailable(
            "--auth: MLflow's passwords need Flask-WTF, which is not installed: pip install 'mlflow[auth]'"
        )
    # Who may do what, and their passwords as hashes; the first password comes from the environment.
    ini = (
        "[mlflow]\ndefault_permission = READ\n"
        # Its reader takes a single % for the beginning of a name to put in.
        f"database_uri = sqlite:///{str(stack_folder(home)).replace('%', '%%')}/mlflow-auth.db\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
        # Checking a password took 0.3 s, and a run asks hundreds of times. A changed one counts after a minute.
        "auth_cache_ttl_seconds = 60\n"
    )
    write_bytes_atomically(stack_folder(home) / "mlflow-auth.ini", ini.encode(), mode=0o600)
    return ":".join(ensure_login(home, "prefect")), ensure_login(home, "mlflow")


def _receiver(home: Path) -> tuple[str, str]:
    """Return the files of the receiver's secret and settings, read once as it reads them.

    It would say what is wrong only when everything else is up.
    """
    secret, config = ensure_webhook_secret(home), ensure(home)
    read_secrets(read_config(config), base=config.parent, secret_file=secret)
    return str(secret), str(config)
