"""What an artifact was built from, found in its store by digest."""

from __future__ import annotations

from pathlib import Path

from pt_core.artifacts.artifact import Artifact, open_artifact
from pt_core.errors import IntegrityError


def lineage(artifact: Artifact) -> tuple[Artifact, ...]:
    """Return the artifacts from the reference to this one, itself the last; it starts later where one is gone."""
    found = [artifact]
    while found[0].steps:
        parent = _find(Path(artifact.directory).parent, found[0].parent_digest)
        if parent is None:
            break
        found.insert(0, parent)
    return tuple(found)


def _find(store: Path, digest: str) -> Artifact | None:
    for directory in sorted(store.glob(f"*-{digest[:12]}")):
        try:
            artifact = open_artifact(directory)
        except IntegrityError:
            continue
        if artifact.digest == digest:
            return artifact
    return None
