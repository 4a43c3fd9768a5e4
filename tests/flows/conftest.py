"""A real Prefect server of a test file's own, for those that ask for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.settings import PREFECT_API_URL, temporary_settings
from servers import free_port, served


@pytest.fixture(scope="module")
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SyncPrefectClient]:
    folder, port = tmp_path_factory.mktemp("prefect"), free_port()
    url = f"http://127.0.0.1:{port}"
    environment = {
        "PREFECT_HOME": str(folder / "home"),
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{folder}/prefect.db",
    }
    command = f"python -m deployments.prefect_server server start --host 127.0.0.1 --port {port}"
    with (
        served(command, f"{url}/api/health", folder / "server.log", environment),
        temporary_settings({PREFECT_API_URL: f"{url}/api"}),
        get_client(sync_client=True) as client,
    ):
        yield client
