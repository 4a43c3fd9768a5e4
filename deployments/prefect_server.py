"""Start the Prefect server so that runs that lived through its absence are not taken for dead.

Its triggers are kept in its database. Those of heartbeats that could not arrive while it was away have run out when it
comes back, and would crash every run at once, before a run can say that it lives. So their time begins anew first; a
run that did die meanwhile is then found by its silence, where the server would else forget it.
"""

from __future__ import annotations

import asyncio
import os
import sys
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

GRACE_S = 75
"""As long as a run may be silent, and a little for the server's own start."""
DATABASE_VARIABLE = "PREFECT_SERVER_DATABASE_CONNECTION_URL"

_TIME = sa.DateTime(timezone=True)
_BUCKETS = sa.table("automation_bucket", sa.column("automation_id"), sa.column("end", _TIME))
_AUTOMATIONS = sa.table("automation", sa.column("id"), sa.column("name"))


def main() -> None:
    """Give grace, then become ``prefect server start`` with the arguments of this program."""
    url = os.environ.get(DATABASE_VARIABLE)
    if url:
        try:
            asyncio.run(give_grace(url))
        except (sa.exc.SQLAlchemyError, OSError) as error:
            # The server says better than we do what is wrong with its database.
            sys.stderr.write(f"runs may be taken for dead, since {type(error).__name__} at the database\n")
    command = [sys.executable, "-P", "-m", "prefect", "server", "start", *sys.argv[1:]]
    os.execv(sys.executable, command)  # noqa: S606 - no shell is what we want


async def give_grace(url: str, *, seconds: float = GRACE_S) -> int:
    """Let every wait for a run's heartbeat last this long from now at least; return how many were prolonged."""
    until = datetime.now(UTC) + timedelta(seconds=seconds)
    ours = sa.select(_AUTOMATIONS.c.id).where(_AUTOMATIONS.c.name.like("pt-pipeline: crash%"))
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
