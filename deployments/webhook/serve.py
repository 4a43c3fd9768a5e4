"""pt-pipeline webhook: put the receiver and its dispatcher together, and run them until told to stop."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from deployments.webhook.crowd import Crowd
from deployments.webhook.dispatcher import dispatch
from deployments.webhook.journal_file import kept_open, open_journal
from deployments.webhook.receiver import Receiver
from deployments.webhook.runs import start_run
from deployments.webhook.secret_files import read_secrets
from deployments.webhook.wire import handler
from deployments.webhook_config import Limits, ensure, read_config
from flows.home import Home
from pt_core.errors import ConfigError

logger = logging.getLogger(__name__)


def serve(home: Home, *, config: Path | None, secret_file: Path | None, host: str, port: int) -> None:
    """Receive pushes and start runs, until SIGINT or SIGTERM.

    Raises:
        ConfigError: the settings are not valid, there is no secret or no Prefect server, or the port is taken.
    """
    path = config or ensure(Path(home.root))
    settings = read_config(path)
    secrets = read_secrets(settings, base=path.parent, secret_file=secret_file)
    _load_prefect()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", force=True)
    # httpx would tell of every request at this level, with the address and whatever password it holds.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    receiver = Receiver(
        repositories={repository.name: repository for repository in settings.repositories},
        secrets=secrets,
        journal=open_journal(Path(home.root) / "webhooks"),
        wake=threading.Event(),
    )
    stopped = threading.Event()
    # A daemon: a call to a Prefect server that hangs must not hold up the end; the journal knows what is left.
    threading.Thread(
        target=dispatch,
        args=(receiver.journal, receiver.repositories, start_run),
        kwargs={"wake": receiver.wake, "stop": stopped.is_set},
        daemon=True,
        name="dispatcher",
    ).start()
    try:
        with kept_open(receiver.journal):
            asyncio.run(_listen(receiver, settings.limits, host=host, port=port))
    except OSError as error:
        raise ConfigError(
            f"cannot listen at {host}:{port}: {error.strerror or error}; choose another --port"
        ) from error
    finally:
        stopped.set()
        receiver.wake.set()


def _load_prefect() -> None:
    """Import Prefect's client now: later it would hold up requests for seconds.

    Raises:
        ConfigError: there is no Prefect server to start runs on.
    """
    # The dispatcher waits and tries again itself, and tells of it in the journal.
    os.environ.setdefault("PREFECT_CLIENT_MAX_RETRIES", "0")
    from prefect.client import orchestration
    from prefect.settings import PREFECT_API_URL

    logger.debug("%s is loaded", orchestration.__name__)
    if not PREFECT_API_URL.value():
        raise ConfigError("no Prefect server: set PREFECT_API_URL, or start everything with pt-pipeline up")


async def _listen(receiver: Receiver, limits: Limits, *, host: str, port: int) -> None:
    loop, end = asyncio.get_running_loop(), asyncio.Event()
    for sign in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(sign, end.set)
    # One thread: what it does is written one after the other in any case, and the order of arrival is kept.
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="journal") as worker:
        server = await asyncio.start_server(
            handler(receiver, Crowd(limits=limits), worker),
            host,
            port,
            backlog=512,
            # What a connection's reader holds is in no common limit; it stops reading at twice this.
            limit=4096,
        )
        for name in receiver.repositories:
            logger.info("listening at http://%s:%s/hooks/%s", host, port, name)
        if not receiver.repositories:
            logger.info(
                "listening at http://%s:%s without a repository; name some in the settings", host, port
            )
        async with server:
            await end.wait()
