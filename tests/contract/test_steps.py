"""What every registered step promises, tried on each: a new plugin is tested without a new test."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pt_core.artifacts.artifact import GOLDEN, Artifact, Step, open_artifact
from pt_core.artifacts.plugin import Format, Plugin, Predictor, Quantizer, Rewrite
from pt_core.artifacts.registry import make_step, plugin_target, step_names
from pt_core.artifacts.tensors import read_golden
from pt_core.bundle import is_intact
from pt_core.data.dataset import load_split
from pt_core.errors import ConfigError, DataError, IntegrityError, StepUnavailable
from pt_core.evaluation.parity import BATCH_SIZES
from pt_core.inference.predictor import load_predictor


def chain_to(name: str) -> tuple[str, ...]:
    """Return the steps from the root to a step, by way of the first format it reads."""
    if name == "torch":
        return ()
    return (*chain_to(make_step(Step(name=name)).sources[0]), name)


@pytest.fixture(params=step_names())
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def plugin(name: str) -> Plugin:
    plugin = make_step(Step(name=name))
    reason = plugin.unavailable()
    if reason:
        pytest.skip(f"{name}: {reason}")
    return plugin


@pytest.fixture
def artifact(name: str, plugin: Format | Quantizer, builder) -> Artifact:
    return builder.chain(*chain_to(name))


@pytest.fixture
def predictor(artifact: Artifact) -> Predictor:
    if artifact.not_run:
        pytest.skip(artifact.not_run)
    return load_predictor(artifact)


def test_there_are_steps_to_try():
    assert len(step_names()) >= 7


def test_a_step_fits_its_protocol_and_reads_a_format_that_some_step_writes(name, plugin):
    assert sum(isinstance(plugin, kind) for kind in (Format, Rewrite, Quantizer)) == 1
    assert plugin.name == name
    written = {plugin_target(make_step(Step(name=other))) for other in step_names()}
    assert set(plugin.sources) <= written | {"checkpoint"}


def test_a_step_refuses_an_unknown_option_by_name(name):
    with pytest.raises(ConfigError, match=rf"{name}: options\.no_such_option: no such option"):
        make_step(Step(name=name, options={"no_such_option": 1}))


def test_what_a_step_writes_is_sealed_and_described(artifact, plugin):
    assert open_artifact(Path(artifact.directory)) == artifact
    assert artifact.format == plugin_target(plugin)
    sizes = [(Path(artifact.directory) / file).stat().st_size for file in artifact.payload]
    assert artifact.payload_bytes == sum(sizes) > 0
    assert GOLDEN not in artifact.payload
    assert [step.name for step in artifact.steps] == list(chain_to(plugin.name))


def test_a_step_leaves_its_source_as_it_was(artifact, name, builder):
    chain = chain_to(name)
    source = builder.chain(*chain[:-1]) if chain else builder.checkpoint
    assert artifact.parent_digest == source.digest
    assert is_intact(Path(source.directory), source.digest)


def test_what_cannot_run_here_says_so_and_everything_else_was_compared(artifact, plugin):
    assert (artifact.parity is None) == (artifact.not_run is not None or not artifact.steps)
    assert (artifact.passport is not None) == bool(artifact.checks)
    if artifact.not_run:
        with pytest.raises(StepUnavailable, match="there is no NVIDIA GPU here"):
            load_predictor(artifact)


def test_an_artifact_agrees_with_the_reference_at_every_batch_size(artifact, predictor, builder, dataset):
    if not artifact.steps:
        assert artifact.parity is None
        return
    assert tuple(point.batch_size for point in artifact.parity.points) == BATCH_SIZES
    assert artifact.parity.self_max_abs_error == 0
    is_retrained = artifact.quantization is not None and artifact.quantization.is_retrained
    assert artifact.parity.is_bound == (not is_retrained)
    if is_retrained:
        return
    # Again in this process, with other samples and the tolerance written out.
    reference = load_predictor(builder.chain())
    limit = {"fp32": 1e-4, "fp16": 1e-2, "bf16": 5e-2, "int8": 0.35}[artifact.precision]
    for size in (1, 2, 5, 16):
        samples = np.array(load_split(dataset, "test").x[:size])
        expected = reference.logits(samples)
        error = np.abs(predictor.logits(samples) - expected).max() / np.abs(expected).max()
        assert error <= limit, (size, error)


def test_a_sample_gets_the_same_logits_alone_and_in_any_batch(predictor, artifact, dataset):
    samples = np.array(load_split(dataset, "test").x[:5])
    alone = np.concatenate([predictor.logits(sample[None]) for sample in samples])
    limit = {"fp32": 1e-4, "fp16": 1e-2, "bf16": 5e-2, "int8": 5e-2}[artifact.precision]
    assert np.abs(predictor.logits(samples) - alone).max() <= limit * np.abs(alone).max()


def test_a_predictor_is_deterministic_float32_and_contiguous(predictor, dataset):
    samples = load_split(dataset, "test").x[:3]
    first, second = predictor.logits(samples), predictor.logits(samples)
    assert first.dtype == np.float32
    assert first.shape == (3, 10)
    assert first.flags.c_contiguous
    np.testing.assert_array_equal(first, second)
    assert predictor.runtime().num_threads >= 1


def test_a_predictor_reproduces_its_golden_outputs(artifact, predictor):
    inputs, logits = read_golden(artifact)
    np.testing.assert_allclose(predictor.logits(inputs), logits, atol=0.05 * np.abs(logits).max())


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (np.zeros((1, 1, 9, 9), np.float32), r"shape \(1, 1, 9, 9\), expected \(N, 1, 8, 8\)"),
        (np.zeros((0, 1, 8, 8), np.float32), "N above 0"),
        (np.zeros((1, 1, 8, 8), np.float64), "dtype float64, expected float32"),
    ],
)
def test_a_predictor_refuses_inputs_of_another_shape_or_type(predictor, batch, message):
    with pytest.raises(DataError, match=message):
        predictor.logits(batch)


def test_a_predictor_does_not_write_to_its_input(predictor, dataset):
    samples = np.array(load_split(dataset, "test").x[:2])
    before = samples.copy()
    predictor.logits(samples)
    np.testing.assert_array_equal(samples, before)


def test_a_quantizer_says_what_became_int8(artifact, plugin, dataset):
    if not isinstance(plugin, Quantizer):
        assert artifact.quantization is None
        return
    found = artifact.quantization
    assert artifact.precision == "int8"
    assert found.quantized_layers
    assert 0 < found.weight_share <= 1
    assert (found.weight_share == 1) == (not found.kept_layers)
    calibration = dataset.split("calibration")
    expected = (
        (calibration.ids_sha256, calibration.num_samples) if plugin.needs != "nothing" else (None, None)
    )
    assert (found.calibration_ids_sha256, found.num_calibration_samples) == expected


def test_an_artifact_with_a_flipped_bit_is_refused_before_its_runtime_sees_it(artifact, tmp_path):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(artifact.directory, copy)
    file = copy / artifact.payload[-1]
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(IntegrityError, match=artifact.payload[-1]):
        load_predictor(artifact.model_copy(update={"directory": str(copy)}))
