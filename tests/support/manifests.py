"""What the manifests in deployments/ say, read by the programs that they are written for."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
DEPLOYMENTS = ROOT / "deployments"
COMPOSE = DEPLOYMENTS / "compose.yaml"
KUBERNETES = DEPLOYMENTS / "kubernetes"
DOCKERFILE = DEPLOYMENTS / "docker" / "Dockerfile"
POOLS = (KUBERNETES / "pool-cpu.json", KUBERNETES / "pool-gpu.json", DEPLOYMENTS / "docker" / "pool.json")

Document = dict[str, Any]


def program(name: str) -> str:
    """The program that came with the extra ``manifests``."""
    return str(Path(sys.executable).parent / name)


def run(*command: str, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env=dict(environment) if environment else None
    )


def read_compose(*on_top: Path) -> Document:
    """The files as Docker Compose itself understands them: merged, with its defaults, every profile in it."""
    files = [word for file in (COMPOSE, *on_top) for word in ("-f", str(file))]
    read = run(program("docker-compose"), *files, "--profile", "gpu", "config", "--format", "json")
    assert read.returncode == 0, read.stderr
    return json.loads(read.stdout)


def read_kubernetes(folder: Path = KUBERNETES) -> list[Document]:
    """The resources as kubectl would apply them."""
    built = run(program("kubectl"), "kustomize", str(folder))
    assert built.returncode == 0, built.stderr
    return [document for document in yaml.safe_load_all(built.stdout) if document]


def pods(documents: list[Document]) -> Iterator[tuple[str, Document]]:
    """Every pod of the resources: its owner's name and its specification."""
    for document in documents:
        if document["kind"] in ("Deployment", "StatefulSet", "Job"):
            yield document["metadata"]["name"], document["spec"]["template"]["spec"]


def containers(documents: list[Document]) -> list[Document]:
    found = [
        one for _, pod in pods(documents) for one in (*pod.get("initContainers", ()), *pod["containers"])
    ]
    assert len(found) >= 9
    return found
