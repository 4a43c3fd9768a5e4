"""The main job as one Prefect flow: train, verify, build every variant, measure, judge, report."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from prefect import flow
from prefect.runtime import flow_run
from prefect.task_runners import ThreadPoolTaskRunner

from flows.champion import find_champion, to_measure, warnings_about, with_measurements
from flows.check import Checked, check
from flows.checkpoints import find_checkpoint
from flows.divergence import explain_refused
from flows.flow_run import command, prefect_link, run_name, tags
from flows.home import Home, activate
from flows.keys import check_keys
from flows.load import DEFAULT_CONFIG
from flows.notices import tell_failed, tell_refused
from flows.promotions import finish_promotions, promote_winner
from flows.requests import attack_request, root_request
from flows.servers import check_servers
from flows.source import enter_source
from flows.store_lock import store_in_use
from flows.training import trained
from flows.transfer import measure_transfer
from flows.unchanged import inputs_of
from flows.variants import build_tree, evaluate_all, measured_variants, time_all
from pt_core.artifacts.artifact import Artifact
from pt_core.artifacts.checkpoint import Checkpoint
from pt_core.bundle import sweep
from pt_core.data.dataset import Dataset
from pt_core.decision.pareto import place
from pt_core.decision.result import ChampionResult, MeasuredVariant, RunResult, VariantResult
from pt_core.decision.select import select
from pt_core.environment import num_cpus
from pt_core.errors import GateRefused
from pt_core.isolation import stop_all
from pt_core.keys import keys_here
from tasks.attack import attack
from tasks.caching import run, settle
from tasks.convert import convert
from tasks.dashboard import TrackedRun, links
from tasks.earlier import INPUTS_DIGEST
from tasks.gate import gate
from tasks.publish import publish
from tasks.report import report, store
from tasks.shared import track_bundles
from tasks.track import close_failed, track_finish, track_result, track_start, track_training

RUNNER: Final[ThreadPoolTaskRunner[Any]] = ThreadPoolTaskRunner(max_workers=max(2, num_cpus()))
"""Runs the tasks of the main job in threads, each of which waits for a process of its own."""


@flow(name="lifecycle", task_runner=RUNNER)  # type: ignore[arg-type]
def lifecycle(
    config: str = DEFAULT_CONFIG, overrides: tuple[str, ...] = (), checkpoint: str | None = None
) -> RunResult:
    """Train a classifier, convert and quantize it, measure and judge every artifact, and report.

    Args:
        config: a YAML file, or the name of a shipped configuration.
        overrides: changes to it, each "name.name=value".
        checkpoint: folder of a checkpoint to go on from in place of training.

    Raises:
        GateRefused: no variant passed; everything is logged and reported all the same.
        PtCoreError: bad input, or a stage that all variants rest on failed.
    """
    home = activate(None)
    checked = check(config, overrides)
    enter_source(checked)
    given = find_checkpoint(checkpoint, base_dir=Path(), where="--from") if checkpoint else None
    labels = {} if given else {INPUTS_DIGEST: inputs_of(checked, home).content_digest()}
    return main_job(checked, home, overrides=overrides, given=given, labels=labels)


def main_job(
    checked: Checked,
    home: Home,
    *,
    overrides: tuple[str, ...] = (),
    given: Checkpoint | None = None,
    labels: Mapping[str, str] | None = None,
) -> RunResult:
    """Do the whole job inside a flow run; lifecycle and its deployed form are both this.

    Args:
        checked: the configuration.
        home: where everything is kept.
        overrides: what was changed in it, for the command that does this run again.
        given: the checkpoint to go on from in place of training.
        labels: what else the MLflow run is to be found by.

    Raises:
        GateRefused: no variant passed; everything is logged and reported all the same.
        PtCoreError: a stage that all variants rest on failed.
    """
    # What this run builds or takes from the cache is not removed under its feet.
    with store_in_use(home):
        return _main_job(checked, home, overrides, given, labels or {})


def _main_job(
    checked: Checked,
    home: Home,
    overrides: tuple[str, ...],
    given: Checkpoint | None,
    labels: Mapping[str, str],
) -> RunResult:
    check_servers(home)
    check_keys(home)
    sweep(Path(home.store))
    finish_promotions(home)
    name = run_name()
    known = tags(checked.name) | ({"from_checkpoint": given.digest} if given else {}) | dict(labels)
    tracked = track_start(home.tracking_uri, checked.settings.name, name, home.mlflow_artifacts, known)
    try:
        dataset, network, _ = trained(checked, home, given, tracked=tracked)
        limits = checked.settings.limits.for_step()
        reference = run(convert, root_request(network, dataset, home), limits)
        track_training(tracked, network, dataset)
        champion = find_champion(checked.settings, home)
        variants, base, champion = build_and_measure(checked, reference, dataset, home, champion)
        transferred = measure_transfer(variants, dataset=dataset, config=checked.settings, home=home)
        judged = judge_all(checked, variants, base, champion, dataset)
        result = _result(
            name, checked, overrides, judged, dataset=dataset, checkpoint=network, run=tracked, given=given
        )
        warnings = (
            *(f"training: {remark}" for remark in network.remarks),
            *transferred.warnings,
            *warnings_about(champion, checked.settings, dataset),
        )
        update = transferred._asdict() | {"warnings": warnings, "champion": champion}
        result = result.model_copy(update=update)
        result = publish_all(result, tracked, str(home.runs / name))
    except BaseException as error:
        # The threads that wait for a child never see an interrupt: without this the run would end with the child.
        stop_all()
        close_failed(tracked)
        tell_failed(checked.settings.name, name, error, (*links(tracked), *prefect_link()))
        raise
    track_finish(tracked, "FINISHED" if result.winner else "FAILED")
    if result.winner is None:
        tell_refused(result)
        raise GateRefused(result.sentence, details=[f"{v.name}: {v.reason}" for v in result.variants])
    return promote_winner(result, checked.settings.promotion, home)


def build_and_measure(
    checked: Checked,
    reference: Artifact,
    dataset: Dataset,
    home: Home,
    champion: ChampionResult | None = None,
) -> tuple[tuple[MeasuredVariant, ...], MeasuredVariant, ChampionResult | None]:
    """Build every variant, evaluate and time them and the champion alike; return them, the reference and the champion."""
    settings, plan = checked.settings, checked.plan
    limits = settings.limits.for_step()
    crafting = attack_request(settings, reference, dataset, home)
    crafted = attack.submit(crafting, limits)
    built = build_tree(plan, reference=reference, dataset=dataset, home=home, limits=limits)
    attacks = settle(attack, crafting, limits, crafted)
    ends = {variant.node: built[variant.node] for variant in plan.variants}
    # The variants last: where the champion is one of them, its record is the one that this run built.
    running = to_measure(champion) | ends
    reports = evaluate_all(running, attacks=attacks, dataset=dataset, config=settings, home=home)
    timings = time_all(running, reports=reports, reference=reference, dataset=dataset, config=settings)
    measured = measured_variants(settings, plan, built=ends, reports=reports, timings=timings)
    base = next(variant for variant in measured if not variant.steps)
    return measured, base, with_measurements(champion, reports, timings)


def judge_all(
    checked: Checked,
    variants: tuple[MeasuredVariant, ...],
    base: MeasuredVariant,
    champion: ChampionResult | None,
    dataset: Dataset,
) -> tuple[VariantResult, ...]:
    """Judge every variant against the reference and the champion, and locate where the refused ones part."""
    deployed = champion.measured if champion else None
    judged = tuple(gate(variant, base, checked.settings.gate, deployed) for variant in variants)
    return explain_refused(judged, base, dataset=dataset, limits=checked.settings.limits.for_step())


def publish_all(result: RunResult, tracked: TrackedRun, folder: str) -> RunResult:
    """Write the report, log to MLflow and Prefect; return the result with every link."""
    store(result, folder)
    report(result, folder)
    track_bundles(tracked, result, folder, keys_here())
    found = (*track_result(tracked, result, folder), *prefect_link())
    result = result.model_copy(update={"links": found})
    store(result, folder)
    publish(result)
    return result


def _result(
    name: str,
    checked: Checked,
    overrides: tuple[str, ...],
    judged: tuple[VariantResult, ...],
    *,
    dataset: Dataset,
    checkpoint: Checkpoint,
    run: TrackedRun,
    given: Checkpoint | None,
) -> RunResult:
    policy = checked.settings.gate
    judged = place(judged, policy.selection)
    winner, why = select(judged, policy.selection)
    source = (f"--from {shlex.quote(given.directory)}",) if given else ()
    return RunResult(
        run_name=name,
        pipeline=checked.settings.name,
        started_at=flow_run.scheduled_start_time.isoformat(timespec="seconds"),
        seed=checked.settings.seed,
        reference=next(variant.name for variant in judged if not variant.steps),
        dataset=dataset,
        checkpoint=checkpoint,
        variants=judged,
        winner=winner,
        winner_reason=why,
        prefect_flow_run_id=str(flow_run.id),
        mlflow_run_id=run.run_id,
        links=(*links(run), *prefect_link()),
        reproduce=command("run", checked.name, overrides, *source),
        config=checked.settings.model_dump(mode="json"),
        policy=policy,
    )
