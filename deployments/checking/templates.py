"""The placeholders in a file of deployments: each must have something that fills it in."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping

from deployments.checking.problem import Path, Problem
from deployments.checking.steps import ACTIONS

_PLACEHOLDER = re.compile(r"{{\s*(.*?)\s*}}")
_OF_PREFECT = re.compile(r"[\w.\-\[\]$]+")
"""What Prefect takes for a placeholder; other text in braces stays as it is."""
_PLAIN = re.compile(r"[A-Za-z_]\w*")
ANY_STEP = ""
"""In place of an id: that there is a step, whose outputs have plain names too."""
_OF_A_PUSH = "PT_PIPELINE_PUSH_"
"""Variables that are another for every run."""
_AT_RUN_TIME = ("prefect.blocks.", "prefect.variables.", "ctx.")


def is_template(value: object) -> bool:
    """Return whether a value, or something in it, is filled in later."""
    if isinstance(value, Mapping):
        # How Prefect writes down that an event or a workspace variable fills a value in.
        return "__prefect_kind" in value or any(is_template(one) for one in value.values())
    if isinstance(value, list):
        return any(is_template(one) for one in value)
    return isinstance(value, str) and "{{" in value


def template_problems(path: Path, value: object, outputs: frozenset[str] = frozenset()) -> Iterator[Problem]:
    """Yield the placeholders that nothing fills in.

    Args:
        path: where the value stands.
        value: what may hold placeholders.
        outputs: ids of the steps whose outputs may be named.
    """
    if isinstance(value, Mapping):
        for key, one in value.items():
            yield from template_problems((*path, str(key)), one, outputs)
    elif isinstance(value, list):
        for index, one in enumerate(value):
            yield from template_problems((*path, index), one, outputs)
    elif isinstance(value, str):
        yield from _text_problems(path, value, outputs)


def _text_problems(path: Path, text: str, outputs: frozenset[str]) -> Iterator[Problem]:
    for name in _PLACEHOLDER.findall(text):
        problem = _unfilled(path, name, outputs)
        if problem:
            yield Problem(path=path, text=f"{{{{ {name} }}}}: {problem}")
    if text.count("{{") != text.count("}}"):
        yield Problem(path=path, text=f"{text!r}: braces that do not close")


def step_ids(*holders: Mapping[str, object]) -> frozenset[str]:
    """Return the ids of all steps, by which their outputs are named, and :data:`ANY_STEP` if there is a step."""
    found: set[str] = set()
    for holder in holders:
        for action in ACTIONS:
            steps = holder.get(action)
            for step in steps if isinstance(steps, list) else [steps]:
                inputs = next(iter(step.values()), None) if isinstance(step, dict) else None
                if isinstance(step, dict) and step:
                    found.add(ANY_STEP)
                if isinstance(inputs, dict) and inputs.get("id"):
                    found.add(str(inputs["id"]))
    return frozenset(found)


def _unfilled(path: Path, name: str, outputs: frozenset[str]) -> str | None:
    """Return why nothing fills a placeholder in, or why the wrong thing does."""
    if "triggers" in path and name.partition(".")[0] in ("event", "events", "flow_run", "firing"):
        return None
    if name.startswith("$"):
        is_set, at_run_time = name[1:] in os.environ, "pull" in path
        if at_run_time and is_set and name[1:].startswith(_OF_A_PUSH):
            return "is set here, so that its value would be written down for good; unset it before deploying"
        if not at_run_time and not is_set:
            return "is not set here, so that the text would stay; set it, or write the value"
        return None
    if name.startswith(_AT_RUN_TIME) or name.partition(".")[0] in outputs - {ANY_STEP}:
        return None
    if (ANY_STEP in outputs and _PLAIN.fullmatch(name)) or (
        "script" in path and not _OF_PREFECT.fullmatch(name)
    ):
        return None
    return f"nothing fills it in; expected $VARIABLE, prefect.blocks..., prefect.variables... or the output of {_ids(outputs)}"


def _ids(outputs: frozenset[str]) -> str:
    ids = sorted(outputs - {ANY_STEP})
    return f"one of the steps {', '.join(ids)}" if ids else "a step, and none has an id"
