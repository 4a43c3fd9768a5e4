"""Give the records of a run that was made elsewhere the paths that its bundles have in this home."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from flows.home import Home
from pt_core.bundle import Bundle
from pt_core.decision.result import ChampionResult, RunResult, VariantResult
from pt_core.errors import IntegrityError
from pt_core.manifest import is_digest
from pt_core.release.requests import ARTIFACT
from tasks.fetched import folder_name

B = TypeVar("B", bound=Bundle)


def rebased(result: RunResult, home: Home) -> RunResult:
    """Return a result whose bundles all lie in this home, whatever folders it names.

    What only tells of the other machine stays: its links, its command, where a warm start took its weights from.

    Raises:
        IntegrityError: a digest is none.
    """
    return result.model_copy(
        update={
            "dataset": _here(result.dataset, home),
            "checkpoint": _here(result.checkpoint, home),
            "variants": tuple(_variant(variant, home) for variant in result.variants),
            "champion": _champion(result.champion, home) if result.champion else None,
        }
    )


def _variant(variant: VariantResult, home: Home) -> VariantResult:
    return variant.model_copy(
        update={
            "artifact": _here(variant.artifact, home) if variant.artifact else None,
            "evaluation": _here(variant.evaluation, home) if variant.evaluation else None,
        }
    )


def _champion(champion: ChampionResult, home: Home) -> ChampionResult:
    evaluation = _here(champion.evaluation, home) if champion.evaluation else None
    artifact = champion.artifact
    if artifact is not None:
        # It lies in its release, which the registry is asked for again where it is needed.
        if not is_digest(champion.release_digest or ""):
            raise IntegrityError(f"{champion.name}: names no digest of its release")
        folder = home.releases / str(champion.release_digest) / ARTIFACT
        artifact = artifact.model_copy(update={"directory": str(folder)})
    return champion.model_copy(update={"artifact": artifact, "evaluation": evaluation})


def _here(bundle: B, home: Home) -> B:
    if not is_digest(bundle.digest):
        raise IntegrityError(f"{bundle.digest[:80]!r}: expected a digest of 64 hex digits")
    path = Path(home.store) / folder_name(bundle.directory, bundle.digest)
    return bundle.model_copy(update={"directory": str(path)})
