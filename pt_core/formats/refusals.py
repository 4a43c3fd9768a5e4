"""Say in a sentence why torch.export refused a network: what its code does, at which line, and what to write."""

from __future__ import annotations

import logging
import re
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from traceback import walk_tb
from types import FrameType
from typing import NamedTuple

import torch
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

_MAX_QUOTE = 400
_GUARDS = logging.getLogger("torch.fx.experimental.symbolic_shapes")
_TORCH, _PYTHON = str(Path(torch.__file__).parent), sysconfig.get_path("stdlib")


class Guard(NamedTuple):
    """A condition on a size that the network's code asked for while it was captured."""

    condition: str
    """As torch writes it, e.g. ``s77 >= 4``."""
    place: str | None
    """The line of the network's code that asked, "file:line in function"."""


@contextmanager
def watch_guards() -> Iterator[list[Guard]]:
    """Collect the conditions on sizes that come up inside; torch logs them, and keeps no line of those it violates."""
    watcher = _Watcher()
    level, handlers, propagate = _GUARDS.level, _GUARDS.handlers, _GUARDS.propagate
    # Only for the watcher: nobody asked torch for these messages on the screen.
    _GUARDS.handlers, _GUARDS.propagate = [watcher], False
    _GUARDS.setLevel(logging.INFO)
    try:
        yield watcher.guards
    finally:
        _GUARDS.handlers, _GUARDS.propagate = handlers, propagate
        _GUARDS.setLevel(level)


def explain(error: Exception, guards: list[Guard]) -> str:
    """Return why torch.export refused, in a sentence and with the beginning of what it says itself."""
    text = str(error)
    if isinstance(error, GuardOnDataDependentSymNode):
        cause = (
            f"its code turns a value of the data into a Python number or a branch{_at(_place(error))}, and a graph "
            "would keep what it was for one batch; use torch.where or other operations on tensors"
        )
    elif isinstance(error, torch._dynamo.exc.UserError) and "specialized" in text:
        cause = (
            f"its code fixes {_sizes(text)} to a constant{_at(_first(guards, fixed=True))}, by a loop over it, a "
            "reshape to it or a Python number made of it; write it with -1 or operations on whole tensors"
        )
    elif isinstance(error, torch._dynamo.exc.UserError) and "violated" in text:
        cause = (
            f"its code branches on {_sizes(text)} or computes with it{_at(_first(guards, fixed=False))}, so that "
            "the graph would not hold for every size; write it with -1 or operations on whole tensors"
        )
    else:
        cause = (
            f"its code raised {type(error).__name__}{_at(_place(error))}, where sizes and values are only symbols "
            "while it is captured; keep them in tensors, without NumPy and without dictionaries keyed by a size"
        )
    return f"torch.export refused the network: {cause} (torch: {_quote(text)})"


class _Watcher(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.guards: list[Guard] = []

    def emit(self, record: logging.LogRecord) -> None:
        # Called from within the network's forward: its frame is still on the stack.
        message = record.getMessage()
        if "[guard added]" in message and "[guard suppressed]" not in message:
            condition = message.removeprefix("eval ").partition(" [guard")[0]
            self.guards.append(Guard(condition, _user_frame(sys._getframe())))


def _user_frame(frame: FrameType | None) -> str | None:
    # Beyond the capture itself are those who called the pipeline.
    while frame is not None and frame.f_code.co_name != "capture":
        if _is_user_code(frame.f_code.co_filename):
            return _describe(frame, frame.f_lineno)
        frame = frame.f_back
    return None


def _place(error: BaseException) -> str | None:
    frames = [
        (frame, line)
        for frame, line in walk_tb(error.__traceback__)
        if _is_user_code(frame.f_code.co_filename)
    ]
    return _describe(*frames[-1]) if frames else None


def _describe(frame: FrameType, line: int) -> str:
    return f"{frame.f_code.co_filename}:{line} in {frame.f_code.co_qualname}"


def _is_user_code(filename: str) -> bool:
    if filename.startswith(("<", _TORCH, str(Path(__file__).parent))):
        return False
    return not filename.startswith(_PYTHON) or "site-packages" in filename


def _first(guards: list[Guard], *, fixed: bool) -> str | None:
    """Return the line of the first condition, of the first that is met by one size only where that is asked for."""
    wanted = [guard for guard in guards if guard.place and (not fixed or guard.condition.startswith("Eq("))]
    return wanted[0].place if wanted else None


def _at(place: str | None) -> str:
    return f" at {place}" if place else ""


def _sizes(text: str) -> str:
    """Return which sizes a violation is about; the names are those given in the export."""
    named = re.search(r"(?:violated|required) \(([^)]*)\)", text)
    names = named[1].split(", ") if named else []
    axes = [name.removeprefix("size_") for name in names if name.startswith("size_")]
    found = ["the batch size"] if "batch" in names or not axes else []
    found += [f"the size of axis {axis} of a sample, which model.dynamic_axes declares" for axis in axes]
    return " and ".join(found)


def _quote(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= _MAX_QUOTE else f"{words[:_MAX_QUOTE]} ..."
