"""Node counts of ONNX graphs, against a graph that is short enough to count by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
from onnx import TensorProto, helper, save

from pt_core.formats.onnx_ import OnnxFormat
from pt_core.formats.onnx_nodes import count_executed_nodes, count_nodes
from pt_core.formats.onnx_session import session_options
from pt_core.inference.predictor import describe_runtime


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a graph of two identities between a product and a sum, which is a Gemm."""
    tensors = {
        name: helper.make_tensor(name, TensorProto.FLOAT, [8, 8], [1.0] * 64) for name in ("weight", "bias")
    }
    nodes = [
        helper.make_node("Identity", ["input"], ["a"]),
        helper.make_node("MatMul", ["a", "weight"], ["b"]),
        helper.make_node("Identity", ["b"], ["c"]),
        helper.make_node("Add", ["c", "bias"], ["logits"]),
    ]
    given, answer = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [8, 8]) for name in ("input", "logits")
    )
    graph = helper.make_graph(nodes, "counted", [given], [answer], list(tensors.values()))
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), tmp_path / "counted.onnx")
    return tmp_path / "counted.onnx"


def test_nodes_are_counted_before_and_after_fusion(path):
    assert count_nodes(path) == 4
    assert count_executed_nodes(path, session_options(num_threads=1, graph_level="disable")) == 4
    assert count_executed_nodes(path, session_options(num_threads=1, graph_level="all")) == 1


def test_a_runtime_tells_the_counts_of_its_graph(root, made):
    predictor = OnnxFormat().load(made(OnnxFormat(), root), "cpu")
    # Parity asks this of every graph level, and counting optimises the graph again.
    assert predictor.runtime().num_nodes is None
    runtime = describe_runtime(predictor)
    # Normalisation 2, four convolutions and ReLUs 8, pooling 1, mean 1, reshape 1, two Gemm and one ReLU 3.
    assert runtime.num_nodes == 16
    assert 0 < runtime.num_nodes_optimized < 16
