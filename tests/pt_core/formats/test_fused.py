"""Folding: only where nothing else reads, found by what is called and not by the order of modules, equal or refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from normalised import Shapes
from torch import nn

from pt_core.artifacts.checkpoint import WEIGHTS
from pt_core.artifacts.tensors import read_golden
from pt_core.artifacts.weights import state_arrays
from pt_core.errors import IntegrityError, NothingFused, PlanError, StepFailed
from pt_core.formats.bf16 import Bf16
from pt_core.formats.exported import ExportedFormat
from pt_core.formats.fold import find_folds, fold_in_place
from pt_core.formats.fused import Fused
from pt_core.formats.structure import STRUCTURE, Fold, read_structure
from pt_core.formats.torch_ import TorchFormat, load_module
from pt_core.quantizers.int8_dynamic import Int8Dynamic


@pytest.fixture
def root(builder):
    return builder.chain()


@pytest.fixture
def fused(builder, tmp_path):
    """Return a copy that a test may damage."""
    artifact = builder.chain(Fused.name)
    shutil.copytree(artifact.directory, tmp_path / "fused")
    return artifact.model_copy(update={"directory": str(tmp_path / "fused")})


def test_every_normalisation_of_the_small_network_is_folded(root, fused):
    folds = read_structure(Path(fused.directory)).folds
    assert folds == tuple(
        Fold(layer=f"network.0.{block}.0", norm=f"network.0.{block}.1") for block in (0, 1, 3, 4)
    )
    assert not any(isinstance(m, nn.BatchNorm2d) for m in load_module(fused).modules())
    inputs, expected = read_golden(root)
    found = TorchFormat().load(fused, "cpu")
    np.testing.assert_allclose(found.logits(inputs), expected, atol=1e-5 * np.abs(expected).max())
    # 4 blocks of 3 layers, a pooling, and 5 layers of the classifier.
    assert (found.runtime().num_nodes, found.runtime().num_nodes_optimized) == (18, 14)


def test_what_is_made_of_it_has_fewer_operators(fused, made):
    runtime = ExportedFormat().load(made(ExportedFormat(), fused), "cpu").runtime()
    assert (runtime.num_nodes, runtime.num_nodes_optimized) == (16, 16)


@pytest.mark.parametrize("after", [Bf16(), Int8Dynamic()], ids=lambda step: step.name)
def test_a_folded_network_is_lowered_like_any_other(root, fused, made, after):
    artifact = made(after, fused)
    assert len(read_structure(Path(artifact.directory)).folds) == 4
    inputs, expected = read_golden(root)
    predictor = TorchFormat().load(artifact, "cpu")
    np.testing.assert_allclose(predictor.logits(inputs), expected, atol=0.05 * np.abs(expected).max())
    assert predictor.runtime().num_nodes_optimized == 14


@pytest.fixture
def shapes() -> nn.Module:
    torch.manual_seed(0)
    network = Shapes().eval()
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None:
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return network.requires_grad_(requires_grad=False)


def find(network: nn.Module, inputs: torch.Tensor) -> tuple[Fold, ...]:
    return find_folds(torch.export.export(network, (inputs,)), network)


@pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")
def test_only_what_nothing_else_reads_is_folded_whatever_the_order_of_modules(shapes):
    inputs = torch.rand(4, 1, 8, 8)
    expected = shapes(inputs)
    folds = find(shapes, inputs)
    assert {(fold.layer, fold.norm) for fold in folds} == {
        ("plain", "norm_called_last"),
        ("dense", "norm_of_dense"),
    }
    fold_in_place(shapes, folds)
    torch.testing.assert_close(shapes(inputs), expected, rtol=1e-4, atol=1e-5)
    # Biases that were not there are; the file of a folded network is loaded strictly.
    assert "dense.bias" in state_arrays(shapes)


def test_a_fold_that_changes_the_logits_is_refused_with_both_numbers(dataset, tmp_path, made):
    checkpoint = tiny.checkpoint(tmp_path, dataset, target="normalised:Sensitive")
    root = tiny.root_artifact(checkpoint, tmp_path)
    with pytest.raises(StepFailed, match=r"folding 1 normalisations changed the logits .* expected at most"):
        made(Fused(), root)


def test_a_network_without_normalisations_is_not_called_fused(dataset, tmp_path, made):
    root = tiny.root_artifact(tiny.checkpoint(tmp_path, dataset, target="tiny:Tied"), tmp_path)
    with pytest.raises(NothingFused, match="leave this step out"):
        made(Fused(), root)


def test_a_network_is_not_folded_twice(fused, made):
    with pytest.raises(NothingFused):
        made(Fused(), fused)


def test_what_is_no_longer_fp32_is_refused_with_the_order_that_works(root, made):
    with pytest.raises(PlanError, match="is bf16, expected fp32; put fused before"):
        made(Fused(), root.model_copy(update={"precision": "bf16"}))


@pytest.mark.parametrize(
    ("layer", "norm"),
    [
        ("network.0.0.0", "network.0.0.2"),
        ("network.0.0.1", "network.0.0.1"),
        ("network.9", "network.0.0.1"),
    ],
)
def test_a_structure_that_does_not_fit_the_code_is_refused(fused, layer, norm):
    text = f'{{"folds":[{{"layer":"{layer}","norm":"{norm}"}}]}}'
    (Path(fused.directory) / STRUCTURE).write_text(text)
    with pytest.raises(IntegrityError, match="in the code, expected a batch normalisation"):
        TorchFormat().load(fused, "cpu")


def test_the_weights_of_a_folded_network_do_not_load_without_its_structure(fused):
    (Path(fused.directory) / STRUCTURE).unlink()
    with pytest.raises(IntegrityError, match=f"{WEIGHTS}: .* do not fit the network"):
        TorchFormat().load(fused, "cpu")
