"""Verify a bundle of any kind, in a process of its own: bytes first, then what its kind promises."""

from __future__ import annotations

from pathlib import Path

from pt_core.artifacts.artifact import Artifact
from pt_core.artifacts.checkpoint import Checkpoint
from pt_core.artifacts.checkpoint_files import check_checkpoint
from pt_core.artifacts.guard import origin, vouch_for_checkpoint
from pt_core.artifacts.integrity import (
    IntegrityReport,
    replay_artifact,
    report_bytes,
)
from pt_core.artifacts.plugin import DeviceBound
from pt_core.artifacts.registry import make_format
from pt_core.bundle import Bundle, Manifest, open_bundle, read_info
from pt_core.errors import IntegrityError, StepUnavailable
from pt_core.inference.predictor import load_predictor
from pt_core.inference.requests import VerifyRequest
from pt_core.keys import Trust, trust_here

__all__ = ["VerifyRequest", "verify"]


def verify(request: VerifyRequest) -> IntegrityReport:
    """Check a bundle's bytes, then a checkpoint's weights and outputs, or an artifact's outputs by its own runtime.

    Raises:
        IntegrityError: something differs, or it runs code that nobody vouches for; the message names the bundle,
            the file or the tensor.
        StepUnavailable: this machine lacks the artifact's runtime.
    """
    bundle, manifest = open_bundle(Path(request.directory))
    if request.expected_digest not in (None, bundle.digest):
        raise IntegrityError(
            f"{bundle.directory}: its digest is {bundle.digest}, expected {request.expected_digest}; "
            "it is intact but it is another bundle than the one on record"
        )
    trust = request.trust or trust_here()
    if request.expected_digest is not None:
        # Checked above: whoever knows the digest knows the bytes.
        trust = trust.accepting(request.expected_digest)
    if manifest.kind == "checkpoint":
        return _check_checkpoint(bundle, manifest, trust)
    if manifest.kind == "artifact":
        return _check_artifact(bundle, manifest, trust)
    return report_bytes(bundle, manifest)


def _check_checkpoint(bundle: Bundle, manifest: Manifest, trust: Trust) -> IntegrityReport:
    key = vouch_for_checkpoint(read_info(bundle, manifest, Checkpoint), trust)
    report = check_checkpoint(bundle, manifest)
    signed = (f"Signed by the trusted key {key[:16]}.",) if key else ()
    return report.model_copy(update={"checks": (*report.checks, *signed)})


def _check_artifact(bundle: Bundle, manifest: Manifest, trust: Trust) -> IntegrityReport:
    artifact = read_info(bundle, manifest, Artifact)
    sizes = {entry.path: entry.size_bytes for entry in manifest.files}
    missing = [name for name in artifact.payload if name not in sizes]
    if missing:
        raise IntegrityError(
            f"{bundle.directory}: the payload is not complete",
            details=[f"{name}: missing" for name in missing],
        )
    sentence, is_proved = origin(artifact, trust)
    inspected, runs_here = _inspect(artifact)
    report = report_bytes(bundle, manifest)
    signed = (sentence,) if is_proved else ()
    report = report.model_copy(
        update={
            "checks": (*report.checks, *signed, *inspected),
            "notes": () if is_proved else (sentence,),
        }
    )
    if not runs_here:
        return report
    predictor = load_predictor(artifact, device="cpu")
    error, replayed = replay_artifact(artifact, bundle, predictor.logits)
    loaded = f"It loads as {artifact.format} in {predictor.runtime().runtime}."
    return report.model_copy(
        update={"checks": (*report.checks, loaded, *replayed), "golden_max_abs_error": error}
    )


def _inspect(artifact: Artifact) -> tuple[tuple[str, ...], bool]:
    """Return what was checked without running the artifact, and whether it can be run here."""
    plugin = make_format(artifact.format)
    if not isinstance(plugin, DeviceBound):
        return (), True
    if missing := plugin.unavailable():
        raise StepUnavailable(f"{artifact.format}: {missing}")
    checks = plugin.inspect(artifact).checks
    reason = plugin.not_runnable(artifact)
    if reason is None:
        return checks, True
    return (*checks, f"It was not run, so its outputs are not verified: {reason}."), False
