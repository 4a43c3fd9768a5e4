"""Task transfer: what was crafted on one variant, scored on every other, in its own process."""

from __future__ import annotations

from pathlib import Path

from prefect import task

from pt_core.building.failure import run_recorded
from pt_core.evaluation.requests import TransferRequest
from pt_core.evaluation.transfer_table import TransferTable
from pt_core.limits import Limits
from tasks.caching import cache_key
from tasks.progress import shown


@task(
    name="transfer",
    task_run_name="transfer attacks",
    cache_key_fn=cache_key,
    persist_result=True,
    result_serializer="json",
)
def transfer(request: TransferRequest, limits: Limits) -> TransferTable:
    """Craft on every variant with gradients, and score every set on every variant."""
    with shown():
        return run_recorded(
            "pt_core.evaluation.transfer:transfer",
            request,
            name="transfer",
            reply=TransferTable,
            store=Path(request.store),
            limits=limits,
            num_threads=1,
        )
