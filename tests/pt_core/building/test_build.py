"""One step, from its source to a published artifact, or to a typed error and nothing on disk."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pt_core.artifacts.artifact import Step
from pt_core.building.build import StepRequest, run_step
from pt_core.building.failure import FAILURES
from pt_core.data.dataset import load_split
from pt_core.errors import PlanError, StepFailed
from pt_core.inference.predictor import load_predictor
from pt_core.limits import Limits


def published(builder) -> set[str]:
    return {path.name for path in Path(builder.store).iterdir() if path.name != FAILURES}


def refused(builder, source, step: str, error: type[Exception], match: str) -> None:
    """Assert that a step is refused and that nothing of it stays on disk."""
    before = published(builder)
    with pytest.raises(error, match=match):
        builder.step(source, Step(name=step))
    assert published(builder) == before


def test_the_root_computes_what_its_checkpoint_computed(builder):
    root = builder.chain()
    assert root.steps == ()
    assert root.parity is None
    assert root.checkpoint_digest == root.parent_digest == builder.checkpoint.digest


def test_int8_survives_a_conversion_and_says_so(builder, dataset):
    artifact = builder.chain("int8-dynamic", "torchscript")
    eager = builder.chain("int8-dynamic")
    assert artifact.precision == "int8"
    assert artifact.quantization == eager.quantization
    samples = np.array(load_split(dataset, "test").x[:9])
    np.testing.assert_allclose(
        load_predictor(artifact).logits(samples), load_predictor(eager).logits(samples), atol=1e-5
    )


def test_packed_int8_layers_are_refused_by_export_with_what_to_do(builder):
    refused(builder, builder.chain("int8-dynamic"), "onnx", StepFailed, "quantize after the conversion")


def test_a_step_in_the_wrong_place_is_refused_before_a_process_starts(builder, tmp_path):
    request = StepRequest(
        source=builder.chain(),
        reference=builder.chain(),
        step=Step(name="onnx-int8-static"),
        dataset=builder.dataset,
        store=str(tmp_path),
    )
    with pytest.raises(PlanError, match="reads onnx, the source is torch"):
        run_step(request, limits=Limits(timeout_s=0.001))


def test_a_step_that_takes_too_long_is_killed_and_leaves_nothing(builder):
    before = published(builder)
    request = StepRequest(
        source=builder.chain(),
        reference=builder.chain(),
        step=Step(name="onnx", options={"opset": 18}),
        dataset=builder.dataset,
        store=str(builder.store),
    )
    with pytest.raises(StepFailed, match="no result after"):
        run_step(request, limits=Limits(timeout_s=0.2))
    assert published(builder) == before


def test_planning_and_asking_import_no_runtime():
    code = (
        "import sys; from pt_core.building.build import run_step; from pt_core.building.plan import *;"
        "from pt_core.artifacts.registry import step_names;"
        "chains = [('onnx', 'onnx-int8-static'), ('int8-dynamic',), ('exported',), ('torchscript',)];"
        "make_plan(tuple(Variant(name=f'v{i}', steps=c) for i, c in enumerate(chains)));"
        "print(sorted({'torch', 'onnx', 'onnxruntime', 'numpy', 'sklearn'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    # numpy comes with the record of a dataset; what is slow must not come.
    assert done.stdout.strip() in ("[]", "['numpy']")
