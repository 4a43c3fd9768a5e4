"""The network in BF16: half the bytes, float32 outside, and nothing loaded that was not stored so."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file

from pt_core.artifacts.checkpoint import WEIGHTS
from pt_core.artifacts.tensors import read_golden
from pt_core.errors import IntegrityError, PlanError, StepFailed
from pt_core.formats.bf16 import Bf16
from pt_core.formats.exported import ExportedFormat
from pt_core.formats.onnx_ import OnnxFormat
from pt_core.formats.structure import HalfPrecision, read_structure
from pt_core.formats.torch_ import TorchFormat, load_module
from pt_core.formats.torchscript import TorchScriptFormat


@pytest.fixture
def root(builder):
    return builder.chain()


@pytest.fixture
def halved(builder, tmp_path):
    """Return a copy that a test may damage."""
    artifact = builder.chain(Bf16.name)
    shutil.copytree(artifact.directory, tmp_path / "halved")
    return artifact.model_copy(update={"directory": str(tmp_path / "halved")})


def test_every_weight_is_stored_in_two_bytes_and_the_normalisation_of_the_input_in_four(root, halved):
    before, after = (load_file(Path(a.directory) / WEIGHTS) for a in (root, halved))
    assert before.keys() == after.keys()
    for name, tensor in after.items():
        floating = before[name].is_floating_point() and name not in ("mean", "std")
        assert tensor.dtype == (torch.bfloat16 if floating else before[name].dtype), name
    num_bytes = [sum(t.numel() * t.element_size() for t in tensors.values()) for tensors in (before, after)]
    assert 0.5 <= num_bytes[1] / num_bytes[0] < 0.51


def test_it_computes_what_a_network_cast_by_hand_computes(root, halved):
    inputs = torch.from_numpy(read_golden(root)[0])
    expected = load_module(root)
    normalized = (inputs - expected.mean) / expected.std
    with torch.inference_mode():
        logits = expected.network.to(torch.bfloat16)(normalized.to(torch.bfloat16)).float().numpy()
    found = TorchFormat().load(halved, "cpu")
    np.testing.assert_allclose(found.logits(inputs.numpy()), logits, atol=0.01 * np.abs(logits).max())
    assert found.runtime().provider == "eager BF16 on cpu"


@pytest.mark.parametrize("channels_last", [True, False])
def test_the_memory_format_is_the_one_asked_for(root, made, channels_last):
    artifact = made(Bf16(channels_last=channels_last), root)
    assert read_structure(Path(artifact.directory)).bf16 == HalfPrecision(channels_last=channels_last)
    seen = []
    network = load_module(artifact)
    # The input has one channel, which lies last and first: the convolutions behind it say.
    last = [module for module in network.modules() if isinstance(module, torch.nn.Conv2d)][-1]
    last.register_forward_pre_hook(lambda module, given: seen.append((given[0], module.weight)))
    network(torch.zeros(2, 1, 8, 8))
    (given, weight), *_ = seen
    for tensor in (given, weight):
        assert tensor.is_contiguous(memory_format=torch.channels_last) == channels_last
        assert tensor.dtype == torch.bfloat16


@pytest.mark.parametrize("target", ["tiny:Tied", "tiny:Recurrent"])
def test_shared_and_recurrent_weights_are_cast_too(dataset, tmp_path, made, target):
    root = tiny.root_artifact(tiny.checkpoint(tmp_path, dataset, target=target), tmp_path)
    inputs, expected = read_golden(root)
    found = TorchFormat().load(made(Bf16(), root), "cpu").logits(inputs)
    np.testing.assert_allclose(found, expected, atol=0.05 * np.abs(expected).max())


@pytest.mark.parametrize(
    "following", [TorchScriptFormat(), TorchScriptFormat(method="script"), ExportedFormat()]
)
def test_what_is_made_of_it_computes_in_bf16_too(root, halved, made, following):
    inputs, expected = read_golden(root)
    found = following.load(made(following, halved), "cpu").logits(inputs)
    assert found.dtype == np.float32
    error = np.abs(found - expected).max() / np.abs(expected).max()
    assert 1e-4 < error < 0.05


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda t: t.pop("network.1.2.bias"), "do not fit the network"),
        (lambda t: t.update(extra=torch.zeros(1)), "do not fit the network"),
        (lambda t: t.update({"network.1.2.bias": torch.zeros(128)}), "not of the type they are stored in"),
        (lambda t: t.update(mean=t["mean"].bfloat16()), "not of the type they are stored in"),
        (lambda t: t.update({"network.1.2.bias": torch.zeros(1, dtype=torch.bfloat16)}), "do not fit"),
        (lambda t: t["network.1.2.bias"].fill_(float("nan")), "NaN or infinite"),
    ],
)
def test_other_tensors_are_refused(halved, change, match):
    path = Path(halved.directory) / WEIGHTS
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)
    with pytest.raises(IntegrityError, match=match):
        TorchFormat().load(halved, "cpu")


def test_a_file_that_is_cut_short_is_refused(halved):
    path = Path(halved.directory) / WEIGHTS
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(IntegrityError, match="not a readable safetensors file"):
        TorchFormat().load(halved, "cpu")


def test_what_is_no_longer_fp32_is_refused_with_the_order_that_works(halved, made):
    lowered = halved.model_copy(update={"precision": "int8"})
    with pytest.raises(PlanError, match="is int8, expected fp32; put bf16 before"):
        made(Bf16(), lowered)


def test_onnx_which_has_no_bf16_convolution_says_so(halved, made):
    with pytest.raises(StepFailed, match="is bf16, which ONNX has no convolution for"):
        made(OnnxFormat(), halved)
