"""Verify a bundle of any kind, a release included, in a process of its own."""

from __future__ import annotations

from pathlib import Path

from pt_core.artifacts.integrity import IntegrityReport, report_bytes
from pt_core.bundle import open_bundle
from pt_core.inference.requests import VerifyRequest
from pt_core.inference.verify import verify as verify_bundle
from pt_core.keys import trust_here
from pt_core.release.release import is_release, open_release


def verify(request: VerifyRequest) -> IntegrityReport:
    """Check a release's bytes and signature, then the artifact in it; of any other bundle what its kind promises.

    Raises:
        IntegrityError: something differs, or nobody who is trusted signed it; the message names what.
        StepUnavailable: this machine lacks the artifact's runtime.
    """
    directory = Path(request.directory)
    if not is_release(directory):
        return verify_bundle(request)
    trust = request.trust or trust_here()
    release = open_release(directory, trust=trust)
    asked = VerifyRequest(directory=release.artifact.directory, expected_digest=release.artifact_digest)
    inside = verify_bundle(asked)
    signed = f"Signed by the trusted key {release.key[:16]}." if release.key else ""
    report = report_bytes(*open_bundle(directory, kind="release"))
    return report.model_copy(
        update={
            "checks": (
                *report.checks,
                *filter(None, [signed]),
                *(f"artifact: {line}" for line in inside.checks),
            ),
            "notes": () if signed else ("Opened by its name or its digest, not by a signature.",),
            "golden_max_abs_error": inside.golden_max_abs_error,
        }
    )
