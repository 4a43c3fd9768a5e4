"""An artifact that this machine can build and not run: published as such, verified as far as it goes, built again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny

from pt_core.artifacts.artifact import open_artifact
from pt_core.artifacts.tensors import read_golden
from pt_core.building.rebuild import rebuild
from pt_core.errors import ConfigError, StepUnavailable
from pt_core.formats.tensorrt_ import TensorRTFormat
from pt_core.formats.tensorrt_library import find_gpu
from pt_core.formats.tensorrt_passport import PASSPORT, read_passport
from pt_core.inference.predictor import load_predictor
from pt_core.inference.requests import VerifyRequest
from pt_core.inference.verify import verify
from pt_core.limits import Limits

pytestmark = pytest.mark.skipif(
    TensorRTFormat().unavailable() is not None or find_gpu() is not None,
    reason=TensorRTFormat().unavailable() or "there is an NVIDIA GPU, where engines run",
)


@pytest.fixture
def engine(builder):
    return builder.chain("onnx", "tensorrt")


def test_what_cannot_run_here_is_published_with_its_passport_and_the_outputs_it_must_reproduce(
    builder, engine
):
    assert engine.not_run.startswith("built for sm_86, sm_89 by tensorrt-rtx ")
    assert engine.not_run.endswith("there is no NVIDIA GPU here to run it")
    assert engine.parity is None
    assert len(engine.checks) == 4
    manifest = json.loads((Path(engine.directory) / "manifest.json").read_text())
    assert manifest["info"]["passport"] == json.loads((Path(engine.directory) / PASSPORT).read_text())
    graph = builder.chain("onnx")
    assert set(graph.payload) < set(engine.payload)
    for found, expected in zip(read_golden(engine), read_golden(graph), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_verifying_it_says_what_was_checked_and_that_it_was_not_run(engine):
    report = verify(VerifyRequest(directory=engine.directory, expected_digest=engine.digest))
    assert report.checks[1:-1] == engine.checks
    assert report.checks[-1] == f"It was not run, so its outputs are not verified: {engine.not_run}."
    assert report.golden_max_abs_error is None


def test_an_engine_of_another_version_is_built_again_from_its_own_bundle_alone(engine, tmp_path):
    folder = Path(shutil.copytree(engine.directory, tmp_path / "copy"))
    said = json.loads((folder / PASSPORT).read_text()) | {"version": "1.0"}
    (folder / PASSPORT).write_text(json.dumps(said))
    old = tiny.reseal(engine.model_copy(update={"directory": str(folder), "passport": said}), tmp_path)
    with pytest.raises(StepUnavailable, match="rebuild it from the ONNX"):
        load_predictor(old)
    new = rebuild(old, store=tmp_path / "store", limits=Limits(timeout_s=240))
    assert open_artifact(Path(new.directory)) == new
    assert new.parent_digest == old.digest
    assert new.steps == engine.steps
    assert new.payload == engine.payload
    assert read_passport(new).onnx_sha256 == read_passport(engine).onnx_sha256
    assert read_passport(new).library == read_passport(engine).library


def test_a_format_that_runs_anywhere_is_not_rebuilt(builder, tmp_path):
    with pytest.raises(ConfigError, match="onnx is not built for a kind of device"):
        rebuild(builder.chain("onnx"), store=tmp_path, limits=Limits(timeout_s=60))
