"""Write into the model registry: a version with its files and tags, aliases, and the claims that guard them."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path

from pt_core.bundle import open_bundle
from pt_core.errors import ConfigError, StepFailed
from tasks.among_writers import among_writers
from tasks.dashboard import without_secrets
from tasks.registry import (
    BUNDLE_DIGEST,
    RELEASE_DIGEST,
    RegisteredVersion,
    asked,
    describe,
    find_alias,
    list_versions,
)

PROMOTION = "promotion"
"""Tag: id of the promotion that registered it."""
PROMOTION_STATE = "promotion_state"
"""Tag: how that promotion ended."""
PREVIOUS_CHAMPION = "previous_champion"
"""Tag: the version that it took the place of, where a rollback goes."""
NO_CHAMPION = "none"
ROLLED_BACK_TO = "rolled_back_to"
"""Tag: the version that took the place of this one again."""
APPROVED_BY = "approved_by"
"""Tag: what the person wrote who agreed, where one was asked."""

_CLAIM = "lock."
_MAX_DESCRIPTION = 5000


def register(
    tracking_uri: str,
    *,
    name: str,
    release: Path,
    run_id: str,
    tags: Mapping[str, str],
    description: str,
) -> RegisteredVersion:
    """Register one version of a model, with a release bundle as its files, below the MLflow run that it comes from.

    Raises:
        ConfigError: the run is not in this MLflow.
        IntegrityError: the bundle is missing or damaged.
        StepFailed: MLflow refused.
    """
    # MLflow uploads a missing folder as an empty one without a word.
    bundle, _ = open_bundle(release)
    assert tags[RELEASE_DIGEST] == bundle.digest
    _ensure_model(tracking_uri, name)
    with asked(tracking_uri) as client:
        # One of its own for each promotion: the files of a version that is in use are never written again.
        folder = f"release-{bundle.digest[:12]}-{tags.get(PROMOTION) or secrets.token_hex(6)}"
        client.log_artifacts(run_id, str(release), folder)
        root = str(client.get_run(run_id).info.artifact_uri).rstrip("/")
        clean = {key: without_secrets(value) for key, value in tags.items()}
        made = client.create_model_version(
            name, f"{root}/{folder}", run_id, tags=clean, description=description[:_MAX_DESCRIPTION]
        )
        return describe(made)


def check_run(tracking_uri: str, run_id: str | None, *, run_name: str) -> str:
    """Return the id of a run that is in this MLflow.

    Raises:
        ConfigError: it is not.
    """
    where = without_secrets(tracking_uri)
    if run_id is None:
        raise ConfigError(
            f"{run_name}: was not logged to MLflow yet, so there is nowhere to keep its release; where it waits in the "
            "outbox, pt-pipeline maintenance sends it, else run again"
        )
    try:
        with asked(tracking_uri) as client:
            client.get_run(run_id)
    except StepFailed as error:
        raise ConfigError(
            f"{run_name}: MLflow at {where} has no run {run_id}; promote it where it was logged: {error.message}"
        ) from error
    return run_id


def registered_by(tracking_uri: str, *, name: str, promotion: str) -> RegisteredVersion | None:
    """Return the version that a promotion registered, if it got that far."""
    versions = list_versions(tracking_uri, name=name)
    return next((one for one in versions if one.tags.get(PROMOTION) == promotion), None)


def set_alias(tracking_uri: str, version: RegisteredVersion, alias: str) -> None:
    """Point an alias at a version, while holding the lock on the aliases of its model."""
    with asked(tracking_uri) as client:
        among_writers(lambda: client.set_registered_model_alias(version.name, alias, version.version))


def drop_alias(tracking_uri: str, version: RegisteredVersion, alias: str) -> None:
    """Remove an alias if it points at this version, while holding the lock on the aliases of its model."""
    found = find_alias(tracking_uri, name=version.name, alias=alias)
    if found is not None and found.version == version.version:
        with asked(tracking_uri) as client:
            client.delete_registered_model_alias(version.name, alias)


def tag(tracking_uri: str, version: RegisteredVersion, tags: Mapping[str, str]) -> None:
    """Write tags on a version."""
    with asked(tracking_uri) as client:
        for key, value in tags.items():
            client.set_model_version_tag(version.name, version.version, key, without_secrets(value))


def claims(tracking_uri: str, name: str) -> dict[str, str]:
    """Return who claims the aliases of a model now: token to description."""
    with asked(tracking_uri) as client:
        tags: Mapping[str, str] = client.get_registered_model(name).tags
        return {key.removeprefix(_CLAIM): value for key, value in tags.items() if key.startswith(_CLAIM)}


def announce(tracking_uri: str, name: str, token: str, claimant: str) -> None:
    """Write a claim, under a key of its own."""
    with asked(tracking_uri) as client:
        client.set_registered_model_tag(name, f"{_CLAIM}{token}", claimant)


def withdraw(tracking_uri: str, name: str, token: str) -> None:
    """Remove a claim; one that is gone already is no failure."""
    if token in claims(tracking_uri, name):
        with asked(tracking_uri) as client:
            client.delete_registered_model_tag(name, f"{_CLAIM}{token}")


def _ensure_model(tracking_uri: str, name: str) -> None:
    try:
        with asked(tracking_uri) as client:
            client.create_registered_model(name)
    except StepFailed as error:
        # Two promoters may make it at once.
        if getattr(error.__cause__, "error_code", None) != "RESOURCE_ALREADY_EXISTS":
            raise


__all__ = [
    "APPROVED_BY",
    "BUNDLE_DIGEST",
    "NO_CHAMPION",
    "PREVIOUS_CHAMPION",
    "PROMOTION",
    "PROMOTION_STATE",
    "RELEASE_DIGEST",
    "ROLLED_BACK_TO",
    "announce",
    "check_run",
    "claims",
    "drop_alias",
    "register",
    "registered_by",
    "set_alias",
    "tag",
    "withdraw",
]
