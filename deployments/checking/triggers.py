"""The triggers of a deployment: what they wait for, and what they then start."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from prefect import Flow
from prefect.events.schemas.automations import (
    CompoundTrigger,
    EventTrigger,
    MetricTrigger,
    MetricTriggerQuery,
    SequenceTrigger,
)
from prefect.events.schemas.deployment_triggers import (
    DeploymentCompoundTrigger,
    DeploymentEventTrigger,
    DeploymentMetricTrigger,
    DeploymentSequenceTrigger,
    deployment_trigger_discriminator,
)
from pydantic import BaseModel, ValidationError

from deployments.checking.events import event_problem, label_problem
from deployments.checking.parameters import parameter_problems
from deployments.checking.problem import Path, Problem, of_validation, unknown
from deployments.checking.shape import keys_of, variable_problems
from deployments.checking.templates import is_template

_OF_RUNS = ("prefect.flow-run.", "prefect.task-run.")
_EVERY = re.compile(r"\*|prefect\.[a-z-]*\.?\*")
_SAY_WHICH = "say which, such as match_related with prefect.resource.role: flow and prefect.resource.name: NAME OF ANOTHER FLOW"

_OUTER: dict[str, type[BaseModel]] = {
    "event": DeploymentEventTrigger,
    "metric": DeploymentMetricTrigger,
    "compound": DeploymentCompoundTrigger,
    "sequence": DeploymentSequenceTrigger,
}
_INNER: dict[str, type[BaseModel]] = {
    "event": EventTrigger,
    "metric": MetricTrigger,
    "compound": CompoundTrigger,
    "sequence": SequenceTrigger,
}


def trigger_problems(
    path: Path, triggers: object, flow: Flow[..., Any] | None, *, is_process: bool
) -> Iterator[Problem]:
    """Yield what is wrong with the triggers of a deployment; without its flow their parameters are not looked at."""
    if triggers is None:
        return
    if not isinstance(triggers, list):
        yield Problem(path=path, text=f"expected a list, found {type(triggers).__name__}")
        return
    for index, trigger in enumerate(triggers):
        place = (*path, index)
        yield from _one(place, trigger, _OUTER)
        if isinstance(trigger, dict) and flow and trigger.get("parameters") is not None:
            yield from _parameters((*place, "parameters"), trigger["parameters"], flow)
        if isinstance(trigger, dict) and is_process and trigger.get("job_variables") is not None:
            yield from variable_problems((*place, "job_variables"), trigger["job_variables"])


def _one(path: Path, trigger: object, models: dict[str, type[BaseModel]]) -> Iterator[Problem]:
    if not isinstance(trigger, dict):
        yield Problem(path=path, text=f"expected a mapping, found {type(trigger).__name__}")
        return
    kind = deployment_trigger_discriminator(trigger)
    # A list, as what is written there may have no hash.
    if kind not in [*models]:
        yield Problem(path=(*path, "type"), text=f"{kind!r}; expected one of {', '.join(models)}")
        return
    known = keys_of(models[kind])
    wrong = [key for key in trigger if key not in known]
    yield from (unknown((*path, key), known) for key in wrong)
    if kind == "event":
        yield from _event(path, trigger)
    elif kind == "metric" and isinstance(trigger.get("metric"), dict):
        inner = keys_of(MetricTriggerQuery)
        yield from (unknown((*path, "metric", key), inner) for key in trigger["metric"] if key not in inner)
    elif kind in ("compound", "sequence"):
        if not trigger.get("triggers"):
            yield Problem(
                path=(*path, "triggers"), text="missing or empty: it would never fire; say what it waits for"
            )
        for index, one in enumerate(_listed(trigger.get("triggers"))):
            yield from _one((*path, "triggers", index), one, _INNER)
    yield from _typed(path, {key: trigger[key] for key in trigger if key in known}, models[kind])


def _event(path: Path, trigger: dict[str, Any]) -> Iterator[Problem]:
    expected = _listed(trigger.get("expect"))
    if not expected:
        yield Problem(
            path=(*path, "expect"), text="missing or empty: it would fire on every event; say which"
        )
    named = [(key, name) for key in ("expect", "after") for name in _listed(trigger.get(key))]
    yield from (
        Problem(path=(*path, key), text=wrong) for key, name in named if (wrong := event_problem(name))
    )
    for key in ("match", "match_related"):
        for labels in _listed(trigger.get(key)):
            yield from _labels((*path, key), labels)
    yield from (
        Problem(path=(*path, "for_each"), text=f"{label!r}: {wrong}")
        for label in _listed(trigger.get("for_each"))
        if (wrong := label_problem(str(label)))
    )
    threshold = trigger.get("threshold", 1)
    if isinstance(threshold, int) and threshold < 1:
        yield Problem(path=(*path, "threshold"), text=f"expected at least 1, found {threshold}")
    if trigger.get("posture") == "Proactive" and not trigger.get("within"):
        yield Problem(
            path=(*path, "within"), text="missing or 0; expected the seconds of silence to wait, 10 or more"
        )
    yield from _limits(path, trigger, expected)


def _limits(path: Path, trigger: dict[str, Any], expected: list[object]) -> Iterator[Problem]:
    """Yield that a trigger limits nothing: a run that starts a run that starts a run has no end."""
    match, related = _listed(trigger.get("match")), _listed(trigger.get("match_related"))
    is_general = any(str(name).startswith("prefect.") for name in expected)
    if not any([*match, *related]) and ("match" in trigger or is_general):
        yield Problem(
            path=(*path, "match"),
            text=f"missing or empty: it would fire for every resource; {_SAY_WHICH}",
        )
    elif any(_is_of_runs(str(name)) for name in expected) and not (
        any(_names_one(labels, ("prefect.resource.id",)) for labels in match)
        or any(_names_one(labels, ("prefect.resource.id", "prefect.resource.name")) for labels in related)
    ):
        yield Problem(
            path=(*path, "match"),
            text=f"fits every run, also those that it starts itself, so that they have no end; {_SAY_WHICH}",
        )


def _is_of_runs(event: str) -> bool:
    """Return whether an event, or one that a star stands for, is one of every run."""
    stem = event.rstrip("*")
    return any(event.startswith(run) or (event != stem and run.startswith(stem)) for run in _OF_RUNS)


def _names_one(labels: object, keys: tuple[str, ...]) -> bool:
    """Return whether labels tell one resource from others of its kind, which a kind with a star does not."""
    values = [labels.get(key) for key in keys] if isinstance(labels, dict) else []
    return any(value and not any(_EVERY.fullmatch(str(one)) for one in _listed(value)) for value in values)


def _labels(path: Path, labels: object) -> Iterator[Problem]:
    if not isinstance(labels, dict):
        yield Problem(path=path, text=f"expected a mapping of labels, found {type(labels).__name__}")
        return
    for label in labels:
        wrong = label_problem(str(label))
        if wrong:
            yield Problem(path=(*path, str(label)), text=wrong)


def _parameters(path: Path, parameters: object, flow: Flow[..., Any]) -> Iterator[Problem]:
    """Yield what is wrong with a trigger's parameters, leaving out the values that an event fills in."""
    for problem in parameter_problems(path, parameters, flow):
        key = problem.path[len(path)] if len(problem.path) > len(path) else None
        value = parameters.get(key) if isinstance(parameters, dict) else None
        if problem.text.startswith("unknown") or not is_template(value):
            yield problem


def _listed(value: object) -> list[object]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple | set) else [value]


def _typed(path: Path, trigger: dict[str, Any], model: type[BaseModel]) -> Iterator[Problem]:
    # Whether a trigger is enabled may be said by a variable of the server.
    given = {key: value for key, value in trigger.items() if not is_template(value)}
    try:
        model.model_validate(given)
    except ValidationError as error:
        yield from of_validation(path, error)
    except (TypeError, OverflowError):
        # Prefect reckons with the seconds of an event before it looks whether they are some. Where those of an inner
        # trigger are wrong, it is told there.
        if "expect" in keys_of(model):
            text = f"expected a number of seconds, found {trigger.get('within')!r}"
            yield Problem(path=(*path, "within"), text=text)
