"""The command score, as it is installed, on what the default job left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200)]


def test_score_is_a_flow_with_the_answers_of_predict(first: Any, workplace: Any, tmp_path: Path) -> None:
    bundle = first.variant("onnx-int8-static")["artifact_path"]
    inputs, output = tmp_path / "x.npy", tmp_path / "scores.parquet"
    np.save(inputs, np.random.default_rng(0).random((300, 1, 8, 8), dtype=np.float32))
    done = workplace.call("score", bundle, str(inputs), str(output), "--json")
    assert done.code == 0, done.stderr
    assert (done.document["model"], done.document["num_rows"]) == (bundle, 300)
    answers = pq.read_table(output)
    asked = workplace.call("predict", bundle, str(inputs), "--json").document
    assert answers["probability"].to_pylist() == [one["probability"] for one in asked["predictions"]]
    assert set(answers["bundle_digest"].to_pylist()) == {asked["bundle_digest"]}
