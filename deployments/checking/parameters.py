"""The parameters of a deployment, against the signature and the schema of its flow."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any, get_type_hints

from prefect import Flow
from prefect.utilities.schema_tools.validation import validate
from pydantic import TypeAdapter, ValidationError

from deployments.checking.problem import Path, Problem, of_validation, unknown


def parameter_problems(path: Path, parameters: object, flow: Flow[..., Any]) -> Iterator[Problem]:
    """Yield what is wrong with given parameters; what is missing is another question, see :func:`missing`."""
    if not isinstance(parameters, dict):
        yield Problem(path=path, text=f"expected a mapping, found {type(parameters).__name__}")
        return
    known = inspect.signature(flow.fn).parameters
    yield from (
        unknown((*path, key), known, what=f"parameter of flow {flow.name}")
        for key in parameters
        if key not in known
    )
    given = {key: value for key, value in parameters.items() if key in known}
    schema = flow.parameters.model_dump_for_openapi()
    refused: set[str | int] = set()
    # The server validates by the schema, the run by its types: neither sees all that the other does.
    for error in validate(given, schema, preprocess=True, ignore_required=True):
        refused.add(error.absolute_path[0] if error.absolute_path else "")
        yield Problem(path=(*path, *error.absolute_path), text=error.message)
    hints = get_type_hints(flow.fn, include_extras=True)
    for key, value in given.items():
        if key not in refused and key in hints:
            yield from _typed((*path, key), value, hints[key])


def missing(flow: Flow[..., Any], *given: Mapping[str, object] | None) -> list[str]:
    """Return the parameters that nothing gives and that have no default."""
    named = {key for mapping in given for key in mapping or {}}
    needed = inspect.signature(flow.fn).parameters.values()
    return [one.name for one in needed if one.default is one.empty and one.name not in named]


def _typed(path: Path, value: object, hint: Any) -> Iterator[Problem]:
    try:
        TypeAdapter(hint).validate_python(value)
    except ValidationError as error:
        yield from of_validation(path, error)
