"""What does not stop a stack that is up: lost logs, a full disk, a dead watcher, a database that is just starting."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployments.stack.child import MAX_RESTARTS, pause_s, start_child
from deployments.stack.interrupts import Interrupts
from deployments.stack.logs import MAX_BYTES, Follower
from deployments.stack.options import StackOptions
from deployments.stack.processes import sweep
from deployments.stack.screen import Screen
from deployments.stack.services import Secrets, Service
from deployments.stack.supervise import Stack, watch
from deployments.stack.up import warn_of_open_door
from deployments.stack.watcher import Watcher
from pt_core.errors import StepFailed

SLEEPS = "import time; time.sleep(600)"
NO_SECRETS = Secrets(
    prefect_database="sqlite+aiosqlite:////p.db",
    mlflow_database="sqlite:////m.db",
    prefect_login=None,
    mlflow_login=None,
    mlflow_sessions="s",
    webhook=None,
    webhook_config=None,
)


def sleeper(name: str, program: str = SLEEPS) -> Service:
    nowhere = "http://127.0.0.1:1"
    return Service(
        name=name, command=(sys.executable, "-c", program), environment={}, url=nowhere, health=nowhere
    )


@contextlib.contextmanager
def watched(home: Path, *names: str) -> Iterator[tuple[Stack, Watcher, list[BaseException]]]:
    """Watch over services that sleep, in a thread; yield what ended it, too."""
    token, ended = uuid.uuid4().hex, []
    (home / "stack").mkdir(mode=0o700)
    services = tuple(sleeper(name) for name in names)
    stack = Stack(
        StackOptions(home=str(home)), NO_SECRETS, services, home / "x.yaml", token, Interrupts(), Screen()
    )
    stack.children.extend(start_child(one, {**os.environ}, home / "stack") for one in services)
    # Longer than it may be, and no copy can be made of it.
    os.truncate(home / "stack" / f"{names[0]}.log", MAX_BYTES + 1)
    (home / "stack" / f"{names[0]}.log.1").mkdir()
    watcher = Watcher(token)

    def look() -> None:
        try:
            watch(stack, watcher)
        except BaseException as error:
            ended.append(error)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield stack, watcher, ended
    finally:
        stack.interrupts.num = 1
        thread.join()
        watcher.dismiss()
        for child in stack.children:
            child.process.kill()
            child.process.wait()


def test_a_lost_log_a_copy_that_fails_and_a_dead_watcher_stop_nothing(tmp_path, capfd):
    with watched(tmp_path, "prefect", "mlflow") as (stack, watcher, ended):
        time.sleep(0.5)
        (tmp_path / "stack" / "mlflow.log").unlink()
        first = watcher.process
        os.kill(first.pid, signal.SIGKILL)
        stack.children[1].process.kill()
        end = time.monotonic() + 10
        while time.monotonic() < end and (watcher.process is first or not stack.children[1].restarts):
            time.sleep(0.1)
        time.sleep(0.5)

        assert ended == []
        assert watcher.process is not first
        assert watcher.process.poll() is None
        assert stack.children[1].process.poll() is None
        assert (tmp_path / "stack" / "mlflow.log").exists()
    assert capfd.readouterr().err.count("Is a directory") == 1


def test_a_log_that_begins_anew_is_read_from_its_beginning(tmp_path):
    log = tmp_path / "a.log"
    log.write_text("a long line of before\n")
    follower = Follower(log)
    follower.skip()

    log.unlink()
    assert list(follower.lines()) == []
    log.write_text("after\n")
    assert list(follower.lines()) == ["after"]


def test_a_service_that_ends_again_is_started_again_after_longer_and_longer_pauses(tmp_path):
    child = start_child(sleeper("prefect"), {**os.environ}, tmp_path)
    child.process.kill()
    child.process.wait()
    pauses = []
    for _ in range(MAX_RESTARTS):
        pauses.append(pause_s(child))
        child.restarts.append(time.monotonic())

    assert pauses == [0, 1, 2, 4, 8]


class Hurried(Interrupts):
    """Waits for moments where seconds were asked for, and asks for the end where it does not come by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.end = time.monotonic() + 60

    def wait(self, seconds: float) -> bool:
        return super().wait(min(seconds, 0.05)) or time.monotonic() > self.end


DIES = """
import os, sys
print(f"{os.getpid()} has begun")
sys.exit(f"{os.getpid()}: the disk is on fire")
"""


def test_a_service_that_dies_again_and_again_ends_the_stack_with_its_name_and_the_end_of_its_log(
    tmp_path, capfd
):
    token, services = uuid.uuid4().hex, (sleeper("prefect"), sleeper("mlflow", DIES))
    (tmp_path / "stack").mkdir(mode=0o700)
    stack = Stack(
        StackOptions(home=str(tmp_path)),
        NO_SECRETS,
        services,
        tmp_path / "x.yaml",
        token,
        Hurried(),
        Screen(),
    )
    stack.children.extend(start_child(one, stack.shared, tmp_path / "stack") for one in services)
    first, watcher = stack.children[1].process.pid, Watcher(token)
    try:
        with pytest.raises(StepFailed) as failed:
            watch(stack, watcher)
        assert stack.children[0].process.poll() is None
    finally:
        watcher.dismiss()
        sweep(token)
        stack.children[0].process.wait()

    sentence, *details = str(failed.value).splitlines()
    last = stack.children[1].process.pid
    assert sentence.startswith(
        f"mlflow: ended with exit code 1; its log is {tmp_path / 'stack' / 'mlflow.log'}"
    )
    assert [line.strip() for line in details[-2:]] == [f"{last} has begun", f"{last}: the disk is on fire"]
    assert f"{first} has begun" not in str(failed.value)
    told = capfd.readouterr().err
    assert told.count("mlflow ended with exit code 1; started again (") == MAX_RESTARTS == 5
    assert f"mlflow     │ {last}: the disk is on fire\n" in told


@pytest.mark.parametrize(("auth", "said"), [(True, "plain HTTP"), (False, "can start runs")])
def test_a_stack_that_listens_beyond_this_machine_says_what_that_means(capfd, auth, said):
    warn_of_open_door(StackOptions(home="/h", host="192.0.2.7", auth=auth), Screen())
    warn_of_open_door(StackOptions(home="/h", auth=auth), Screen())

    told = capfd.readouterr().err
    assert said in told
    assert len(told.splitlines()) == 1


def starting_up(listener: socket.socket) -> None:
    """Answer as PostgreSQL does while it starts."""
    fields = b"SFATAL\0VFATAL\0C57P03\0Mthe database system is starting up\0\0"
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listener.accept()
            with connection:
                if connection.recv(8)[4:] == b"\x04\xd2\x16\x2f":  # asks for TLS
                    connection.sendall(b"N")
                    connection.recv(1024)
                connection.sendall(b"E" + (len(fields) + 4).to_bytes(4, "big") + fields)


def test_a_server_whose_database_is_just_starting_starts_all_the_same(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=starting_up, args=(listener,), daemon=True).start()
        address = f"127.0.0.1:{listener.getsockname()[1]}/prefect"
        asked = subprocess.run(
            [sys.executable, "-m", "deployments.prefect_server", "--version"],
            env={
                **os.environ,
                "PREFECT_HOME": str(tmp_path),
                "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"postgresql+asyncpg://u:hunter2@{address}",
            },
            capture_output=True,
            text=True,
            timeout=60,
        )

    assert (asked.returncode, asked.stdout[0]) == (0, "3"), asked.stderr
    assert "runs may be taken for dead: CannotConnectNowError" in asked.stderr
    assert "hunter2" not in asked.stderr
