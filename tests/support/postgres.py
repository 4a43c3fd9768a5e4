"""A PostgreSQL cluster of a test's own: made in a temporary folder, on a free port, by a user who is not root."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from servers import free_port

INSTALLATIONS = Path("/usr/lib/postgresql")
USER = "tester"
PASSWORD = "p@ss/w:rd-of-the-database"


def programs() -> Path | None:
    """Return the folder with initdb and pg_ctl, or None where PostgreSQL is not installed."""
    found = sorted(INSTALLATIONS.glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


@contextlib.contextmanager
def cluster(*databases: str) -> Iterator[int]:
    """Run a server that asks for a password, with these databases; yield its port."""
    binaries = programs()
    assert binaries is not None
    # Not in pytest's folder: that is closed to the user who runs the server.
    folder = Path(tempfile.mkdtemp(prefix="pt-postgres-"))
    try:
        (folder / "password").write_text(PASSWORD)
        user = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
        if os.geteuid() == 0:
            for path in (folder, folder / "password"):
                shutil.chown(path, user)
        port, data, as_user = free_port(), folder / "data", {"user": user if os.geteuid() == 0 else None}
        common = ["-D", str(data)]
        initdb = [
            binaries / "initdb",
            *common,
            "-U",
            USER,
            "-A",
            "scram-sha-256",
            "--no-sync",
            "--no-instructions",
        ]
        _run([*initdb, f"--pwfile={folder / 'password'}"], as_user)
        settings = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        _run(
            [binaries / "pg_ctl", *common, "-w", "-l", str(folder / "log"), "-o", settings, "start"], as_user
        )
        try:
            for database in databases:
                create = [binaries / "createdb", "-h", "127.0.0.1", "-p", str(port), "-U", USER, database]
                _run(create, as_user, {"PGPASSWORD": PASSWORD})
            yield port
        finally:
            _run([binaries / "pg_ctl", *common, "-w", "-m", "immediate", "stop"], as_user)
    finally:
        shutil.rmtree(folder)


def _run(
    command: list[Path | str], as_user: Mapping[str, str | None], environment: Mapping[str, str] | None = None
) -> None:
    # To a file: the server inherits it, and a pipe would be waited for as long as the server lives.
    with tempfile.TemporaryFile() as output:
        ended = subprocess.run(
            command,
            cwd="/",
            env={**os.environ, "LC_ALL": "C.UTF-8", **(environment or {})},
            stdout=output,
            stderr=subprocess.STDOUT,
            user=as_user["user"],
            check=False,
        )
        output.seek(0)
        assert ended.returncode == 0, output.read().decode()
