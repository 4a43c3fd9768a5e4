"""Task attack: perturbed samples, crafted once on the reference and replayed on every artifact."""

from __future__ import annotations

from pathlib import Path

from prefect import task

from pt_core.building.failure import run_recorded
from pt_core.evaluation.requests import AttackRequest, Attacks
from pt_core.limits import Limits
from tasks.caching import cache_key
from tasks.progress import shown


@task(
    name="attack",
    task_run_name="craft attacks",
    cache_key_fn=cache_key,
    persist_result=True,
    result_serializer="json",
)
def attack(request: AttackRequest, limits: Limits) -> Attacks:
    """Craft every replayed perturbation of the test split."""
    with shown():
        return run_recorded(
            "pt_core.evaluation.attacks.craft:craft",
            request,
            name="attack",
            reply=Attacks,
            store=Path(request.store),
            limits=limits,
            num_threads=1,
        )
