"""The stack on a real PostgreSQL: both servers keep their data there, and its password shows nowhere."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import postgres
import psycopg2
import pytest
from stacks import naps, pt_pipeline, start_nap, start_up, stop_up, wait_for_state, wait_until_ready

from deployments.stack.processes import members
from flows.stack_state import read_stack

pytestmark = pytest.mark.skipif(
    postgres.programs() is None,
    reason="PostgreSQL is not installed: no initdb in /usr/lib/postgresql/*/bin (apt-get install postgresql)",
)


def ask(port: int, database: str, question: str) -> list[tuple[object, ...]]:
    connection = psycopg2.connect(
        host="127.0.0.1", port=port, user=postgres.USER, password=postgres.PASSWORD, dbname=database
    )
    try:
        with connection.cursor() as cursor:
            cursor.execute(question)
            return cursor.fetchall()
    finally:
        connection.close()


def test_both_servers_keep_their_data_in_postgresql_and_a_stopped_run_is_crashed(tmp_path: Path):
    home, log = tmp_path / "home", tmp_path / "up.log"
    with postgres.cluster("orchestrator", "tracker") as port:
        login = f"{postgres.USER}:{quote(postgres.PASSWORD, safe='')}@127.0.0.1:{port}"
        databases = {
            "PT_PIPELINE_PREFECT_DATABASE": f"postgresql://{login}/orchestrator",
            "PT_PIPELINE_MLFLOW_DATABASE": f"postgresql://{login}/tracker",
        }
        options = ("--no-webhook", "--prefect-file", str(naps(tmp_path)))
        process = start_up(home, log, *options, environment=databases)
        try:
            state = wait_until_ready(process, home, log)
            run = start_nap(state, home, 600)
            wait_for_state(state, run, "RUNNING")
            arguments = [" ".join(member.cmdline()) for member in members(state.token)]
            worker = next(service for service in state.services if service.name == "worker")
            its_environment = Path(f"/proc/{worker.process.pid}/environ").read_bytes()
            ended = pt_pipeline("down", "--home", str(home))
        finally:
            code = stop_up(process)

        assert (code, ended.returncode) == (0, 0)
        assert ask(port, "orchestrator", "select state_type from flow_run") == [("CRASHED",)]
        assert ask(port, "tracker", "select name from experiments") == [("Default",)]

    secrets = (postgres.PASSWORD.encode(), quote(postgres.PASSWORD, safe="").encode())
    assert not (home / "mlflow.db").exists()
    assert not (home / "prefect" / "prefect.db").exists()
    assert len(arguments) >= 4
    assert not any(secret.decode() in line for secret in secrets for line in arguments)
    assert not any(secret in its_environment for secret in secrets)
    for path in (log, *(path for path in home.rglob("*") if path.is_file())):
        assert not any(secret in path.read_bytes() for secret in secrets), path
    assert list(members(state.token)) == []
    assert read_stack(home) is None


def test_a_database_that_refuses_us_is_one_line_without_the_password(tmp_path: Path):
    with postgres.cluster() as port:
        url = f"postgresql://{postgres.USER}:wrong-one@127.0.0.1:{port}/absent"
        refused = pt_pipeline("up", "--home", str(tmp_path), environment={"PT_PIPELINE_MLFLOW_DATABASE": url})

    assert refused.returncode == 2
    assert "password authentication failed" in refused.stderr
    assert "wrong-one" not in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
