"""The run of a push takes its code from the pushed commit: what would come from elsewhere is refused."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from importlib.machinery import ModuleSpec
from pathlib import Path

from pt_core.environment import git_state
from pt_core.errors import ConfigError
from pt_core.isolation import CODE_PATH_VARIABLE

PUSH_COMMIT_VARIABLE = "PT_PIPELINE_PUSH_COMMIT"
"""Environment variable: the commit that the webhook receiver started this run for."""


def check_pushed(folder: Path) -> None:
    """Refuse a checkout that is not the commit that was pushed; without such a commit there is nothing to check.

    Raises:
        ConfigError: which commit it is, or that files were changed or added.
    """
    pushed = os.environ.get(PUSH_COMMIT_VARIABLE)
    if not pushed:
        return
    found, changed = git_state(folder)
    if found != pushed:
        raise ConfigError(
            f"{folder}: at commit {found or 'none, it is no Git checkout'}, expected the pushed {pushed}; a run of a "
            "push takes its configuration from the repository that was pushed, as a path inside it"
        )
    if changed:
        raise ConfigError(
            f"{folder}: at commit {pushed}, but tracked files were changed since, or Python files added; expected a clean checkout"
        )


def forget_other_code() -> None:
    """Take the folders of code that a push inherited from whoever started its worker out of the environment."""
    if os.environ.get(PUSH_COMMIT_VARIABLE):
        os.environ.pop(CODE_PATH_VARIABLE, None)


def check_imports(targets: Mapping[str, str], folder: Path) -> None:
    """Refuse import paths whose module the pushed commit has, while Python finds another copy of it first.

    Args:
        targets: each "module:function", with the setting that it stands in.
        folder: the folder of the configuration.

    Raises:
        ConfigError: which copy it is, and how the checkout's own would be found.
    """
    if not os.environ.get(PUSH_COMMIT_VARIABLE):
        return
    root = next((one for one in (folder, *folder.parents) if (one / ".git").exists()), folder).resolve()
    for target, where in targets.items():
        top = target.partition(":")[0].partition(".")[0]
        own = [
            place
            for parent in (folder, root, root / "src")
            for place in (parent / top, parent / f"{top}.py")
            if place.exists()
        ]
        spec = importlib.util.find_spec(top) if own else None
        outside = [place for place in _places(spec) if not Path(place).resolve().is_relative_to(root)]
        if outside:
            raise ConfigError(
                f"{where}: the pushed commit has {top} in {own[0]}, but Python finds {outside[0]} first, which may be "
                "other code; uninstall that copy from the worker's environment or take it out of PYTHONPATH, or give "
                "the module of the repository another name"
            )


def _places(spec: ModuleSpec | None) -> tuple[str, ...]:
    if spec is None:
        return ()
    return tuple(spec.submodule_search_locations or ()) or ((spec.origin,) if spec.origin else ())
