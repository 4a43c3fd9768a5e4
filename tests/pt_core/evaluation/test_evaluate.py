from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from pt_core.bundle import open_bundle
from pt_core.data.dataset import load_split
from pt_core.data.encoding import ColumnEncoding, ImageDecoding, TableEncoding
from pt_core.errors import IntegrityError, NotComparable, StepFailed
from pt_core.evaluation.attacks.craft import craft
from pt_core.evaluation.config import EvaluationConfig
from pt_core.evaluation.evaluate import evaluate
from pt_core.evaluation.report import LOGITS, EvaluationReport
from pt_core.evaluation.requests import AttackRequest, EvaluateRequest
from pt_core.isolation import run_isolated

CONFIG = EvaluationConfig(fgsm_epsilons=(0.05, 0.2), noise_sigmas=(0.1,), batch_size=64)
SWAPPED = TableEncoding(columns=tuple(ColumnEncoding(name=name, kind="numeric") for name in "badcef"))


@pytest.fixture(scope="module")
def attacks(reference, dataset, store):
    return craft(AttackRequest(reference=reference, dataset=dataset, config=CONFIG, seed=0, store=str(store)))


@pytest.fixture(scope="module")
def request_(reference, dataset, attacks, store):
    return EvaluateRequest(
        artifact=reference, dataset=dataset, attacks=attacks, config=CONFIG, store=str(store)
    )


@pytest.fixture(scope="module")
def report(request_):
    return run_isolated(
        "pt_core.evaluation.evaluate:evaluate", request_, reply=EvaluationReport, timeout_s=120, num_threads=1
    )


@pytest.fixture(scope="module")
def right_answers(dataset, weights_and_bias):
    """Return whether the linear model is right on each row, by plain NumPy in float64."""
    weight, bias = (values.astype(np.float64) for values in weights_and_bias())
    y = load_split(dataset, "test").y
    return lambda x: (x @ weight.T + bias).argmax(axis=1) == y


def test_accuracy_is_that_of_the_model_worked_out_in_numpy(report, dataset, right_answers):
    assert report.accuracy.accuracy == right_answers(load_split(dataset, "test").x).mean()
    assert 0.6 < report.accuracy.accuracy < 1
    assert report.accuracy.num_samples == 150


def test_every_attack_is_replayed_and_scored(report, attacks, right_answers):
    assert [(p.attack, p.strength) for p in report.robustness] == [
        (p.attack, p.strength) for p in attacks.points
    ]
    for point, found in zip(attacks.points, report.robustness, strict=True):
        perturbed = np.load(Path(attacks.directory) / point.file)
        assert found.accuracy == right_answers(perturbed).mean(), point.file
    assert report.robustness[1].accuracy < report.robustness[0].accuracy < report.accuracy.accuracy


def test_the_logits_of_every_clean_sample_are_kept(report, dataset, weights_and_bias):
    bundle, _ = open_bundle(Path(report.directory), kind="evaluation")
    assert bundle.digest == report.digest
    kept = load_file(Path(report.directory) / LOGITS)
    x, y, ids = load_split(dataset, "test")
    weight, bias = weights_and_bias()
    assert kept["logits"] == pytest.approx(x @ weight.T + bias, abs=1e-4)
    assert np.array_equal(kept["targets"], y)
    assert np.array_equal(kept["ids"], ids)


def test_the_report_names_what_it_rests_on(report, reference, dataset, attacks):
    assert report.artifact_digest == reference.digest
    assert report.dataset_digest == dataset.digest
    assert report.attacks_digest == attacks.digest
    assert report.sample_ids_sha256 == dataset.split("test").ids_sha256
    assert report.runtime.runtime.startswith("torch")
    assert report.runtime.num_threads == 1
    assert report.runtime.instruction_set


def test_attacks_on_another_dataset_are_not_comparable(request_, new_dataset, tmp_path):
    other = new_dataset(tmp_path, input_range=(0.0, 1.0), seed=1)
    with pytest.raises(NotComparable, match=f"{request_.dataset.digest[:12]}, expected {other.digest[:12]}"):
        evaluate(request_.model_copy(update={"dataset": other}))


def test_an_artifact_with_other_labels_is_not_comparable(request_, dataset, new_reference, tmp_path):
    other = new_reference(tmp_path, dataset, labels=("a", "b", "c"))
    with pytest.raises(NotComparable, match="does not fit the dataset"):
        evaluate(request_.model_copy(update={"artifact": other}))


@pytest.mark.parametrize("changes", [{"images": ImageDecoding()}, {"table": SWAPPED}])
def test_an_artifact_of_another_encoding_is_not_comparable(request_, reference, changes):
    spec = reference.spec.model_copy(update=changes)
    other = reference.model_copy(update={"spec": spec})
    with pytest.raises(
        NotComparable, match=rf"encoded otherwise than the dataset \(data\.{next(iter(changes))}\)"
    ):
        evaluate(request_.model_copy(update={"artifact": other}))


def test_one_flipped_bit_in_an_attack_is_refused(request_, reference, dataset, tmp_path):
    fresh = craft(
        AttackRequest(reference=reference, dataset=dataset, config=CONFIG, seed=9, store=str(tmp_path))
    )
    file = Path(fresh.directory) / fresh.points[0].file
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(IntegrityError, match=r"fgsm_0\.05\.npy"):
        evaluate(request_.model_copy(update={"attacks": fresh}))


def test_a_dataset_with_rewritten_labels_is_refused(request_, relabelled_dataset):
    assert relabelled_dataset.digest == request_.dataset.digest
    with pytest.raises(IntegrityError, match=r"test_y\.npy") as error:
        evaluate(request_.model_copy(update={"dataset": relabelled_dataset}))
    assert relabelled_dataset.directory in str(error.value)


def test_an_artifact_that_overflows_is_refused(request_, dataset, new_reference, tmp_path):
    # Finite weights whose products are not.
    broken = new_reference(tmp_path, dataset, gain=1e38)
    with pytest.raises(StepFailed, match=r"clean samples: logits of \d+ of 150 samples are not finite"):
        evaluate(request_.model_copy(update={"artifact": broken}))


def test_the_batch_size_does_not_change_the_numbers(request_, report, tmp_path):
    one_by_one = CONFIG.model_copy(update={"batch_size": 7})
    found = evaluate(request_.model_copy(update={"config": one_by_one, "store": str(tmp_path)}))
    assert found.accuracy == report.accuracy
    assert found.robustness == report.robustness
