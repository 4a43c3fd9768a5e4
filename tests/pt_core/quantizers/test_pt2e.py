"""INT8 programs by PT2E, static and trained: what became INT8, that it computes the same, and where it goes next."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import onnx
import pytest
import tiny
import torch
from torch import nn

from pt_core.artifacts.plugin import StepData
from pt_core.data.dataset import Samples, load_split
from pt_core.errors import AccuracyNotReached, DataError, NothingQuantized, StepFailed
from pt_core.formats.capture import capture
from pt_core.formats.exported import ExportedFormat, load_program
from pt_core.formats.fused import Fused
from pt_core.formats.onnx_ import OnnxFormat
from pt_core.formats.torch_ import TorchFormat, load_module
from pt_core.quantizers.accuracy_aware import accuracy, noise_to_signal
from pt_core.quantizers.ort_static import OnnxInt8Static
from pt_core.quantizers.pt2e import (
    describe_int8,
    layers_with_weights,
    make_int8,
    only_layer,
    prepare_static,
    prepare_training,
)
from pt_core.quantizers.pt2e_static import Int8Static
from pt_core.quantizers.qat import Int8Qat
from pt_core.quantizers.qat_training import Prepared, set_training, settle_epsilons

CONVS = tuple(f"network.0.{block}.0" for block in (0, 1, 3, 4))
LAYERS = (*CONVS, "network.1.2", "network.1.4")
"""Every layer of the small network with a weight, in the order in which it computes."""


@pytest.fixture
def data(dataset) -> StepData:
    calibration, training = load_split(dataset, "calibration"), load_split(dataset, "train")
    return StepData(
        Samples(*(part[:64] for part in calibration)), Samples(*(part[:192] for part in training))
    )


@pytest.fixture
def static(root, made, data):
    return made(Int8Static(), root, data)


@pytest.fixture(scope="module")
def trained(dataset, tmp_path_factory):
    """Return the small network after four epochs of quantization-aware training, and its source."""
    tmp_path = tmp_path_factory.mktemp("qat")
    root = tiny.root_artifact(tiny.checkpoint(tmp_path, dataset), tmp_path)
    data = StepData(load_split(dataset, "calibration"), load_split(dataset, "train"))
    return tiny.apply(Int8Qat(epochs=4, learning_rate=5e-3, precision="fp32"), root, tmp_path, data), root


def test_every_layer_becomes_int8_and_the_logits_stay_near(static, root, data):
    found = static.quantization
    assert (found.quantized_layers, found.kept_layers, found.weight_share) == (LAYERS, (), 1)
    assert (found.tries, found.damage, found.is_retrained) == ((), (), False)
    expected = TorchFormat().load(root, "cpu").logits(data.calibration.x)
    observed = ExportedFormat().load(static, "cpu").logits(data.calibration.x)
    assert 0 < noise_to_signal(observed, expected) < 0.003


def test_the_program_holds_each_weight_once_as_int8_and_takes_any_batch(static):
    state = load_program(static).state_dict
    assert sorted(t.numel() for t in state.values() if t.dtype == torch.int8) == sorted(
        [72, 576, 1152, 2304, 2048, 1280]
    )
    assert not [name for name, t in state.items() if t.is_floating_point() and t.numel() >= 256]
    predictor = ExportedFormat().load(static, "cpu")
    x = np.random.default_rng(0).random((17, 1, 8, 8), dtype=np.float32)
    alone = np.concatenate([predictor.logits(row[None]) for row in x])
    np.testing.assert_allclose(predictor.logits(x), alone, atol=0.02 * np.abs(alone).max())


def test_an_int8_program_becomes_a_qdq_graph_with_our_names(static, made, data):
    graph = made(OnnxFormat(), static)
    model = onnx.load(Path(graph.directory) / "model.onnx").graph
    assert [value.name for value in (*model.input, *model.output)] == ["input", "logits"]
    assert [v.type.tensor_type.shape.dim[0].dim_param for v in (*model.input, *model.output)] == ["batch"] * 2
    weights = [t for t in model.initializer if len(t.dims) > 1 and np.prod(t.dims) > 1]
    assert {t.data_type for t in weights} == {onnx.TensorProto.INT8}
    expected = ExportedFormat().load(static, "cpu").logits(data.calibration.x)
    observed = OnnxFormat().load(graph, "cpu").logits(data.calibration.x)
    assert noise_to_signal(observed, expected) < 0.001


def test_reduced_range_keeps_activations_within_seven_bits(root, made, data):
    def limits(plugin: Int8Static) -> set[int]:
        nodes = load_program(made(plugin, root, data)).graph.nodes
        return {node.args[4] for node in nodes if "quantize_per_tensor" in str(node.target)}

    assert limits(Int8Static()) == {255}
    assert limits(Int8Static(reduce_range=True)) == {127}


def test_one_layer_alone_in_int8_leaves_every_other_as_it_was(root, data):
    program = capture(load_module(root), torch.tensor(data.calibration.x[:8]))
    assert layers_with_weights(program) == LAYERS
    prepared = prepare_static(program, kept=(), reduce_range=False)
    prepared(torch.tensor(data.calibration.x))
    for layer in (CONVS[1], "network.1.4"):
        found = describe_int8(make_int8(only_layer(prepared, layer)), scheme="x")
        assert found.quantized_layers == (layer,)
        assert set(found.kept_layers) == set(LAYERS) - {layer}


def labelled_by_the_network(root, data: StepData) -> StepData:
    """Return the calibration samples under the classes that the floating point network gives them."""
    y = TorchFormat().load(root, "cpu").logits(data.calibration.x).argmax(axis=1)
    return data._replace(calibration=data.calibration._replace(y=y))


@pytest.fixture
def outlier_root(dataset, tmp_path):
    """Return the small network with one layer that INT8 ruins: a channel a thousand times the others."""
    checkpoint = tiny.checkpoint(tmp_path, dataset, target="tiny:Outlier")
    return tiny.root_artifact(checkpoint, tmp_path)


def test_the_layer_that_does_the_damage_is_kept_and_the_tries_are_recorded(outlier_root, made, data):
    data = labelled_by_the_network(outlier_root, data)
    plain = made(Int8Static(max_accuracy_drop=1), outlier_root, data).quantization
    assert plain.tries[0].accuracy_drop > 0.1
    found = made(Int8Static(max_accuracy_drop=0.05), outlier_root, data).quantization
    assert found.damage[0].layer == "network.second"
    assert found.tries[-1].kept_layers == found.kept_layers == ("network.second",)
    assert found.tries[-1].accuracy_drop <= 0.05 < found.tries[0].accuracy_drop
    assert len(found.tries) == 2


def test_the_same_search_runs_on_a_graph_of_onnx(outlier_root, made, data):
    data = labelled_by_the_network(outlier_root, data)
    graph = made(OnnxFormat(), outlier_root)
    found = made(OnnxInt8Static(max_accuracy_drop=0.05), graph, data).quantization
    assert found.tries[0].accuracy_drop > 0.1
    assert found.tries[-1].accuracy_drop <= 0.05
    # The outputs of a quantized layer are INT8 too here, so the layer before the outlier's reader is kept as well.
    assert set(found.kept_layers) == {one.layer for one in found.damage[: len(found.kept_layers)]}
    assert len(found.quantized_layers) + len(found.kept_layers) == len(found.damage) == 3


def test_an_accuracy_out_of_reach_fails_and_lists_the_tries(outlier_root, made, data):
    data = labelled_by_the_network(outlier_root, data)
    with pytest.raises(AccuracyNotReached, match=r"int8-static: .*raise max_tries") as caught:
        made(Int8Static(max_accuracy_drop=0.05, max_tries=1), outlier_root, data)
    assert len(caught.value.details) == 1


def test_training_under_fake_quantization_learns_and_says_that_it_trained(trained, dataset):
    artifact, root = trained
    found = artifact.quantization
    assert (found.quantized_layers, found.kept_layers, found.is_retrained) == (LAYERS, (), True)
    test = load_split(dataset, "test")

    def accuracy(predictor) -> float:
        return float((predictor.logits(np.array(test.x)).argmax(axis=1) == test.y).mean())

    # The checkpoint's weights are random: what it knows it was taught here.
    assert accuracy(TorchFormat().load(root, "cpu")) < 0.2
    assert accuracy(ExportedFormat().load(artifact, "cpu")) > 0.4


def test_a_trained_program_becomes_a_graph_of_onnx(trained, tmp_path, data):
    artifact, _ = trained
    graph = tiny.apply(OnnxFormat(), artifact, tmp_path)
    expected = ExportedFormat().load(artifact, "cpu").logits(data.calibration.x)
    assert noise_to_signal(OnnxFormat().load(graph, "cpu").logits(data.calibration.x), expected) < 0.001


class Regularized(nn.Module):
    """Has batch normalisation and dropout with settings of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8, eps=0.5, momentum=0.3)
        self.drop = nn.Dropout(0.9)
        self.last = nn.Linear(512, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.drop(self.norm(self.conv(x)).relu().flatten(1)))


@pytest.fixture
def prepared():
    torch.manual_seed(0)
    network = Regularized()
    network.norm.running_var.uniform_(0.1, 2.0)
    x = torch.rand(16, 1, 8, 8)
    changed = copy.deepcopy(network)
    settle_epsilons(changed)
    graph = prepare_training(capture(changed.train(), x), reduce_range=False)
    return network, graph, x


def test_evaluation_mode_keeps_the_network_s_own_epsilon_and_switches_dropout_off(prepared):
    network, graph, x = prepared
    wrapped = Prepared(graph)
    set_training(graph, is_training=False)
    with torch.no_grad():
        # Ranges are still observed here, and from what the network computes in evaluation mode.
        graph(x)
        wrapped.eval()
        expected, observed = network.eval()(x).numpy(), wrapped(x).numpy()
    assert noise_to_signal(observed, expected) < 0.001


def test_statistics_and_ranges_move_in_training_only_and_not_once_frozen(prepared):
    _, graph, x = prepared
    wrapped = Prepared(graph)

    def moves() -> bool:
        before = copy.deepcopy(dict(graph.named_buffers()))
        wrapped(x * 3)
        return any(not torch.equal(before[name], value) for name, value in graph.named_buffers())

    wrapped(x)
    assert moves()
    assert not (wrapped.eval() and moves())
    assert wrapped.train()
    assert moves()
    wrapped.is_frozen = True
    wrapped.train()
    assert not moves()


def test_the_int8_graph_rounds_by_the_scales_that_were_trained_with():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(48, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 5))
    x = torch.randn(64, 48)
    graph = prepare_training(capture(network.train(), x), reduce_range=False)
    wrapped = Prepared(graph)
    wrapped(x)
    wrapped.is_frozen = True
    with torch.no_grad():
        trained = wrapped.eval()(x)
        torch.testing.assert_close(make_int8(graph)(x), trained, rtol=0, atol=0)


def test_equal_seeds_train_equal_programs(made, dataset, tmp_path, data):
    source = tiny.root_artifact(tiny.checkpoint(tmp_path, dataset, target="tiny:Tied"), tmp_path)
    logits = []
    for seed in (0, 0, 1):
        artifact = made(Int8Qat(epochs=1, seed=seed), source, data)
        logits.append(ExportedFormat().load(artifact, "cpu").logits(data.calibration.x))
    np.testing.assert_array_equal(logits[0], logits[1])
    assert not np.array_equal(logits[0], logits[2])


def test_a_folded_network_is_trained_on_as_well(root, made, data):
    folded = made(Fused(), root)
    before = ExportedFormat().load(made(Int8Static(), folded, data), "cpu").logits(data.calibration.x)
    trained = made(Int8Qat(epochs=1, precision="fp32"), folded, data)
    assert trained.quantization.quantized_layers == LAYERS
    observed = ExportedFormat().load(trained, "cpu").logits(data.calibration.x)
    # It did learn: plain rounding of the same weights gives other logits.
    assert noise_to_signal(observed, before) > 1e-4
    assert accuracy(observed, data.calibration.y) >= accuracy(before, data.calibration.y) - 0.1


def test_an_int8_graph_that_is_not_what_was_trained_is_refused():
    trained = np.eye(3, dtype=np.float32)
    with pytest.raises(
        StepFailed, match=r"int8-qat: .*noise-to-signal ratio of 0\.04, expected at most 0\.001"
    ):
        Int8Qat()._check(trained * np.float32(1.2), trained)


@pytest.mark.parametrize("plugin", [Int8Static(), Int8Qat()], ids=["static", "qat"])
def test_no_samples_are_refused(plugin, root, made):
    with pytest.raises(DataError, match="samples, expected at least one"):
        made(plugin, root, tiny.step_data(np.zeros((0, 1, 8, 8), np.float32)))


def test_a_network_without_a_layer_that_can_is_refused(dataset, tmp_path, made, data):
    source = tiny.root_artifact(tiny.checkpoint(tmp_path, dataset, target="tiny:Scaling"), tmp_path)
    with pytest.raises(NothingQuantized, match="convolutions and linear layers can"):
        made(Int8Static(), source, data)
