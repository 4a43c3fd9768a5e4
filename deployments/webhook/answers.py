"""What a request is answered: a status, and one JSON object that says why."""

from __future__ import annotations

import json
from http import HTTPStatus

from pt_core.record import Record

MAX_TEXT = 120
"""How much of a text from outside an answer, a log line or the journal repeats."""


class Answer(Record):
    """An HTTP answer."""

    status: int
    """The HTTP status: 200 nothing to start, 202 accepted, 4xx refused."""
    result: str
    """One word: ok, ignored, already, accepted or refused."""
    reason: str = ""
    """Why, in one sentence."""
    delivery: str | None = None
    """The delivery's id in the journal, to look up with pt-pipeline deliveries show; ``None`` where nothing was journalled."""

    def to_http(self) -> bytes:
        """Return the answer as HTTP/1.1 sends it, on a connection that closes."""
        body = json.dumps(self.model_dump(exclude_none=True)).encode() + b"\n"
        return (
            f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}\r\n"
            "content-type: application/json\r\n"
            "x-content-type-options: nosniff\r\n"
            f"content-length: {len(body)}\r\n"
            + ("retry-after: 5\r\n" if self.status == HTTPStatus.SERVICE_UNAVAILABLE else "")
            + "connection: close\r\n\r\n"
        ).encode() + body


class RequestRefused(Exception):
    """A request is malformed, too large, or not signed as its settings ask; its sender is told, and nobody else."""

    def __init__(self, message: str, *, status: int = 400) -> None:
        """Keep the HTTP status beside the sentence."""
        super().__init__(message)
        self.message = message
        self.status = status

    def answer(self) -> Answer:
        """Return what the sender is told."""
        return Answer(status=self.status, result="refused", reason=self.message)


def shown(text: str) -> str:
    """Return a text from outside so that it is safe in a log line, in a terminal and in JSON: short, escaped ASCII."""
    return ascii(text[:MAX_TEXT] + ("..." if len(text) > MAX_TEXT else ""))
