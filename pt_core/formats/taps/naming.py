"""Name the values of a flat graph by the layers of the network's code that it was captured from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

WRAPPER = "Bfloat16"
"""Class that stands round a network cast to BF16: its layers keep the names that they had without it."""
_INNER = "network"
"""Name of the network in it."""


class Scope(NamedTuple):
    """One module on the way from the network to an operation."""

    path: str
    """Its path; empty for the network itself."""
    kind: str
    """Its class, without the package."""


class Value(NamedTuple):
    """One value of a graph."""

    name: str
    """Its name in the graph."""
    scopes: tuple[Scope, ...]
    """The modules it was computed in, the network first."""
    operation: str
    """What computed it, e.g. ``relu``."""
    inputs: tuple[str, ...]
    """Values it was computed from."""


class Place(NamedTuple):
    """Which layer a value is the output of."""

    name: str
    """Path of the module, with ``/operation`` where the module's own code goes on after it."""
    kind: str
    """Class of the module, or the operation."""
    call: int
    """Which of its calls, from 0 on."""
    num_calls: int
    """How often it is called."""


def name_values(values: Sequence[Value], results: Sequence[str]) -> dict[str, Place]:
    """Return the layer of each value that is one's output, in the order of execution.

    Consecutive operations in one module are one call of it, whose output is the first of its values that is
    read outside of it. Operations in the own code of a module that holds others are layers of
    their own, the last of them the module's output.
    """
    values = [value._replace(scopes=_without_wrappers(value.scopes)) for value in values]
    readers: dict[str, list[int]] = {}
    for number, value in enumerate(values):
        for name in value.inputs:
            readers.setdefault(name, []).append(number)
    containers = {scope.path for value in values for scope in value.scopes[:-1]}
    found: list[tuple[str, str, str]] = []
    for start, stop in _runs(values):
        scope = values[start].scopes[-1]
        inside = range(start, stop)
        if scope.path not in containers:
            found.append((_output(values, inside, readers, results), scope.path, scope.kind))
            continue
        goes_on = _goes_on(values, stop, scope.path)
        for number in inside:
            value = values[number]
            is_last = number == stop - 1 and not goes_on
            name = scope.path if is_last and scope.path else f"{scope.path}/{value.operation}"
            found.append((value.name, name, scope.kind if is_last and scope.path else value.operation))
    return _count_calls(found)


def plain_name(path: str, wrappers: Sequence[str]) -> str:
    """Return the path that a module has without the wrappers at these paths."""
    for wrapper in wrappers:
        inner = f"{wrapper}.{_INNER}"
        if path == inner or path.startswith(f"{inner}."):
            return wrapper + path.removeprefix(inner)
    return path


def _without_wrappers(scopes: tuple[Scope, ...]) -> tuple[Scope, ...]:
    wrappers = [scope.path for scope in scopes if scope.kind == WRAPPER]
    return tuple(Scope(plain_name(s.path, wrappers), s.kind) for s in scopes if s.kind != WRAPPER)


def _runs(values: Sequence[Value]) -> list[tuple[int, int]]:
    """Return the stretches of consecutive values with one innermost module; those without any are left out."""
    runs: list[tuple[int, int]] = []
    start = 0
    for number in range(1, len(values) + 1):
        if number == len(values) or values[number].scopes[-1:] != values[start].scopes[-1:]:
            if values[start].scopes:
                runs.append((start, number))
            start = number
    return runs


def _output(
    values: Sequence[Value], inside: range, readers: dict[str, list[int]], results: Sequence[str]
) -> str:
    for number in inside:
        name = values[number].name
        if name in results or any(reader not in inside for reader in readers.get(name, [])):
            return name
    return values[inside[-1]].name


def _goes_on(values: Sequence[Value], stop: int, path: str) -> bool:
    """Return whether the next value that has a module is still inside this one."""
    following = next((value.scopes for value in values[stop:] if value.scopes), ())
    return any(scope.path == path for scope in following)


def _count_calls(found: Sequence[tuple[str, str, str]]) -> dict[str, Place]:
    totals = Counter(name for _, name, _ in found)
    seen: Counter[str] = Counter()
    places = {}
    for value, name, kind in found:
        places[value] = Place(name, kind, seen[name], totals[name])
        seen[name] += 1
    return places
