"""Declared dynamic axes: carried into every format, compared at their sizes, refused where a network cannot vary them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import threads
import tiny

from pt_core.artifacts.artifact import Artifact, Parity, Step
from pt_core.artifacts.registry import make_format
from pt_core.building.requests import CheckRequest
from pt_core.building.worker import check
from pt_core.data.dataset import load_split
from pt_core.errors import ConfigError, DataError, ParityError, StepFailed
from pt_core.inference.predictor import load_predictor
from pt_core.inference.preprocess import read_inputs
from pt_core.modeling.network import complete_spec
from pt_core.modeling.spec import DynamicAxis, ModelConfig

one_thread = threads.one_thread
AXES = (DynamicAxis(axis=1, min=5, max=16), DynamicAxis(axis=2, min=8, max=12))


@pytest.fixture
def root_of(dataset, tmp_path):
    """Return a function from a network of :mod:`resizing` to its root artifact with dynamic height and width."""

    def make(name: str) -> Artifact:
        root = tiny.root_artifact(tiny.checkpoint(tmp_path, dataset, target=f"resizing:{name}"), tmp_path)
        spec = root.spec.model_copy(update={"dynamic_axes": AXES})
        return tiny.reseal(root.model_copy(update={"spec": spec}), tmp_path)

    return make


@pytest.fixture
def convert(dataset, tmp_path):
    """Return a function that converts in this process and proves the result as ``run_step`` does."""

    def make(root: Artifact, name: str) -> tuple[Artifact, Parity]:
        artifact = tiny.apply(make_format(name), root, tmp_path)
        staged = artifact.model_copy(update={"steps": (Step(name=name),)})
        request = CheckRequest(staged=staged, source=root, reference=root, dataset=dataset)
        return artifact, check(request).parity

    return make


@pytest.mark.parametrize("name", ["torchscript", "exported", "onnx"])
def test_a_network_that_pools_is_right_at_every_size_in_the_range(root_of, convert, dataset, name):
    root = root_of("Pools")
    artifact, parity = convert(root, name)
    shapes = [point.sample_shape for point in parity.points if point.sample_shape]
    assert shapes == [
        *((1, height, 8) for height in (5, 11, 16)),
        *((1, 8, width) for width in (11, 12)),
        (1, 11, 11),
        (1, 16, 12),
    ]
    reference, candidate = load_predictor(root), make_format(name).load(artifact, "cpu")
    x = np.array(load_split(dataset, "test").x)
    # Sizes that neither the export nor parity used.
    for height, width, batch in ((6, 9, 5), (13, 10, 1)):
        samples = np.random.default_rng(height).choice(x, batch).repeat(2, axis=2).repeat(2, axis=3)
        samples = np.ascontiguousarray(samples[:, :, :height, :width])
        np.testing.assert_allclose(candidate.logits(samples), reference.logits(samples), atol=1e-5)
    with pytest.raises(DataError, match=r"shape \(2, 1, 17, 8\), expected \(N, 1, 5 to 16, 8 to 12\)"):
        candidate.logits(np.zeros((2, 1, 17, 8), np.float32))


def test_an_onnx_graph_names_the_axes_that_vary(root_of, made):
    artifact = made(make_format("onnx"), root_of("Pools"))
    (given,) = onnx.load(Path(artifact.directory) / "model.onnx").graph.input
    assert [d.dim_param or d.dim_value for d in given.type.tensor_type.shape.dim] == [
        "batch",
        1,
        "size_1",
        "size_2",
    ]


@pytest.mark.filterwarnings("ignore:.*:torch.jit.TracerWarning")
@pytest.mark.parametrize(
    ("name", "error", "match"),
    [
        (
            "exported",
            StepFailed,
            r"fixes the size of axis 1 of a sample, .* at .*resizing\.py:\d+ in DividesByHeight",
        ),
        (
            "onnx",
            StepFailed,
            r"fixes the size of axis 1 of a sample, .* at .*resizing\.py:\d+ in DividesByHeight",
        ),
        (
            "torchscript",
            ParityError,
            r"batch size 3, samples \(1, 5, 8\): .*the graph keeps a size that model\.dynamic_axes declares",
        ),
    ],
)
def test_a_size_that_a_graph_keeps_is_refused_as_that(root_of, convert, name, error, match):
    with pytest.raises(error, match=match):
        convert(root_of("DividesByHeight"), name)


def test_a_network_that_cannot_vary_what_it_declares_is_refused_before_training(dataset):
    config = ModelConfig(target="resizing:HasAFixedHead", dynamic_axes=AXES)
    with pytest.raises(
        ConfigError, match=r"HasAFixedHead takes samples \(1, 8, 8\) and not \(1, 5, 8\): RuntimeError"
    ):
        complete_spec(config, dataset, channels_last=False)
    assert (
        complete_spec(
            config.model_copy(update={"target": "resizing:Pools"}), dataset, channels_last=False
        ).dynamic_axes
        == AXES
    )


def test_a_reference_that_cannot_vary_what_it_declares_is_refused_as_that(root_of, convert):
    with pytest.raises(
        ParityError, match=r"samples \(1, 5, 8\): the reference raised .*only sizes that the network ta"
    ):
        convert(root_of("HasAFixedHead"), "torchscript")


def test_a_file_of_another_size_in_the_range_is_read(root_of, tmp_path):
    spec = root_of("Pools").spec
    np.save(tmp_path / "tall.npy", np.zeros((1, 16, 8), np.float32))
    assert read_inputs(tmp_path / "tall.npy", spec).shape == (1, 1, 16, 8)
    np.save(tmp_path / "taller.npy", np.zeros((1, 17, 8), np.float32))
    with pytest.raises(DataError, match="expected"):
        read_inputs(tmp_path / "taller.npy", spec)
