"""Every command in the manifests is one that the installed programs take, and every setting one that they read."""

from __future__ import annotations

import functools
import importlib.util
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from manifests import (
    DEPLOYMENTS,
    DOCKERFILE,
    KUBERNETES,
    POOLS,
    containers,
    program,
    read_compose,
    read_kubernetes,
    run,
)

ELSEWHERE = {"redis-server", "redis-cli", "pg_isready", "wget"}
"""Programs of the images of Redis, PostgreSQL and Caddy."""

SERVER = "deployments.prefect_server"


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return read_compose()


@pytest.fixture(scope="module")
def resources() -> list[dict[str, Any]]:
    return read_kubernetes()


def _commands(compose: dict[str, Any], resources: list[dict[str, Any]]) -> Iterator[list[str]]:
    for service in compose["services"].values():
        yield from (service[key] for key in ("command",) if service.get(key))
        test = service.get("healthcheck", {}).get("test", ["NONE"])
        yield from (_simple(test[1]) if test[0] == "CMD-SHELL" else [test[1:]] if test[1:] else [])
    for container in containers(resources):
        line = container.get("command", container.get("args", []))
        yield from (_simple(line[2]) if line[:1] == ["sh"] else [line] if line else [])
        probe = container.get("livenessProbe", {}).get("exec", {}).get("command", [])
        yield from (_simple(probe[2]) if probe[:1] == ["sh"] else [probe] if probe else [])
    yield from (json.loads(line) for line in re.findall(r"\bCMD (\[.*\])", DOCKERFILE.read_text()))


def _simple(script: str) -> Iterator[list[str]]:
    """The programs of ours in a line of shell, with their words."""
    for part in re.split(r"\|\|?|&&|;|\n", script):
        words = [word.strip('"') for word in part.split() if ">" not in word]
        while words and (words[0] in ("exec", "for", "do") or "=" in words[0]):
            words.pop(0)
        if words and words[0] in ("prefect", "python", "docket"):
            yield words


def test_every_command_is_taken_by_its_program(
    compose: dict[str, Any], resources: list[dict[str, Any]]
) -> None:
    known = {
        "prefect": _prefect_takes,
        "mlflow": _mlflow_takes,
        "pt-pipeline": _pt_pipeline_takes,
        "docket": _docket_takes,
        "python": _python_takes,
        "healthy": lambda words: bool(words),
    }
    found = {tuple(command) for command in _commands(compose, resources)}
    assert {command[0] for command in found} == {*known, *ELSEWHERE}
    assert len(found) > 15
    for name, *words in found:
        if name not in ELSEWHERE:
            assert known[name](words), (name, words)


def test_both_halves_of_prefects_server_spare_its_runs_and_refuse_foreign_pages(
    compose: dict[str, Any], resources: list[dict[str, Any]]
) -> None:
    commands = [command for command in _commands(compose, resources) if command[-1:] != ["--yes"]]

    servers = [command for command in commands if "server" in command and "start" in command]
    assert len(servers) == 4
    assert all(command[:3] == ["python", "-m", SERVER] for command in servers)
    names = list(_names(compose, resources))
    assert names.count("PT_PIPELINE_ALLOWED_HOSTS") == names.count("MLFLOW_SERVER_ALLOWED_HOSTS") == 2


def test_a_misspelt_option_is_seen() -> None:
    for takes, words in (
        (_prefect_takes, ["server", "start", "--no-servces"]),
        (_mlflow_takes, ["server", "--artifact-destination=x"]),
        (_pt_pipeline_takes, ["webhook", "--secretfile=x"]),
        (_python_takes, ["-m", "deployments.stack.prepared", "prefect.yaml"]),
        (_python_takes, ["-m", SERVER, "server", "services", "strat"]),
    ):
        assert not takes(words), words


def _prefect_takes(words: list[str]) -> bool:
    from cyclopts.exceptions import CycloptsError
    from prefect.cli._app import _app

    try:
        _app.parse_args(words, exit_on_error=False, print_error=False)
    except CycloptsError:
        return False
    return True


def _typer_takes(app: Any, words: list[str]) -> bool:
    import typer

    command = typer.main.get_command(app)
    while hasattr(command, "commands"):
        command, words = command.commands.get(words[0]), words[1:]
        if command is None:
            return False
    try:
        command.make_context("x", list(words))
    except Exception:  # typer brings a click of its own, with errors of its own
        return False
    return True


def _mlflow_takes(words: list[str]) -> bool:
    options = {word.partition("=")[0] for word in words[1:]}
    return words[0] == "server" and options <= _options_of_mlflow_server()


@functools.cache
def _options_of_mlflow_server() -> set[str]:
    # In a process of its own: to import its command line takes seconds, and warns.
    told = run(program("mlflow"), "server", "--help")
    return set(re.findall(r"--[a-z-]+", told.stdout)) if told.returncode == 0 else set()


def _pt_pipeline_takes(words: list[str]) -> bool:
    from deployments.__main__ import app

    return _typer_takes(app, words)


def _docket_takes(words: list[str]) -> bool:
    from docket.cli import app

    return _typer_takes(app, words)


def _python_takes(words: list[str]) -> bool:
    if words[:2] == ["-m", SERVER]:
        return _prefect_takes(words[2:])
    return words[0] == "-m" and importlib.util.find_spec(words[1]) is not None


def _names(compose: dict[str, Any], resources: list[dict[str, Any]]) -> Iterable[str]:
    for service in compose["services"].values():
        yield from (name.removesuffix("__FILE") for name in service.get("environment") or ())
    for container in containers(resources):
        yield from (variable["name"] for variable in container.get("env", ()))
    for config in (one for one in resources if one["kind"] == "ConfigMap"):
        yield from config["data"]
    yield from re.findall(r"^(?:ENV|   ) ([A-Z_]+)=", DOCKERFILE.read_text(), re.MULTILINE)
    for pool in POOLS:
        yield from re.findall(r'"((?:PREFECT|MLFLOW|PT_PIPELINE)_[A-Z_]+?)(?:__FILE)?"', pool.read_text())


def test_every_setting_is_one_that_is_read(compose: dict[str, Any], resources: list[dict[str, Any]]) -> None:
    from prefect.settings import Settings
    from prefect.settings.legacy import _get_valid_setting_names
    from prefect_kubernetes.settings import KubernetesSettings
    from prefect_redis.client import RedisMessagingSettings

    prefect = {
        name
        for model in (Settings, KubernetesSettings, RedisMessagingSettings)
        for name in _get_valid_setting_names(model)
    }
    ours = "".join(
        path.read_text()
        for top in ("pt_core", "flows", "deployments")
        for path in (DEPLOYMENTS.parent / top).rglob("*.py")
    )
    found = importlib.util.find_spec("mlflow")
    assert found is not None
    assert found.origin is not None
    mlflow = (Path(found.origin).parent / "environment_variables.py").read_text()
    names = set(_names(compose, resources))
    assert len(names) > 40
    for name in names:
        if name.startswith("PREFECT_"):
            assert name in prefect, name
        elif name.startswith("MLFLOW_"):
            assert f'"{name}"' in mlflow, name
        elif name.startswith("PT_PIPELINE_") and name != "PT_PIPELINE_SITE":
            assert name in ours, name
    assert "{$PT_PIPELINE_SITE:" in (DEPLOYMENTS / "Caddyfile").read_text()


@pytest.mark.parametrize("pool", POOLS, ids=lambda path: path.stem)
def test_the_form_of_a_pool_explains_every_field_that_it_uses(pool: Any) -> None:
    template = json.loads(pool.read_text())
    fields = template["variables"]["properties"]
    used = set(re.findall(r"\{\{ (\w+) \}\}", json.dumps(template["job_configuration"])))
    # A driver merges the variables of a run into those of the template by itself.
    assert used | {"env"} == set(fields)
    for name, field in fields.items():
        assert field["title"], name
        assert field["description"].endswith("."), name
    assert set(template["variables"]["required"]) <= set(fields)


def test_a_gpu_run_is_a_job_that_kubernetes_takes() -> None:
    import kubernetes_validate

    values = {
        "name": "a-run",
        "gpus": 2,
        "shared_memory": "16Gi",
        "env": {"PT_PIPELINE_PUSH_COMMIT": "0" * 40},
    }
    manifest = _job("pool-gpu.json", values)
    pod = manifest["spec"]["template"]["spec"]
    container = pod["containers"][0]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 2
    assert {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "16Gi"}} in pod["volumes"]
    assert {"name": "shm", "mountPath": "/dev/shm"} in container["volumeMounts"]
    assert pod["runtimeClassName"] == "nvidia"
    assert pod["nodeSelector"] == {"nvidia.com/gpu.present": "true"}
    assert pod["tolerations"][0]["key"] == "nvidia.com/gpu"
    assert container["args"] == ["prefect", "flow-run", "execute"]
    variables = {one["name"]: one for one in container["env"]}
    assert variables["PT_PIPELINE_PUSH_COMMIT"]["value"] == "0" * 40
    assert "value" not in variables["MLFLOW_TRACKING_PASSWORD"]
    for version in ("1.29", "1.37"):
        kubernetes_validate.validate(manifest, version, strict=True)


def test_a_cpu_run_asks_for_no_gpu_and_the_node_may_be_any() -> None:
    import kubernetes_validate

    manifest = _job(
        "pool-cpu.json", {"name": "a-run", "image": "registry.example.com/team/pt-pipeline:1.2.3"}
    )
    assert "nvidia" not in json.dumps(manifest)
    assert manifest["spec"]["template"]["metadata"]["labels"]["app"] == "run"
    assert manifest["spec"]["template"]["spec"]["nodeSelector"] == {}
    kubernetes_validate.validate(manifest, "1.37", strict=True)


def _job(pool: str, values: dict[str, Any]) -> dict[str, Any]:
    """The Job that Prefect's worker makes of a pool's template and the values of its form."""
    from prefect_kubernetes.worker import KubernetesWorkerJobConfiguration

    return _prepared(KubernetesWorkerJobConfiguration, KUBERNETES / pool, values).job_manifest


def _prepared(configuration: Any, pool: Any, values: dict[str, Any]) -> Any:
    import asyncio
    import uuid

    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas import FlowRun

    template = json.loads(pool.read_text())
    client = PrefectClient("http://127.0.0.1:9/api")
    found = asyncio.run(configuration.from_template_and_values(template, values, client=client))
    found.prepare_for_flow_run(FlowRun(id=uuid.uuid4(), flow_id=uuid.uuid4(), name="a-run"))
    return found


def test_a_run_in_docker_is_given_files_with_passwords_and_not_the_workers_own() -> None:
    from prefect.settings import PREFECT_API_AUTH_STRING, temporary_settings
    from prefect_docker.worker import DockerWorkerJobConfiguration

    values = {"name": "a-run", "secrets": "/srv/secrets", "env": {"A": "1"}}
    with temporary_settings({PREFECT_API_AUTH_STRING: "admin:of-the-worker"}):
        found = _prepared(DockerWorkerJobConfiguration, DEPLOYMENTS / "docker" / "pool.json", values)
    assert "of-the-worker" not in json.dumps(found.env)
    assert found.env["PREFECT_API_AUTH_STRING__FILE"] == "/run/secrets/prefect"
    assert found.env["A"] == "1"
    assert "/srv/secrets/prefect:/run/secrets/prefect:ro" in found.volumes
    assert found.container_create_kwargs["read_only"] is True
    assert found.container_create_kwargs["shm_size"] == "1g"
