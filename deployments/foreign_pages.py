"""Refuse what a web page of another site sends: it reaches every server that this machine's browser does."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

HOSTS_VARIABLE = "PT_PIPELINE_ALLOWED_HOSTS"
"""The names that a server answers by, each with its port, separated by commas."""

_HEALTH = ("/api/health", "/api/ready")
"""Asked by address where a cluster looks after its containers; they tell nothing."""


class ForeignPages:
    """Answers 403 where a request's Host is no name of this server, or its Origin no page of it.

    The Host alone would let any page start runs, since a browser sends the request before it asks whether the page may
    read the answer. The Origin alone would let those in that give their own name this machine's address.
    """

    def __init__(self, app: ASGIApp, *, hosts: Iterable[str]) -> None:
        """Guard ``app``, known by ``hosts``, each a name with its port as a browser writes it."""
        self._app = app
        self._hosts = frozenset(host.strip().lower() for host in hosts if host.strip())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request on, or refuse it."""
        problem = self._problem(scope) if scope["type"] in ("http", "websocket") else None
        if problem is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": "foreign page"})
        else:
            await PlainTextResponse(f"{problem}\n", status_code=403)(scope, receive, send)

    def _problem(self, scope: Scope) -> str | None:
        if scope["path"] in _HEALTH:
            return None
        headers = Headers(scope=scope)
        if headers.get("host", "").lower() not in self._hosts:
            return f"this server has another name: {HOSTS_VARIABLE} takes more of them"
        origin = headers.get("origin")
        if origin is None or origin.lower().partition("://")[2] in self._hosts:
            return None
        return "this server takes no requests from pages of other sites"
