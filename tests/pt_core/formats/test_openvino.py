"""OpenVINO's own promises: stated precision, named tensors, no report home, nothing run in silence elsewhere."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
import tiny

from pt_core.artifacts.artifact import Artifact
from pt_core.data.dataset import load_split
from pt_core.errors import IntegrityError, StepFailed, StepUnavailable
from pt_core.formats.onnx_ import OnnxFormat
from pt_core.formats.openvino_ import OpenVinoFormat, missing_bf16, missing_openvino
from pt_core.formats.torch_ import TorchFormat
from pt_core.quantizers.ort_static import OnnxInt8Static

UNAVAILABLE = OpenVinoFormat().unavailable()
pytestmark = pytest.mark.skipif(UNAVAILABLE is not None, reason=str(UNAVAILABLE))
NO_BF16 = OpenVinoFormat(precision="bf16").unavailable()

SAMPLES = np.random.default_rng(0).random((7, 1, 8, 8), dtype=np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("openvino")


@pytest.fixture(scope="module")
def reference(dataset, folder) -> Artifact:
    return tiny.root_artifact(tiny.checkpoint(folder, dataset), folder)


@pytest.fixture(scope="module")
def graph(reference, folder) -> Artifact:
    return tiny.apply(OnnxFormat(), reference, folder)


@pytest.fixture(scope="module")
def artifact(graph, folder) -> Artifact:
    return tiny.apply(OpenVinoFormat(), graph, folder)


def copied(artifact: Artifact, folder: Path) -> Artifact:
    shutil.copytree(artifact.directory, folder / "copy")
    return artifact.model_copy(update={"directory": str(folder / "copy")})


def error_against(reference: Artifact, predictor) -> float:
    expected = TorchFormat().load(reference, "cpu").logits(SAMPLES)
    return float(np.abs(predictor.logits(SAMPLES) - expected).max() / np.abs(expected).max())


def test_weights_are_written_as_they_are_beside_a_graph_with_a_dynamic_batch(artifact):
    folder = Path(artifact.directory)
    tree = ElementTree.parse(folder / "model.xml")
    types = {data.get("element_type") for data in tree.iterfind(".//layer[@type='Const']/data")}
    assert types == {"f32", "i64"}
    (given,) = tree.iterfind(".//layer[@type='Parameter']")
    assert (given.get("name"), given.find("data").get("shape")) == ("input", "?,1,8,8")
    stored = [path.name for path in folder.iterdir() if path.name != "golden.safetensors"]
    assert sorted(stored) == ["model.bin", "model.xml", "runtime.json"]


def test_fp32_is_computed_in_fp32_where_the_processor_has_bf16_too(artifact, reference):
    predictor = OpenVinoFormat().load(artifact, "cpu")
    assert predictor.runtime().provider == "CPU (6 f32)"
    assert error_against(reference, predictor) < 1e-5


@pytest.mark.skipif(NO_BF16 is not None, reason=str(NO_BF16))
def test_bf16_is_computed_in_bf16_and_stays_so_after_loading(graph, reference, made):
    predictor = OpenVinoFormat().load(made(OpenVinoFormat(precision="bf16"), graph), "cpu")
    assert predictor.runtime().provider == "CPU (6 bf16)"
    assert 1e-4 < error_against(reference, predictor) < 0.05


def test_an_int8_onnx_graph_stays_int8(graph, reference, made, dataset):
    samples = np.array(load_split(dataset, "calibration").x[:50])
    quantized = made(OnnxInt8Static(), graph, tiny.step_data(samples)).model_copy(
        update={"precision": "int8"}
    )
    predictor = OpenVinoFormat().load(made(OpenVinoFormat(), quantized), "cpu")
    assert predictor.runtime().provider == "CPU (6 u8)"
    assert error_against(reference, predictor) < 0.1


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_a_graph_of_another_precision_is_refused(graph, made, precision):
    with pytest.raises(StepFailed, match=rf"is {precision}, expected fp32 or int8.*convert the fp32 onnx"):
        made(OpenVinoFormat(), graph.model_copy(update={"precision": precision}))


def test_the_instruction_set_is_read_from_the_kernels_and_the_processor_has_it(artifact):
    found = OpenVinoFormat().load(artifact, "cpu").runtime().instruction_set
    flags = Path("/proc/cpuinfo").read_text()
    for name in (found or "").split(", "):
        assert name.partition("_")[0].rstrip("0123456789") in flags, name
    if "avx512f" in flags:
        assert "avx512" in found


def test_a_fall_back_to_another_precision_is_refused(artifact):
    from pt_core.formats.openvino_ import read_model
    from pt_core.formats.openvino_session import compile_model

    if "avx512_fp16" in Path("/proc/cpuinfo").read_text():
        pytest.skip("this processor computes in f16")
    model = read_model(Path(artifact.directory) / "model.xml")
    with pytest.raises(StepUnavailable, match=r"asked for f16, OpenVINO computes in \w+ on this processor"):
        compile_model(model, "f16", num_threads=1)


@pytest.mark.skipif(NO_BF16 is not None, reason=str(NO_BF16))
def test_layers_that_run_in_another_precision_than_asked_for_are_refused(artifact):
    from pt_core.formats.openvino_ import read_model
    from pt_core.formats.openvino_session import check_kernels, compile_model

    model = read_model(Path(artifact.directory) / "model.xml")
    for asked, other in (("f32", "bf16"), ("bf16", "f32")):
        compiled = compile_model(model, other, num_threads=1)
        compiled(SAMPLES)
        check_kernels(compiled, other)
        with pytest.raises(StepUnavailable, match=rf"asked for {asked}, but of the layers 6 in {other}"):
            check_kernels(compiled, asked)


def test_a_predictor_uses_as_many_threads_as_the_process_was_given(artifact, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    runtime = OpenVinoFormat().load(artifact, "cpu").runtime()
    assert runtime.num_threads == 1
    assert (runtime.inputs, runtime.outputs) == (("input",), ("logits",))


def test_fused_nodes_are_counted(artifact):
    runtime = OpenVinoFormat().load(artifact, "cpu").runtime()
    tree = ElementTree.parse(Path(artifact.directory) / "model.xml")
    kinds = [layer.get("type") for layer in tree.iterfind(".//layer")]
    assert runtime.num_nodes == sum(kind not in ("Parameter", "Const", "Result") for kind in kinds)
    # Four convolutions, a pooling, a mean and two linear layers are left at least; five ReLUs are gone at least.
    assert 8 <= runtime.num_nodes_optimized <= runtime.num_nodes - 5


def test_another_device_is_refused(artifact):
    with pytest.raises(StepUnavailable, match="device cuda is not supported here, expected cpu"):
        OpenVinoFormat().load(artifact, "cuda")


def test_another_device_than_the_one_asked_for_is_a_failure(artifact, monkeypatch):
    import openvino

    told = openvino.CompiledModel.get_property
    monkeypatch.setattr(
        openvino.CompiledModel,
        "get_property",
        lambda model, name: ["GPU.0"] if name == "EXECUTION_DEVICES" else told(model, name),
    )
    with pytest.raises(StepFailed, match=r"openvino: runs on GPU\.0, expected CPU"):
        OpenVinoFormat().load(artifact, "cpu")


@pytest.mark.parametrize("content", ["", "{}", '{"inference_precision":"f64"}', None])
def test_a_bundle_that_does_not_say_its_precision_is_refused(artifact, content, tmp_path):
    artifact = copied(artifact, tmp_path)
    file = Path(artifact.directory) / "runtime.json"
    file.unlink() if content is None else file.write_text(content)
    with pytest.raises(IntegrityError, match=r"runtime\.json: does not say how to compile"):
        OpenVinoFormat().load(artifact, "cpu")


def test_a_graph_that_cannot_be_read_is_refused_by_name(graph, made, tmp_path):
    graph = copied(graph, tmp_path)
    (Path(graph.directory) / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(StepFailed, match=r"cannot read model\.onnx"):
        made(OpenVinoFormat(), graph)


def test_a_processor_without_bf16_is_told_so():
    expected = "bf16 needs a processor with avx512_bf16 or amx_bf16, this one has avx2, avx512f"
    assert missing_bf16(("avx2", "avx512f")).startswith(expected)
    assert missing_bf16(("avx2", "amx_bf16")) is None


def test_a_missing_package_is_named_with_the_extra_that_brings_it():
    expected = "needs no_such_package; pip install 'pt-pipeline[openvino]'"
    assert missing_openvino("onnx", "no_such_package") == expected
    assert missing_openvino("onnx") is None


REPORTS_HOME = """
import sys
calls = []
sys.addaudithook(lambda name, args: calls.append(args) if name in ("socket.connect", "socket.getaddrinfo") else None)
from pt_core.formats.openvino_ import import_openvino, read_model
import_openvino()
import nncf, numpy as np, time
model = read_model(sys.argv[1])
nncf.quantize(model, nncf.Dataset([np.zeros((1, 1, 8, 8), np.float32)]), subset_size=1)
time.sleep(0.5)
assert not calls, calls
"""


def test_neither_openvino_nor_nncf_reports_its_use(graph, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    # Both keep quiet by themselves under pytest or in CI.
    environment = {k: v for k, v in os.environ.items() if k not in ("CI", "NNCF_CI", "NNCF_DEV")}
    done = subprocess.run(
        [sys.executable, "-c", REPORTS_HOME, str(Path(graph.directory) / "model.onnx")],
        env={**environment, "HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert list(home.iterdir()) == []
