"""Plan: variants as one tree of steps, shared prefixes merged, every chain checked before any work."""

from __future__ import annotations

from collections import deque
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from pt_core.artifacts.artifact import Step
from pt_core.artifacts.plugin import Plugin, Quantizer
from pt_core.artifacts.registry import (
    make_step,
    plugin_precision,
    plugin_target,
    set_options,
    step_names,
)
from pt_core.errors import ConfigError, PlanError
from pt_core.record import Record

ROOT_KEY = "torch"
"""Key of the node that every chain starts at: the reference."""


def _parse_step(value: object) -> object:
    """Let YAML write a step as its name, or as a mapping from its name to its options."""
    if isinstance(value, str):
        return {"name": value}
    if not isinstance(value, dict) or "name" in value:
        return value
    if len(value) != 1:
        raise ValueError(
            f"expected a step's name or one {{name: options}}, found keys {sorted(map(str, value))}"
        )
    ((name, options),) = value.items()
    return {"name": name, "options": {} if options is None else options}


StepField = Annotated[Step, BeforeValidator(_parse_step)]


class Variant(Record):
    """One way to ship the network: a name and a chain of steps."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    """Name in tables, tags and links: lower case, digits and dashes."""
    steps: tuple[StepField, ...] = ()
    """Its chain from the reference on, e.g. [onnx, onnx-int8-static]; none is the reference itself."""


class PlanNode(Record):
    """One step to run, shared by every variant whose chain begins alike."""

    key: str
    """The path of steps from the root, with a digest of a step's options where any are set."""
    parent: str | None
    """Key of the node it reads; ``None`` for the root."""
    step: Step
    """The step, with those options only that differ from their defaults."""
    kind: Literal["convert", "quantize"]
    """Whether it changes the format or the precision."""
    source: str
    """Name of the format it reads."""
    target: str
    """Name of the format it writes."""
    unavailable: str | None
    """Why this machine cannot run it, its own reason or that of a node before it."""


class PlannedVariant(Record):
    """One variant and where its artifact comes from."""

    name: str
    """Name of the variant."""
    node: str
    """Key of the last node of its chain."""


class Plan(Record):
    """The tree of all steps."""

    nodes: tuple[PlanNode, ...]
    """Parents before children; the root is first."""
    variants: tuple[PlannedVariant, ...]
    """In the order of the configuration."""

    def levels(self) -> tuple[tuple[PlanNode, ...], ...]:
        """Return the nodes by depth: those of one level need only those of earlier levels."""
        depths: dict[str, int] = {}
        for node in self.nodes:
            depths[node.key] = 0 if node.parent is None else depths[node.parent] + 1
        return tuple(
            tuple(node for node in self.nodes if depths[node.key] == depth)
            for depth in range(max(depths.values()) + 1)
        )


def make_plan(variants: tuple[Variant, ...]) -> Plan:
    """Return the tree of all chains.

    Raises:
        PlanError: the details name every problem with its path, such as ``variants[3].steps[1]``.
    """
    root = _make_node(make_step(Step(name=ROOT_KEY)), parent=None)
    nodes = {root.key: root}
    problems: list[str] = []
    planned: list[PlannedVariant] = []
    if not variants:
        problems.append("variants: none given, expected at least one")
    for index, variant in enumerate(variants):
        key, found = _add_chain(variant, f"variants[{index}]", nodes)
        twin = next((p.name for p in planned if p.node == key), None)
        if any(p.name == variant.name for p in planned):
            found.append(
                f"variants[{index}].name: {variant.name!r} is taken by an earlier variant; rename one"
            )
        elif twin is not None and not found:
            found.append(f"variants[{index}].steps: the same chain as variant {twin!r}; remove one of them")
        planned.append(PlannedVariant(name=variant.name, node=key if not found else ""))
        problems += found
    if len(problems) == 1:
        raise PlanError(problems[0])
    if problems:
        raise PlanError(f"variants: {len(problems)} problems, nothing was started", details=problems)
    return Plan(nodes=tuple(nodes.values()), variants=tuple(planned))


def _add_chain(variant: Variant, path: str, nodes: dict[str, PlanNode]) -> tuple[str, list[str]]:
    """Add a variant's nodes; return the key of its last one, and what is wrong with its chain."""
    parent = nodes[ROOT_KEY]
    for index, step in enumerate(variant.steps):
        where = f"{path}.steps[{index}] ({variant.name})"
        try:
            plugin = make_step(step)
        except (PlanError, ConfigError) as error:
            return "", [f"{where}: {error.message}"]
        if parent.target not in plugin.sources:
            return "", [f"{where}: {_explain_order(plugin, parent)}"]
        earlier = next((s.name for s in variant.steps[:index] if plugin_precision(make_step(s))), None)
        if earlier is not None and plugin_precision(plugin):
            return "", [
                f"{where}: {plugin.name} after {earlier}, expected one step that sets the precision; remove one"
            ]
        node = _make_node(plugin, parent=parent)
        parent = nodes.setdefault(node.key, node)
    return parent.key, []


def _make_node(plugin: Plugin, *, parent: PlanNode | None) -> PlanNode:
    step = set_options(plugin)
    reason = plugin.unavailable()
    if parent is not None and parent.unavailable:
        reason = parent.unavailable
    elif reason:
        reason = f"{step.name}: {reason}"
    return PlanNode(
        key=step.label if parent is None else f"{parent.key}/{step.label}",
        parent=None if parent is None else parent.key,
        step=step,
        kind="quantize" if isinstance(plugin, Quantizer) else "convert",
        source=plugin.sources[0] if parent is None else parent.target,
        target=plugin_target(plugin),
        unavailable=reason,
    )


def _explain_order(plugin: Plugin, parent: PlanNode) -> str:
    reads = " or ".join(plugin.sources)
    came = f"{plugin.name} reads {reads}, but {parent.step.name} leaves {parent.target}"
    if plugin.name == ROOT_KEY:
        return f"{came}; remove it, every chain starts at {ROOT_KEY} already"
    paths = [path for source in plugin.sources if (path := _path_between(parent.target, source))]
    between = min(paths, key=len, default=None)
    if between is None:
        return f"{came}; no step leads from {parent.target} to {reads}"
    return f"{came}; insert {', '.join(between)} before it"


def _path_between(source: str, target: str) -> list[str] | None:
    """Return the names of the fewest steps that lead from one format to another."""
    edges = [(name, plugin) for name in step_names() if (plugin := _try_make(name)) is not None]
    queue: deque[tuple[str, list[str]]] = deque([(source, [])])
    seen = {source}
    while queue:
        current, path = queue.popleft()
        if current == target:
            return path
        for name, plugin in edges:
            reached = plugin_target(plugin)
            if current in plugin.sources and reached not in seen:
                seen.add(reached)
                queue.append((reached, [*path, name]))
    return None


def _try_make(name: str) -> Plugin | None:
    """Return a step with its defaults, or nothing where a broken third-party plugin cannot be imported."""
    try:
        return make_step(Step(name=name))
    except ConfigError:
        return None
