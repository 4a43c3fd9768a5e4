"""The one JSON document that ``run --json`` and ``compare --json`` print."""

from __future__ import annotations

from pathlib import Path

from pydantic import JsonValue

from pt_core.decision.assemble import undefined_metrics
from pt_core.decision.result import ChampionResult, RunResult, VariantResult


def run_document(result: RunResult, *, folder: Path, exit_code: int) -> dict[str, JsonValue]:
    """Return a finished run as plain JSON: ids, links, and every variant with its verdict and metrics."""
    return {
        "run_name": result.run_name,
        "pipeline": result.pipeline,
        "exit_code": exit_code,
        "sentence": result.sentence,
        "winner": result.winner,
        "winner_reason": result.winner_reason,
        "reference": result.reference,
        "promoted": result.promoted,
        "seed": result.seed,
        "prefect_flow_run_id": result.prefect_flow_run_id,
        "mlflow_run_id": result.mlflow_run_id,
        "links": {link.name: link.url for link in result.links},
        "report": str(folder / "report.html"),
        "checkpoint": {"directory": result.checkpoint.directory, "digest": result.checkpoint.digest},
        "dataset": {"fingerprint": result.dataset.fingerprint, "digest": result.dataset.digest},
        "git_commit": result.checkpoint.environment.git_commit,
        "variants": [_variant(variant) for variant in result.variants],
        "champion": _champion(result.champion) if result.champion else None,
        "transfer": result.transfer.model_dump(mode="json") if result.transfer else None,
        "warnings": list(result.warnings),
        "skipped": {v.name: v.problem for v in result.variants if v.state == "skipped"},
        "policy": result.policy.model_dump(mode="json") if result.policy else None,
        "reproduce": result.reproduce,
    }


def _champion(champion: ChampionResult) -> dict[str, JsonValue]:
    artifact = champion.artifact
    return {
        "name": champion.name,
        "model": champion.model,
        "version": champion.version,
        "run_name": champion.run_name,
        "problem": champion.problem,
        "release_digest": champion.release_digest,
        "artifact_digest": artifact.digest if artifact else None,
        "artifact_path": artifact.directory if artifact else None,
        "metrics": dict(champion.metrics),
    }


def _variant(variant: VariantResult) -> dict[str, JsonValue]:
    artifact = variant.artifact
    return {
        "name": variant.name,
        "steps": [step.name for step in variant.steps],
        "state": variant.state,
        "problem": variant.problem,
        "verdict": variant.verdict.model_dump(mode="json"),
        "promotable": variant.promotable,
        "why_not_promotable": variant.why_not_promotable or None,
        "drops": [drop.model_dump(mode="json") for drop in variant.drops],
        "artifact_path": artifact.directory if artifact else None,
        "artifact_digest": artifact.digest if artifact else None,
        "size_bytes": artifact.payload_bytes if artifact else None,
        "metrics": dict(variant.metrics),
        "undefined": dict(undefined_metrics(variant)),
        "parts_at": variant.divergence.sentence if variant.divergence else None,
    }
