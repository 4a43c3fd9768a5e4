"""Choose among the names of a network's parts by patterns, with near names where one matches nothing."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from fnmatch import fnmatchcase

from pt_core.errors import ConfigError

_NUM_NEAR = 3


def matching(patterns: Sequence[str], names: Sequence[str], *, where: str) -> tuple[str, ...]:
    """Return the names that match any of the patterns, as ``fnmatch`` does: a star stands for dots too.

    Args:
        patterns: such as ``backbone.*``; a name matches itself.
        names: what may be chosen.
        where: the setting that the patterns stand in.

    Raises:
        ConfigError: a pattern matches nothing, with near names.
    """
    for index, pattern in enumerate(patterns):
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ConfigError(f"{where}[{index}]: {pattern!r} matches no name; {_near(pattern, names)}")
    return tuple(name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns))


def _near(pattern: str, names: Sequence[str]) -> str:
    below = [name for name in names if name.startswith(f"{pattern}.")]
    if below:
        return f"did you mean {pattern}.*? {len(below)} names begin so, the first is {below[0]}"
    parts = [name.split(".") for name in names]
    # The beginnings of names too: a mistake in one is far from every whole name.
    known = dict.fromkeys(".".join(one[:end]) for one in parts for end in range(1, len(one) + 1))
    near = difflib.get_close_matches(pattern.rstrip("*."), known, n=_NUM_NEAR)
    if near:
        return f"near are {', '.join(name if name in names else f'{name}.*' for name in near)}"
    shown = ", ".join(names[:_NUM_NEAR]) or "none"
    return f"the first of the {len(names)} names: {shown}"
