"""Task gate: judge one variant."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from pt_core.decision.assemble import judge_variant
from pt_core.decision.config import GateConfig
from pt_core.decision.drops import measure_drops
from pt_core.decision.result import MeasuredVariant, VariantResult


@task(name="gate", task_run_name="judge {variant.name}", cache_policy=NO_CACHE)
def gate(
    variant: MeasuredVariant,
    reference: MeasuredVariant,
    config: GateConfig,
    champion: MeasuredVariant | None = None,
) -> VariantResult:
    """Measure the drops sample by sample and apply every rule; what was not measured never passes."""
    drops = [found for other in (reference, champion) if other for found in measure_drops(variant, other)]
    return judge_variant(variant, reference=reference, config=config, drops=drops, champion=champion)
