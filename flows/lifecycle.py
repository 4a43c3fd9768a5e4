"""The main job as one Prefect flow: train, verify, build every variant, measure, judge, report."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

from prefect import flow

from flows.champion import find_champion
from flows.check import Checked, check
from flows.checkpoints import find_checkpoint
from flows.flow_run import command
from flows.home import Home, activate
from flows.job import RUNNER, Job, Measured, conclude, finish, measure, opened
from flows.load import DEFAULT_CONFIG
from flows.requests import attack_request, root_request
from flows.source import enter_source
from flows.store_lock import store_in_use
from flows.training import trained
from flows.unchanged import inputs_of
from flows.variants import build_tree
from pt_core.artifacts.artifact import Artifact
from pt_core.artifacts.checkpoint import Checkpoint
from pt_core.data.dataset import Dataset
from pt_core.decision.result import RunResult
from pt_core.errors import ConfigError
from tasks.attack import attack
from tasks.caching import run, settle
from tasks.convert import convert
from tasks.earlier import INPUTS_DIGEST
from tasks.track import track_training


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
    if checkpoint is None:
        labels = {INPUTS_DIGEST: inputs_of(checked, home).content_digest()}
        return main_job(checked, home, overrides=overrides, labels=labels)
    # From before it is looked up, so that nobody removes what was just found.
    with store_in_use(home):
        given = find_checkpoint(checkpoint, base_dir=Path(), where="--from")
        return main_job(checked, home, overrides=overrides, given=given)


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
        ConfigError: the training is that of several nodes.
        PtCoreError: a stage that all variants rest on failed.
    """
    if given is None and checked.settings.train.parallel.nodes > 1:
        raise ConfigError(
            f"train.parallel.nodes: {checked.settings.train.parallel.nodes}; each of them would convert, judge and "
            "promote; start pt-pipeline train on each node, then pt-pipeline run --from CHECKPOINT on one"
        )
    # What this run builds or takes from the cache is not removed under its feet.
    with store_in_use(home):
        known = {"from_checkpoint": given.digest} if given else {}
        with opened(checked, home, labels=known | dict(labels or {})) as job:
            result = _train_and_judge(job, overrides, given)
    # A promotion holds the bundles by itself, and lets go of them while a person is asked.
    return finish(job, result)


def _train_and_judge(job: Job, overrides: tuple[str, ...], given: Checkpoint | None) -> RunResult:
    checked, home = job.checked, job.home
    dataset, network, _ = trained(checked, home, given, tracked=job.tracked)
    limits = checked.settings.limits.for_step()
    reference = run(convert, root_request(network, dataset, home), limits)
    track_training(job.tracked, network, dataset)
    source = (f"--from {shlex.quote(given.directory)}",) if given else ()
    return conclude(
        job,
        build_and_measure(job, reference, dataset),
        dataset=dataset,
        checkpoint=network,
        reproduce=command("run", checked.name, overrides, *source),
        warnings=tuple(f"training: {remark}" for remark in network.remarks),
    )


def build_and_measure(job: Job, reference: Artifact, dataset: Dataset) -> Measured:
    """Build every variant while the attacks are crafted, then measure them and the champion alike."""
    settings, plan, home = job.checked.settings, job.checked.plan, job.home
    champion = find_champion(settings, home)
    limits = settings.limits.for_step()
    crafting = attack_request(settings, reference, dataset, home)
    crafted = attack.submit(crafting, limits)
    built = build_tree(plan, reference=reference, dataset=dataset, home=home, limits=limits)
    attacks = settle(attack, crafting, limits, crafted)
    ends = {variant.node: built[variant.node] for variant in plan.variants}
    return measure(job, ends, reference=reference, attacks=attacks, dataset=dataset, champion=champion)
