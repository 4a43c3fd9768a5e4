"""Find where each variant parts from the reference that the gate refused for its accuracy, robustness or a slice."""

from __future__ import annotations

import logging

from pt_core.data.dataset import Dataset
from pt_core.decision.evidence import SAMPLED_SECTIONS
from pt_core.decision.result import MeasuredVariant, VariantResult
from pt_core.evaluation.difference import Divergence, DivergeRequest
from pt_core.limits import Limits
from tasks.caching import settle
from tasks.diverge import diverge

logger = logging.getLogger(__name__)

_SECTIONS = tuple(section for section in SAMPLED_SECTIONS if section != "custom/")
"""Metrics of these are about what a variant answers; one of a user's own need not be."""


def explain_refused(
    judged: tuple[VariantResult, ...], reference: MeasuredVariant, *, dataset: Dataset, limits: Limits
) -> tuple[VariantResult, ...]:
    """Return the variants, those refused for what they answer with the layers that it comes from."""
    shared = next((_failures(variant) for variant in judged if variant.name == reference.name), set())
    requests = {
        variant.name: request
        for variant in judged
        # What the reference fails too does not come from a conversion.
        if variant.divergence is None
        and _failures(variant) - shared
        and (request := _request(variant, reference, dataset))
    }
    futures = {name: diverge.submit(request, limits) for name, request in requests.items()}
    found: dict[str, Divergence] = {}
    for name, future in futures.items():
        try:
            found[name] = settle(diverge, requests[name], limits, future)
        except Exception as error:  # noqa: BLE001 - what explains a verdict must not change it
            logger.warning("%s: where it parts from the reference could not be found: %s", name, error)
    return tuple(
        variant.model_copy(update={"divergence": found.get(variant.name, variant.divergence)})
        for variant in judged
    )


def _failures(variant: VariantResult) -> set[tuple[str, str, float]]:
    """Return the rules on what a variant answers that it fails."""
    checks = [c for c in variant.verdict.checks if c.state == "fail" and c.metric.startswith(_SECTIONS)]
    return {(check.metric, check.rule, check.limit) for check in checks}


def _request(variant: VariantResult, reference: MeasuredVariant, dataset: Dataset) -> DivergeRequest | None:
    if not variant.steps or variant.artifact is None or reference.artifact is None:
        return None
    return DivergeRequest(
        a=reference.artifact,
        b=variant.artifact,
        dataset=dataset,
        a_evaluation=reference.evaluation,
        b_evaluation=variant.evaluation,
    )
