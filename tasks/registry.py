"""The model registry in MLflow: registered versions by number or alias, and their files, verified."""

from __future__ import annotations

import contextlib
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

from pt_core.bundle import is_intact, set_aside, staging
from pt_core.errors import ConfigError, IntegrityError, StepFailed
from pt_core.keys import Trust, trust_here
from pt_core.record import Record
from pt_core.release.release import open_release
from tasks.answering import wait_until_there
from tasks.dashboard import without_secrets
from tasks.mlflow_database import make_database
from tasks.mlflow_settings import check_uri, quiet, settle

settle()

from mlflow import MlflowClient  # noqa: E402
from mlflow.artifacts import download_artifacts  # noqa: E402
from mlflow.entities.model_registry import ModelVersion  # noqa: E402
from mlflow.exceptions import MlflowException  # noqa: E402

CHAMPION = "champion"
"""The alias of the version in use."""
CHALLENGER = "challenger"
"""The alias of the version that is being promoted."""
RELEASE_DIGEST = "release_digest"
"""Tag: digest of the release bundle, the version's files."""
BUNDLE_DIGEST = "bundle_digest"
"""Tag: digest of the artifact inside, which was judged."""
RUN_NAME = "run_name"
"""Tag: name of the pipeline run that it comes from."""

_URI = re.compile(r"models:/(?P<name>[^/@]+)(?:@(?P<alias>[^/@]+)|/(?P<version>\d+))")
_GONE = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
"""What MLflow answers where a name, a version or an alias is not there; for an alias it is the second."""


class RegisteredVersion(Record):
    """One version of a registered model, as its tags describe it."""

    name: str
    """Name of the registered model."""
    version: str
    """Its number there."""
    bundle_digest: str
    """Digest of the artifact that was judged."""
    release_digest: str
    """Digest of the release bundle that holds it."""
    run_id: str | None
    """Id of the MLflow run that it comes from."""
    run_name: str | None
    """Name of the pipeline run that it comes from."""
    tags: dict[str, str]
    """Everything that was written down with it."""
    source: str
    """Where MLflow keeps its files."""
    aliases: tuple[str, ...] = ()
    """The names that point at it."""
    created_ms: int = 0
    """When it was registered, in milliseconds since 1970."""

    @property
    def uri(self) -> str:
        """How it is asked for by number."""
        return f"models:/{self.name}/{self.version}"


def find_alias(tracking_uri: str, *, name: str, alias: str) -> RegisteredVersion | None:
    """Return the version that an alias points at; ``None`` where there is no such alias or model.

    Raises:
        ConfigError: the version is not one that this product registered.
    """
    with asked(tracking_uri) as client:
        found = _alias(client, name, alias)
        return None if found is None else describe(found)


def find_version(tracking_uri: str, *, name: str, version: str) -> RegisteredVersion:
    """Return a version by its number.

    Raises:
        ConfigError: there is none, or it is not one that this product registered.
    """
    with asked(tracking_uri) as client:
        try:
            return describe(client.get_model_version(name, version))
        except MlflowException as error:
            if error.error_code not in _GONE:
                raise
            raise ConfigError(_unknown(client, name, f"version {version}")) from error


def resolve(tracking_uri: str, uri: str) -> RegisteredVersion:
    """Return the version that ``models:/NAME@ALIAS`` or ``models:/NAME/NUMBER`` names.

    Raises:
        ConfigError: it is neither, or there is none of that name.
    """
    parts = _URI.fullmatch(uri)
    if parts is None:
        raise ConfigError(f"{uri}: expected models:/NAME@ALIAS or models:/NAME/NUMBER")
    name, alias, version = parts["name"], parts["alias"], parts["version"]
    if version:
        return find_version(tracking_uri, name=name, version=version)
    found = find_alias(tracking_uri, name=name, alias=alias)
    if found is None:
        with asked(tracking_uri) as client:
            raise ConfigError(_unknown(client, name, f"alias {alias}"))
    return found


def list_versions(tracking_uri: str, *, name: str) -> tuple[RegisteredVersion, ...]:
    """Return every version that this product registered under a name, the newest first, with its aliases."""
    with asked(tracking_uri) as client:
        aliases = _aliases(client, name)
        found: list[RegisteredVersion] = []
        token = None
        while True:
            page = client.search_model_versions(f"name = '{name}'", max_results=200, page_token=token)
            for one in page:
                if RELEASE_DIGEST in one.tags:
                    named = tuple(sorted(a for a, version in aliases.items() if version == str(one.version)))
                    found.append(describe(one).model_copy(update={"aliases": named}))
            token = page.token
            if not token:
                return tuple(sorted(found, key=lambda one: -int(one.version)))


def download(
    tracking_uri: str,
    version: RegisteredVersion,
    *,
    folder: Path,
    fresh: bool = False,
    trust: Trust | None = None,
) -> Path:
    """Return a version's release bundle below a folder: every byte verified, and signed by a key that is trusted.

    Args:
        tracking_uri: MLflow's address.
        version: what to fetch.
        folder: where releases are kept, by their digest; a copy that is there and intact is used again.
        fresh: whether to fetch the bytes all the same, and put them in its place.
        trust: whose signature counts; whom this process's home trusts if left out.

    Raises:
        IntegrityError: what the registry holds is not the bundle that was registered, or nobody trusted signed it.
        StepFailed: it cannot be fetched.
    """
    trust = trust or trust_here()
    destination = folder / version.release_digest
    if not fresh and is_intact(destination, version.release_digest):
        _check_release(destination, version, trust)
        return destination
    with staging(folder) as scratch:
        fetched = scratch / "release"
        _fetch(tracking_uri, version, fetched)
        _check_release(fetched, version, trust)
        place(fetched, destination, version.release_digest, scratch=scratch, fresh=fresh)
    return destination


def _fetch(tracking_uri: str, version: RegisteredVersion, fetched: Path) -> None:
    fetched.mkdir()
    where = without_secrets(version.source)
    try:
        with asked(tracking_uri):
            copied = download_artifacts(
                artifact_uri=version.source, dst_path=str(fetched.parent), tracking_uri=tracking_uri
            )
    except StepFailed as error:
        raise error.with_message(f"{version.uri}: its files cannot be fetched: {error.message}") from error
    except OSError as error:
        raise IntegrityError(f"{version.uri}: its files at {where} cannot be read: {error}") from error
    found = Path(copied)
    if found.resolve() == fetched.parent.resolve() or not found.is_dir():
        raise IntegrityError(f"{version.uri}: there is no folder of files at {where}")
    if found != fetched:
        fetched.rmdir()
        found.rename(fetched)


def _check_release(directory: Path, version: RegisteredVersion, trust: Trust) -> None:
    try:
        release = open_release(directory, trust=trust)
    except IntegrityError as error:
        raise IntegrityError(
            f"{version.uri}: its files do not verify: {error.message}", details=error.details
        ) from error
    for what, found, expected in (
        ("release", release.digest, version.release_digest),
        ("artifact", release.artifact.digest, version.bundle_digest),
    ):
        if found != expected:
            raise IntegrityError(
                f"{version.uri}: the digest of its {what} is {found[:12]}, expected {expected[:12]}; another bundle "
                "took its place"
            )


def place(fetched: Path, destination: Path, digest: str, *, scratch: Path, fresh: bool = False) -> None:
    """Move a verified bundle to its name, in the place of a damaged one, and if it is to be fresh of any other."""
    if destination.exists():
        if not is_intact(destination, digest):
            set_aside(destination)
        elif fresh:
            destination.rename(scratch / f"old-{uuid.uuid4().hex[:8]}")
    try:
        fetched.rename(destination)
    except OSError:
        # Another process placed the same bytes first.
        if not is_intact(destination, digest):
            raise
        shutil.rmtree(fetched)


@contextlib.contextmanager
def asked(tracking_uri: str) -> Iterator[MlflowClient]:
    """Yield a client of one server; what MLflow raises becomes a failure of ours that names the server.

    Raises:
        ConfigError: the address is of another kind, or holds a password.
        StepFailed: MLflow refused, or did not answer for long.
    """
    check_uri(tracking_uri)
    quiet()
    make_database(tracking_uri)
    if tracking_uri.startswith("http"):
        wait_until_there(tracking_uri)
    try:
        # Both named, since the registry's address is the process's own otherwise.
        yield MlflowClient(tracking_uri, registry_uri=tracking_uri)
    except MlflowException as error:
        raise StepFailed(f"MLflow at {without_secrets(tracking_uri)}: {error}"[:2000]) from error


def describe(found: ModelVersion) -> RegisteredVersion:
    """Return MLflow's version as ours.

    Raises:
        ConfigError: it lacks the digests that this product writes down with what it registers.
    """
    tags: Mapping[str, str] = found.tags
    missing = [key for key in (RELEASE_DIGEST, BUNDLE_DIGEST) if key not in tags]
    if missing:
        raise ConfigError(
            f"models:/{found.name}/{found.version}: has no tag {' and no tag '.join(missing)}, so there is nothing to "
            "verify its files by; expected a version registered by pt-pipeline promote"
        )
    return RegisteredVersion(
        name=found.name,
        version=str(found.version),
        bundle_digest=tags[BUNDLE_DIGEST],
        release_digest=tags[RELEASE_DIGEST],
        run_id=found.run_id or None,
        run_name=tags.get(RUN_NAME),
        tags=dict(tags),
        source=str(found.source),
        aliases=tuple(sorted(found.aliases)),
        created_ms=int(found.creation_timestamp or 0),
    )


def _alias(client: MlflowClient, name: str, alias: str) -> ModelVersion | None:
    # Asked of the model, since MLflow says that an alias is missing by the same code as that its name is not valid.
    version = _aliases(client, name).get(alias)
    return None if version is None else client.get_model_version(name, version)


def _aliases(client: MlflowClient, name: str) -> dict[str, str]:
    try:
        model = client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return {}
    return {alias: str(version) for alias, version in model.aliases.items()}


def _unknown(client: MlflowClient, name: str, what: str) -> str:
    aliases = _aliases(client, name)
    known = ", ".join(f"@{alias} (version {version})" for alias, version in sorted(aliases.items()))
    return (
        f"models:/{name}: there is no {what}; known are {known or 'no aliases'}; "
        "pt-pipeline versions lists what is registered"
    )
