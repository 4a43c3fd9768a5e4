"""A real MLflow server that can be killed, stopped and started again on its port, and what its database holds."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

from servers import free_port, stop_group, wait_until_healthy


class MlflowServer:
    """One address and one database, with or without a server behind them."""

    def __init__(self, home: Path) -> None:
        self.home, self.port = home, free_port()
        self.database = home / "mlflow.db"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [
            sys.executable,
            "-m",
            "mlflow",
            "server",
            "--backend-store-uri",
            f"sqlite:///{self.database}",
        ]
        command += ["--artifacts-destination", str(self.home / "artifacts"), "--workers", "1"]
        command += ["--host", "127.0.0.1", "--port", str(self.port)]
        log = self.home / "server.log"
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                command,
                cwd=self.home,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
                start_new_session=True,
            )
        wait_until_healthy(self.process, f"{self.uri}/health", log)

    def signal(self, number: int) -> None:
        assert self.process is not None
        os.killpg(self.process.pid, number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        assert self.process is not None
        self.process.wait()
        self.process = None

    def stop(self) -> None:
        if self.process is not None:
            self.signal(signal.SIGCONT)
            stop_group(self.process)
            self.process = None

    def ensure(self) -> None:
        if self.process is None:
            self.start()

    def rows(self, query: str, *values: object) -> list[tuple]:
        """Ask the database itself, and not the client that is tested."""
        with sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=30) as connection:
            rows = connection.execute(query, values).fetchall()
        connection.close()
        return rows


class LossyProxy:
    """Hands requests on to a server, and loses the first answer to each kind of request, after it was done."""

    def __init__(self, port: int, lost: tuple[str, ...]) -> None:
        self._target, self._left = port, list(lost)
        self.lost: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.uri = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        """One request a connection: the server is asked to close, so that the answer ends with the connection."""
        with client, socket.create_connection(("127.0.0.1", self._target)) as server:
            head, _, body = _read_head(client).partition(b"\r\n\r\n")
            lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"connection:")]
            server.sendall(b"\r\n".join([*lines, b"Connection: close"]) + b"\r\n\r\n" + body)
            missing = _content_length(lines) - len(body)
            while missing > 0:
                chunk = client.recv(65536)
                if not chunk:
                    return
                server.sendall(chunk)
                missing -= len(chunk)
            answer = b""
            while chunk := server.recv(65536):
                answer += chunk
            kind = next((kind for kind in self._left if kind.encode() in lines[0]), None)
            if kind is not None:
                self._left.remove(kind)
                self.lost.append(kind)
                return
            client.sendall(answer)


def _read_head(client: socket.socket) -> bytes:
    found = b""
    while b"\r\n\r\n" not in found:
        chunk = client.recv(65536)
        if not chunk:
            break
        found += chunk
    return found


def _content_length(lines: list[bytes]) -> int:
    named = [line for line in lines if line.lower().startswith(b"content-length:")]
    return int(named[0].split(b":")[1]) if named else 0
