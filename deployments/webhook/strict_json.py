"""Read JSON that somebody else wrote: one object, UTF-8, each name once, no NaN."""

from __future__ import annotations

import json
from typing import NoReturn

from deployments.webhook.answers import RequestRefused


def read_object(body: bytes) -> dict[str, object]:
    """Return the JSON object that a body holds.

    Raises:
        RequestRefused: it holds none, or one that two readers could understand differently.
    """
    try:
        tree = json.loads(body.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except RecursionError:
        raise RequestRefused("the body's JSON is nested too deeply") from None
    except ValueError as error:  # also undecodable bytes, and whole numbers of thousands of digits
        kind = "UTF-8" if isinstance(error, UnicodeDecodeError) else "JSON"
        raise RequestRefused(f"the body is not valid {kind}") from None
    if not isinstance(tree, dict):
        raise RequestRefused(f"the body's JSON is a {type(tree).__name__}; expected an object")
    return tree


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    tree = dict(pairs)
    if len(tree) != len(pairs):
        raise RequestRefused("the body's JSON has a name twice in one object")
    return tree


def _no_constant(name: str) -> NoReturn:
    raise RequestRefused(f"the body's JSON holds {name}, which is no JSON number")
