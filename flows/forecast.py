"""What a run would do, step by step: taken from the cache, run, or skipped with its reason."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from flows.config import PipelineConfig
from flows.home import Home
from flows.requests import prepare_request, root_request, step_request, train_request
from pt_core.artifacts.artifact import Artifact
from pt_core.artifacts.checkpoint import Checkpoint
from pt_core.building.plan import Plan
from pt_core.data.dataset import Dataset
from pt_core.record import Record
from tasks.caching import lookup

StepState = Literal["cached", "run", "skipped"]


class Forecast(Record):
    """What will happen to one step."""

    key: str
    """Its place in the tree."""
    parent: str | None
    """The step it reads from."""
    name: str
    """What it is."""
    variants: tuple[str, ...]
    """The variants that end here."""
    state: StepState
    """Whether its result is there already."""
    reason: str
    """Why it is skipped."""


def forecast(settings: PipelineConfig, plan: Plan, *, base_dir: Path, home: Home) -> tuple[Forecast, ...]:
    """Walk the tree from the samples to the last step and look each result up."""
    dataset = lookup("prepare", prepare_request(settings, base_dir=base_dir, home=home), reply=Dataset)
    checkpoint = dataset and lookup(
        "train", train_request(settings, dataset, home, base_dir=base_dir), reply=Checkpoint
    )
    found = [
        _forecast("prepare", None, f"prepare {settings.data.source}", (), dataset),
        _forecast("train", "prepare", f"train {settings.model.target}", (), checkpoint),
    ]
    ends: dict[str, tuple[str, ...]] = {}
    for variant in plan.variants:
        ends[variant.node] = (*ends.get(variant.node, ()), variant.name)
    artifacts: dict[str, Artifact | None] = {}
    root = plan.nodes[0].key
    for node in plan.nodes:
        artifacts[node.key] = None
        if dataset and checkpoint and node.key == root:
            request = root_request(checkpoint, dataset, home)
            artifacts[node.key] = lookup("convert", request, reply=Artifact)
        elif dataset and (source := artifacts[node.parent or root]) and not node.unavailable:
            request = step_request(source, artifacts[root], node.step, dataset, home)
            artifacts[node.key] = lookup(node.kind, request, reply=Artifact)
        name, variants = f"{node.kind} {node.step.name}", ends.get(node.key, ())
        found.append(
            _forecast(
                node.key, node.parent or "train", name, variants, artifacts[node.key], node.unavailable or ""
            )
        )
    return tuple(found)


def _forecast(
    key: str,
    parent: str | None,
    name: str,
    variants: tuple[str, ...],
    record: Record | None,
    reason: str = "",
) -> Forecast:
    state: StepState = "skipped" if reason else "cached" if record else "run"
    return Forecast(key=key, parent=parent, name=name, variants=variants, state=state, reason=reason)
