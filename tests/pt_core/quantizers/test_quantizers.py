"""What became INT8, counted from the result: against the layer sizes written out here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import tiny
from safetensors.numpy import load_file

from pt_core.artifacts.checkpoint import WEIGHTS
from pt_core.data.dataset import load_split
from pt_core.errors import DataError, NothingQuantized
from pt_core.formats.onnx_ import OnnxFormat
from pt_core.formats.torch_ import TorchFormat
from pt_core.quantizers.int8_dynamic import Int8Dynamic
from pt_core.quantizers.onnx_graph import describe_quantization
from pt_core.quantizers.ort_dynamic import OnnxInt8Dynamic
from pt_core.quantizers.ort_static import OnnxInt8Static

CONV = 9 * (1 * 8 + 8 * 8 + 8 * 16 + 16 * 16)
LINEAR = 16 * 128 + 128 * 10
"""Weight elements of the small network: four 3x3 convolutions of width 8 and 16, two linear layers."""


@pytest.fixture
def graph(root, made):
    return made(OnnxFormat(), root)


def int8_elements(path: Path) -> int:
    types = (onnx.TensorProto.INT8, onnx.TensorProto.UINT8)
    tensors = onnx.load(path).graph.initializer
    return sum(int(np.prod(t.dims)) for t in tensors if t.data_type in types and len(t.dims) > 1)


def test_dynamic_quantization_counts_its_linear_layers_and_names_what_it_kept(root, made):
    artifact = made(Int8Dynamic(), root)
    found = artifact.quantization
    assert found.quantized_layers == ("network.1.2", "network.1.4")
    assert found.kept_layers == tuple(f"network.0.{block}.0" for block in (0, 1, 3, 4))
    assert found.weight_share == LINEAR / (LINEAR + CONV)
    tensors = load_file(Path(artifact.directory) / WEIGHTS)
    assert sum(t.size for t in tensors.values() if t.dtype == np.int8) == LINEAR


@pytest.mark.parametrize(
    "quantizer",
    [
        OnnxInt8Dynamic(),
        OnnxInt8Dynamic(per_channel=True),
        OnnxInt8Static(),
        OnnxInt8Static(per_channel=False),
        OnnxInt8Static(method="percentile"),
    ],
    ids=str,
)
def test_every_weight_of_a_graph_becomes_int8_and_the_logits_stay_near(graph, made, dataset, quantizer):
    data = np.array(load_split(dataset, "calibration").x[:50])
    artifact = made(quantizer, graph, tiny.step_data(data))
    assert artifact.quantization.weight_share == 1
    assert len(artifact.quantization.quantized_layers) == 6
    assert artifact.quantization.kept_layers == ()
    assert int8_elements(Path(artifact.directory) / "model.onnx") == CONV + LINEAR
    expected = OnnxFormat().load(graph, "cpu").logits(data)
    error = np.abs(OnnxFormat().load(artifact, "cpu").logits(data) - expected).max()
    assert 0 < error <= 0.1 * np.abs(expected).max()


def test_a_scale_per_channel_is_one_per_channel(graph, made, dataset):
    data = np.array(load_split(dataset, "calibration").x[:8])
    sizes = {}
    for per_channel in (True, False):
        artifact = made(OnnxInt8Static(per_channel=per_channel), graph, tiny.step_data(data))
        tensors = onnx.load(Path(artifact.directory) / "model.onnx").graph.initializer
        sizes[per_channel] = sorted(int(np.prod(t.dims)) for t in tensors if t.name.endswith("weight_scale"))
    assert sizes == {True: [8, 8, 10, 16, 16, 128], False: [1] * 6}


def test_activation_ranges_come_from_the_calibration_samples(graph, made, dataset):
    data = np.array(load_split(dataset, "calibration").x[:8])
    scales = []
    for samples in (data, data * 0.25):
        artifact = made(OnnxInt8Static(), graph, tiny.step_data(samples))
        tensors = onnx.load(Path(artifact.directory) / "model.onnx").graph.initializer
        scales.append({t.name: onnx.numpy_helper.to_array(t) for t in tensors if "logits_scale" in t.name})
    assert scales[0]
    assert scales[0] != scales[1]


def test_calibration_on_no_samples_is_refused(graph, made):
    with pytest.raises(DataError, match="no calibration samples"):
        made(OnnxInt8Static(), graph, tiny.step_data(np.zeros((0, 1, 8, 8), np.float32)))


def test_a_graph_without_int8_weights_is_not_called_quantized(graph):
    with pytest.raises(NothingQuantized, match=r"no weight became INT8; the graph has Conv, .*Gemm"):
        describe_quantization(Path(graph.directory) / "model.onnx", scheme="x")


def test_a_network_without_linear_layers_is_not_called_quantized(dataset, tmp_path, made):
    checkpoint = tiny.checkpoint(tmp_path, dataset, target="tiny:Convolutional")
    with pytest.raises(NothingQuantized):
        made(Int8Dynamic(), tiny.root_artifact(checkpoint, tmp_path))


def test_the_share_is_of_weight_elements_and_not_of_layers(graph, made, tmp_path):
    # One layer of six put back to floating point by hand.
    artifact = made(OnnxInt8Dynamic(), graph)
    path = Path(artifact.directory) / "model.onnx"
    model = onnx.load(path)
    weight = next(t for t in model.graph.initializer if list(t.dims) == [8, 8, 3, 3])
    weight.CopyFrom(onnx.numpy_helper.from_array(np.zeros((8, 8, 3, 3), np.float32), weight.name))
    onnx.save(model, tmp_path / "mixed.onnx")
    found = describe_quantization(tmp_path / "mixed.onnx", scheme="x")
    assert found.weight_share == (CONV + LINEAR - 576) / (CONV + LINEAR)
    assert len(found.kept_layers) == 1


def test_a_weight_that_two_layers_share_is_counted_once(dataset, tmp_path, made):
    checkpoint = tiny.checkpoint(tmp_path, dataset, target="tiny:Tied")
    found = made(Int8Dynamic(), tiny.root_artifact(checkpoint, tmp_path)).quantization
    assert found.quantized_layers == ("network.first", "network.second", "network.last")
    assert found.kept_layers == ()
    assert found.weight_share == 1


def test_every_matrix_of_a_layer_is_counted(dataset, tmp_path, made):
    checkpoint = tiny.checkpoint(tmp_path, dataset, target="tiny:Recurrent")
    found = made(Int8Dynamic(), tiny.root_artifact(checkpoint, tmp_path)).quantization
    assert found.kept_layers == ("network.rows",)
    assert found.weight_share == 16 * 10 / (16 * 10 + 4 * 16 * (8 + 16))


def test_index_tables_and_masks_are_no_weights(graph, made, tmp_path):
    artifact = made(OnnxInt8Dynamic(), graph)
    model = onnx.load(Path(artifact.directory) / "model.onnx")
    for dtype in (np.int64, np.int32, np.bool_):
        constant = onnx.numpy_helper.from_array(np.ones((64, 64), dtype), f"table_{dtype.__name__}")
        model.graph.initializer.append(constant)
    onnx.save(model, tmp_path / "tables.onnx")
    assert (
        describe_quantization(tmp_path / "tables.onnx", scheme="onnx-int8-dynamic") == artifact.quantization
    )


def test_the_eager_int8_predictor_says_that_it_is_int8(root, made):
    assert "INT8" in TorchFormat().load(made(Int8Dynamic(), root), "cpu").runtime().provider
