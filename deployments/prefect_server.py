"""Run a command of ``prefect`` as a server that spares runs, obeys its own pages only, and lets writers on SQLite wait their turn.

Its triggers are kept in its database. Those of heartbeats that could not arrive while it was away have run out when it
comes back, and would crash every run at once, before a run can say that it lives. So their time begins anew first; a
run that did die meanwhile is then found by its silence, where the server would else forget it.

Prefect looks neither at the Host nor at the Origin of a request, so that any page in a browser on this machine could start runs.

On SQLite its transactions read first and ask for the right to write later, which SQLite refuses at once where another
has written meanwhile: a press of Submit in its pages came back as 503, and an automation acted twice. Worse, the
statement that failed is released whenever garbage is collected, on the thread of the event loop, which then waits for
a connection that itself waits for a transaction which needs that loop: the server stood still for SQLite's 60 s. So each
of them asks for the right to write when it begins, and waits its turn.
"""

from __future__ import annotations

import asyncio
import functools
import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from asyncpg import InterfaceError, PostgresError  # type: ignore[import-untyped]
from prefect.settings import get_current_settings
from sqlalchemy.ext.asyncio import create_async_engine

from deployments.foreign_pages import HOSTS_VARIABLE, ForeignPages

GRACE_S = 75
"""As long as a run may be silent, and a little for the server's own start."""

_UNGUARDED = frozenset({"--workers", "--background", "-b"})
"""They start servers in processes of their own."""

_TIME = sa.DateTime(timezone=True)
_BUCKETS = sa.table("automation_bucket", sa.column("automation_id"), sa.column("end", _TIME))
_AUTOMATIONS = sa.table("automation", sa.column("id"), sa.column("name"))


def main() -> None:
    """Give grace, then be ``prefect`` with the arguments of this program, e.g. ``server start``."""
    refused = _UNGUARDED.intersection(sys.argv[1:])
    if refused:
        sys.exit(f"{', '.join(sorted(refused))}: such a server would answer the pages of every site")
    url = get_current_settings().server.database.connection_url
    assert url is not None
    try:
        asyncio.run(give_grace(url.get_secret_value()))
    except (sa.exc.SQLAlchemyError, PostgresError, InterfaceError, ImportError, OSError) as error:
        # Prefect says better than we do what is wrong with its database, whose address may hold a password.
        sys.stderr.write(f"runs may be taken for dead: {type(error).__name__} at Prefect's database\n")
    _guard()
    _queue_writers()
    from prefect.cli import app

    app()


def _guard() -> None:
    """Have every server that this process makes refuse foreign pages."""
    from prefect.server.api import server

    create_app = server.create_app

    @functools.wraps(create_app)
    def guarded(*arguments: Any, **options: Any) -> Any:
        app = create_app(*arguments, **options)
        # Else it is one of the server's own services, which calls the application by a name that no browser uses.
        return ForeignPages(app, hosts=_hosts()) if options.get("final") else app

    server.create_app = guarded


def _queue_writers() -> None:
    """Have every transaction on SQLite that may write begin as one that does."""
    from prefect.server.database.configurations import AioSqliteConfiguration

    begin_transaction = AioSqliteConfiguration.begin_transaction

    @functools.wraps(begin_transaction)
    def begin_immediately(self: Any, session: Any, with_for_update: bool = False) -> Any:
        return begin_transaction(self, session, with_for_update=True)

    AioSqliteConfiguration.begin_transaction = begin_immediately  # type: ignore[method-assign]


def _hosts() -> list[str]:
    """Return the names that were given to this server, or those that this machine alone knows it by."""
    arguments = sys.argv
    port = (
        arguments[arguments.index("--port") + 1]
        if "--port" in arguments[:-1]
        else get_current_settings().server.api.port
    )
    return (os.environ.get(HOSTS_VARIABLE) or f"127.0.0.1:{port},localhost:{port}").split(",")


async def give_grace(url: str, *, seconds: float = GRACE_S) -> int:
    """Let every wait for a run's heartbeat last this long from now at least; return how many were prolonged."""
    until = datetime.now(UTC) + timedelta(seconds=seconds)
    ours = sa.select(_AUTOMATIONS.c.id).where(_AUTOMATIONS.c.name.like("pt-pipeline: crash%"))
    file = sa.make_url(url).database if url.startswith("sqlite") else None
    if file is not None and not Path(file).exists():
        return 0
    engine = create_async_engine(url)
    try:
        async with engine.begin() as connection:
            # A new database has nothing to prolong.
            if not await connection.run_sync(lambda sync: sa.inspect(sync).has_table(_BUCKETS.name)):
                return 0
            done = await connection.execute(
                sa.update(_BUCKETS)
                .where(_BUCKETS.c.end < until, _BUCKETS.c.automation_id.in_(ours))
                .values(end=until)
            )
            return int(done.rowcount)
    finally:
        await engine.dispose()


if __name__ == "__main__":
    main()
