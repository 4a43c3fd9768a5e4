"""One thing that is wrong in a file of deployments, at its path."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from pydantic import ValidationError, field_validator

from pt_core.record import Record

Path = tuple[str | int, ...]


class Problem(Record):
    """What is wrong, and where."""

    path: Path
    """Keys and positions from the top of the file."""
    text: str
    """Observed against expected, and what to do."""

    @field_validator("path", mode="before")
    @classmethod
    def _written(cls, path: tuple[object, ...]) -> Path:
        # A key in YAML may also be a number, a date or nothing.
        return tuple(
            part if isinstance(part, str | int) and not isinstance(part, bool) else str(part) for part in path
        )


def unknown(path: Path, known: Iterable[str], *, what: str = "key") -> Problem:
    """Return that the last part of a path is none of the known names, with the nearest of them."""
    return Problem(path=path, text=f"unknown {what}; {nearest(str(path[-1]), known)}")


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a clause that helps after a typo: the nearest name, or all of them."""
    names = sorted(known)
    found = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {found[0]}?" if found else f"expected one of {', '.join(names) or 'none'}"


def of_validation(path: Path, error: ValidationError) -> list[Problem]:
    """Return what pydantic found wrong in the value at a path, a problem for each place in it."""
    found: dict[Path, str] = {}
    for one in error.errors(include_url=False):
        message = one["msg"].removeprefix("Value error, ")
        shown = (
            f", found {one['input']!r}" if isinstance(one["input"], str | int | float | bool | None) else ""
        )
        # Of a union's members the first says enough.
        place = tuple(part for part in one["loc"][:1])
        found.setdefault((*path, *place), f"{message}{shown}")
    return [Problem(path=place, text=text) for place, text in found.items()]
