"""What a run does whatever its variants come from: opened in MLflow, measured alike, judged, reported, and closed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from prefect.runtime import flow_run
from prefect.task_runners import ThreadPoolTaskRunner

from flows.champion import to_measure, warnings_about, with_measurements
from flows.check import Checked
from flows.divergence import explain_refused
from flows.flow_run import prefect_link, run_name, tags
from flows.home import Home
from flows.keys import check_keys
from flows.notices import tell_failed, tell_refused
from flows.promotions import finish_promotions, promote_winner
from flows.servers import check_servers
from flows.transfer import Transfer, measure_transfer
from flows.variants import Built, evaluate_all, measured_variants, time_all
from pt_core.artifacts.artifact import Artifact
from pt_core.artifacts.checkpoint import Checkpoint
from pt_core.bundle import sweep
from pt_core.data.dataset import Dataset
from pt_core.decision.pareto import place
from pt_core.decision.result import ChampionResult, MeasuredVariant, RunResult, VariantResult
from pt_core.decision.select import select
from pt_core.environment import num_cpus
from pt_core.errors import GateRefused
from pt_core.evaluation.requests import Attacks
from pt_core.isolation import stop_all
from pt_core.keys import keys_here
from tasks.dashboard import TrackedRun, links
from tasks.gate import gate
from tasks.late import completed
from tasks.publish import publish
from tasks.report import report, store
from tasks.share import track_bundles
from tasks.track import close_failed, track_finish, track_result, track_start
from tasks.tracking import known

RUNNER: Final[ThreadPoolTaskRunner[Any]] = ThreadPoolTaskRunner(max_workers=max(2, num_cpus()))
"""Runs the tasks of a job in threads, each of which waits for a process of its own."""


class Job(NamedTuple):
    """A run at work."""

    name: str
    """Its name."""
    checked: Checked
    """Its configuration."""
    home: Home
    """Where everything is kept."""
    tracked: TrackedRun
    """Its run in MLflow."""


class Measured(NamedTuple):
    """What was found of the variants, not yet judged."""

    variants: tuple[MeasuredVariant, ...]
    """In the order of the configuration."""
    reference: MeasuredVariant
    """The one that the others are compared with."""
    champion: ChampionResult | None
    """What is deployed now."""


@contextlib.contextmanager
def opened(checked: Checked, home: Home, *, labels: Mapping[str, str]) -> Iterator[Job]:
    """Yield a run that is open in MLflow; it is closed there, and told of, if the block breaks.

    Args:
        checked: the configuration.
        home: where everything is kept.
        labels: what else the MLflow run is to be found by.
    """
    check_servers(home, mlflow_may_be_away=True)
    check_keys(home)
    sweep(Path(home.store))
    finish_promotions(home)
    name, pipeline = run_name(), checked.settings.name
    found_by = tags(checked.name) | dict(labels)
    tracked = track_start(home.tracking_uri, pipeline, name, home.mlflow_artifacts, found_by)
    try:
        yield Job(name, checked, home, tracked)
    except BaseException as error:
        # The threads that wait for a child never see an interrupt: without this the run would end with the child.
        stop_all()
        close_failed(tracked)
        tell_failed(pipeline, name, error, (*links(known(tracked)), *prefect_link()))
        raise


def measure(
    job: Job,
    ends: Built,
    *,
    reference: Artifact,
    attacks: Attacks,
    dataset: Dataset,
    champion: ChampionResult | None,
) -> Measured:
    """Evaluate and time every variant and the champion alike.

    Args:
        job: the run.
        ends: what became of each variant, by its node in the plan.
        reference: what the others are timed against.
        attacks: the perturbed samples.
        dataset: the samples.
        champion: what is deployed now.
    """
    settings = job.checked.settings
    # The variants last: where the champion is one of them, its record is the one of this run.
    running = to_measure(champion) | ends
    reports = evaluate_all(running, attacks=attacks, dataset=dataset, config=settings, home=job.home)
    timings = time_all(running, reports=reports, reference=reference, dataset=dataset, config=settings)
    measured = measured_variants(settings, job.checked.plan, built=ends, reports=reports, timings=timings)
    base = next(variant for variant in measured if not variant.steps)
    return Measured(measured, base, with_measurements(champion, reports, timings))


def conclude(
    job: Job,
    found: Measured,
    *,
    dataset: Dataset,
    checkpoint: Checkpoint,
    reproduce: str,
    warnings: tuple[str, ...] = (),
) -> RunResult:
    """Judge what was measured, and report it: on disk, in MLflow and in Prefect.

    Args:
        job: the run.
        found: what was measured.
        dataset: the samples.
        checkpoint: the training that all variants come from.
        reproduce: the command that does it again.
        warnings: what a reader should know besides.
    """
    settings = job.checked.settings
    transferred = measure_transfer(found.variants, dataset=dataset, config=settings, home=job.home)
    judged = judge_all(job.checked, found, dataset)
    result = _result(job, judged, transferred, dataset=dataset, checkpoint=checkpoint, reproduce=reproduce)
    said = (*warnings, *transferred.warnings, *warnings_about(found.champion, settings, dataset))
    result = result.model_copy(update={"warnings": said, "champion": found.champion})
    return publish_all(result, job.tracked, str(job.home.runs / job.name))


def finish(job: Job, result: RunResult) -> RunResult:
    """Close a run in MLflow, and promote its winner if the configuration says so.

    Raises:
        GateRefused: no variant passed, or a person said no.
        PtCoreError: the promotion failed; the run's result is kept.
    """
    tracked = track_finish(job.tracked, "FINISHED" if result.winner else "FAILED")
    if result.mlflow_run_id is None and tracked.run_id:
        # MLflow came back at the last moment.
        result = completed(result, tracked)
        store(result, str(job.home.runs / job.name))
    if result.winner is None:
        tell_refused(result)
        raise GateRefused(result.sentence, details=[f"{v.name}: {v.reason}" for v in result.variants])
    return promote_winner(result, job.checked.settings.promotion, job.home)


def judge_all(checked: Checked, found: Measured, dataset: Dataset) -> tuple[VariantResult, ...]:
    """Judge every variant against the reference and the champion, and locate where the refused ones part."""
    deployed = found.champion.measured if found.champion else None
    rules = checked.settings.gate
    judged = tuple(gate(variant, found.reference, rules, deployed) for variant in found.variants)
    return explain_refused(
        judged, found.reference, dataset=dataset, limits=checked.settings.limits.for_step()
    )


def publish_all(result: RunResult, tracked: TrackedRun, folder: str) -> RunResult:
    """Write the report, log to MLflow and Prefect; return the result with every link."""
    store(result, folder)
    report(result, folder)
    found = track_result(tracked, result, folder)
    update = {
        "links": (*found.links, *prefect_link()),
        "mlflow_run_id": found.run.run_id or None,
        "warnings": (*result.warnings, *found.warnings),
    }
    result = result.model_copy(update=update)
    store(result, folder)
    track_bundles(tracked, result, folder, keys_here())
    publish(result)
    return result


def _result(
    job: Job,
    judged: tuple[VariantResult, ...],
    transferred: Transfer,
    *,
    dataset: Dataset,
    checkpoint: Checkpoint,
    reproduce: str,
) -> RunResult:
    settings, tracked = job.checked.settings, known(job.tracked)
    judged = place(judged, settings.gate.selection)
    winner, why = select(judged, settings.gate.selection)
    return RunResult(
        run_name=job.name,
        pipeline=settings.name,
        started_at=flow_run.scheduled_start_time.isoformat(timespec="seconds"),
        seed=settings.seed,
        reference=next(variant.name for variant in judged if not variant.steps),
        dataset=dataset,
        checkpoint=checkpoint,
        variants=judged,
        transfer=transferred.transfer,
        winner=winner,
        winner_reason=why,
        prefect_flow_run_id=str(flow_run.id),
        mlflow_run_id=tracked.run_id or None,
        links=(*links(tracked), *prefect_link()),
        reproduce=reproduce,
        config=settings.model_dump(mode="json"),
        policy=settings.gate,
    )
