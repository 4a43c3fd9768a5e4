"""A step that fails parity says where, and what it says survives the way to the record of the variant."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny

from pt_core.artifacts.artifact import Step
from pt_core.building.failure import FAILURES
from pt_core.building.locate import divergence_of
from pt_core.errors import ParityError, error_from_dict
from pt_core.isolation import CODE_PATH_VARIABLE


def test_a_branch_on_the_batch_is_found_at_the_batch_where_it_shows(tmp_path, dataset, monkeypatch):
    monkeypatch.setenv(CODE_PATH_VARIABLE, str(Path(tiny.__file__).parent))
    # The trace keeps the branch of a batch of two or more, and is wrong for a single sample only.
    store = tmp_path / "store"
    builder = tiny.Builder(tiny.checkpoint(store, dataset, target="tiny:Branching"), dataset, store)
    with pytest.raises(ParityError) as raised:
        builder.step(builder.chain(), Step(name="torchscript"))
    (log,) = store.glob(f"{FAILURES}/*/output.log")
    assert "a network that branches" in log.read_text()
    error = error_from_dict(json.loads(json.dumps(raised.value.to_dict())))
    found = divergence_of(error.with_message("as a later step tells it"))
    assert found is not None
    assert found.batch_size == 1
    assert (found.a, found.b, found.agrees) == ("torch", "torchscript", False)
    assert found.sentence in error.details
    (link,) = found.chain
    assert link.note == "torchscript cannot be opened layer by layer"
    assert link.first.layer == "logits"


def test_an_error_without_evidence_holds_no_divergence():
    assert divergence_of(ParityError("logits differ")) is None
