"""Say where an artifact that failed parity parts from its reference, while it is still there to be looked into."""

from __future__ import annotations

from pydantic import ValidationError

from pt_core.artifacts.artifact import Artifact
from pt_core.building.requests import StepRequest
from pt_core.errors import ParityError, PtCoreError
from pt_core.evaluation.difference import Divergence, DivergeRequest
from pt_core.isolation import Runner

_MAX_WORST = 3


def located(error: ParityError, request: StepRequest, staged: Artifact, run: Runner) -> ParityError:
    """Return the error with the place where the two part, in its details and, whole, as its evidence."""
    if request.reference is None:
        return error
    asked = DivergeRequest(a=request.reference, b=staged, dataset=request.dataset, is_staged=True)
    try:
        found = run("pt_core.evaluation.divergence:diverge", asked, reply=Divergence)
    except PtCoreError as problem:
        unknown = f"where they part could not be found: {problem.message}"
        return _told(error, [*error.details, unknown], error.evidence)
    return _told(error, [found.sentence, *_worst(found), *error.details], found.to_json())


def _told(error: ParityError, details: list[str], evidence: str | None) -> ParityError:
    told = ParityError(error.message, details=details)
    told.evidence = evidence
    told.output = error.output
    return told


def divergence_of(error: PtCoreError) -> Divergence | None:
    """Return where two artifacts part, if that is what an error holds."""
    if error.evidence is None:
        return None
    try:
        return Divergence.from_json(error.evidence)
    except ValidationError:
        return None


def _worst(found: Divergence) -> list[str]:
    return [
        f"own damage of {layer.layer} ({layer.kind}): {layer.jump:.2g} of its output's amplitude"
        for layer in found.ranked[:_MAX_WORST]
        if layer.jump
    ]
