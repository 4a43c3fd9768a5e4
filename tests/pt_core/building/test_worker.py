"""The two halves of a step, called in this process on networks that break in the ways converters meet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny

from pt_core.artifacts.artifact import GOLDEN, Artifact, Step
from pt_core.artifacts.registry import make_step, plugin_target
from pt_core.artifacts.tensors import read_golden, write_golden
from pt_core.building.build import checkpoint_source
from pt_core.building.proof import read_samples
from pt_core.building.requests import CheckRequest, CheckResult, ConvertRequest
from pt_core.building.worker import check, convert
from pt_core.data.dataset import load_split
from pt_core.errors import DataError, IntegrityError, NothingQuantized, ParityError, StepFailed
from pt_core.evaluation.parity import BATCH_SIZES, check_parity
from pt_core.inference.predictor import load_predictor


@pytest.fixture
def root_of(dataset, tmp_path):
    """Return a function from a network of :mod:`tiny` to its root artifact."""
    return lambda name: tiny.root_artifact(
        tiny.checkpoint(tmp_path, dataset, target=f"tiny:{name}"), tmp_path
    )


@pytest.fixture
def run(dataset, tmp_path):
    """Return a function that converts and checks as ``run_step`` does, and publishes nothing."""

    def both(source: Artifact, reference: Artifact | None, step: str, **options) -> CheckResult:
        destination = tmp_path / "staged"
        destination.mkdir()
        chosen = Step(name=step, options=options)
        done = convert(
            ConvertRequest(source=source, step=chosen, dataset=dataset, destination=str(destination))
        )
        changes = {
            "format": plugin_target(make_step(chosen)),
            "directory": str(destination),
            "steps": (chosen,),
            "payload": done.payload,
            "quantization": done.quantization,
            "precision": "int8" if done.quantization else source.precision,
        }
        staged = source.model_copy(update=changes)
        return check(CheckRequest(staged=staged, source=source, reference=reference, dataset=dataset))

    return both


@pytest.mark.filterwarnings("ignore:.*:torch.jit.TracerWarning")
def test_a_branch_that_a_trace_keeps_is_found_at_batch_1(root_of, run):
    root = root_of("Branching")
    with pytest.raises(ParityError, match=r"torchscript against the reference: batch size 1: relative error"):
        run(root, root, "torchscript")


def test_a_branch_that_a_script_keeps_whole_is_right(root_of, run):
    root = root_of("Branching")
    assert run(root, root, "torchscript", method="script").parity.points[0].relative_error < 1e-5


def test_a_branch_on_the_batch_is_refused_by_export(root_of, run):
    root = root_of("Branching")
    with pytest.raises((ParityError, StepFailed), match="batch"):
        run(root, root, "exported")


@pytest.mark.parametrize("step", ["exported", "onnx"])
def test_a_batch_that_the_code_fixes_is_refused_by_export(root_of, run, step):
    root = root_of("Fixed")
    with pytest.raises(StepFailed, match=r"torch\.export refused the network: .*batch"):
        run(root, root, step)


@pytest.mark.filterwarnings("ignore:.*:torch.jit.TracerWarning")
def test_a_batch_baked_into_a_trace_is_refused(root_of, run):
    root = root_of("Baked")
    with pytest.raises((ParityError, RuntimeError), match=r"shape '.*' is invalid"):
        run(root, root, "torchscript")


@pytest.mark.parametrize(
    ("network", "match"),
    [
        ("Random", "torch against itself: batch size 1: the reference differs from itself.*as with dropout"),
        ("RandomAlone", "batch size 1: the reference differs from itself.*as with dropout"),
    ],
)
def test_a_reference_with_dropout_left_on_is_refused(run, dataset, tmp_path, network, match):
    source = checkpoint_source(tiny.checkpoint(tmp_path, dataset, target=f"tiny:{network}"))
    with pytest.raises(ParityError, match=match):
        run(source, None, "torch")


def test_a_root_that_does_not_reproduce_its_checkpoint_is_refused(root_of, run, dataset, tmp_path):
    source = checkpoint_source(tiny.checkpoint(tmp_path, dataset))
    inputs, logits = read_golden(source)
    write_golden(Path(source.directory), inputs, logits * 1.01)
    # Its manifest is written again, as someone would who can write there.
    other = tiny.reseal(source, tmp_path)
    with pytest.raises(IntegrityError, match="golden outputs differ"):
        run(other, None, "torch")


def test_a_quantizer_that_would_change_nothing_is_an_error(root_of, run):
    root = root_of("Convolutional")
    with pytest.raises(NothingQuantized, match=r"no layer became INT8.*Conv2d"):
        run(root, root, "int8-dynamic")


def test_a_quantized_source_is_not_quantized_again(dataset, tmp_path):
    root = tiny.root_artifact(tiny.checkpoint(tmp_path, dataset), tmp_path)
    step = Step(name="int8-dynamic")
    source = tiny.reseal(tiny.apply(make_step(step), root, tmp_path), tmp_path)
    request = ConvertRequest(source=source, step=step, dataset=None, destination=str(tmp_path / "twice"))
    with pytest.raises(NothingQuantized, match="is quantized by int8-dynamic already"):
        convert(request)


def convert_only(source: Artifact, destination: Path) -> None:
    convert(
        ConvertRequest(
            source=source, step=Step(name="torchscript"), dataset=None, destination=str(destination)
        )
    )


def test_a_source_with_other_bytes_is_refused_before_it_is_read(root_of, tmp_path):
    root = root_of("Convolutional")
    weights = Path(root.directory) / root.payload[0]
    weights.write_bytes(weights.read_bytes()[:-4] + b"\1\2\3\4")
    with pytest.raises(IntegrityError, match=r"model\.safetensors: SHA-256"):
        convert_only(root, tmp_path)


def test_another_intact_bundle_in_the_place_of_the_source_is_refused(root_of, tmp_path):
    root = root_of("Convolutional")
    with pytest.raises(IntegrityError, match="another bundle took its place"):
        convert_only(root.model_copy(update={"digest": "0" * 64}), tmp_path)


def test_a_conversion_of_int8_is_held_to_its_own_source_too(dataset, tmp_path):
    root = tiny.root_artifact(tiny.checkpoint(tmp_path, dataset), tmp_path)
    # An INT8 source and a program of another network 10 % away: far inside what INT8 allows the reference.
    source = tiny.apply(make_step(Step(name="int8-dynamic")), root, tmp_path)
    program = tiny.apply(make_step(Step(name="torchscript")), root, tmp_path)
    source = tiny.reseal(source.model_copy(update={"precision": "int8"}), tmp_path)
    off = tiny.scaled(program, 1.1)
    staged = off.model_copy(update={"precision": "int8", "steps": (Step(name="torchscript"),)})
    with pytest.raises(ParityError, match="torchscript against its source torch: batch size 1"):
        check(CheckRequest(staged=staged, source=source, reference=root, dataset=dataset))


def test_calibration_without_samples_is_refused(root_of, tmp_path):
    source = root_of("Convolutional")
    step = Step(name="onnx-int8-static")
    with pytest.raises(DataError, match="needs calibration samples"):
        convert(ConvertRequest(source=source, step=step, dataset=None, destination=str(tmp_path)))


def test_only_the_samples_that_parity_reads_are_loaded(root_of, dataset):
    root = root_of("Convolutional")
    kept = read_samples(CheckRequest(staged=root, source=root, reference=root, dataset=dataset))
    x = load_split(dataset, "calibration").x
    assert len(kept) < 80 < len(x)
    predictor = load_predictor(root)
    assert check_parity(predictor, predictor, kept, "fp32") == check_parity(predictor, predictor, x, "fp32")
    for offset, size in enumerate(BATCH_SIZES):
        assert np.array_equal(kept[offset : offset + size], x[offset : offset + size])
        assert len(kept) >= offset + size


def test_checked_artifacts_carry_their_own_golden_outputs(root_of, run, tmp_path):
    root = root_of("Convolutional")
    run(root, root, "torchscript")
    assert (tmp_path / "staged" / GOLDEN).exists()


@pytest.mark.filterwarnings("ignore:.*:torch.jit.TracerWarning")
def test_int8_that_is_measured_against_int8_is_held_to_it_closely(root_of, tmp_path, dataset):
    # As a rebuilt engine is: its source is all there is to compare it with.
    made = tiny.apply(make_step(Step(name="torchscript")), root_of("Stacked"), tmp_path)
    source = tiny.reseal(made.model_copy(update={"precision": "int8"}), tmp_path)
    (tmp_path / "scaled").mkdir()
    for path in Path(source.directory).iterdir():
        (tmp_path / "scaled" / path.name).write_bytes(path.read_bytes())
    changes = {"directory": str(tmp_path / "scaled"), "steps": (Step(name="torchscript"),)}
    staged = tiny.scaled(source.model_copy(update=changes), 1.2)
    with pytest.raises(
        ParityError, match=r"torchscript against its source torchscript: .*expected at most 0\.05"
    ):
        check(CheckRequest(staged=staged, source=source, reference=source, dataset=dataset))
