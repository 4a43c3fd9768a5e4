"""A proxy before a real server that hands some requests on late, answers some late, or refuses whoever asks."""

from __future__ import annotations

import http.client
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


class SlowProxy:
    """Hands requests on to a server on this machine.

    ``late`` holds, by a part of the path, for how many seconds the next requests wait before they are handed on;
    ``slow`` for how long each answer waits, and ``at_work`` what was asked and is not done. ``status`` is what everybody gets but who asks for its health.
    """

    def __init__(self, port: int) -> None:
        self.late: dict[str, list[float]] = {}
        self.slow: dict[str, float] = {}
        self.status: int | None = None
        self.at_work: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self, port))
        self._server.daemon_threads = True
        self.uri = f"http://127.0.0.1:{self._server.server_port}"
        Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def wait_before(self, path: str) -> None:
        time.sleep(next((waits.pop(0) for part, waits in self.late.items() if part in path and waits), 0))

    def wait_after(self, path: str) -> None:
        time.sleep(sum(seconds for part, seconds in self.slow.items() if part in path))


def _handler(proxy: SlowProxy, port: int) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def hand_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if proxy.status and "/health" not in self.path:
                self.reply(proxy.status, b"You are not authenticated.")
                return
            proxy.at_work.append(self.path)
            proxy.wait_before(self.path)
            headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
            server = http.client.HTTPConnection("127.0.0.1", port)
            server.request(self.command, self.path, body, headers)
            answer = server.getresponse()
            status, content = answer.status, answer.read()
            server.close()
            proxy.at_work.remove(self.path)
            proxy.wait_after(self.path)
            self.reply(status, content)

        def reply(self, status: int, content: bytes) -> None:
            try:
                self.send_response(status)
                self.send_header("Content-Type", "application/json" if status < 400 else "text/plain")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
            except OSError:  # nobody waits any more
                self.close_connection = True

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = hand_on  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    return Handler
