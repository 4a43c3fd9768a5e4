"""The parts of the local stack: addresses, logs, crashes and restarts of real processes, what the command line takes up."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from itertools import pairwise
from pathlib import Path

import psutil
import pytest
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, get_current_settings, temporary_settings
from servers import free_port

from deployments.heartbeat import SILENCE_S
from deployments.stack.child import MAX_RESTARTS, start_again, start_child
from deployments.stack.databases import database_url
from deployments.stack.interrupts import Interrupts
from deployments.stack.logs import MAX_BYTES, Follower
from deployments.stack.options import StackOptions
from deployments.stack.processes import identify, members, sweep
from deployments.stack.screen import Screen
from deployments.stack.services import Secrets, Service, plan, preparing_environment, shared_environment
from deployments.stack.settings import gather
from deployments.stack.status import memory_bytes
from deployments.stack.supervise import Stack, run_stack
from flows.stack_state import STACK_VARIABLE, ProcessId, StackState
from pt_core.errors import ConfigError, StepFailed, StepUnavailable

NOTHING = Path("/nothing.db")


def secrets(**changes: object) -> Secrets:
    none = {
        "prefect_database": "sqlite+aiosqlite:////p.db",
        "mlflow_database": "sqlite:////m.db",
        "prefect_login": None,
        "mlflow_login": None,
        "mlflow_sessions": "s",
        "webhook": None,
        "webhook_config": None,
    }
    return Secrets.model_validate({**none, **changes})


@pytest.mark.parametrize("server", ["prefect", "mlflow"])
@pytest.mark.parametrize(
    "wrong",
    [
        "mysql://u:hunter2@h/d",
        "u:hunter2@h/d",
        "postgresql://u:hunter2@h:port/d",
        "postgresql://u:hunter2@h/",
        "postgresql+pg8000://u:hunter2@h/d",
        "postgresql://u:hunter2@127.0.0.1:1/d",
        "postgresql://u:hunter2%zz@127.0.0.1:1/d",
        "postgresql://u:pass@hunter2@127.0.0.1:1/d",
        "postgresql://u:1/hunter2@127.0.0.1/d",
        "postgresql://u:hunter2@127.0.0.1:1/hunter2@h",
    ],
)
def test_an_address_that_is_no_database_is_refused_without_its_password(server, wrong):
    with pytest.raises(ConfigError) as refused:
        database_url(server, wrong, sqlite=NOTHING)

    assert f"--{server}-database" in str(refused.value)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(("server", "driver"), [("prefect", "asyncpg"), ("mlflow", "psycopg2")])
def test_a_driver_that_is_not_installed_is_a_line_with_what_to_install(monkeypatch, server, driver):
    monkeypatch.setitem(sys.modules, driver, None)

    with pytest.raises(StepUnavailable) as refused:
        database_url(server, "postgresql://u:hunter2@127.0.0.1:1/d", sqlite=NOTHING)

    assert str(refused.value) == (
        f"--{server}-database: PostgreSQL needs {driver}, which is not installed: "
        "pip install 'pt-pipeline[postgres]'"
    )


def test_passwords_without_what_mlflow_needs_for_them_are_a_line_with_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "flask_wtf", None)

    with pytest.raises(StepUnavailable, match=r"--auth: .*not installed: pip install 'mlflow\[auth\]'$"):
        gather(StackOptions(home=str(tmp_path), auth=True, webhook=False))

    assert list(tmp_path.iterdir()) == []


def test_without_an_address_the_data_is_in_the_home_folder():
    assert database_url("prefect", None, sqlite=Path("/h/p.db")) == "sqlite+aiosqlite:////h/p.db"
    assert database_url("mlflow", None, sqlite=Path("/h/m.db")) == "sqlite:////h/m.db"


def test_no_secret_is_among_the_arguments_of_a_service():
    hidden = ("prefect-password", "mlflow-password", "db-password", "session-key")
    services = plan(
        StackOptions(home="/h", auth=True),
        secrets(
            prefect_login=f"admin:{hidden[0]}",
            mlflow_login=("admin", hidden[1]),
            prefect_database=f"postgresql+asyncpg://u:{hidden[2]}@h/d",
            mlflow_database=f"postgresql+psycopg2://u:{hidden[2]}@h/d",
            mlflow_sessions=hidden[3],
            webhook="/h/secrets/webhook",
            webhook_config="/h/webhook.yaml",
        ),
    )

    assert len(services) == 4
    told = "\n".join(" ".join(service.command) for service in services)
    assert not any(secret in told or secret in repr(services) for secret in hidden)


@pytest.mark.parametrize("host", [None, "192.0.2.7", "0.0.0.0"])
def test_every_server_is_told_to_listen_on_loopback_unless_another_host_was_chosen(host):
    chosen = {} if host is None else {"host": host}
    services = plan(
        StackOptions(home="/h", **chosen),
        secrets(webhook="/h/secrets/webhook", webhook_config="/h/webhook.yaml"),
    )

    servers = [service for service in services if service.port is not None]
    assert [server.name for server in servers] == ["prefect", "mlflow", "webhook"]
    for server in servers:
        listens = [value for name, value in pairwise(server.command) if name == "--host"]
        assert listens == [host or "127.0.0.1"], server.name


def test_a_run_says_that_it_lives_more_often_than_the_automation_waits_whatever_its_deployment_says():
    worker = next(one for one in plan(StackOptions(home="/h"), secrets()) if one.name == "worker")
    every_s = int(worker.environment["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"])

    assert 2 * every_s < SILENCE_S
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: every_s}):
        assert get_current_settings().flows.heartbeat_frequency == every_s


def test_a_line_of_a_log_is_shown_once_it_is_whole(tmp_path):
    log = tmp_path / "a.log"
    log.write_bytes(b"one\ntw")
    follower = Follower(log)

    assert list(follower.lines()) == ["one"]
    with log.open("ab") as stream:
        stream.write("o äöü\nthree".encode())
    assert list(follower.lines()) == ["two äöü"]
    assert list(follower.lines(last=True)) == ["three"]


def test_a_log_that_grew_too_long_is_emptied_under_the_writer_and_kept_once(tmp_path):
    log = tmp_path / "a.log"
    with log.open("ab") as writer:
        writer.write(b"x" * (MAX_BYTES + 1))
        writer.flush()
        follower = Follower(log)
        follower.skip()

        follower.rotate()
        writer.write(b"after\n")

    assert log.read_bytes() == b"after\n"
    assert (tmp_path / "a.log.1").stat().st_size == MAX_BYTES + 1
    assert list(follower.lines()) == ["after"]


def service(name: str, program: str) -> Service:
    # Nothing answers there, so that it never counts as ready.
    nowhere = f"http://127.0.0.1:{free_port()}"
    return Service(
        name=name,
        command=(sys.executable, "-c", program),
        environment={},
        port=1,
        url=nowhere,
        health=nowhere,
    )


def test_a_service_that_ends_while_the_stack_starts_is_named_with_the_end_of_its_log(tmp_path):
    token = uuid.uuid4().hex
    (tmp_path / "stack").mkdir()
    sleeper = service("mlflow", "import time; time.sleep(600)")
    broken = service("prefect", "import sys; print('the disk is on fire'); sys.exit(3)")
    stack = Stack(
        StackOptions(home=str(tmp_path)),
        secrets(),
        (broken, sleeper),
        tmp_path / "prefect.yaml",
        token,
        Interrupts(),
        Screen(),
    )

    with pytest.raises(StepFailed) as failed:
        run_stack(stack)

    assert "prefect: ended with exit code 3" in str(failed.value)
    assert "the disk is on fire" in str(failed.value)
    assert list(members(token)) == []


KNOWS_ANOTHER_PASSWORD = """
import http.server, sys
class Refuses(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/health" else 401)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Refuses).serve_forever()
"""


def test_a_password_that_mlflow_does_not_know_is_refused_with_what_to_do(tmp_path):
    token, port = uuid.uuid4().hex, free_port()
    (tmp_path / "stack").mkdir()
    address = f"http://127.0.0.1:{port}"
    mlflow = Service(
        name="mlflow",
        command=(sys.executable, "-c", KNOWS_ANOTHER_PASSWORD, str(port)),
        environment={},
        port=port,
        url=address,
        health=f"{address}/health",
    )
    stack = Stack(
        StackOptions(home=str(tmp_path), auth=True),
        secrets(mlflow_login=("admin", "hunter2")),
        (service("prefect", "import time; time.sleep(20)"), mlflow),
        tmp_path / "prefect.yaml",
        token,
        Interrupts(),
        Screen(),
    )

    with pytest.raises(ConfigError) as refused:
        run_stack(stack)

    assert f"does not take the password in {tmp_path / 'secrets' / 'mlflow'}" in str(refused.value)
    assert f"remove {tmp_path / 'stack' / 'mlflow-auth.db'}" in str(refused.value)
    assert "hunter2" not in str(refused.value)
    assert list(members(token)) == []


def test_a_service_that_ends_again_and_again_is_given_up(tmp_path):
    child = start_child(service("prefect", "raise SystemExit(1)"), {**os.environ}, tmp_path)

    revived = 0
    child.process.wait()
    while start_again(child, {**os.environ}):
        child.process.wait()
        revived += 1

    assert revived == MAX_RESTARTS


def test_what_belongs_to_a_stack_is_found_in_every_session_and_killed(tmp_path):
    token = uuid.uuid4().hex
    program = (
        "import subprocess, sys, time\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True)\n"
        "open('ready', 'w').close()\n"
        "time.sleep(600)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program], env={**os.environ, STACK_VARIABLE: token}, cwd=tmp_path
    )
    while not (tmp_path / "ready").exists():
        time.sleep(0.05)
    parent.kill()
    parent.wait()

    left = list(members(token))
    assert len(left) == 1
    assert sweep(token) == 1
    assert not psutil.pid_exists(left[0].pid) or left[0].status() == psutil.STATUS_ZOMBIE


ASKED = """
import json, os, pathlib
from flows.home import activate
activate(pathlib.Path(os.environ["ITS_HOME"]))
names = "PREFECT_API_URL", "MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_PASSWORD", "PREFECT_API_AUTH_STRING"
print(json.dumps([os.environ.get(name) for name in names]))
"""


def taken_up(home: Path, **environment: str) -> list[str | None]:
    """What a command of the product has in its environment, asked in a process of its own."""
    asked = subprocess.run(
        [sys.executable, "-c", ASKED],
        env={**os.environ, **environment, "ITS_HOME": str(home)},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(asked.stdout)


def write_stack(home: Path, supervisor: ProcessId) -> None:
    state = StackState(
        token="t", supervisor=supervisor, prefect_url="http://p:1", mlflow_url="http://m:2", auth=True
    )
    for folder in ("stack", "secrets"):
        (home / folder).mkdir(parents=True)
    (home / "stack" / "stack.json").write_text(state.to_json())
    (home / "secrets" / "prefect").write_text("admin:one\n")
    (home / "secrets" / "mlflow").write_text("admin:two\n")


def test_a_stack_that_is_up_is_taken_up_with_its_passwords_unless_the_user_chose_another_server(tmp_path):
    write_stack(tmp_path, identify(os.getpid()))

    assert taken_up(tmp_path) == ["http://p:1/api", "http://m:2", "two", "admin:one"]
    other = taken_up(tmp_path, MLFLOW_TRACKING_URI="http://elsewhere:5000")
    assert other == ["http://p:1/api", "http://elsewhere:5000", None, "admin:one"]


def test_a_stack_that_was_killed_is_not_taken_up(tmp_path):
    alive = identify(os.getpid())
    write_stack(tmp_path, ProcessId(pid=alive.pid, started=alive.started - 1))

    assert taken_up(tmp_path) == [None, None, None, None]


def test_a_stack_that_ends_while_it_is_looked_at_takes_no_memory_and_is_no_traceback():
    ended = subprocess.Popen([sys.executable, "-c", ""])
    supervisor = identify(ended.pid)
    ended.wait()
    state = StackState(token=uuid.uuid4().hex, supervisor=supervisor, prefect_url="", mlflow_url="")

    assert memory_bytes(state) == 0
    assert memory_bytes(state.model_copy(update={"supervisor": identify(os.getpid())})) > 2**20


HANGS_UP = """
import os, signal, sys
from deployments.stack.interrupts import Interrupts
interrupts = Interrupts()
interrupts.listen()
for name in sys.argv[1:]:
    os.kill(os.getpid(), getattr(signal, name))
print(interrupts.num)
"""


@pytest.mark.parametrize(("before", "num"), [((), 1), (("nohup",), 0)])
def test_a_closed_terminal_ends_a_stack_unless_nohup_said_otherwise(before, num):
    def counted(*names: str) -> int:
        command = [*before, sys.executable, "-c", HANGS_UP, *names]
        # The tests themselves may run under nohup.
        asked = subprocess.run(
            command,
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
            capture_output=True,
            text=True,
            check=True,
        )
        return int(asked.stdout)

    assert counted("SIGHUP") == num
    assert counted("SIGTERM", "SIGINT") == 2


def test_no_proxy_is_asked_for_the_stack_and_the_users_own_exceptions_stay(tmp_path, monkeypatch):
    import urllib.request

    monkeypatch.setenv("NO_PROXY", "intranet.example")
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example:3128")
    write_stack(tmp_path, identify(os.getpid()))
    program = ASKED.replace("print", "import urllib.request\nprint") + (
        "print(json.dumps([bool(urllib.request.proxy_bypass(h)) for h in "
        "('p:1', 'm:2', '127.0.0.1:1', 'intranet.example', 'elsewhere.example')]))"
    )

    asked = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "ITS_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert json.loads(asked.stdout.splitlines()[-1]) == [True, True, True, True, False]
    given = shared_environment(StackOptions(home="/h", host="10.0.0.7"), secrets(), "t")
    assert {"intranet.example", "10.0.0.7", "localhost"} <= set(given["no_proxy"].split(","))
    monkeypatch.setenv("no_proxy", given["no_proxy"])
    assert urllib.request.proxy_bypass("10.0.0.7:4200")


def test_what_belongs_to_one_run_or_to_one_process_is_inherited_by_no_service(monkeypatch):
    names = (
        "WEBHOOK_SECRET",
        "PUSH_REPOSITORY",
        "PUSH_COMMIT",
        "CODE_PATH",
        "MLFLOW_DATABASE",
        "PREFECT_DATABASE",
    )
    for name in (*names, "NOTIFY_URL"):
        monkeypatch.setenv(f"PT_PIPELINE_{name}", "hunter2")
    options, known = StackOptions(home="/h"), secrets(webhook="/h/webhook", webhook_config="/h/webhook.yaml")

    shared = shared_environment(options, known, "t")
    services = plan(options, known)

    assert len(services) == 4
    assert not any("hunter2" in {**shared, **one.environment}.values() for one in services)
    told = {name for name, value in preparing_environment(known).items() if value == "hunter2"}
    assert told == {"PT_PIPELINE_NOTIFY_URL"}, "it makes the automations that post there"


def test_a_password_is_given_to_those_that_need_it_alone(monkeypatch):
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "admin:of-another-server")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "of-another-server")
    options = StackOptions(home="/h", auth=True)
    known = secrets(
        prefect_login="admin:prefect-password",
        mlflow_login=("admin", "mlflow-password"),
        prefect_database="postgresql+asyncpg://u:prefect-database@h/d",
        mlflow_database="postgresql+psycopg2://u:mlflow-database@h/d",
        webhook="/h/webhook",
        webhook_config="/h/webhook.yaml",
    )
    hidden = ("prefect-password", "mlflow-password", "prefect-database", "mlflow-database")

    shared = shared_environment(options, known, "t")
    each = {one.name: one.environment for one in plan(options, known)}
    each["deployments"] = preparing_environment(known)

    held = {
        name: {secret for secret in hidden if secret in "\n".join({**shared, **environment}.values())}
        for name, environment in each.items()
    }
    assert held == {
        "prefect": {"prefect-password", "prefect-database"},
        "mlflow": {"mlflow-password", "mlflow-database"},
        "worker": {"prefect-password", "mlflow-password"},
        "webhook": {"prefect-password"},
        "deployments": {"prefect-password"},
    }
    assert not any("of-another-server" in value for value in shared.values())
