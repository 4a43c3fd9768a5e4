"""What a registered version says in MLflow: its verdict and where it comes from; plain values, without MLflow."""

from __future__ import annotations

from pathlib import Path

from pt_core.decision.result import RunResult, VariantResult
from pt_core.release.lineage import Lineage
from pt_core.release.requests import LINEAGE, Release
from tasks.promotion import Promotion
from tasks.registering import BUNDLE_DIGEST, PROMOTION, PROMOTION_STATE, RELEASE_DIGEST
from tasks.registry import RUN_NAME

FORCED = "forced_because"
"""Tag: why somebody promoted what the gate did not let through."""


def version_tags(
    promotion: Promotion, result: RunResult, variant: VariantResult, *, release: Release
) -> dict[str, str]:
    """Return the tags of a version: digests, lineage, verdict, and the promotion that made it."""
    artifact = variant.artifact
    assert artifact is not None
    tags = {
        RELEASE_DIGEST: release.digest,
        BUNDLE_DIGEST: artifact.digest,
        RUN_NAME: result.run_name,
        "pipeline": result.pipeline,
        "variant": variant.name,
        "format": artifact.format,
        "steps": artifact.chain,
        "verdict": variant.verdict.state,
        "verdict_reason": variant.reason,
        "checkpoint_digest": result.checkpoint.digest,
        "parent_digest": artifact.parent_digest,
        "parents": ", ".join(_ancestors(release)),
        "data_fingerprint": result.dataset.fingerprint,
        "dataset_digest": result.dataset.digest,
        "git_commit": result.checkpoint.environment.git_commit or "unknown",
        "prefect_flow_run_id": result.prefect_flow_run_id or "none",
        "mlflow_run_id": result.mlflow_run_id or "none",
        PROMOTION: promotion.id,
        PROMOTION_STATE: "open",
    }
    return {**tags, FORCED: promotion.forced_because} if promotion.forced_because else tags


def describe_version(promotion: Promotion, result: RunResult, variant: VariantResult) -> str:
    """Return what MLflow's page of the version says, in Markdown."""
    lines = [
        f"**{variant.name}** of run `{result.run_name}`: {variant.standing}. {variant.reason}",
        f"Checkpoint `{result.checkpoint.digest[:12]}`, data `{result.dataset.fingerprint[:12]}`, "
        f"commit `{result.checkpoint.environment.git_commit or 'unknown'}`.",
    ]
    if promotion.forced_because:
        lines.insert(0, f"**Promoted by force**, since: {promotion.forced_because}")
    return "\n\n".join(lines)


def _ancestors(release: Release) -> list[str]:
    """Return the digests of what the artifact was built from, the nearest first."""
    lineage = Lineage.from_json((Path(release.directory) / LINEAGE).read_bytes())
    return [ancestor.digest for ancestor in reversed(lineage.ancestors)]
