"""Each format's own promises: frozen, one file, dynamic batch, named tensors, nothing unpickled."""

from __future__ import annotations

import os
import pickle
import warnings
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
import tiny
import torch
from safetensors.numpy import load_file, save_file

from pt_core.artifacts.checkpoint import WEIGHTS
from pt_core.artifacts.tensors import read_golden, write_golden
from pt_core.errors import IntegrityError, StepUnavailable
from pt_core.formats.exported import ExportedFormat
from pt_core.formats.onnx_ import OnnxFormat
from pt_core.formats.structure import STRUCTURE
from pt_core.formats.torch_ import TorchFormat
from pt_core.formats.torchscript import TorchScriptFormat
from pt_core.quantizers.int8_dynamic import Int8Dynamic


def test_a_torchscript_program_is_saved_frozen_with_its_weights_inside(root, made):
    artifact = made(TorchScriptFormat(), root)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        program = torch.jit.load(str(Path(artifact.directory) / "model.pt"))
    assert list(program.named_parameters()) == []
    assert not hasattr(program, "training")


def test_a_torchscript_program_can_be_loaded_twice(root, made):
    # What was saved after optimisation could not be loaded; optimisation comes after loading.
    artifact = made(TorchScriptFormat(method="script"), root)
    samples = np.random.default_rng(0).random((3, 1, 8, 8), dtype=np.float32)
    first, second = (TorchScriptFormat().load(artifact, "cpu").logits(samples) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_an_onnx_graph_is_one_file_with_named_tensors_and_a_named_batch(root, made):
    artifact = made(OnnxFormat(opset=18), root)
    graph = onnx.load(Path(artifact.directory) / "model.onnx")
    assert [(o.domain, o.version) for o in graph.opset_import] == [("", 18)]
    (given,), (answer,) = graph.graph.input, graph.graph.output
    assert (given.name, answer.name) == ("input", "logits")
    assert [d.dim_param or d.dim_value for d in given.type.tensor_type.shape.dim] == ["batch", 1, 8, 8]
    assert [d.dim_param or d.dim_value for d in answer.type.tensor_type.shape.dim] == ["batch", 10]
    assert sorted(path.name for path in Path(artifact.directory).iterdir()) == [
        "golden.safetensors",
        "model.onnx",
        "runtime.json",
    ]


def test_the_onnx_session_uses_as_many_threads_as_the_process_was_given(root, made, monkeypatch):
    artifact = made(OnnxFormat(), root)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    runtime = OnnxFormat().load(artifact, "cpu").runtime()
    assert (runtime.num_threads, runtime.provider) == (1, "CPUExecutionProvider")


def test_a_device_that_is_not_here_is_refused(root, made):
    with pytest.raises(StepUnavailable, match="device cuda"):
        OnnxFormat().load(made(OnnxFormat(), root), "cuda")
    if not torch.cuda.is_available():
        with pytest.raises(StepUnavailable, match="device cuda"):
            TorchFormat().load(root, "cuda")


def test_an_exported_program_needs_no_model_code(root, made):
    artifact = made(ExportedFormat(), root)
    spec = root.spec.model_copy(update={"target": "no.such:code"})
    samples = np.random.default_rng(0).random((5, 1, 8, 8), dtype=np.float32)
    found = ExportedFormat().load(artifact.model_copy(update={"spec": spec}), "cpu").logits(samples)
    np.testing.assert_allclose(found, TorchFormat().load(root, "cpu").logits(samples), atol=1e-6)


class Touch:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_a_hostile_pickle_in_an_exported_program_is_not_run(root, made, tmp_path, monkeypatch):
    # As a notebook would start, without the variable that makes torch refuse pickled code.
    monkeypatch.setenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "0")
    artifact = made(ExportedFormat(), root)
    file = Path(artifact.directory) / "model.pt2"
    with zipfile.ZipFile(file) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    replaced = [name for name in content if name.endswith(".pt")]
    buffer = tmp_path / "hostile.pt"
    torch.save({"x": Touch(tmp_path / "ran")}, buffer)
    assert replaced, "the program holds a pickled part"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, data in content.items():
            archive.writestr(name, buffer.read_bytes() if name in replaced else data)
    with pytest.raises((RuntimeError, pickle.UnpicklingError)):
        ExportedFormat().load(artifact, "cpu")
    assert not (tmp_path / "ran").exists()
    assert os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] == "1"


def test_a_source_with_one_golden_input_is_traced_with_more(root, made):
    inputs, logits = read_golden(root)
    write_golden(Path(root.directory), inputs[:1], logits[:1])
    predictor = ExportedFormat().load(made(ExportedFormat(), root), "cpu")
    for size in (1, 2, 7):
        assert predictor.logits(np.zeros((size, 1, 8, 8), np.float32)).shape == (size, 10)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda t: t.pop("network.1.2.weight_scale"), r"network\.1\.2\.weight_scale: missing"),
        (lambda t: t.pop("network.1.2.bias"), "do not fit the network"),
        (lambda t: t.update(extra=np.zeros(1, np.float32)), "do not fit the network"),
        (lambda t: t.update({"network.1.2.weight": t["network.1.2.weight"][:, :1].copy()}), "do not fit"),
        (lambda t: t.update({"network.1.2.weight": np.zeros((128, 16), np.float32)}), "expected int8"),
        (lambda t: t["network.1.2.bias"].fill(np.nan), "NaN or infinite"),
    ],
)
def test_an_int8_network_with_other_tensors_is_refused(root, made, change, match):
    artifact = made(Int8Dynamic(), root)
    path = Path(artifact.directory) / WEIGHTS
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)
    with pytest.raises(IntegrityError, match=match):
        TorchFormat().load(artifact, "cpu")


@pytest.mark.parametrize(
    ("layers", "match"),
    [
        ('{"int8_layers":["network.0.0.0"]}', r"network\.0\.0\.0"),
        ("[]", "not a structure of a network"),
        ("{", "not a structure"),
    ],
)
def test_an_int8_network_with_another_list_of_layers_is_refused(root, made, layers, match):
    artifact = made(Int8Dynamic(), root)
    (Path(artifact.directory) / STRUCTURE).write_text(layers)
    with pytest.raises(IntegrityError, match=match):
        TorchFormat().load(artifact, "cpu")


def test_an_int8_network_on_disk_is_the_one_that_torch_quantized(dataset, tmp_path, made):
    root = tiny.root_artifact(tiny.checkpoint(tmp_path, dataset), tmp_path)
    artifact = made(Int8Dynamic(), root)
    from torch.ao.quantization import quantize_dynamic

    from pt_core.formats.torch_ import load_module

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = quantize_dynamic(load_module(root), {torch.nn.Linear}, dtype=torch.qint8)
    samples = np.random.default_rng(0).random((7, 1, 8, 8), dtype=np.float32)
    with torch.inference_mode():
        logits = expected(torch.from_numpy(samples)).numpy()
    np.testing.assert_array_equal(TorchFormat().load(artifact, "cpu").logits(samples), logits)
