"""Pairs of answers counted from evaluations on disk, against counts by hand and scikit-learn's metrics."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from sklearn import metrics as sk

from pt_core.artifacts.plugin import RuntimeInfo
from pt_core.bundle import seal, staging
from pt_core.decision.bootstrap import METRICS, drop_ranges, metrics_of
from pt_core.decision.drops import measure_drops
from pt_core.decision.result import MeasuredVariant
from pt_core.errors import IntegrityError, NotComparable
from pt_core.evaluation.accuracy import score
from pt_core.evaluation.pairs import ACCURACY, TOP_K_ACCURACY, PairedAnswers, Pairs, pair_answers
from pt_core.evaluation.report import ANSWERS, LOGITS, EvaluationInfo, EvaluationReport

FGSM = "robustness/fgsm_0.1"
TARGETS = np.array([0, 1, 2, 0, 1, 2, 0, 1])


def evaluation(store, predicted, *, answers=None, targets=TARGETS, num_classes=3, artifact="a", **given):
    logits = np.full((len(targets), num_classes), -1.0, dtype=np.float32)
    logits[np.arange(len(targets)), predicted] = 1.0
    ids = given.pop("ids", np.arange(len(targets)))
    digests = {"dataset_digest": "d", "sample_ids_sha256": "s", "attacks_digest": "t", **given}
    info = EvaluationInfo(
        artifact_digest=artifact,
        data_fingerprint="f",
        accuracy=score(logits, targets, [f"class {i}" for i in range(num_classes)]),
        robustness=(),
        peak_memory_bytes=None,
        runtime=RuntimeInfo(runtime="r", provider="p", num_threads=1),
        **digests,
    )
    with staging(Path(store)) as folder:
        save_file({"logits": logits, "targets": targets, "ids": ids}, folder / LOGITS)
        if answers is not None:
            save_file({k: np.array(v, dtype=np.int32) for k, v in answers.items()}, folder / ANSWERS)
        bundle = seal(folder, name="evaluation", kind="evaluation", info=info)
    return EvaluationReport.model_validate({**info.model_dump(), **bundle.model_dump()})


def counts(*four):
    return Pairs.model_validate(
        dict(
            zip(("both_right", "only_reference_right", "only_variant_right", "both_wrong"), four, strict=True)
        )
    )


@pytest.fixture
def reference(tmp_path):
    #                                right     wrong  right
    return evaluation(tmp_path, [0, 1, 2, 0, 0, 0, 0, 1], answers={FGSM: [0, 1, 1, 0]})


def test_each_sample_is_counted_by_who_was_right(reference, tmp_path):
    # Sample 4 is won, samples 0 and 7 are lost, sample 5 is wrong in both.
    other = evaluation(tmp_path, [1, 1, 2, 0, 1, 1, 0, 2], answers={FGSM: [0, 2, 0, 1]})
    found = pair_answers(reference, other)
    assert found.pairs[ACCURACY] == counts(4, 2, 1, 1)
    assert found.pairs[ACCURACY].drop == reference.accuracy.accuracy - other.accuracy.accuracy
    assert TOP_K_ACCURACY not in found.pairs


def test_perturbed_samples_are_held_to_the_truth_of_the_rows_they_come_from(reference, tmp_path):
    # Four of eight samples, rows 0, 2, 4 and 6, whose classes are 0, 2, 1 and 0: the reference misses the second.
    other = evaluation(tmp_path, TARGETS, answers={FGSM: [0, 2, -1, 1]})
    assert pair_answers(reference, other).pairs[FGSM] == counts(1, 2, 1, 0)


def test_a_top_k_hit_is_a_pair_too(tmp_path):
    targets = np.arange(8)
    right, wrong = (
        evaluation(tmp_path, predicted, targets=targets, num_classes=8) for predicted in (targets, [7] * 8)
    )
    found = pair_answers(right, wrong).pairs[TOP_K_ACCURACY]
    # Beside the 7 that it names, the wrong one ranks 0, 1, 2 and 3 next, as equals go by their number.
    assert found == counts(5, 3, 0, 0)


def test_an_evaluation_without_answers_pairs_its_clean_samples_only(reference, tmp_path):
    assert set(pair_answers(reference, evaluation(tmp_path, TARGETS)).pairs) == {ACCURACY}


@pytest.mark.parametrize("name", ["dataset_digest", "sample_ids_sha256", "attacks_digest"])
def test_what_was_not_asked_the_same_cannot_be_paired(reference, tmp_path, name):
    with pytest.raises(NotComparable, match="were not asked the same") as caught:
        pair_answers(reference, evaluation(tmp_path, TARGETS, **{name: "x"}))
    assert caught.value.details == (f"{name}: {getattr(reference, name)} and x",)


def test_other_samples_under_one_digest_cannot_be_paired(reference, tmp_path):
    with pytest.raises(NotComparable, match="hold different samples"):
        pair_answers(reference, evaluation(tmp_path, TARGETS, ids=np.arange(8)[::-1].copy()))


def test_other_numbers_of_perturbed_samples_cannot_be_paired(reference, tmp_path):
    with pytest.raises(NotComparable, match=r"robustness/fgsm_0\.1 has 4 and 2 samples"):
        pair_answers(reference, evaluation(tmp_path, TARGETS, answers={FGSM: [0, 1]}))


def test_a_changed_byte_is_noticed(reference, tmp_path):
    other = evaluation(tmp_path, TARGETS, answers={FGSM: [0, 1, 2, 0]})
    path = Path(other.directory) / ANSWERS
    path.write_bytes(path.read_bytes()[:-1] + b"\x07")
    with pytest.raises(IntegrityError):
        pair_answers(reference, other)


# the bootstrap


@pytest.mark.parametrize("num_classes", [2, 5])
def test_metrics_from_counts_are_scikit_learns(num_classes):
    generator = np.random.default_rng(num_classes)
    targets = generator.integers(0, num_classes, 200)
    predicted = np.where(generator.random(200) < 0.7, targets, generator.integers(0, num_classes, 200))
    found = metrics_of(np.ones((1, 200)), targets, predicted, num_classes=num_classes)
    averaged = {"average": "macro", "zero_division": 0}
    expected = {
        "precision_macro": sk.precision_score(targets, predicted, **averaged),
        "recall_macro": sk.recall_score(targets, predicted, **averaged),
        "f1_macro": sk.f1_score(targets, predicted, **averaged),
        "balanced_accuracy": sk.balanced_accuracy_score(targets, predicted),
        "matthews": sk.matthews_corrcoef(targets, predicted),
    }
    assert set(found) == set(METRICS)
    for name, value in expected.items():
        assert found[name][0] == pytest.approx(value), name


def test_a_resample_counts_each_sample_as_often_as_it_was_drawn():
    targets, predicted, drawn = np.array([0, 0, 1, 1]), np.array([0, 1, 1, 0]), np.array([3.0, 1.0, 2.0, 0.0])
    found = metrics_of(drawn[None], targets, predicted, num_classes=2)["f1_macro"][0]
    times = drawn.astype(int)
    assert found == pytest.approx(
        sk.f1_score(targets.repeat(times), predicted.repeat(times), average="macro")
    )


def test_the_range_of_the_drop_covers_its_truth():
    generator, covered = np.random.default_rng(0), 0
    # Two classes of equal size, symmetric errors: F1 is the accuracy, and its true drop is 0.03.
    for _ in range(150):
        targets = generator.integers(0, 2, 500)
        reference = targets ^ (generator.random(500) < 0.1)
        variant = reference ^ ((reference == targets) & (generator.random(500) < 0.03 / 0.9))
        answers = PairedAnswers(targets, reference, variant, {})
        low, high = drop_ranges(answers, num_classes=2)["f1_macro"]
        covered += low <= 0.03 <= high
    assert covered / 150 >= 0.9


def test_equal_answers_are_no_surer_of_f1_than_of_accuracy(tmp_path):
    one, other = (evaluation(tmp_path, TARGETS, artifact=name) for name in "ab")
    drops = {d.metric: d for d in measure_drops(variant("onnx", one), variant("torch", other))}
    f1, accuracy = drops["accuracy/f1_macro"], drops[ACCURACY]
    assert (f1.drop, f1.low, f1.high) == (0.0, accuracy.low, accuracy.high)
    assert f1.high > 0.2
    assert (f1.method, accuracy.method) == ("bootstrap", "newcombe-tango")


def test_an_artifact_against_itself_has_no_drop_that_samples_could_hide(tmp_path):
    one = evaluation(tmp_path, TARGETS)
    drops = measure_drops(variant("again", one), variant("torch", one))
    assert {(d.method, d.low, d.high) for d in drops} == {("same artifact", 0.0, 0.0)}


def variant(name, report):
    return MeasuredVariant(
        name=name,
        steps=(),
        state="built",
        problem=None,
        artifact=None,
        evaluation=report,
        efficiency=None,
    )
