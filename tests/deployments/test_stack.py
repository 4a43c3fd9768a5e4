"""The local stack, as a user has it: real servers, a real worker, real signals."""

from __future__ import annotations

import json
import os
import signal
import time

import psutil
from prefect_pages import ask as ask_prefect
from prefect_pages import deployment_id, wait_until_ended
from stacks import RealStack, pt_pipeline

from deployments.stack.health import ask
from deployments.stack.processes import members

MAX_MEMORY_BYTES = 1.5 * 2**30


def wait_for_lines(stack: RealStack, service: str, words: str) -> list[str]:
    """Return the lines with these words that ``up`` has shown behind a service's prefix, as soon as there are some."""
    end, prefix = time.monotonic() + 20, f"{service:<11}│ "
    while time.monotonic() < end:
        shown = stack.log.read_text().splitlines()
        if found := [line for line in shown if line.startswith(prefix) and words in line]:
            return found
        time.sleep(0.2)
    raise AssertionError(f"no line {prefix}...{words}:\n{stack.log.read_text()[-2000:]}")


def test_status_says_that_all_of_a_running_stack_is_up(stack):
    asked = pt_pipeline("status", "--home", str(stack.home), "--json")

    found = json.loads(asked.stdout)
    assert asked.returncode == 0, asked.stdout
    assert [service["name"] for service in found["services"]] == ["prefect", "mlflow", "worker", "webhook"]
    assert all(service["is_up"] for service in found["services"])


def test_up_prints_where_everything_is(stack):
    said = stack.log.read_text()

    assert f"{stack.prefect_url}/v2/deployments\n" in said
    assert f"{stack.mlflow_url}/#/experiments?workflowType=machine_learning\n" in said
    assert f"{stack.webhook_url}/hooks/" in said
    assert str(stack.home / "secrets") in said


def test_every_server_listens_on_this_machine_only(stack):
    listening = [
        connection.laddr.ip
        for process in members(stack.state.token)
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]

    assert len(listening) >= 3
    assert set(listening) == {"127.0.0.1"}


def test_the_whole_stack_takes_less_than_one_and_a_half_gibibytes(stack):
    taken = sum(
        process.memory_full_info().pss
        for process in (*members(stack.state.token), psutil.Process(stack.process.pid))
    )

    assert 0.2 * 2**30 < taken < MAX_MEMORY_BYTES


def test_a_second_stack_in_the_same_home_is_refused_with_the_links_of_the_first(stack):
    refused = pt_pipeline("up", "--home", str(stack.home))

    assert refused.returncode == 2
    assert "already up in this home" in refused.stderr
    assert stack.prefect_url in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def test_a_port_in_use_is_one_line_with_its_owner_and_the_option(stack, tmp_path):
    port = stack.mlflow_url.rsplit(":", 1)[1]

    refused = pt_pipeline("up", "--home", str(tmp_path / "home"), "--prefect-port", port)

    assert refused.returncode == 2
    assert f"port {port} on 127.0.0.1 is in use by process " in refused.stderr
    assert "--prefect-port" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def test_the_command_line_works_with_the_servers_of_its_home(stack):
    asked = pt_pipeline("doctor", "--home", str(stack.home), "--json")

    said = json.dumps(json.loads(asked.stdout))
    assert stack.prefect_url.removeprefix("http://") in said
    assert stack.mlflow_url.removeprefix("http://") in said


def test_the_server_has_the_eight_deployments_of_the_product(stack):
    assert sorted(stack.deployed) == sorted(
        [
            "retrain-nightly",
            "retrain-on-push",
            "retrain",
            "evaluate",
            "promote",
            "rollback",
            "score",
            "maintenance",
        ]
    )


def test_the_log_of_a_run_is_shown_line_by_line_behind_the_name_of_the_worker(stack):
    made = deployment_id(stack.prefect_url, "maintenance/maintenance")
    chosen = {"state": {"type": "SCHEDULED"}, "parameters": {"dry_run": True}}
    run = ask_prefect(stack.prefect_url, f"deployments/{made}/create_flow_run", chosen)

    ended = wait_until_ended(stack.prefect_url, run["id"])

    assert ended["state_type"] == "COMPLETED", ended["state"]
    assert wait_for_lines(stack, "worker", run["id"])
    assert wait_for_lines(stack, "worker", f"Flow run '{run['name']}' - Finished in state Completed")


def test_killed_servers_come_back_at_the_same_address(stack):
    before = {service.name: service for service in stack.state.services}
    for name in ("prefect", "mlflow"):
        os.kill(before[name].process.pid, signal.SIGKILL)

    end = time.monotonic() + 90
    while time.monotonic() < end:
        now = {service.name: service for service in stack.state.services}
        restarted = [
            now[name].num_restarts == before[name].num_restarts + 1 for name in ("prefect", "mlflow")
        ]
        healthy = ask(f"{stack.prefect_url}/api/health") and ask(f"{stack.mlflow_url}/health")
        if all(restarted) and healthy:
            break
        time.sleep(0.2)

    assert all(restarted), stack.log.read_text()[-2000:]
    assert healthy
    assert now["worker"].process == before["worker"].process
    assert "mlflow was killed by SIGKILL; started again" in stack.log.read_text()
    for name in ("prefect", "mlflow"):
        # What the new process says as it starts.
        assert wait_for_lines(stack, name, before[name].url)
