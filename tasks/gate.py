"""Task gate: judge one variant."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from pt_core.decision.assemble import judge_variant
from pt_core.decision.config import GateConfig
from pt_core.decision.result import MeasuredVariant, VariantResult


@task(name="gate", task_run_name="judge {variant.name}", cache_policy=NO_CACHE)
def gate(variant: MeasuredVariant, reference: MeasuredVariant, config: GateConfig) -> VariantResult:
    """Apply every rule; what was not measured never passes."""
    return judge_variant(variant, reference=reference, config=config)
