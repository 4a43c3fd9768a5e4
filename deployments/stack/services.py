"""The plan of the local stack: every service as a record of its command, its environment and where it answers."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

from pydantic import Field

from deployments.foreign_pages import HOSTS_VARIABLE
from deployments.heartbeat import HEARTBEAT_S, HEARTBEAT_VARIABLE
from deployments.stack.hosts import EVERYWHERE, allowed_hosts, origins
from deployments.stack.options import StackOptions
from deployments.webhook.runs import PUSH_REPOSITORY
from deployments.webhook.secret_files import SECRET_VARIABLE
from flows.home import Home
from flows.pushed import PUSH_COMMIT_VARIABLE
from flows.stack_state import STACK_VARIABLE, without_proxy
from pt_core.isolation import CODE_PATH_VARIABLE
from pt_core.keys import HOME_VARIABLE
from pt_core.record import Record

WORK_POOL = "local"
WORKER = "pt-pipeline-up"
WORKER_POLL_S = 2
"""How often the worker asks for runs; Prefect's own 10 s is what a person waits after a click."""

NOTIFY_VARIABLE = "PT_PIPELINE_NOTIFY_URL"
"""Where notifications go; the address may hold a token, and only what makes the automations reads it."""

_NOT_INHERITED = (
    "PT_PIPELINE_PREFECT_DATABASE",
    "PT_PIPELINE_MLFLOW_DATABASE",
    NOTIFY_VARIABLE,
    # The receiver is given a file.
    SECRET_VARIABLE,
    # Prefect would put them into the deployments, and each run has its own.
    PUSH_REPOSITORY,
    PUSH_COMMIT_VARIABLE,
    CODE_PATH_VARIABLE,
)
"""What the shell of ``up`` may hold and no service is given."""


class Service(Record):
    """One service: how it is started, and how one knows that it is there."""

    name: str
    """prefect, mlflow, worker or webhook."""
    command: tuple[str, ...]
    """Program and arguments; no secret among them, since every user of the machine can read them."""
    environment: dict[str, str] = Field(repr=False)
    """What it alone has in its environment, secrets included."""
    port: int | None = None
    """Where it listens; ``None`` for the worker."""
    url: str | None = None
    """Where it is reached from this machine, without a slash at its end."""
    health: str
    """Address that answers with 200, or, for the worker, with the workers that are online."""


class Secrets(Record):
    """What the servers ask for, and what they keep their data with; never written anywhere."""

    prefect_database: str = Field(repr=False)
    """Address of Prefect's database with its driver."""
    mlflow_database: str = Field(repr=False)
    """Address of MLflow's database with its driver."""
    prefect_login: str | None = Field(repr=False)
    """user:password of Prefect, or ``None`` for none."""
    mlflow_login: tuple[str, str] | None = Field(repr=False)
    """User and password of MLflow, or ``None`` for none."""
    mlflow_sessions: str = Field(repr=False)
    """What MLflow signs its browser sessions with."""
    webhook: str | None
    """File with the secret that signs webhooks; ``None`` without the receiver."""
    webhook_config: str | None
    """File with the repositories whose pushes count; ``None`` without the receiver."""


def plan(options: StackOptions, secrets: Secrets) -> tuple[Service, ...]:
    """Return the services in the order of their start; they are stopped in the reverse order."""
    services = [_prefect(options, secrets), _mlflow(options, secrets), _worker(options, secrets)]
    if secrets.webhook and secrets.webhook_config:
        services.append(_webhook(options, secrets, secrets.webhook_config, secrets.webhook))
    return tuple(services)


def inherited() -> dict[str, str]:
    """Return what every process that ``up`` starts takes over from the shell of ``up``."""
    return {name: value for name, value in os.environ.items() if name not in _NOT_INHERITED}


def shared_environment(options: StackOptions, secrets: Secrets, token: str) -> dict[str, str]:
    """Return what every process of the stack has in its environment: this process's, and where the servers are.

    Passwords are not among it, since each is given to those that need it; nor are the user's for other servers, where
    the stack has its own.
    """
    home = options.home
    base = inherited()
    for name in (*_prefect_client(secrets), *_mlflow_client(secrets)):
        base.pop(name, None)
    return base | {
        STACK_VARIABLE: token,
        HOME_VARIABLE: home,
        "PREFECT_HOME": f"{home}/prefect",
        "PREFECT_API_URL": f"{url(options, options.prefect_port)}/api",
        "MLFLOW_TRACKING_URI": url(options, options.mlflow_port),
        "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": _absolute(os.environ.get("PYTHONPATH", "")),
        **without_proxy(url(options, options.prefect_port)),
    }


def preparing_environment(secrets: Secrets) -> dict[str, str]:
    """Return what the process that makes deployments and automations has in its environment besides."""
    address = os.environ.get(NOTIFY_VARIABLE)
    return _prefect_client(secrets) | ({NOTIFY_VARIABLE: address} if address else {})


def _prefect_client(secrets: Secrets) -> dict[str, str]:
    """Return what a client of Prefect is let in by."""
    return {"PREFECT_API_AUTH_STRING": secrets.prefect_login} if secrets.prefect_login else {}


def _mlflow_client(secrets: Secrets) -> dict[str, str]:
    if not secrets.mlflow_login:
        return {}
    user, password = secrets.mlflow_login
    return {"MLFLOW_TRACKING_USERNAME": user, "MLFLOW_TRACKING_PASSWORD": password}


def url(options: StackOptions, port: int) -> str:
    """Return where a server is reached from this machine."""
    host = "127.0.0.1" if options.host in EVERYWHERE else options.host
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _prefect(options: StackOptions, secrets: Secrets) -> Service:
    hosts = allowed_hosts(options.host, options.prefect_port)
    environment = {
        HOSTS_VARIABLE: ",".join(hosts),
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": origins(hosts),
        "PREFECT_SERVER_API_HOST": options.host,
        # Its pages ask the server at this port, whatever --port says.
        "PREFECT_SERVER_API_PORT": str(options.prefect_port),
        "PREFECT_SERVER_UI_API_URL": f"{_from_elsewhere(options)}:{options.prefect_port}/api",
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": secrets.prefect_database,
        "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
        # In memory, where Prefect keeps them by default, a restart would lose them, and a run that finds its slot gone ends.
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
    }
    if secrets.prefect_login:
        environment["PREFECT_SERVER_API_AUTH_STRING"] = secrets.prefect_login
    address = url(options, options.prefect_port)
    return Service(
        name="prefect",
        command=(
            *python("deployments.prefect_server", "server", "start"),
            *("--host", options.host, "--port", str(options.prefect_port)),
        ),
        environment=environment,
        port=options.prefect_port,
        url=address,
        health=f"{address}/api/health",
    )


def _mlflow(options: StackOptions, secrets: Secrets) -> Service:
    home = Home(root=options.home)
    hosts = allowed_hosts(options.host, options.mlflow_port)
    environment = {
        # Its own default takes 10.* for an address, which is also the beginning of 10.example.com.
        "MLFLOW_SERVER_ALLOWED_HOSTS": ",".join(hosts),
        "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": origins(hosts),
        "MLFLOW_BACKEND_STORE_URI": secrets.mlflow_database,
        # With its default of four workers and a job runner it is 15 processes and 2.4 GiB.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.mlflow_sessions,
    }
    login: tuple[str, ...] = ()
    if secrets.mlflow_login:
        # Not without passwords: MLflow reads it then, too, and answers no search where it is not there.
        environment["MLFLOW_AUTH_CONFIG_PATH"] = f"{home.root}/stack/mlflow-auth.ini"
        environment["MLFLOW_AUTH_ADMIN_USERNAME"], environment["MLFLOW_AUTH_ADMIN_PASSWORD"] = (
            secrets.mlflow_login
        )
        login = ("--app-name", "basic-auth")
    address = url(options, options.mlflow_port)
    return Service(
        name="mlflow",
        command=(
            *python("deployments.mlflow_server", "server", "--workers", "1"),
            *("--host", options.host, "--port", str(options.mlflow_port)),
            # A line for every request of every open page would hide what matters.
            *("--uvicorn-opts", "--no-access-log"),
            *("--serve-artifacts", "--artifacts-destination", home.mlflow_artifacts),
            *login,
        ),
        environment=environment,
        port=options.mlflow_port,
        url=address,
        health=f"{address}/health",
    )


def _worker(options: StackOptions, secrets: Secrets) -> Service:
    address = url(options, options.prefect_port)
    return Service(
        name="worker",
        command=(
            *python("prefect", "worker", "start", "--pool", WORK_POOL),
            *("--type", "process", "--name", WORKER),
        ),
        environment={
            "PREFECT_WORKER_QUERY_SECONDS": str(WORKER_POLL_S),
            # Its runs inherit it: a deployment that says nothing would be silent for longer than the automation waits.
            HEARTBEAT_VARIABLE: str(HEARTBEAT_S),
            **_prefect_client(secrets),
            **_mlflow_client(secrets),
        },
        health=f"{address}/api/work_pools/{WORK_POOL}/workers/filter",
    )


def _webhook(options: StackOptions, secrets: Secrets, config: str, secret: str) -> Service:
    address = url(options, options.webhook_port)
    return Service(
        name="webhook",
        command=(
            *python("deployments", "webhook", "--home", options.home, "--config", config),
            *("--secret-file", secret, "--host", options.host, "--port", str(options.webhook_port)),
        ),
        environment=_prefect_client(secrets),
        port=options.webhook_port,
        url=address,
        health=f"{address}/health",
    )


def python(module: str, *arguments: str) -> tuple[str, ...]:
    """Return the command that runs a module, with nothing of the current folder on its import path."""
    return (sys.executable, "-P", "-m", module, *arguments)


def _from_elsewhere(options: StackOptions) -> str:
    """Return the address by which a browser, perhaps on another machine, reaches this one."""
    host = socket.gethostname() if options.host in EVERYWHERE else options.host
    return f"http://[{host}]" if ":" in host else f"http://{host}"


def _absolute(paths: str) -> str:
    """Return import folders as absolute ones: the services run in a folder of their own."""
    return os.pathsep.join(str(Path(entry).resolve()) for entry in paths.split(os.pathsep) if entry)
