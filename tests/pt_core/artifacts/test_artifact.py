"""Opening an artifact: what its manifest says is checked as its bytes are."""

from __future__ import annotations

from pathlib import Path

import pytest

from pt_core.artifacts.artifact import open_artifact
from pt_core.bundle import seal, staging
from pt_core.errors import IntegrityError
from pt_core.record import Record


class Note(Record):
    """Describes something else."""

    text: str


def test_a_sealed_bundle_that_describes_no_artifact_is_damaged(tmp_path):
    with staging(tmp_path) as folder:
        (folder / "model.onnx").write_bytes(b"x")
        sealed = seal(folder, name="onnx", kind="artifact", info=Note(text="hello"))
    with pytest.raises(IntegrityError, match=r"manifest\.json: describes no Artifact"):
        open_artifact(Path(sealed.directory))
