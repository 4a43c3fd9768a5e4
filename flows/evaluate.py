"""Measure and judge on this machine what was built before: the artifacts of a finished run, or a checkpoint's anew."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from prefect import flow
from prefect.client.schemas.objects import State
from pydantic import Field

from flows.champion import find_champion
from flows.check import Checked
from flows.checkpoints import check_evaluable
from flows.ending import ending
from flows.existing import check_existing, check_for_checkpoint, find_existing, outcome_of, reference_of
from flows.flow_run import command
from flows.home import Home, activate
from flows.job import RUNNER, Job, Measured, conclude, finish, measure, opened
from flows.lifecycle import main_job
from flows.requests import attack_request, prepare_request
from flows.retrain_form import AS_CONFIGURED, GateField, OverridesField, PromoteField, form_overrides
from flows.source import enter_source
from flows.store_lock import store_in_use
from pt_core.artifacts.checkpoint import Checkpoint
from pt_core.bundle import is_intact
from pt_core.data.dataset import Dataset
from pt_core.decision.result import RunResult
from pt_core.errors import ConfigError
from tasks.attack import attack
from tasks.caching import run as run_task
from tasks.data import prepare
from tasks.track import track_training

RunField = Annotated[str, Field(json_schema_extra={"title": "Run"})]
ConfigField = Annotated[str, Field(json_schema_extra={"title": "Configuration"})]


@flow(name="evaluate", task_runner=RUNNER)  # type: ignore[arg-type]
def evaluate(
    run: RunField = "",
    config: ConfigField = "",
    gate: GateField = AS_CONFIGURED,
    promote: PromoteField = "never",
    overrides: OverridesField = (),
) -> RunResult | State[Any]:
    """Measure and judge the artifacts of a finished run anew, on this machine and without training.

    Args:
        run: Name or MLflow id of a run, or runs:/RUN/checkpoint; the latest run of this home if left empty.
        config: Whose data, measures and gate to take; those of the run if left empty. A checkpoint needs one.
        gate: How strict the gate is; smoke only shows that the pipeline runs.
        promote: What becomes of a winner; where a person is asked, the run waits in these pages.
        overrides: Any other setting, each as name.name=value, for example efficiency.rounds=60.
    """

    def work() -> RunResult:
        changes = form_overrides(overrides, epochs=0, precision=AS_CONFIGURED, gate=gate, promote=promote)
        return _evaluated(run, config, changes)

    return ending(work)


def _evaluated(named: str, config: str, overrides: tuple[str, ...]) -> RunResult:
    home = activate(None)
    # From before it is looked up, so that nobody removes what was just found.
    with store_in_use(home):
        found = find_existing(home, named)
        if isinstance(found, Checkpoint):
            return _from_checkpoint(found, home, named, config, overrides)
        return _from_run(found, home, config, overrides)


def _from_run(found: RunResult, home: Home, config: str, overrides: tuple[str, ...]) -> RunResult:
    checked = check_existing(found, config, overrides)
    enter_source(checked)
    labels = {"stage": "evaluate", "evaluated_run": found.run_name}
    options = ("--config", config) if config else ()
    with opened(checked, home, labels=labels) as job:
        dataset, warnings = _samples(found, checked, home, is_own=not config)
        track_training(job.tracked, found.checkpoint, dataset)
        result = conclude(
            job,
            _measured(job, found, dataset),
            dataset=dataset,
            checkpoint=found.checkpoint,
            reproduce=command("evaluate", found.run_name, overrides, *options),
            warnings=warnings,
        )
    return finish(job, result)


def _measured(job: Job, found: RunResult, dataset: Dataset) -> Measured:
    """Craft the attacks on the reference, and measure every artifact of the run beside the champion."""
    settings, reference = job.checked.settings, reference_of(found)
    attacks = run_task(
        attack, attack_request(settings, reference, dataset, job.home), settings.limits.for_step()
    )
    by_name = {variant.name: variant for variant in found.variants}
    ends = {planned.node: outcome_of(by_name[planned.name]) for planned in job.checked.plan.variants}
    return measure(
        job,
        ends,
        reference=reference,
        attacks=attacks,
        dataset=dataset,
        champion=find_champion(settings, job.home),
    )


def _samples(
    result: RunResult, checked: Checked, home: Home, *, is_own: bool
) -> tuple[Dataset, tuple[str, ...]]:
    """Return the samples to measure on, and what to know about them: the run's own bundle, or prepared here."""
    known = result.dataset
    asked = (result.config or {}).get("data"), result.seed
    same = asked == (checked.settings.data.model_dump(mode="json"), checked.settings.seed)
    if is_own and same and is_intact(Path(known.directory), known.digest):
        return known, ()
    try:
        request = prepare_request(checked.settings, base_dir=checked.base_dir, home=home)
    except ConfigError as error:
        hint = (
            ""
            if not is_own
            else "; the run's own are not here: give --config FILE, or the field config, whose data are relative to it"
        )
        raise error.with_message(f"{error.message}{hint}") from error
    dataset = run_task(prepare, request, checked.settings.limits.for_step())
    return dataset, check_evaluable(result.checkpoint, dataset)


def _from_checkpoint(
    given: Checkpoint, home: Home, named: str, config: str, overrides: tuple[str, ...]
) -> RunResult:
    checked = check_for_checkpoint(named, config, overrides)
    enter_source(checked)
    labels = {"stage": "evaluate", "evaluated_run": named}
    return main_job(checked, home, overrides=overrides, given=given, labels=labels)
