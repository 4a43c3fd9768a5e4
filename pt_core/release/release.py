"""Make a release of a judged artifact, and open one: every byte and the signature are checked before anything else."""

from __future__ import annotations

import shutil
from pathlib import Path

from pt_core.artifacts.artifact import Artifact, open_artifact
from pt_core.artifacts.guard import open_trusted, signed_or_named
from pt_core.bundle import MANIFEST, check_digest, open_bundle, read_info, seal, staging
from pt_core.decision.result import RunResult, VariantResult
from pt_core.errors import ConfigError, IntegrityError
from pt_core.keys import Trust
from pt_core.manifest import read_manifest
from pt_core.release.card import write_card
from pt_core.release.lineage import lineage_of
from pt_core.release.requests import (
    ARTIFACT,
    CARD,
    LINEAGE,
    SERVING,
    VERDICT,
    Release,
    ReleaseInfo,
    ReleaseRequest,
    SealedRelease,
)
from pt_core.release.serving import serving_of
from pt_core.signing import sign


def make_release(request: ReleaseRequest) -> Release:
    """Write a signed bundle with the judged artifact, byte for byte, and what is known of it.

    The same run, variant and code give the same digest. Whether the verdict is good enough to ship is the
    caller's question, the release tells it.

    Raises:
        ConfigError: the run has no such variant, the variant no artifact, or the signing key is unusable.
        IntegrityError: the artifact's bytes are not those that were judged.
    """
    variant = chosen(request.result, request.variant)
    artifact = variant.artifact
    assert artifact is not None
    check_digest(artifact)
    info = ReleaseInfo(
        name=request.result.pipeline,
        variant=variant.name,
        run_name=request.result.run_name,
        mlflow_run_id=request.result.mlflow_run_id,
        artifact_digest=artifact.digest,
        verdict=variant.verdict.state,
        forced_because=request.forced_because,
    )
    keys: list[str] = []
    with staging(Path(request.store)) as folder:
        inside = _copy(artifact, folder / ARTIFACT)
        _describe(request, variant, artifact, folder)
        bundle = seal(
            folder,
            name=f"{request.result.pipeline}-{variant.name}",
            kind="release",
            info=info,
            sign=lambda directory: keys.append(sign(directory, request.signing_keys)),
        )
    final = inside.model_copy(update={"directory": str(Path(bundle.directory) / ARTIFACT)})
    return Release(**info.model_dump(), **dict(bundle), artifact=final, key=keys[0])


def open_release(directory: Path, *, trust: Trust) -> Release:
    """Return a release of which every byte is as it was signed, by a key that is trusted.

    Raises:
        IntegrityError: a byte or a file differs, it is not signed by a trusted key, or it is no release; the message
            says which.
    """
    bundle, manifest = open_bundle(directory, kind="release")
    key = signed_or_named(bundle, trust, why="a release is what someone answers for")
    sealed = read_info(bundle, manifest, SealedRelease)
    artifact = open_artifact(directory / ARTIFACT)
    if artifact.digest != sealed.artifact_digest:
        raise IntegrityError(
            f"{directory}: holds the artifact {artifact.digest[:12]}, expected the judged one "
            f"{sealed.artifact_digest[:12]}"
        )
    return Release(**sealed.model_dump(), artifact=artifact, key=key)


def open_for_use(path: Path, *, trust: Trust) -> Artifact:
    """Return the artifact to load for a path from outside: an artifact's folder, or a release's.

    Raises:
        IntegrityError: a byte differs, or nobody vouches for a release or for a program.
    """
    if is_release(path):
        return open_release(path, trust=trust).artifact
    return open_trusted(path, trust)


def is_release(directory: Path) -> bool:
    """Return whether a directory's manifest says that it is a release; nothing is checked."""
    try:
        return read_manifest(directory)[0].kind == "release"
    except IntegrityError:
        return False


def chosen(result: RunResult, name: str | None) -> VariantResult:
    """Return the variant to release: the one of this name, or the run's winner.

    Raises:
        ConfigError: there is none, or it was not built.
    """
    wanted = name or result.winner
    if wanted is None:
        raise ConfigError(
            f"{result.run_name}: no variant won, so there is nothing to release; {result.winner_reason}"
        )
    variant = next((one for one in result.variants if one.name == wanted), None)
    if variant is None:
        names = ", ".join(one.name for one in result.variants)
        raise ConfigError(f"{result.run_name}: no variant {wanted!r}; expected one of {names}")
    if variant.artifact is None:
        raise ConfigError(f"{result.run_name}: {wanted} was not built: {variant.problem}")
    return variant


def _describe(request: ReleaseRequest, variant: VariantResult, artifact: Artifact, folder: Path) -> None:
    result = request.result
    serving = serving_of(variant, artifact, result.dataset, folder=ARTIFACT)
    records = {
        VERDICT: variant.verdict,
        LINEAGE: lineage_of(result, artifact, request.config),
        SERVING: serving,
    }
    for name, record in records.items():
        (folder / name).write_text(record.model_dump_json(indent=2) + "\n")
    (folder / CARD).write_text(
        write_card(result, variant, artifact, serving, forced_because=request.forced_because)
    )


def _copy(artifact: Artifact, destination: Path) -> Artifact:
    """Copy a bundle's own files, and no signature: the release's is over them too."""
    source = Path(artifact.directory)
    _, manifest = open_bundle(source, kind="artifact")
    for name in (*(entry.path for entry in manifest.files), MANIFEST):
        (destination / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, destination / name)
    copied = open_artifact(destination)
    if copied.digest != artifact.digest:
        raise IntegrityError(f"{source}: changed while it was copied; expected {artifact.digest[:12]}")
    return copied
