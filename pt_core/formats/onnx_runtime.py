"""How ONNX Runtime executes a graph: the level that was judged, pinned in a file of the payload."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self, get_args

from pydantic import ValidationError

from pt_core.errors import IntegrityError
from pt_core.record import Record

RUNTIME_FILE = "runtime.json"

GraphLevel = Literal["disable", "basic", "extended", "all"]
GRAPH_LEVELS: tuple[GraphLevel, ...] = get_args(GraphLevel)
"""From no optimisation of the graph to all of them, layouts included."""

_OPTION = "graph_level"


class OnnxRuntime(Record):
    """What ``runtime.json`` says, beside every ONNX graph: a level that was not judged is not deployed."""

    graph_level: GraphLevel
    """How far ONNX Runtime optimises the graph when it loads."""

    @classmethod
    def read(cls, directory: Path) -> Self:
        """Return what a bundle pins.

        Raises:
            IntegrityError: the file is missing or says something else.
        """
        path = directory / RUNTIME_FILE
        try:
            return cls.from_json(path.read_bytes())
        except FileNotFoundError as error:
            raise IntegrityError(
                f"{path}: missing, expected the graph level that was judged; the step that writes the graph writes "
                "it too, or hands on that of its source"
            ) from error
        except ValidationError as error:
            raise IntegrityError(f"{path}: expected {_OPTION}, one of {', '.join(GRAPH_LEVELS)}") from error

    def write(self, directory: Path) -> None:
        """Write the file into a staging directory."""
        (directory / RUNTIME_FILE).write_text(self.to_json() + "\n")


def as_setting(level: GraphLevel) -> str:
    """Return a level as a setting, "graph_level=basic"."""
    return f"{_OPTION}={level}"


def from_setting(setting: str) -> GraphLevel:
    """Return the level of a setting."""
    return next(level for level in GRAPH_LEVELS if as_setting(level) == setting)
