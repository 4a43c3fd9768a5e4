"""INT8 by NNCF: counted from the file, repeatable, and with the layers kept that cost accuracy."""

from __future__ import annotations

import shutil
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import onnx
import pytest
import tiny

from pt_core.artifacts.artifact import GOLDEN, Artifact
from pt_core.artifacts.plugin import StepData
from pt_core.data.dataset import load_split
from pt_core.errors import AccuracyNotReached, DataError, NothingQuantized
from pt_core.formats.onnx_ import OnnxFormat
from pt_core.formats.openvino_ import OpenVinoFormat, read_model
from pt_core.quantizers.openvino_int8 import OpenVinoInt8

UNAVAILABLE = OpenVinoInt8().unavailable()
pytestmark = pytest.mark.skipif(UNAVAILABLE is not None, reason=str(UNAVAILABLE))
NO_BF16 = OpenVinoInt8(floating_point="bf16").unavailable()

CONV = 9 * (1 * 8 + 8 * 8 + 8 * 16 + 16 * 16)
LINEAR = 16 * 128 + 128 * 10
"""Weight elements of the small network: four 3x3 convolutions of width 8 and 16, two linear layers."""


@pytest.fixture(scope="module")
def graph(dataset, tmp_path_factory) -> Artifact:
    folder = tmp_path_factory.mktemp("openvino-int8")
    root = tiny.root_artifact(tiny.checkpoint(folder, dataset), folder)
    return tiny.apply(OpenVinoFormat(), tiny.apply(OnnxFormat(), root, folder), folder)


@pytest.fixture
def samples(dataset) -> np.ndarray:
    return np.array(load_split(dataset, "calibration").x[:60])


def logits(artifact: Artifact, x: np.ndarray) -> np.ndarray:
    return OpenVinoFormat().load(artifact, "cpu").logits(x)


def int8_elements(artifact: Artifact) -> int:
    tree = ElementTree.parse(Path(artifact.directory) / "model.xml")
    shapes = [data.get("shape") for data in tree.iterfind(".//layer/data[@element_type='i8']")]
    return sum(int(np.prod([int(size) for size in shape.split(",")])) for shape in shapes)


@pytest.mark.parametrize(
    "quantizer",
    [OpenVinoInt8(), OpenVinoInt8(preset="performance"), OpenVinoInt8(fast_bias_correction=False)],
    ids=str,
)
def test_every_weight_becomes_int8_and_the_logits_stay_near(graph, made, samples, quantizer):
    artifact = made(quantizer, graph, tiny.step_data(samples))
    found = artifact.quantization
    assert (found.weight_share, found.kept_layers, len(found.quantized_layers)) == (1, (), 6)
    assert int8_elements(artifact) == CONV + LINEAR
    assert OpenVinoFormat().load(artifact, "cpu").runtime().provider == "CPU (6 u8)"
    expected = logits(graph, samples)
    assert 0 < np.abs(logits(artifact, samples) - expected).max() <= 0.1 * np.abs(expected).max()


def test_the_same_samples_give_the_same_weights_and_others_give_others(graph, made, samples):
    given = (samples, samples, samples * 0.25)
    first, second, other = (logits(made(OpenVinoInt8(), graph, tiny.step_data(x)), samples) for x in given)
    np.testing.assert_array_equal(first, second)
    assert np.abs(first - other).max() > 1e-4


@pytest.mark.skipif(NO_BF16 is not None, reason=str(NO_BF16))
def test_what_stays_in_floating_point_may_be_bf16(graph, made, samples):
    options = {"max_accuracy_drop": 1.0}
    artifact = made(OpenVinoInt8(floating_point="bf16", **options), graph, tiny.step_data(samples))
    assert '"bf16"' in (Path(artifact.directory) / "runtime.json").read_text()


def test_calibration_on_no_samples_is_refused(graph, made):
    with pytest.raises(DataError, match="no calibration samples"):
        made(OpenVinoInt8(), graph, tiny.step_data(np.zeros((0, 1, 8, 8), np.float32)))


def test_a_graph_without_int8_layers_is_not_called_quantized(graph):
    from pt_core.quantizers.openvino_graph import describe_model

    with pytest.raises(NothingQuantized, match=r"no layer became INT8; the graph has .*Convolution"):
        describe_model(read_model(Path(graph.directory) / "model.xml"), scheme="x")


def test_weights_alone_in_int8_are_no_int8_layers(graph, tmp_path):
    import nncf

    from pt_core.quantizers.openvino_graph import describe_model

    model = read_model(Path(graph.directory) / "model.xml")
    with pytest.raises(NothingQuantized):
        describe_model(nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_SYM), scheme="x")


@pytest.fixture
def fragile(graph, made, dataset, tmp_path) -> tuple[Artifact, StepData]:
    """Return a nearest-centroid classifier of digits behind two linear layers that cancel each other out.

    The first multiplies one pixel by 1000 and the second divides it by as much: 8 bits for all pixels
    between them leave nothing of the others.
    """
    data = load_split(dataset, "calibration")
    centroids = np.stack([data.x[data.y == digit].reshape(-1, 64).mean(axis=0) for digit in range(10)])
    scale = np.ones(64, np.float32)
    scale[28] = 1000
    layers = [
        (np.diag(scale), np.zeros(64)),
        (np.diag(1 / scale), np.zeros(64)),
        (centroids.T, -np.square(centroids).sum(axis=1) / 2),
    ]
    folder = tmp_path / "fragile"
    folder.mkdir()
    save_linear_layers(folder / "model.onnx", layers)
    shutil.copyfile(Path(graph.directory) / GOLDEN, folder / GOLDEN)
    source = graph.model_copy(update={"directory": str(folder), "format": "onnx"})
    return made(OpenVinoFormat(), source), StepData(data, training=None)


def save_linear_layers(path: Path, layers: list[tuple[np.ndarray, np.ndarray]]) -> None:
    """Write an ONNX graph of linear layers with a ReLU between them."""
    nodes, constants, last = [onnx.helper.make_node("Flatten", ["input"], ["x0"])], [], "x0"
    for index, arrays in enumerate(layers, start=1):
        names = [f"weight{index}", f"bias{index}"]
        for name, array in zip(names, arrays, strict=True):
            constants.append(onnx.numpy_helper.from_array(array.astype(np.float32), name))
        is_last = index == len(layers)
        linear, last_of_layer = ("logits", "logits") if is_last else (f"linear{index}", f"x{index}")
        nodes.append(onnx.helper.make_node("Gemm", [last, *names], [linear], name=f"layer{index}"))
        if not is_last:
            nodes.append(onnx.helper.make_node("Relu", [linear], [last_of_layer]))
        last = last_of_layer
    float32 = onnx.TensorProto.FLOAT
    given = onnx.helper.make_tensor_value_info("input", float32, ["batch", 1, 8, 8])
    answer = onnx.helper.make_tensor_value_info("logits", float32, ["batch", 10])
    graph = onnx.helper.make_graph(nodes, "linear", [given], [answer], constants)
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)]), path)


def test_the_layer_that_costs_accuracy_is_found_and_kept(fragile, made):
    graph, data = fragile

    def accuracy(artifact: Artifact) -> float:
        return float((logits(artifact, data.calibration.x).argmax(axis=1) == data.calibration.y).mean())

    exact = accuracy(graph)
    assert exact > 0.85
    assert accuracy(made(OpenVinoInt8(), graph, data)) < exact - 0.3
    artifact = made(OpenVinoInt8(max_accuracy_drop=0.01), graph, data)
    found = artifact.quantization
    assert accuracy(artifact) >= exact - 0.01
    assert [len(one.kept_layers) for one in found.tries] == [0, 1]
    assert found.tries[1].kept_layers == found.kept_layers == (found.damage[0].layer,)
    assert "2" in found.kept_layers[0]
    assert len(found.damage) == 3
    assert found.damage[0].damage > 100 * found.damage[1].damage
    assert found.weight_share == (64 * 64 + 64 * 10) / (2 * 64 * 64 + 64 * 10)


def test_an_accuracy_that_no_try_reaches_is_a_failure(fragile, made):
    graph, data = fragile
    with pytest.raises(AccuracyNotReached, match=r"openvino-int8: the least accuracy drop"):
        made(OpenVinoInt8(max_accuracy_drop=0.0, max_tries=1), graph, data)
