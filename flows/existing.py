"""What is there to be measured anew: a finished run with its artifacts, and the settings and samples to measure it by."""

from __future__ import annotations

import copy
from pathlib import Path

from pydantic import JsonValue

from flows.check import Checked, check, check_code
from flows.checkpoints import find_checkpoint
from flows.cli.compare import find_runs
from flows.cli.run import read_result
from flows.config import PipelineConfig
from flows.fetch import fetch_checkpoint, fetch_run, missing_bundles
from flows.home import Home, add_code_path, may_be_stored
from flows.load import Tree, find_config, load_config, settings_of
from pt_core.artifacts.artifact import Artifact
from pt_core.artifacts.checkpoint import Checkpoint
from pt_core.building.plan import make_plan
from pt_core.decision.result import RunResult, VariantResult
from pt_core.errors import ConfigError, PtCoreError, StepFailed, StepUnavailable
from tasks.stored import find_run


def find_existing(home: Home, named: str) -> RunResult | Checkpoint:
    """Return what is to be measured: a finished run, the latest if none is named, or a checkpoint without variants.

    Args:
        home: where it is, or is fetched to.
        named: name or MLflow id of a run or of a training alone, ``runs:/RUN/checkpoint``, or a checkpoint's folder.

    Raises:
        ConfigError: there is no such run.
        IntegrityError: what MLflow holds of it are other bytes, or signed by nobody who is trusted.
    """
    if named.startswith("runs:/") or (named and Path(named).is_dir()):
        return find_checkpoint(named, base_dir=Path(), where="evaluate")
    is_here = not named or (home.runs / named / "run.json").is_file()
    if not is_here and may_be_stored(home):
        stored = find_run(home.tracking_uri, named)
        if stored.tags.get("stage") == "train":
            return fetch_checkpoint(home, f"runs:/{stored.run_id}/checkpoint")
    result = read_result(find_runs([named] if named else [], home)[0])
    artifacts = {variant.artifact.directory for variant in result.variants if variant.artifact}
    if artifacts & set(missing_bundles(result)) and result.mlflow_run_id:
        result = fetch_run(home, result.mlflow_run_id)
    return result


def check_existing(result: RunResult, config: str, overrides: tuple[str, ...]) -> Checked:
    """Return the settings to measure a finished run by: its own, or another configuration's with the run's variants.

    Paths in the run's own settings are relative to the current folder.

    Raises:
        ConfigError: the settings are not valid, or the run is of a version that did not keep its own.
        PlanError: a step of a variant is not known here.
    """
    own = result.config
    if own is None:
        raise ConfigError(f"{result.run_name}: keeps no settings, an earlier version made it; run again")
    if config:
        path = find_config(config)
        given: Tree = {**load_config(path, overrides).model_dump(mode="json"), **_of_the_run(own)}
        settings = settings_of(given, (), base_dir=path.parent, where=path.name)
    else:
        path = Path.cwd() / result.run_name
        settings = settings_of(
            copy.deepcopy(dict(own)), overrides, base_dir=Path.cwd(), where=result.run_name
        )
        _refuse_other_variants(settings, own, result.run_name)
    add_code_path(path.parent)
    check_code(settings)
    name = config or result.run_name
    return Checked(name=name, path=str(path), settings=settings, plan=make_plan(settings.variants))


def check_for_checkpoint(named: str, config: str, overrides: tuple[str, ...]) -> Checked:
    """Return the settings to build and measure the variants of a checkpoint by.

    Raises:
        ConfigError: none are given, or they are not valid.
        PlanError: a chain of steps.
    """
    if not config:
        raise ConfigError(
            f"{named}: is a checkpoint, which says nothing of variants and a gate; give the configuration that it was "
            "trained with: --config FILE, or the field config"
        )
    return check(config, overrides)


def reference_of(result: RunResult) -> Artifact:
    """Return the artifact that the others of a run are compared with.

    Raises:
        ConfigError: the run has none.
    """
    found = next((one.artifact for one in result.variants if one.name == result.reference), None)
    if found is None:
        raise ConfigError(
            f"{result.run_name}: has no artifact of its reference {result.reference}; run again"
        )
    return found


def outcome_of(variant: VariantResult) -> Artifact | PtCoreError:
    """Return what became of a variant: its artifact, or why there is none."""
    if variant.artifact is not None:
        return variant.artifact
    kind = StepUnavailable if variant.state == "skipped" else StepFailed
    error = kind(variant.problem or f"it was {variant.state}")
    error.evidence = variant.divergence.to_json() if variant.divergence else None
    return error


def _of_the_run(own: dict[str, JsonValue]) -> Tree:
    """Return what a run was built by, which no other configuration changes."""
    return {name: own[name] for name in ("variants", "model", "train") if name in own}


def _refuse_other_variants(settings: PipelineConfig, own: dict[str, JsonValue], run_name: str) -> None:
    now = settings.model_dump(mode="json")
    changed = [name for name in _of_the_run(own) if now[name] != own[name]]
    if changed:
        raise ConfigError(
            f"{run_name}: was built with other {' and '.join(changed)}, which measuring does not change; build anew with "
            "pt-pipeline run --from"
        )
