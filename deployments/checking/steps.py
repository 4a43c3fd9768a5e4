"""The build, push and pull steps: functions that import, called with what they take."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from prefect.deployments.steps.core import RESERVED_KEYWORDS
from prefect.utilities.importtools import import_object

from deployments.checking.problem import Path, Problem, unknown

ACTIONS = ("build", "push", "pull")


def action_problems(path: Path, holder: dict[str, Any]) -> Iterator[Problem]:
    """Yield what is wrong with the steps of a file or of a deployment."""
    for action in ACTIONS:
        steps = holder.get(action)
        listed = [steps] if isinstance(steps, dict) and steps else steps
        if not isinstance(listed, list | dict | None):
            yield Problem(
                path=(*path, action), text=f"expected a list of steps, found {type(steps).__name__}"
            )
        elif isinstance(listed, list):
            for index, step in enumerate(listed):
                yield from _step_problems((*path, action, index), step)


def _step_problems(path: Path, step: object) -> Iterator[Problem]:
    if not isinstance(step, dict) or len(step) != 1:
        yield Problem(path=path, text="expected a mapping of one import path to its inputs")
        return
    ((name, inputs),) = step.items()
    place = (*path, str(name))
    function = _imported(str(name))
    is_brought = isinstance(inputs, dict) and inputs.get("requires")
    if function is None and is_brought:
        # Installed when the step runs.
        return
    if function is None:
        yield Problem(path=place, text="does not import; expected the full name of a function")
    elif getattr(function, "__module__", "") == "builtins" or _inputs_of(function) is None:
        yield Problem(path=place, text="is no step; expected a function that does something with the code")
    elif not isinstance(inputs, dict | None):
        yield Problem(path=place, text=f"expected a mapping of inputs, found {type(inputs).__name__}")
    else:
        yield from _input_problems(place, function, inputs or {})


def _imported(name: str) -> Callable[..., object] | None:
    try:
        found = import_object(name)
    except (ImportError, AttributeError, ValueError):
        return None
    return found if callable(found) else None


def _inputs_of(function: Callable[..., object]) -> Mapping[str, inspect.Parameter] | None:
    """Return what a function takes, ``None`` if it does not say, as some that are written in C."""
    try:
        return inspect.signature(function).parameters
    except ValueError:
        return None


def _input_problems(path: Path, function: Callable[..., object], inputs: dict[str, Any]) -> Iterator[Problem]:
    parameters = _inputs_of(function) or {}
    if not any(one.kind is one.VAR_KEYWORD for one in parameters.values()):
        known = {*parameters, *RESERVED_KEYWORDS}
        yield from (unknown((*path, key), known, what="input") for key in inputs if key not in known)
    if getattr(function, "__name__", "") == "git_clone" and inputs.get("branch") and inputs.get("commit_sha"):
        text = "given beside branch, and the step takes one of the two"
        yield Problem(path=(*path, "commit_sha"), text=text)
    for name, one in parameters.items():
        is_named = one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)
        if is_named and one.default is one.empty and name not in inputs:
            yield Problem(path=(*path, name), text="missing, the step cannot run without this input")
