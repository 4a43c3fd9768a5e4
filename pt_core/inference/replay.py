"""Replay an artifact's golden inputs as its user will run it: in a process that can import only what serving needs."""

from __future__ import annotations

from pathlib import Path

from pt_core.artifacts.artifact import open_artifact
from pt_core.artifacts.integrity import IntegrityReport, replay_artifact, report_bytes
from pt_core.bundle import open_bundle
from pt_core.errors import IntegrityError
from pt_core.inference.predictor import load_predictor
from pt_core.inference.requests import VerifyRequest
from pt_core.inference.serving import refuse_all_but_serving


def replay(request: VerifyRequest) -> IntegrityReport:
    """Load an artifact with only the serving dependencies, and compare its outputs with those it was released with.

    Raises:
        IntegrityError: the bytes or the outputs are not those that were judged.
        StepUnavailable: this machine lacks the artifact's runtime.
    """
    artifact = open_artifact(Path(request.directory))
    if request.expected_digest not in (None, artifact.digest):
        raise IntegrityError(
            f"{artifact.directory}: its digest is {artifact.digest[:12]}, expected {str(request.expected_digest)[:12]}"
        )
    refused = refuse_all_but_serving(artifact.format)
    bundle, manifest = open_bundle(Path(request.directory), kind="artifact")
    predictor = load_predictor(artifact, device="cpu")
    error, replayed = replay_artifact(artifact, bundle, predictor.logits)
    report = report_bytes(bundle, manifest)
    loaded = f"It loads as {artifact.format} in {predictor.runtime().runtime}, without {', '.join(refused)}."
    return report.model_copy(
        update={"checks": (*report.checks, loaded, *replayed), "golden_max_abs_error": error}
    )
