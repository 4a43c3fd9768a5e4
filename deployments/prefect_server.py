"""Run a command of ``prefect`` that evaluates triggers, such that runs which lived through its absence are not taken for dead.

Its triggers are kept in its database. Those of heartbeats that could not arrive while it was away have run out when it
comes back, and would crash every run at once, before a run can say that it lives. So their time begins anew first; a
run that did die meanwhile is then found by its silence, where the server would else forget it.
"""

from __future__ import annotations

import asyncio
import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import sqlalchemy as sa
from prefect.settings import get_current_settings
from sqlalchemy.ext.asyncio import create_async_engine

GRACE_S = 75
"""As long as a run may be silent, and a little for the server's own start."""

_TIME = sa.DateTime(timezone=True)
_BUCKETS = sa.table("automation_bucket", sa.column("automation_id"), sa.column("end", _TIME))
_AUTOMATIONS = sa.table("automation", sa.column("id"), sa.column("name"))


def main() -> None:
    """Give grace, then become ``prefect`` with the arguments of this program, e.g. ``server start``."""
    url = get_current_settings().server.database.connection_url
    assert url is not None
    try:
        asyncio.run(give_grace(url.get_secret_value()))
    except (sa.exc.SQLAlchemyError, ImportError, OSError) as error:
        # Prefect says better than we do what is wrong with its database, whose address may hold a password.
        sys.stderr.write(f"runs may be taken for dead: {type(error).__name__} at Prefect's database\n")
    command = [sys.executable, "-P", "-m", "prefect", *sys.argv[1:]]
    os.execv(sys.executable, command)  # noqa: S606 - no shell is what we want


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
