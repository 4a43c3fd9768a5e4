"""The main job as it is deployed: a form of a few flat fields, and an early end where there is nothing to do."""

from __future__ import annotations

from typing import Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows.approval import check_can_ask
from flows.check import check
from flows.ending import ending
from flows.home import activate
from flows.job import RUNNER
from flows.lifecycle import main_job
from flows.load import DEFAULT_CONFIG
from flows.retrain_form import (
    AS_CONFIGURED,
    ConfigField,
    EpochsField,
    ForceField,
    GateField,
    OverridesField,
    PrecisionField,
    PromoteField,
    form_overrides,
)
from flows.source import enter_source, tag_flow_run
from flows.unchanged import inputs_of, settled_before
from pt_core.decision.result import RunResult
from pt_core.errors import GateRefused
from tasks.earlier import INPUTS_DIGEST, EarlierRun

NOTHING_TO_DO = "Nothing to do"
"""Name of the state of a retrain that had nothing to do."""


@flow(name="retrain", task_runner=RUNNER)  # type: ignore[arg-type]
def retrain(
    config: ConfigField = DEFAULT_CONFIG,
    epochs: EpochsField = 0,
    precision: PrecisionField = AS_CONFIGURED,
    gate: GateField = AS_CONFIGURED,
    promote: PromoteField = AS_CONFIGURED,
    overrides: OverridesField = (),
    force: ForceField = False,
) -> RunResult | State[Any]:
    """Train, convert, quantize, measure and judge, unless nothing has changed since the last verdict.

    Args:
        config: A YAML file in the folder the run works in, or the name of a shipped configuration.
        epochs: Passes over the training split; 0 is as configured.
        precision: Autocast precision of the training; auto picks what this machine has.
        gate: How strict the gate is; smoke only shows that the pipeline runs.
        promote: What becomes of a winner; where a person is asked, the run waits in these pages.
        overrides: Any other setting, each as name.name=value, for example train.learning_rate=0.001.
        force: Run though an earlier run came to a verdict on the same settings, data, code and libraries.
    """

    def work() -> RunResult | State[Any]:
        changes = form_overrides(overrides, epochs=epochs, precision=precision, gate=gate, promote=promote)
        return _retrained(config, changes, force=force)

    return ending(work)


def _retrained(config: str, changes: tuple[str, ...], *, force: bool) -> RunResult | State[Any]:
    home = activate(None)
    checked = check(config, changes)
    promotion = checked.settings.promotion
    if promotion.after_run and promotion.approval == "prefect":
        # Asked at the end: better to hear now that there is nobody to ask.
        check_can_ask()
    enter_source(checked)
    tag_flow_run()
    digest = inputs_of(checked, home).content_digest()
    earlier = None if force else settled_before(checked, home, digest)
    if earlier is None:
        return main_job(checked, home, overrides=changes, labels={INPUTS_DIGEST: digest})
    if earlier.verdict == "fail":
        raise GateRefused(f"{earlier.sentence} (not run again: {_same_as(earlier)})")
    message = f"{NOTHING_TO_DO}: {_same_as(earlier)}"
    get_run_logger().info("%s", message)
    return Completed(name=NOTHING_TO_DO, message=message)


def _same_as(earlier: EarlierRun) -> str:
    same = (
        "settings, data, code and libraries"
        if earlier.aftermath
        else "settings, data, code, libraries and champion"
    )
    aftermath = f"; {earlier.aftermath}" if earlier.aftermath else ""
    return (
        f"run {earlier.name} of {earlier.started_at} ended with {earlier.verdict} on the same {same}{aftermath}; "
        "whether its artifacts are still whole was not looked at; "
        "set force (Run even if nothing has changed) to run all the same"
    )
