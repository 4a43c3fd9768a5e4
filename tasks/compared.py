"""Which champion a run was compared with, and so which one a promotion of its variants may take the place of."""

from __future__ import annotations

from pt_core.decision.result import RunResult
from pt_core.errors import GateRefused, PromotionConflict
from pt_core.release.release import chosen
from tasks.promotion import PromotionConfig
from tasks.registry import CHAMPION, RegisteredVersion


def met_champion(result: RunResult, model: str, *, now: RegisteredVersion | None) -> str | None:
    """Return the version that must be champion when a run's variant is to become it; ``None`` if none may be.

    A run that asked the registry and found no champion was compared with nothing: whatever became champion since
    then, it was never held against. A run that did not ask takes the place of whatever is champion now.

    Args:
        result: the run.
        model: the registered model that is meant.
        now: its champion now.

    Raises:
        GateRefused: the run wanted to be compared and the registry did not answer.
        PromotionConflict: the champion bears the number of the one that it met and is another.
    """
    met = result.champion
    if met is None or met.model != model:
        asked = met is None and _asks_for(result, model)
        return None if asked or now is None else now.version
    if met.version is None:
        raise GateRefused(
            f"{result.run_name}: was not compared with the champion of {model}, {met.problem or 'nobody knows why'}; "
            "run the pipeline again, or promote it all the same with --force --reason TEXT"
        )
    # A registered model that was deleted and made anew counts from 1 again.
    if (
        now is not None
        and now.version == met.version
        and met.release_digest not in (None, now.release_digest)
    ):
        raise PromotionConflict(
            f"{now.uri}: is {CHAMPION}, with other files than the version {met.version} that the run was compared with; "
            "run the pipeline again, or promote all the same with --force --reason TEXT"
        )
    return met.version


def _asks_for(result: RunResult, model: str) -> bool:
    """Return whether a run asked the registry about this model; results of earlier versions do not say so."""
    given = (result.config or {}).get("promotion")
    if not isinstance(given, dict):
        return False
    settings = PromotionConfig.model_validate(given)
    return settings.compare_with_champion and settings.name_for(result.pipeline) == model


def is_same(champion: RegisteredVersion, result: RunResult, variant: str) -> bool:
    """Return whether the champion is this very artifact, promoted from this very run."""
    artifact = chosen(result, variant).artifact
    digest = artifact.digest if artifact else None
    return (champion.run_name, champion.bundle_digest) == (result.run_name, digest)
