"""Task champion: fetch what is deployed now from the registry, verified; never from a cache, since aliases move."""

from __future__ import annotations

from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from pt_core.artifacts.artifact import open_artifact
from pt_core.decision.result import ChampionResult
from pt_core.release.requests import ARTIFACT
from tasks import registry


@task(name="champion", task_run_name="fetch champion", cache_policy=NO_CACHE)
def fetch_champion(tracking_uri: str, *, model: str, folder: str) -> ChampionResult | None:
    """Return the version in use with its verified artifact, or with why there is none; ``None`` if nothing is in use.

    Nothing that is wrong with it stops a run: what is to be judged against it is then not measured, which is no pass.
    """
    found = ChampionResult(name=f"champion {model}", model=model, version=None, problem=None)
    try:
        version = registry.find_alias(tracking_uri, name=model, alias=registry.CHAMPION)
        if version is None:
            return None
        found = found.model_copy(
            update={
                "name": f"champion {model}/{version.version}",
                "version": version.version,
                "release_digest": version.release_digest,
                "run_name": version.run_name,
                "dataset_digest": version.tags.get("dataset_digest"),
            }
        )
        release = registry.download(tracking_uri, version, folder=Path(folder))
        artifact = open_artifact(release / ARTIFACT)
        return found.model_copy(update={"artifact": artifact, "problem": artifact.not_run})
    except Exception as error:  # noqa: BLE001 - of MLflow, its database, the network, the disk: all are told alike
        return found.model_copy(update={"problem": f"it cannot be fetched: {error}"})
