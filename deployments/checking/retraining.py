"""The parameters of our own retraining, which the run reads as a configuration and changes to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path as FilePath
from typing import Any

from deployments.checking.problem import Path, Problem
from deployments.checking.templates import is_template
from flows.load import DEFAULT_CONFIG, find_config, load_config
from flows.retrain_form import AS_CONFIGURED, form_overrides
from pt_core.errors import ConfigError

ENTRYPOINT = "flows.retrain.retrain"


def retraining_problems(
    path: Path, parameters: Mapping[str, Any], folder: FilePath, *, is_pulled: bool
) -> Iterator[Problem]:
    """Yield why a run would end at once with these parameters, which fit the form.

    Args:
        path: where they stand.
        parameters: all that a run gets.
        folder: where the file of deployments is.
        is_pulled: whether the code, and with it the configuration, comes from elsewhere when the run starts.
    """
    if is_template(parameters):
        return
    name = parameters.get("config", DEFAULT_CONFIG)
    fields = {key: parameters.get(key, AS_CONFIGURED) for key in ("precision", "gate", "promote")}
    at = (*path, "overrides")
    try:
        given = tuple(parameters.get("overrides", ()))
        changes = form_overrides(given, epochs=parameters.get("epochs", 0), **fields)
        at = (*path, "config")
        beside = folder / name
        found = find_config(str(beside) if beside.is_file() else name)
        load_config(found)
        at = (*path, "overrides")
        load_config(found, changes)
    except ConfigError as error:
        is_away = is_pulled and at[-1] == "config"
        if not is_away:
            yield Problem(path=at, text="; ".join([error.message, *map(str, error.details)]))
