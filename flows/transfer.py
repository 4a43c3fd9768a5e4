"""Measure how attacks transfer between the variants of a run, and say what that gives away."""

from __future__ import annotations

from typing import NamedTuple

from flows.config import PipelineConfig
from flows.home import Home
from flows.variants import as_recorded
from pt_core.data.dataset import Dataset
from pt_core.decision.result import MeasuredVariant
from pt_core.evaluation.requests import Contender, TransferRequest
from pt_core.evaluation.transfer_table import TransferTable, gradient_masking
from tasks.caching import run
from tasks.transfer import transfer


class Transfer(NamedTuple):
    """What was found."""

    transfer: TransferTable | None
    """``None`` where it was not asked for, or broke."""
    warnings: tuple[str, ...]
    """Sentences about variants that look stronger than they are, or why there is no table."""


def measure_transfer(
    variants: tuple[MeasuredVariant, ...], *, dataset: Dataset, config: PipelineConfig, home: Home
) -> Transfer:
    """Return the transfer table of all evaluated variants; a failure is a warning, not the end of the run."""
    contenders = {
        v.artifact.digest: Contender(name=v.name, artifact=v.artifact, evaluation=v.evaluation)
        for v in reversed(variants)
        if v.artifact and v.evaluation
    }
    if config.evaluation.transfer_epsilon is None or not contenders:
        return Transfer(None, ())
    request = TransferRequest(
        contenders=tuple(reversed(contenders.values())),
        dataset=dataset,
        config=config.evaluation,
        seed=config.seed,
        store=home.store,
    )
    try:
        table = run(transfer, request, config.limits.for_step())
    except Exception as error:  # noqa: BLE001 - where a failure to measure becomes a recorded one
        return Transfer(None, (f"there is no transfer table: {as_recorded(error).message}",))
    return Transfer(table, gradient_masking(table))
