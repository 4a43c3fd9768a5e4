"""Task attack: perturbed samples, crafted once on the reference and replayed on every artifact."""

from __future__ import annotations

from prefect import task

from pt_core.evaluation.requests import AttackRequest, Attacks
from pt_core.isolation import run_isolated
from tasks.caching import cache_key
from tasks.progress import shown


@task(
    name="attack",
    task_run_name="craft attacks",
    cache_key_fn=cache_key,
    persist_result=True,
    result_serializer="json",
)
def attack(request: AttackRequest, timeout_s: float) -> Attacks:
    """Craft FGSM and noise on the test split."""
    with shown():
        return run_isolated(
            "pt_core.evaluation.attacks:craft", request, reply=Attacks, timeout_s=timeout_s, num_threads=1
        )
