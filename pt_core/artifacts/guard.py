"""The load guard: what runs its writer's code when it loads does so only if someone who is trusted vouches for its bytes."""

from __future__ import annotations

import re
from pathlib import Path

from pt_core.artifacts.artifact import Artifact, open_artifact
from pt_core.artifacts.checkpoint import Checkpoint
from pt_core.artifacts.registry import make_format
from pt_core.bundle import Bundle
from pt_core.errors import IntegrityError
from pt_core.keys import Trust, trust_here, trusted_keys
from pt_core.manifest import read_manifest
from pt_core.modeling.spec import ModelSpec
from pt_core.signing import check_signature, signer_of

MIN_DIGEST_DIGITS = 12
OWN_NETWORKS = frozenset(
    {"pt_core.modeling.cnn:cnn", "pt_core.modeling.mlp:mlp", "pt_core.modeling.resnet:resnet18"}
)
"""What a bundle may name without a signature: functions that build layers of numbers, whatever they are called with."""
_NAMED_DIGEST = re.compile(r"-([0-9a-f]{12})$")


def is_program(format_name: str) -> bool:
    """Return whether loading this format runs code that is in its files; of a format that does not say, it does.

    Raises:
        PlanError: no format has this name.
    """
    return bool(getattr(make_format(format_name), "is_program", True))


def why_program(artifact: Artifact) -> str | None:
    """Return why loading an artifact runs what its writer chose; ``None`` where it only reads numbers.

    Raises:
        PlanError: no format has its format's name.
    """
    if is_program(artifact.format):
        return f"{artifact.format} artifacts are programs that run when they load"
    if getattr(make_format(artifact.format), "calls_target", False):
        return _why_foreign(artifact.spec)
    return None


def _why_foreign(spec: ModelSpec) -> str | None:
    """Return why building a network runs what its bundle chose; ``None`` for one of our own."""
    if spec.target in OWN_NETWORKS:
        return None
    return f"its network is built by calling {spec.target}, which the bundle names and may be any function"


def open_trusted(directory: Path, trust: Trust | None = None) -> Artifact:
    """Open an artifact that comes from a path: its bytes are checked, and of what runs code who signed them.

    Args:
        directory: the artifact's bundle.
        trust: whose signature counts; whom this process's home trusts if left out.

    Raises:
        IntegrityError: the bytes are not what the manifest says, or it is a program that nobody vouches for.
    """
    artifact = open_artifact(directory)
    vouch(artifact, trust or trust_here())
    return artifact


def vouch(artifact: Artifact, trust: Trust) -> str | None:
    """Return the fingerprint of the trusted key that signed an artifact, or ``None`` where it needs none.

    For the doors, where an artifact comes from a path: the bytes were checked against the manifest, and this says
    who wrote the manifest. Inside a run the record says it, for the run made the artifact itself.

    Raises:
        IntegrityError: it runs code when it loads, and is neither signed by a trusted key nor named by the user.
    """
    why = why_program(artifact)
    return signed_or_named(artifact, trust, why=why) if why else None


def vouch_for_checkpoint(checkpoint: Checkpoint, trust: Trust) -> str | None:
    """Return the fingerprint of the trusted key that signed a checkpoint, or ``None`` where its network is ours.

    To be called before the network is built; its weights alone, which a warm start takes, are numbers.

    Raises:
        IntegrityError: it names a function to call, and is neither signed by a trusted key nor named by the user.
    """
    why = _why_foreign(checkpoint.spec)
    return signed_or_named(checkpoint, trust, why=why) if why else None


def origin(artifact: Artifact, trust: Trust) -> tuple[str, bool]:
    """Return in a sentence who vouches for an artifact, and whether a trusted key does.

    Raises:
        IntegrityError: it is a program that nobody vouches for, or its signature is damaged or over other bytes.
    """
    directory = Path(artifact.directory)
    key = vouch(artifact, trust)
    if key is None and why_program(artifact):
        return "Loaded by its name or its digest, not by a signature.", False
    signer = key or signer_of(directory)
    if signer is None:
        return "Not signed: nothing says who wrote it.", False
    if key is None and signer not in trusted_keys(Path(trust.trusted_keys)):
        return (
            f"Signed by the key {signer[:16]}, which is not trusted here: nothing says who wrote it.",
            False,
        )
    proved = key or check_signature(directory, Path(trust.trusted_keys))
    return f"Signed by the trusted key {proved[:16]}.", True


def signed_or_named(bundle: Bundle, trust: Trust, *, why: str) -> str | None:
    """Return the fingerprint of the trusted key that signed a bundle, or ``None`` where the user named it.

    Raises:
        IntegrityError: it is neither; ``why`` says what it matters for.
    """
    directory = Path(bundle.directory)
    if any(_names(entry, bundle) for entry in trust.unsigned):
        return None
    try:
        return check_signature(directory, Path(trust.trusted_keys))
    except IntegrityError as error:
        # A name without its digest is that of whatever lies there later.
        digest = bundle.digest[:MIN_DIGEST_DIGITS]
        name = directory.name if directory.name.endswith(f"-{digest}") else digest
        inside = "; it lies in a release, whose folder to give instead" if _is_in_release(directory) else ""
        raise IntegrityError(
            f"{error.message}; {why}, so it is not loaded{inside}; if you vouch for it, say so by its name: "
            f"--trust-unsigned {name}",
            details=error.details,
        ) from error


def _is_in_release(directory: Path) -> bool:
    try:
        return read_manifest(directory.parent)[0].kind == "release"
    except IntegrityError:
        return False


def _names(entry: str, bundle: Bundle) -> bool:
    """Return whether the user named this bundle: by its digest, or its folder, which must not name another digest."""
    if re.fullmatch(rf"[0-9a-f]{{{MIN_DIGEST_DIGITS},64}}", entry):
        return bundle.digest.startswith(entry)
    named = _NAMED_DIGEST.search(entry)
    return entry == Path(bundle.directory).name and (
        named is None or bundle.digest.startswith(named.group(1))
    )
