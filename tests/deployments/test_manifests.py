"""The manifests are accepted by the programs they are written for, and hold no password."""

from __future__ import annotations

import configparser
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from manifests import (
    COMPOSE,
    DEPLOYMENTS,
    DOCKERFILE,
    KUBERNETES,
    POOLS,
    ROOT,
    containers,
    pods,
    program,
    read_compose,
    read_kubernetes,
    run,
)

from deployments.stack.services import NOTIFY_VARIABLE

SECRET = re.compile(r"PASSWORD|SECRET|TOKEN|AUTH_STRING|API_KEY")
OURS = ("pt-pipeline:", "pt-pipeline-gpu:")
ONCE = {"migrate", "setup"}
"""Services that end: others wait for their success."""


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return read_compose()


@pytest.fixture(scope="module")
def resources() -> list[dict[str, Any]]:
    return read_kubernetes()


def test_compose_takes_its_file_without_a_word(compose: dict[str, Any]) -> None:
    checked = run(program("docker-compose"), "-f", str(COMPOSE), "--profile", "gpu", "config", "--quiet")
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
    assert len(compose["services"]) == 11


def test_compose_would_have_refused_a_misspelt_key(tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text(COMPOSE.read_text().replace("healthcheck:", "helthcheck:"))
    refused = run(program("docker-compose"), "-f", str(tmp_path / "compose.yaml"), "config", "--quiet")
    assert refused.returncode != 0
    assert "helthcheck" in refused.stderr


@pytest.mark.parametrize("version", ["1.29", "1.37"])
def test_every_resource_is_valid_for_this_version_of_kubernetes(
    resources: list[dict[str, Any]], version: str
) -> None:
    import kubernetes_validate

    assert len(resources) > 25
    for resource in resources:
        kubernetes_validate.validate(resource, version, strict=True)


def test_the_schemas_of_kubernetes_refuse_a_misspelt_field(resources: list[dict[str, Any]]) -> None:
    import kubernetes_validate

    pod = next(one for one in resources if one["kind"] == "Deployment")
    broken = json.loads(json.dumps(pod).replace("livenessProbe", "livenesProbe"))
    with pytest.raises(kubernetes_validate.ValidationError, match="livenesProbe"):
        kubernetes_validate.validate(broken, "1.37", strict=True)


def test_hadolint_has_nothing_to_say_about_the_dockerfile() -> None:
    linted = run(program("hadolint"), str(DOCKERFILE))
    assert (linted.returncode, linted.stdout) == (0, "")


def test_both_images_bring_what_their_commands_import() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    installed = re.findall(r"'\.\[([a-z,]+)\]'", DOCKERFILE.read_text())
    assert len(installed) == 2
    for extras in installed:
        assert {"cluster", "postgres"} <= set(extras.split(",")) <= set(project)


def test_no_manifest_holds_a_password(compose: dict[str, Any], resources: list[dict[str, Any]]) -> None:
    asked = 0
    for service in compose["services"].values():
        for name, value in (service.get("environment") or {}).items():
            if SECRET.search(name):
                asked += 1
                assert name.endswith("_FILE"), name
                assert Path(value).parent == Path("/run/secrets"), name
    for container in containers(resources):
        for variable in container.get("env", ()):
            if SECRET.search(variable["name"]):
                asked += 1
                assert "value" not in variable or variable["value"].startswith("/etc/"), variable
    assert asked > 15
    assert "Secret" not in {resource["kind"] for resource in resources}
    for config in (one for one in resources if one["kind"] == "ConfigMap"):
        # The worker's two name the Secret and the key in it.
        assert not [n for n in config["data"] if SECRET.search(n) and not n.endswith(("_NAME", "_KEY"))]


def test_who_wants_to_be_told_gives_one_secret_more_and_nobody_else_needs_it(
    compose: dict[str, Any], resources: list[dict[str, Any]]
) -> None:
    told = read_compose(DEPLOYMENTS / "compose.notify.yaml")
    setup, given = compose["services"]["setup"], told["services"]["setup"]

    assert not [word for word in ("notify", NOTIFY_VARIABLE) if f'"{word}' in json.dumps(compose)]
    assert given["environment"] == {
        **setup["environment"],
        f"{NOTIFY_VARIABLE}__FILE": "/run/secrets/notify",
    }
    assert given["secrets"] == [*setup["secrets"], {"source": "notify", "target": "/run/secrets/notify"}]
    assert told["secrets"]["notify"]["file"] == str(DEPLOYMENTS / "secrets" / "notify")
    # It posts, and has a way out only then.
    assert "outside" not in compose["services"]["prefect-services"]["networks"]
    assert "outside" in told["services"]["prefect-services"]["networks"]
    changed = {name for name, service in told["services"].items() if service != compose["services"][name]}
    assert changed == {"setup", "prefect-services"}
    asked = [
        (container["name"], variable["valueFrom"]["secretKeyRef"])
        for container in containers(resources)
        for variable in container.get("env", ())
        if variable["name"] == NOTIFY_VARIABLE
    ]
    assert asked == [("setup", {"name": "notify", "key": "url", "optional": True})]


def test_no_file_has_an_address_with_a_password_in_it() -> None:
    files = [path for path in DEPLOYMENTS.rglob("*") if path.suffix in {".yaml", ".json", ".ini", ".sql"}]
    files += [DOCKERFILE, DEPLOYMENTS / "Caddyfile"]
    assert len(files) > 15
    for path in files:
        assert not re.findall(r"\w+://[^/\s@:]+:[^/\s@{$]+@", path.read_text()), path


def test_the_made_up_passwords_reach_neither_the_repository_nor_an_image() -> None:
    assert run("git", "-C", str(ROOT), "check-ignore", "deployments/secrets/prefect").returncode == 0
    assert "deployments/secrets" in (ROOT / ".dockerignore").read_text().splitlines()


def test_every_image_has_a_version(compose: dict[str, Any], resources: list[dict[str, Any]]) -> None:
    images = {service["image"] for service in compose["services"].values()}
    images |= {container["image"] for container in containers(resources)}
    images |= {json.loads(pool.read_text())["variables"]["properties"]["image"]["default"] for pool in POOLS}
    images |= set(re.findall(r"^FROM (\S+:\S+)", DOCKERFILE.read_text(), re.MULTILINE))
    assert len(images) >= 6
    for image in images:
        assert re.fullmatch(r"[a-z-]+:\d+\.\d+(\.\d+)?(-[a-z]+)*", image), image
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version
    assert {image.partition(":")[2] for image in images if image.startswith(OURS)} == {version[1]}


def test_every_container_tells_whether_it_is_well(
    compose: dict[str, Any], resources: list[dict[str, Any]]
) -> None:
    for name, service in compose["services"].items():
        if name in ONCE:
            assert service["restart"] == "on-failure"
        else:
            assert service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL"), name
            assert service["restart"] == "unless-stopped"
    for name, pod in pods(resources):
        for container in pod["containers"]:
            assert "livenessProbe" in container, name


def test_every_container_is_locked_and_limited(
    compose: dict[str, Any], resources: list[dict[str, Any]]
) -> None:
    for name, service in compose["services"].items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "memory" in service["deploy"]["resources"]["limits"], name
        # Compose copies what is written in its own file into the container, which it cannot where that is read-only.
        assert all(
            "file" in compose[kind][one["source"]]
            for kind in ("configs", "secrets")
            for one in service.get(kind, ())
        )
    for _, pod in pods(resources):
        # Or the Service redis would set REDIS_PORT, and prefect PREFECT_PORT, in every container.
        assert pod["enableServiceLinks"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
    for container in containers(resources):
        assert container["securityContext"]["readOnlyRootFilesystem"], container["name"]
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert "memory" in container["resources"]["limits"]
    assert re.findall(r"^USER (.+)", DOCKERFILE.read_text(), re.MULTILINE) == ["10001", "10001"]


def test_only_the_proxy_is_published_and_only_on_loopback(compose: dict[str, Any]) -> None:
    published = {
        (name, port["host_ip"], port["target"])
        for name, service in compose["services"].items()
        for port in service.get("ports", ())
    }
    assert published == {("proxy", "127.0.0.1", target) for target in (80, 443, 4200, 5000)}
    assert compose["networks"]["data"]["internal"]
    reached = {name for name, service in compose["services"].items() if "data" in service["networks"]}
    assert reached == {"postgres", "redis", "migrate", "prefect-api", "prefect-services", "mlflow"}


def test_what_stands_in_two_places_says_the_same(
    compose: dict[str, Any], resources: list[dict[str, Any]]
) -> None:
    from deployments.webhook_config import TEMPLATE

    maps = {one["metadata"]["name"]: one["data"] for one in resources if one["kind"] == "ConfigMap"}
    server = compose["services"]["prefect-services"]["environment"]
    assert maps["prefect-server"] == {
        name: value for name, value in server.items() if not SECRET.search(name)
    }
    assert _without_comments(maps["databases"]["databases.sql"]) == _without_comments(
        (DEPLOYMENTS / "docker" / "databases.sql").read_text()
    )
    here, there = configparser.ConfigParser(), configparser.ConfigParser()
    here.read(DEPLOYMENTS / "docker" / "mlflow-auth.ini")
    there.read_string(maps["mlflow-auth"]["auth.ini"])
    assert {**here["mlflow"]} == {**there["mlflow"]}
    for copy in (DEPLOYMENTS / "docker" / "webhook.yaml", KUBERNETES / "webhook.yaml"):
        assert copy.read_text() == TEMPLATE


def _without_comments(text: str) -> list[str]:
    return [line for line in text.splitlines() if line and not line.startswith("--")]
