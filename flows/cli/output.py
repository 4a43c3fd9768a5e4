"""How commands speak: results on standard output, everything else on standard error, exit codes by meaning."""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

import typer
from rich.console import Console
from rich.markup import escape

from pt_core.errors import ConfigError, GateRefused, PtCoreError, StepFailed

# An import path such as fit:train: is no picture of a train.
results = Console(soft_wrap=False, emoji=False)
messages = Console(stderr=True, emoji=False)


def print_json(document: object) -> None:
    """Print one JSON document, and nothing else, on standard output."""
    sys.stdout.write(json.dumps(document, indent=2, allow_nan=False) + "\n")


def print_line(name: str, value: str) -> None:
    """Print a named value without wrapping, so that a terminal keeps an address clickable."""
    results.print(f"[bold]{name}[/]  {escape(value)}", soft_wrap=True, highlight=False)


def fail(error: PtCoreError, *, as_json: bool = False) -> NoReturn:
    """Say what went wrong in the error's own words and leave with its exit code."""
    if as_json:
        print_json({"error": error.to_dict(), "exit_code": error.exit_code})
    messages.print(f"[bold red]{type(error).__name__}[/]", end=": ")
    messages.print(str(error), markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(error.exit_code)


def guarded(action: Callable[[], None], *, as_json: bool) -> None:
    """Run a command's body; a named failure becomes its message and exit code, never a traceback."""
    try:
        action()
    except typer.Exit:
        raise
    except PtCoreError as error:
        # A refusal has printed its whole document already.
        fail(error, as_json=as_json and not isinstance(error, GateRefused))
    except OSError as error:
        fail(ConfigError(f"{error.filename or 'the system'}: {error.strerror or error}"), as_json=as_json)
    except Exception as error:  # noqa: BLE001 - a defect: shown whole, and a script gets its document all the same
        traceback.print_exc()
        fail(StepFailed(f"{type(error).__name__}: {error}"[:2000]), as_json=as_json)
