"""Findings about this machine: devices, instruction sets, steps, versions with their known conflicts, servers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from packaging.version import Version

from flows.home import Home
from flows.servers import host, named_servers, unreachable
from pt_core.artifacts.artifact import Step
from pt_core.artifacts.registry import make_step, step_names
from pt_core.environment import CPU_CAPABILITIES, cpu_capabilities, describe_environment, library_version
from pt_core.isolation import run_isolated
from pt_core.record import Record

_CONFLICTS = (
    ("fastapi", "0.151", "Prefect's server does not start with it; install 'fastapi<0.151'"),
    ("sqlalchemy", "2.1", "Prefect's schedules silently create no runs with it; install 'sqlalchemy<2.1'"),
)
"""Versions from which a library is known to break another, and what to do."""

_FLOORS = (("torch", "2.10"), ("onnx", "1.21"), ("mlflow", "3.16.1"), ("prefect", "3.6.25"))
"""Versions below which a published vulnerability is open."""


class Finding(Record):
    """One thing looked at."""

    section: Literal["machine", "devices", "steps", "versions", "servers"]
    """What it belongs to."""
    name: str
    """What was looked at."""
    state: Literal["ok", "missing", "conflict"]
    """How it is."""
    detail: str
    """What was found, and what to do if anything."""


class DevicesRequest(Record):
    """Ask torch which devices are here."""


class DevicesReply(Record):
    """What torch answered."""

    findings: tuple[Finding, ...]
    """One per device, and the precision that training would use."""


def diagnose(home: Home) -> tuple[Finding, ...]:
    """Look at everything; nothing raises, what is broken is a finding."""
    return (*_machine(home), *_devices(), *_steps(), *_versions(), *_servers(home))


def _machine(home: Home) -> Iterator[Finding]:
    here = describe_environment()
    yield Finding(section="machine", name="Python", state="ok", detail=f"{here.python} on {here.platform}")
    yield Finding(
        section="machine", name="processor", state="ok", detail=f"{here.cpu_model}, {here.num_cpus} cores"
    )
    present = cpu_capabilities()
    for name in CPU_CAPABILITIES:
        yield Finding(
            section="machine",
            name=name,
            state="ok" if name in present else "missing",
            detail="present" if name in present else "this processor lacks it",
        )
    yield Finding(section="machine", name="home folder", state="ok", detail=home.root)


def _devices() -> tuple[Finding, ...]:
    return run_isolated(
        "flows.diagnose:ask_torch", DevicesRequest(), reply=DevicesReply, timeout_s=120
    ).findings


def ask_torch(request: DevicesRequest) -> DevicesReply:
    """Ask torch, in a process of its own, which devices are here and what precision it would train in."""
    import torch

    from pt_core.devices import resolve_device, resolve_precision

    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    details = {
        "cpu": f"{torch.get_num_threads()} threads",
        "cuda": torch.cuda.get_device_name() if present["cuda"] else "no NVIDIA GPU, or a CPU build of torch",
        "mps": "Apple GPU" if present["mps"] else "no Apple GPU",
    }
    devices = [
        Finding(section="devices", name=name, state="ok" if here else "missing", detail=details[name])
        for name, here in present.items()
    ]
    device = resolve_device("auto")
    choice = resolve_precision("auto", device)
    detail = f"{choice.precision} on {device}: {choice.reason}"
    return DevicesReply(
        findings=(*devices, Finding(section="devices", name="training", state="ok", detail=detail))
    )


def _steps() -> Iterator[Finding]:
    for name in step_names():
        problem = make_step(Step(name=name)).unavailable()
        yield Finding(
            section="steps", name=name, state="missing" if problem else "ok", detail=problem or "available"
        )


def _versions() -> Iterator[Finding]:
    broken = {name: (Version(limit), advice) for name, limit, advice in _CONFLICTS}
    floors = {name: Version(floor) for name, floor in _FLOORS}
    for name in dict.fromkeys([*floors, *broken, "onnxruntime", "torchao"]):
        version = library_version(name)
        state: Literal["ok", "missing", "conflict"] = "ok" if version else "missing"
        detail = version or "not installed"
        if version and name in broken and Version(version) >= broken[name][0]:
            state, detail = "conflict", f"{version}: {broken[name][1]}"
        if version and name in floors and Version(version) < floors[name]:
            state, detail = (
                "conflict",
                f"{version}: has a published vulnerability; install {name}>={floors[name]}",
            )
        yield Finding(section="versions", name=name, state=state, detail=detail)


def _servers(home: Home) -> Iterator[Finding]:
    named = named_servers(home)
    for variable, name, otherwise in (
        ("PREFECT_API_URL", "Prefect server", "none set, each run starts its own"),
        ("MLFLOW_TRACKING_URI", "MLflow server", f"none set, {home.root}/mlflow.db"),
    ):
        address = named.get(variable)
        problem = unreachable(address) if address else None
        detail = f"{host(address)}: {problem or 'answers'}" if address else otherwise
        yield Finding(section="servers", name=name, state="conflict" if problem else "ok", detail=detail)
