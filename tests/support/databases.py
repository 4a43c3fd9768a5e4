"""A PostgreSQL cluster and a Redis of a test's own, on free ports of loopback, gone afterwards."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from servers import free_port, stop_group

WAIT_S = 30


@contextlib.contextmanager
def redis() -> Iterator[int]:
    """A Redis that keeps nothing; its port."""
    server = shutil.which("redis-server")
    if server is None:
        pytest.skip("redis-server is not installed: apt-get install redis-server")
    port = free_port()
    command = [
        server,
        "--port",
        str(port),
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--dir",
        tempfile.gettempdir(),
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        yield port
    finally:
        stop_group(process)


@contextlib.contextmanager
def postgres(*, user: str, password: str, script: Path) -> Iterator[int]:
    """A cluster with one user, in which a script was run; its port."""
    programs = _postgres_programs()
    # Not pytest's own folder: PostgreSQL refuses root, and another user cannot reach into that.
    with tempfile.TemporaryDirectory(prefix="pt-postgres-") as name:
        folder = Path(name)
        (folder / "password").write_text(password)
        owner = "nobody" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name
        if os.getuid() == 0:
            for path in (folder, folder / "password"):
                shutil.chown(path, owner)
        data, port = folder / "data", free_port()
        made = [programs / "initdb", "-D", data, "-U", user, "-A", "scram-sha-256", "-E", "UTF8", "-N"]
        _run([*made, "--pwfile", folder / "password"], owner, folder)
        options = ["-p", str(port), "-h", "127.0.0.1", "-k", name, "-F"]
        server = subprocess.Popen(
            [str(programs / "postgres"), "-D", str(data), *options],
            **_as_user(owner),
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            client = [programs / "psql", "-h", "127.0.0.1", "-p", str(port), "-U", user, "-d", "postgres"]
            _run([*client, "-q", "-v", "ON_ERROR_STOP=1", "-f", script], None, folder, password)
            yield port
        finally:
            stop_group(server)


def _postgres_programs() -> Path:
    found = shutil.which("initdb") or next(
        map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))), None
    )
    if found is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    return Path(found).resolve().parent


def _as_user(owner: str | None) -> dict[str, str]:
    return {"user": owner} if owner and os.getuid() == 0 else {}


def _run(command: list[object], owner: str | None, folder: Path, password: str = "") -> None:
    end, told = time.monotonic() + WAIT_S, ""
    while time.monotonic() < end:
        done = subprocess.run(
            [str(word) for word in command],
            **_as_user(owner),
            cwd=folder,
            env={**os.environ, "PGPASSWORD": password},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode == 0:
            return
        told = done.stderr
        time.sleep(0.2)
    raise AssertionError(told)
