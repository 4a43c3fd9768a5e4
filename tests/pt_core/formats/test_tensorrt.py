"""Real engines, built by TensorRT for RTX without a GPU, and every reason to refuse one."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import tiny

from pt_core.artifacts.artifact import GOLDEN, Step
from pt_core.artifacts.registry import make_step, plugin_precision
from pt_core.data.dataset import load_split
from pt_core.errors import ConfigError, IntegrityError, StepFailed, StepUnavailable
from pt_core.formats.onnx_ import FILE as ONNX
from pt_core.formats.tensorrt_ import TensorRTFormat
from pt_core.formats.tensorrt_library import find_gpu
from pt_core.formats.tensorrt_passport import ENGINE, PASSPORT, Passport, Profile, check_gpu
from pt_core.modeling.spec import DynamicAxis, ModelSpec

pytestmark = pytest.mark.skipif(
    TensorRTFormat().unavailable() is not None, reason=str(TensorRTFormat().unavailable())
)
no_gpu = pytest.mark.skipif(find_gpu() is not None, reason="there is an NVIDIA GPU: engines are built for it")


@pytest.fixture
def make(made, dataset):
    """Return a function that runs a step in this process and describes the result as ``run_step`` would."""

    def run(source, name: str, **options):
        plugin = make_step(Step(name=name, options=options))
        samples = np.array(load_split(dataset, "calibration").x[:32])
        artifact = made(plugin, source, tiny.step_data(samples))
        files = sorted(path.name for path in Path(artifact.directory).iterdir() if path.name != GOLDEN)
        return artifact.model_copy(
            update={
                "payload": tuple(files),
                "precision": plugin_precision(plugin) or source.precision,
                "quantization": artifact.quantization or source.quantization,
            }
        )

    return run


@pytest.fixture
def graph(builder, tmp_path):
    """A copy of the ONNX artifact, to be changed at will."""
    return copied(builder.chain("onnx"), tmp_path / "graph")


@pytest.fixture
def engine(builder, tmp_path):
    """A copy of the engine that ``run_step`` published, to be changed at will."""
    return copied(builder.chain("onnx", "tensorrt"), tmp_path / "engine")


def copied(artifact, folder: Path):
    shutil.copytree(artifact.directory, folder)
    return artifact.model_copy(update={"directory": str(folder)})


def passport_of(artifact) -> Passport:
    return Passport.from_json((Path(artifact.directory) / PASSPORT).read_bytes())


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def forged(artifact, store: Path, **changes):
    """Return a copy whose passport says something else, under a manifest that was made anew to fit it."""
    path = Path(artifact.directory) / PASSPORT
    said = json.loads(path.read_text()) | changes
    path.write_text(json.dumps(said))
    return tiny.reseal(artifact.model_copy(update={"passport": said}), store)


@no_gpu
@pytest.mark.parametrize(
    ("steps", "precision", "weights"),
    [
        ([], "fp32", onnx.TensorProto.FLOAT),
        ([("onnx-fp16", {})], "fp16", onnx.TensorProto.FLOAT16),
        ([("onnx-int8-static", {"runtime": "tensorrt"})], "int8", onnx.TensorProto.INT8),
    ],
    ids=["fp32", "fp16", "int8"],
)
def test_an_engine_of_each_precision_is_built_without_a_gpu(graph, make, steps, precision, weights):
    for name, options in steps:
        graph = make(graph, name, **options)
    artifact = make(graph, "tensorrt", compute_capabilities=["8.9"])
    folder, passport = Path(artifact.directory), passport_of(artifact)
    kernels = [t for t in onnx.load(folder / ONNX).graph.initializer if len(t.dims) == 4 and max(t.dims) > 1]
    assert kernels
    assert {tensor.data_type for tensor in kernels} == {weights}
    assert passport.precision == precision
    assert passport.compute_capabilities == ("8.9",)
    assert (passport.inputs[0].name, passport.inputs[0].dtype) == ("input", "float32")
    assert passport.inputs[0].shape == (-1, 1, 8, 8)
    assert (passport.outputs[0].name, passport.outputs[0].dtype) == ("logits", "float32")
    # Every serialized engine of either library carries this tag.
    assert b"trt" in (folder / ENGINE).read_bytes()[:8]
    assert passport.engine_bytes == (folder / ENGINE).stat().st_size > 10_000
    inspection = TensorRTFormat().inspect(artifact)
    assert inspection.passport == passport.model_dump(mode="json")
    assert [passport.library in check for check in inspection.checks].count(True) == 1
    reason = "built for sm_89 by tensorrt-rtx .*; there is no NVIDIA GPU here to run it"
    with pytest.raises(StepUnavailable, match=reason):
        TensorRTFormat().load(artifact, "cpu")


def test_the_passport_names_the_files_beside_the_engine_and_the_batches_it_takes(graph, make):
    artifact = make(graph, "tensorrt", min_batch=2, opt_batch=4, max_batch=16)
    folder, passport = Path(artifact.directory), passport_of(artifact)
    assert passport.engine_sha256 == sha256(folder / ENGINE)
    assert passport.onnx_sha256[ONNX] == sha256(folder / ONNX) == sha256(Path(graph.directory) / ONNX)
    assert passport.profile.shapes == ((2, 1, 8, 8), (4, 1, 8, 8), (16, 1, 8, 8))
    assert any(
        "from (2, 1, 8, 8) to (16, 1, 8, 8)" in check for check in TensorRTFormat().inspect(artifact).checks
    )


def test_a_declared_dynamic_axis_is_in_the_profile_over_its_whole_range():
    spec = ModelSpec(
        target="m:f",
        arguments={},
        input_shape=(3, 32, 48),
        num_classes=2,
        mean=None,
        std=None,
        input_range=None,
    ).model_copy(update={"dynamic_axes": (DynamicAxis(axis=2, min=16, max=64),)})
    profile = Profile.of(spec, min_batch=1, opt_batch=8, max_batch=9)
    assert profile.shapes == ((1, 3, 32, 16), (8, 3, 32, 48), (9, 3, 32, 64))


def test_an_int8_graph_with_an_int32_bias_is_refused_with_its_node_and_the_remedy(graph, make):
    quantized = make(graph, "onnx-int8-static")
    with pytest.raises(StepFailed) as caught:
        make(quantized, "tensorrt")
    assert "bias_DequantizeLinear (DequantizeLinear)" in caught.value.message
    assert "Int32" in caught.value.message
    assert "{onnx-int8-static: {runtime: tensorrt}}" in caught.value.message
    assert "cudaError" not in str(caught.value)


def test_asymmetric_activations_such_as_those_of_the_x86_quantizer_are_refused_with_the_remedy(graph, make):
    path = Path(graph.directory) / ONNX
    model = onnx.load(path)
    scale = onnx.numpy_helper.from_array(np.array(0.01, np.float32), "scale")
    zero = onnx.numpy_helper.from_array(np.array(128, np.uint8), "zero")
    model.graph.initializer.extend([scale, zero])
    for node in model.graph.node:
        node.input[:] = ["dequantized" if name == "input" else name for name in node.input]
    pair = [
        onnx.helper.make_node("QuantizeLinear", ["input", "scale", "zero"], ["quantized"], name="q"),
        onnx.helper.make_node("DequantizeLinear", ["quantized", "scale", "zero"], ["dequantized"], name="dq"),
    ]
    nodes = [*pair, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, path)
    with pytest.raises(StepFailed, match=r"refused q \(QuantizeLinear\)") as caught:
        make(graph.model_copy(update={"precision": "int8"}), "tensorrt")
    assert "zero point is not supported" in caught.value.message
    assert "runtime: tensorrt" in caught.value.message


def test_a_graph_whose_batch_is_baked_in_is_refused(graph, make):
    model = onnx.load(Path(graph.directory) / ONNX)
    model.graph.input[0].type.tensor_type.shape.dim[0].ClearField("dim_param")
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 8
    onnx.save(model, Path(graph.directory) / ONNX)
    with pytest.raises(
        StepFailed, match=r"takes batches of 8 only, expected any; export it with a dynamic batch"
    ):
        make(graph, "tensorrt")


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"version": "1.0"}, StepUnavailable, r"built by tensorrt-rtx 1\.0, installed is tensorrt-rtx"),
        ({"flavour": "tensorrt"}, StepUnavailable, "built by tensorrt 1"),
        ({"onnx_sha256": {ONNX: "0" * 64}}, IntegrityError, f"{ONNX}: SHA-256 .*, the passport says 000000"),
        ({"engine_sha256": "0" * 64}, IntegrityError, f"{ENGINE}: SHA-256 .*, the passport says 000000"),
        ({"precision": "int8"}, IntegrityError, "computes in int8, the manifest says fp32"),
    ],
    ids=["version", "library", "onnx", "engine", "precision"],
)
def test_a_passport_that_fits_its_manifest_but_not_this_machine_or_bundle_is_refused_with_the_remedy(
    engine, tmp_path, changes, error, message
):
    artifact = forged(engine, tmp_path, **changes)
    for refusing in (
        lambda: TensorRTFormat().load(artifact, "cpu"),
        lambda: TensorRTFormat().inspect(artifact),
    ):
        with pytest.raises(error, match=message) as caught:
            refusing()
        assert f"pt-pipeline rebuild {artifact.directory}" in str(caught.value)


def test_a_passport_other_than_the_manifests_is_refused(engine):
    said = passport_of(engine).model_dump(mode="json") | {"version": "1.0"}
    with pytest.raises(IntegrityError, match="does not fit its bundle") as caught:
        TensorRTFormat().load(engine.model_copy(update={"passport": said}), "cpu")
    assert "in the manifest" in caught.value.details[0]


def test_an_engine_for_another_gpu_is_refused_with_the_remedy(engine):
    passport = passport_of(engine)
    check_gpu(passport, engine, gpu="a GPU", capability=passport.compute_capabilities[0])
    with pytest.raises(
        StepUnavailable, match=r"built for sm_.*, NVIDIA T4 is sm_75; rebuild it from the ONNX"
    ):
        check_gpu(passport, engine, gpu="NVIDIA T4", capability="7.5")


def test_a_malformed_engine_is_found_without_a_gpu_even_under_a_passport_that_fits_it(engine, tmp_path):
    path = Path(engine.directory) / ENGINE
    path.write_bytes(b"\0" * path.stat().st_size)
    artifact = forged(engine, tmp_path, engine_sha256=sha256(path))
    with pytest.raises(IntegrityError, match="malformed engine"):
        TensorRTFormat().inspect(artifact)


def test_an_onnx_of_another_network_is_found_even_under_a_passport_that_fits_it(engine, tmp_path):
    path = Path(engine.directory) / ONNX
    model = onnx.load(path)
    model.graph.output[0].name = model.graph.node[-1].output[0] = "scores"
    onnx.save(model, path)
    files = passport_of(engine).onnx_sha256 | {ONNX: sha256(path)}
    artifact = forged(engine, tmp_path, onnx_sha256=files)
    with pytest.raises(IntegrityError, match="another network"):
        TensorRTFormat().inspect(artifact)


def test_batches_out_of_order_and_unknown_gpus_are_refused_by_name_and_yaml_numbers_are_not():
    with pytest.raises(
        ConfigError, match="min_batch 1, opt_batch 8, max_batch 4: expected them in ascending"
    ):
        make_step(Step(name="tensorrt", options={"max_batch": 4}))
    with pytest.raises(ConfigError, match=r"compute_capabilities\.0"):
        make_step(Step(name="tensorrt", options={"compute_capabilities": ["6.1"]}))
    made = make_step(Step(name="tensorrt", options={"compute_capabilities": [8.6, 12.0]}))
    assert made.compute_capabilities == ("8.6", "12.0")


def test_a_half_precision_graph_keeps_its_border_in_float32_and_halves_its_weights(graph, make):
    artifact = make(graph, "onnx-fp16")
    model = onnx.load(Path(artifact.directory) / ONNX)
    for value in (model.graph.input[0], model.graph.output[0]):
        assert value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert not [t.name for t in model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT]
    onnx.checker.check_model(model, full_check=True)


def test_a_weight_that_float16_cannot_hold_is_refused_not_clipped(graph, make):
    path = Path(graph.directory) / ONNX
    model = onnx.load(path)
    tensor = next(t for t in model.graph.initializer if len(t.dims) == 4)
    values = np.array(onnx.numpy_helper.to_array(tensor))
    values.flat[0] = 1e5
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    onnx.save(model, path)
    with pytest.raises(StepFailed, match=rf"{tensor.name} reaches 1e\+05, above 65504"):
        make(graph, "onnx-fp16")


def test_a_quantized_graph_is_not_cast_as_well(graph, make):
    with pytest.raises(StepFailed, match="is int8, expected fp32"):
        make(make(graph, "onnx-int8-static"), "onnx-fp16")


@pytest.mark.gpu
@pytest.mark.skipif(find_gpu() is None, reason="there is no NVIDIA GPU here")
class TestOnAGpu:
    """What only a GPU can show."""

    @pytest.fixture
    def built(self, graph, make):
        import torch

        if not torch.cuda.is_available():
            pytest.skip(f"torch {torch.__version__} cannot use the GPU")
        return make(graph, "tensorrt", min_batch=2, opt_batch=4, max_batch=8)

    def test_an_engine_is_built_for_this_gpu_and_agrees_with_its_onnx_at_every_batch(
        self, graph, built, dataset
    ):
        from pt_core.formats.onnx_ import OnnxFormat

        assert passport_of(built).compute_capabilities == (find_gpu().capability,)
        assert TensorRTFormat().not_runnable(built) is None
        predictor, expected = TensorRTFormat().load(built, "cuda"), OnnxFormat().load(graph, "cpu")
        assert find_gpu().name in predictor.runtime().provider
        # Below, inside and above the profile of 2 to 8.
        for size in (1, 2, 3, 8, 9, 31):
            samples = np.array(load_split(dataset, "test").x[:size])
            np.testing.assert_allclose(predictor.logits(samples), expected.logits(samples), atol=1e-4)

    @pytest.mark.parametrize(
        ("step", "options", "limit"),
        [("onnx-fp16", {}, 1e-2), ("onnx-int8-static", {"runtime": "tensorrt"}, 0.35)],
        ids=["fp16", "int8"],
    )
    def test_low_precision_engines_agree_within_their_tolerance(
        self, graph, make, dataset, step, options, limit
    ):
        from pt_core.formats.onnx_ import OnnxFormat

        predictor = TensorRTFormat().load(make(make(graph, step, **options), "tensorrt"), "cuda")
        samples = np.array(load_split(dataset, "test").x[:16])
        expected = OnnxFormat().load(graph, "cpu").logits(samples)
        assert np.abs(predictor.logits(samples) - expected).max() / np.abs(expected).max() <= limit

    def test_an_engine_for_another_gpu_or_version_is_refused(self, built, tmp_path):
        with pytest.raises(StepUnavailable, match="rebuild it from the ONNX"):
            TensorRTFormat().load(forged(built, tmp_path, compute_capabilities=["7.5"]), "cuda")
        with pytest.raises(StepUnavailable, match="installed is"):
            TensorRTFormat().load(forged(built, tmp_path, version="1.0"), "cuda")

    def test_an_engine_with_a_damaged_body_is_refused(self, built, tmp_path):
        path = Path(built.directory) / ENGINE
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        broken = forged(built, tmp_path, engine_sha256=sha256(path))
        with pytest.raises((StepFailed, IntegrityError), match="rebuild"):
            TensorRTFormat().load(broken, "cuda")
