"""The graph level of ONNX Runtime: judged at every level, pinned in the bundle, used by whatever loads it."""

from __future__ import annotations

from pathlib import Path

import onnxruntime
import pytest
import threads

from pt_core.artifacts.artifact import Step
from pt_core.building.requests import CheckRequest
from pt_core.building.worker import check
from pt_core.errors import IntegrityError, StepFailed, StepUnavailable
from pt_core.formats.onnx_ import OnnxFormat
from pt_core.formats.onnx_runtime import GRAPH_LEVELS, OnnxRuntime
from pt_core.quantizers.ort_dynamic import OnnxInt8Dynamic

one_thread = threads.one_thread
LEVELS = onnxruntime.GraphOptimizationLevel


@pytest.fixture
def basic(root, made):
    return made(OnnxFormat(graph_level="basic"), root)


def test_a_graph_is_compared_at_every_level_and_the_pinned_one_is_on_record(root, basic, dataset):
    staged = basic.model_copy(update={"steps": (Step(name="onnx"),)})
    parity = check(CheckRequest(staged=staged, source=root, reference=root, dataset=dataset)).parity
    assert [s.setting for s in parity.settings] == [f"graph_level={level}" for level in GRAPH_LEVELS]
    assert all(s.holds and s.max_relative_error < 1e-5 for s in parity.settings)
    # Optimised graphs add in another order, so that these were really four graphs.
    assert len({s.max_relative_error for s in parity.settings}) > 1
    assert parity.pinned == "graph_level=basic"


def test_whatever_loads_a_bundle_runs_it_at_the_level_that_it_pins(basic):
    for level, expected in (
        ("disable", LEVELS.ORT_DISABLE_ALL),
        ("basic", LEVELS.ORT_ENABLE_BASIC),
        ("extended", LEVELS.ORT_ENABLE_EXTENDED),
        ("all", LEVELS.ORT_ENABLE_ALL),
    ):
        OnnxRuntime(graph_level=level).write(Path(basic.directory))
        predictor = OnnxFormat().load(basic, "cpu")
        assert predictor._session.get_session_options().graph_optimization_level == expected
        info = predictor.runtime()
        assert info.setting == f"graph_level={level}"
        assert (info.inputs, info.outputs) == (("input",), ("logits",))


def test_a_level_is_pinned_to_all_by_default_and_handed_on_to_what_is_quantized(root, basic, made):
    assert OnnxRuntime.read(Path(made(OnnxFormat(), root).directory)).graph_level == "all"
    quantized = made(OnnxInt8Dynamic(), basic)
    assert OnnxFormat().load(quantized, "cpu").runtime().setting == "graph_level=basic"


def test_a_graph_without_the_level_that_was_judged_is_not_loaded(basic):
    file = Path(basic.directory) / "runtime.json"
    file.write_text('{"graph_level": "most"}')
    with pytest.raises(
        IntegrityError, match=r"runtime\.json: expected graph_level, one of disable, basic, extended"
    ):
        OnnxFormat().load(basic, "cpu")
    file.unlink()
    with pytest.raises(
        IntegrityError, match=r"runtime\.json: missing, expected the graph level that was judged"
    ):
        OnnxFormat().load(basic, "cpu")


def test_a_graph_that_onnx_runtime_cannot_load_fails_with_the_level(basic):
    (Path(basic.directory) / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(StepFailed, match="cannot load the graph at graph_level=basic"):
        OnnxFormat().load(basic, "cpu")


def test_another_provider_than_the_one_asked_for_is_a_failure(basic, monkeypatch):
    monkeypatch.setattr(
        onnxruntime.InferenceSession,
        "get_providers",
        lambda session: ["OtherProvider", "CPUExecutionProvider"],
    )
    with pytest.raises(StepFailed, match="uses OtherProvider, CPUExecutionProvider, expected CPUExecution"):
        OnnxFormat().load(basic, "cpu")


def test_a_provider_that_fails_in_a_call_is_not_replaced_by_another(basic):
    assert OnnxFormat().load(basic, "cpu")._session._enable_fallback is False


def test_another_device_is_refused(basic):
    with pytest.raises(StepUnavailable, match="device cuda is not supported here, expected cpu"):
        OnnxFormat().load(basic, "cuda")
