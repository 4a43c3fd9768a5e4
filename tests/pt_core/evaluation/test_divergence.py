"""Where two artifacts part: the layer that was really changed is the layer that is named."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import tiny
from onnx import numpy_helper
from safetensors.numpy import load_file, save_file
from tiny_fixtures import dataset

from pt_core.artifacts.artifact import Artifact, Step
from pt_core.artifacts.checkpoint import WEIGHTS
from pt_core.artifacts.layers import Layer
from pt_core.artifacts.plugin import Quantizer
from pt_core.artifacts.registry import make_step
from pt_core.data.dataset import load_split
from pt_core.evaluation.difference import Divergence
from pt_core.evaluation.divergence import find_divergence
from pt_core.evaluation.layer_errors import LayerErrors
from pt_core.evaluation.parity_metrics import TOLERANCES

__all__ = ["dataset"]

LAYERS = ("network.first", "network.second", "network.last")


@pytest.fixture(scope="module")
def chains(tmp_path_factory):
    return tmp_path_factory.mktemp("divergence")


@pytest.fixture(scope="module")
def stacked(chains, dataset):
    source = tiny.checkpoint(chains, dataset, target="tiny:Stacked")
    return tiny.root_artifact(source, chains)


@pytest.fixture(scope="module")
def samples(dataset):
    return np.array(load_split(dataset, "calibration").x[:16])


@pytest.fixture(scope="module")
def onnx_of_stacked(stacked, chains, samples):
    return build(stacked, "onnx", chains, samples)


def build(source: Artifact, name: str, chains: Path, x: np.ndarray, **options: object) -> Artifact:
    """Return what a step makes, sealed and with its place in the chain."""
    scratch = chains / f"scratch-{len(list(chains.iterdir()))}"
    scratch.mkdir()
    step = Step(name=name, options=options)
    plugin = make_step(step)
    made = tiny.apply(plugin, source, scratch, tiny.step_data(x))
    changes = {"steps": (*source.steps, step), "parent_digest": source.digest}
    if isinstance(plugin, Quantizer):
        changes["precision"] = "int8"
    return tiny.reseal(made.model_copy(update=changes), chains)


def with_other_weight(artifact: Artifact, layer: str, chains: Path, change) -> Artifact:
    """Return a "torch" artifact whose one weight is another."""
    folder = chains / f"changed-{len(list(chains.iterdir()))}"
    shutil.copytree(artifact.directory, folder)
    weights = load_file(folder / WEIGHTS)
    weights[f"{layer}.weight"] = change(weights[f"{layer}.weight"].copy())
    save_file(weights, folder / WEIGHTS)
    return tiny.reseal(artifact.model_copy(update={"directory": str(folder)}), chains)


def with_other_initializer(artifact: Artifact, name: str, chains: Path) -> Artifact:
    """Return an ONNX artifact whose one weight is twice what it was."""
    folder = chains / f"changed-{len(list(chains.iterdir()))}"
    shutil.copytree(artifact.directory, folder)
    model = onnx.load(folder / "model.onnx")
    (tensor,) = (t for t in model.graph.initializer if t.name == name)
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(2), name))
    onnx.save(model, folder / "model.onnx")
    return tiny.reseal(artifact.model_copy(update={"directory": str(folder)}), chains)


def first_layer(found: Divergence) -> tuple[str, str, str]:
    assert not found.agrees
    assert found.first is not None
    assert found.link is not None
    return found.first.layer, found.link.source, found.link.target


def test_an_honest_chain_agrees_at_every_link(stacked, onnx_of_stacked, chains, samples):
    int8 = build(onnx_of_stacked, "onnx-int8-static", chains, samples)
    found = find_divergence(stacked, int8, samples)
    assert found.agrees
    assert [(link.source, link.target, link.state) for link in found.chain] == [
        ("torch", "torch > exported, in memory", "agrees"),
        ("torch > exported, in memory", "onnx", "agrees"),
        ("onnx", "onnx, optimised", "agrees"),
        ("onnx", "onnx > onnx-int8-static", "agrees"),
        ("onnx > onnx-int8-static", "onnx > onnx-int8-static, optimised", "agrees"),
    ]
    # Every layer of the code was seen at the first two links: three linear ones, two calls, the sum aside.
    assert all(link.num_layers >= 6 for link in found.chain[:2])
    assert all(link.num_layers >= 3 for link in found.chain)


@pytest.mark.parametrize("layer", LAYERS)
def test_the_layer_changed_in_an_onnx_file_is_the_first(stacked, onnx_of_stacked, chains, samples, layer):
    broken = with_other_initializer(onnx_of_stacked, f"{layer}.weight", chains)
    found = find_divergence(stacked, broken, samples)
    assert first_layer(found) == (layer, "torch > exported, in memory", "onnx")
    assert f"first layer over tolerance: {layer} (Linear), at the step" in found.sentence


@pytest.mark.parametrize("layer", LAYERS)
def test_the_layer_changed_at_export_is_the_first(stacked, chains, samples, layer):
    other = with_other_weight(stacked, layer, chains, lambda weight: weight * 1.01)
    broken = build(other, "exported", chains, samples).model_copy(update={"parent_digest": stacked.digest})
    found = find_divergence(stacked, broken, samples)
    assert first_layer(found) == (layer, "torch", "exported")


@pytest.mark.parametrize("layer", LAYERS)
def test_the_layer_with_an_extreme_range_does_the_most_damage(stacked, chains, samples, layer):
    def spoil(weight: np.ndarray) -> np.ndarray:
        # One outlier takes nearly all 256 levels of a scale that the whole tensor shares.
        weight[0, 0] = 60
        return weight

    spoilt = with_other_weight(stacked, layer, chains, spoil)
    plain = build(spoilt, "onnx", chains, samples)
    int8 = build(plain, "onnx-int8-dynamic", chains, samples, per_channel=False)
    found = find_divergence(spoilt, int8, samples)
    assert found.ranked[0].layer == layer


def test_dynamic_int8_of_torch_is_opened_module_by_module(stacked, chains, samples):
    found = find_divergence(stacked, build(stacked, "int8-dynamic", chains, samples), samples)
    assert found.agrees
    assert found.precision == "int8"
    assert set(LAYERS) <= {layer.layer for layer in found.ranked if layer.max_abs_error}


def test_a_format_that_cannot_be_opened_says_so_and_its_logits_are_compared(stacked, chains, samples):
    honest = build(stacked, "torchscript", chains, samples)
    found = find_divergence(stacked, honest, samples)
    (link,) = found.chain
    assert found.agrees
    assert (link.state, link.num_layers) == ("cannot be opened", 1)
    assert link.note == "torchscript cannot be opened layer by layer"
    shutil.copytree(honest.directory, folder := chains / "scaled")
    broken = tiny.reseal(tiny.scaled(honest.model_copy(update={"directory": str(folder)}), 1.5), chains)
    assert first_layer(find_divergence(stacked, broken, samples)) == ("logits", "torch", "torchscript")


def test_two_artifacts_of_one_chain_are_told_apart(stacked, onnx_of_stacked, chains, samples):
    other = with_other_weight(stacked, "network.second", chains, lambda weight: weight * 2)
    found = find_divergence(stacked, other, samples)
    assert (found.agrees, found.first.layer) == (False, "network.second")
    broken = with_other_initializer(onnx_of_stacked, "network.last.weight", chains)
    found = find_divergence(onnx_of_stacked, broken, samples)
    assert not found.agrees
    assert first_layer(found) == ("network.last", "torch > exported, in memory (2)", "onnx (2)")


def test_a_batch_that_a_graph_refuses_is_a_difference_and_no_crash(stacked, onnx_of_stacked, chains, samples):
    folder = Path(shutil.copytree(onnx_of_stacked.directory, chains / "one-size"))
    model = onnx.load(folder / "model.onnx")
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4
    onnx.save(model, folder / "model.onnx")
    fixed = tiny.reseal(onnx_of_stacked.model_copy(update={"directory": str(folder)}), chains)
    found = find_divergence(stacked, fixed, samples)
    assert (found.agrees, found.batch_size, found.link.target) == (False, 1, "onnx")
    assert "batch size 1: StepFailed: onnx: ONNX Runtime refused a batch (1, 1, 8, 8)" in found.sentence


def that_cannot_run(artifact: Artifact, chains: Path) -> Artifact:
    """Return a compiled package without its passport, made of an artifact."""
    folder = chains / f"hollow-{len(list(chains.iterdir()))}"
    folder.mkdir()
    changes = {"format": "compiled", "directory": str(folder), "parent_digest": artifact.digest}
    steps = (*artifact.steps, Step(name="compiled"))
    return tiny.reseal(artifact.model_copy(update={**changes, "steps": steps}), chains)


@pytest.mark.parametrize("side", ["a", "b"])
def test_what_cannot_run_on_either_side_is_no_agreement(stacked, chains, samples, side):
    hollow = that_cannot_run(stacked, chains)
    a, b = (hollow, stacked) if side == "a" else (stacked, hollow)
    found = find_divergence(a, b, samples)
    assert (found.agrees, found.first, found.link) == (False, None, None)
    assert all(link.state == "cannot be compared" and link.num_layers == 0 for link in found.chain)
    assert found.unknown.startswith(f"{found.a} and {found.b} cannot be compared: ")
    assert "no passport of compiled code" in found.unknown
    assert found.sentence == f"whether they part is not known: {found.unknown}"


def test_a_form_between_two_that_cannot_run_is_named(stacked, chains, samples):
    hollow = that_cannot_run(stacked, chains)
    onnx_of_it = build(stacked, "onnx", chains, samples)
    changes = {"parent_digest": hollow.digest, "steps": (*hollow.steps, Step(name="onnx"))}
    found = find_divergence(stacked, tiny.reseal(onnx_of_it.model_copy(update=changes), chains), samples)
    assert (found.agrees, found.link) == (False, None)
    assert found.unknown.startswith("torch and compiled cannot be compared")


def test_a_conv_with_its_batch_normalisation_fused_in_agrees(dataset, chains, samples):
    root = tiny.root_artifact(tiny.checkpoint(chains, dataset), chains)
    found = find_divergence(root, build(root, "onnx", chains, samples), samples)
    assert found.agrees
    kinds = [layer.kind for layer in found.ranked]
    assert any("fused in" in kind for kind in kinds), kinds


def layer(name: str, value: np.ndarray) -> Layer:
    return Layer(name, "Conv2d", 0, 1, value.astype(np.float32))


def test_what_is_folded_into_the_layer_before_it_is_no_difference():
    x = np.random.default_rng(0).normal(size=(4, 8))
    errors = LayerErrors(TOLERANCES["fp32"])
    # conv holds what batch normalisation gave, which is left as a layer that does nothing.
    errors.add([layer("conv", 2 * x + 1), layer("bn", 2 * x + 1)], [layer("conv", x), layer("bn", 2 * x + 1)])
    assert [found.within for found in errors.differences()] == [True, True]


def test_errors_are_those_of_their_definitions():
    generator = np.random.default_rng(1)
    expected, noise = generator.normal(size=(2, 3, 50)), generator.normal(size=(2, 3, 50)) * 0.1
    errors = LayerErrors(TOLERANCES["int8"])
    for clean, wrong in zip(expected, noise, strict=True):
        errors.add([layer("a", clean + wrong)], [layer("a", clean)])
    (found,) = errors.differences()
    assert found.max_abs_error == pytest.approx(np.abs(noise).max(), rel=1e-4)
    assert found.relative_error == pytest.approx(np.abs(noise).max() / np.abs(expected).max(), rel=1e-4)
    assert found.sqnr_db == pytest.approx(
        20 * np.log10(np.linalg.norm(expected) / np.linalg.norm(noise)), rel=1e-4
    )
    cosine = np.corrcoef(np.stack([expected.ravel(), (expected + noise).ravel()]))[0, 1]
    assert found.cosine == pytest.approx(cosine, abs=2e-3)


def test_a_value_that_is_not_finite_is_over_any_tolerance():
    errors = LayerErrors(TOLERANCES["int8"])
    errors.add([layer("a", np.array([[1, np.nan]]))], [layer("a", np.ones((1, 2)))])
    (found,) = errors.differences()
    assert (found.within, found.relative_error) == (False, None)


def test_layers_that_are_called_another_number_of_times_are_not_compared():
    errors = LayerErrors(TOLERANCES["fp32"])
    errors.add([Layer("a", "ReLU", 0, 2, np.ones((1, 2), np.float32))], [layer("a", np.zeros((1, 2)))])
    assert errors.differences() == ()
