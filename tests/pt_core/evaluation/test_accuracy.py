import warnings

import numpy as np
import pytest
from scipy.special import softmax
from sklearn import metrics as oracle

from pt_core.errors import DataError, StepFailed
from pt_core.evaluation.accuracy import MICRO_AVERAGE, curves, log_odds, score

LABELS = ("a", "b", "c")


def random_case(num_samples=300, num_classes=5, seed=0):
    generator = np.random.default_rng(seed)
    targets = generator.integers(0, num_classes, num_samples)
    logits = generator.normal(size=(num_samples, num_classes)) + 1.2 * np.eye(num_classes)[targets]
    return logits.astype(np.float32), targets, tuple("abcdefgh"[:num_classes])


def one_hot(predicted, num_classes=3):
    return (4 * np.eye(num_classes)[predicted]).astype(np.float32)


def test_a_case_of_three_classes_counted_by_hand():
    # true a: a a b | true b: b c | true c: c c c a
    targets = np.array([0, 0, 0, 1, 1, 2, 2, 2, 2])
    predicted = [0, 0, 1, 1, 2, 2, 2, 2, 0]
    report = score(one_hot(predicted), targets, LABELS)
    assert report.confusion_matrix == ((2, 1, 0), (0, 1, 1), (1, 0, 3))
    assert report.num_samples == 9
    assert report.accuracy == pytest.approx(6 / 9, abs=1e-15)
    assert [c.precision for c in report.per_class] == pytest.approx([2 / 3, 1 / 2, 3 / 4], abs=1e-15)
    assert [c.recall for c in report.per_class] == pytest.approx([2 / 3, 1 / 2, 3 / 4], abs=1e-15)
    assert [c.f1 for c in report.per_class] == pytest.approx([2 / 3, 1 / 2, 3 / 4], abs=1e-15)
    assert [c.support for c in report.per_class] == [3, 2, 4]
    assert report.f1_macro == pytest.approx((2 / 3 + 1 / 2 + 3 / 4) / 3, abs=1e-15)
    # b against the rest, 2 x 7 pairs: the found b is above 6 others and ties with the false b,
    # the missed b ties with those 6 and is below the false b.
    assert report.per_class[1].roc_auc == pytest.approx((6 + 0.5 + 6 * 0.5) / 14, abs=1e-15)


@pytest.mark.parametrize(("num_classes", "seed"), [(2, 1), (3, 2), (5, 3), (8, 4)])
def test_every_metric_agrees_with_scikit_learn_on_softmax_probabilities(num_classes, seed):
    logits, targets, labels = random_case(num_classes=num_classes, seed=seed)
    probabilities = softmax(logits.astype(np.float64), axis=1)
    predicted = logits.argmax(axis=1)
    report = score(logits, targets, labels)
    expected = {
        "accuracy": oracle.accuracy_score(targets, predicted),
        "precision_macro": oracle.precision_score(targets, predicted, average="macro"),
        "recall_macro": oracle.recall_score(targets, predicted, average="macro"),
        "f1_macro": oracle.f1_score(targets, predicted, average="macro"),
        "average_precision_macro": oracle.average_precision_score(
            np.eye(num_classes)[targets], probabilities, average="macro"
        ),
        "roc_auc_macro": np.mean(
            [oracle.roc_auc_score(targets == c, probabilities[:, c]) for c in range(num_classes)]
        ),
        "balanced_accuracy": oracle.balanced_accuracy_score(targets, predicted),
        "matthews": oracle.matthews_corrcoef(targets, predicted),
        "log_loss": oracle.log_loss(targets, probabilities),
        "brier": ((probabilities - np.eye(num_classes)[targets]) ** 2).sum() / len(targets),
    }
    if num_classes > 2:
        by_sklearn = oracle.roc_auc_score(targets, probabilities, multi_class="ovr", average="macro")
        assert report.roc_auc_macro == pytest.approx(by_sklearn, abs=1e-12)
    for name, value in expected.items():
        assert getattr(report, name) == pytest.approx(value, abs=1e-12), name
    assert np.array_equal(report.confusion_matrix, oracle.confusion_matrix(targets, predicted))


def test_the_roc_area_is_the_share_of_pairs_in_the_right_order():
    logits, targets, labels = random_case(num_samples=60, num_classes=3)
    p = softmax(logits.astype(np.float64), axis=1)
    for c, found in enumerate(score(logits, targets, labels).per_class):
        inside, outside = p[targets == c, c][:, None], p[targets != c, c][None, :]
        pairs = (inside > outside).mean() + 0.5 * (inside == outside).mean()
        assert found.roc_auc == pytest.approx(pairs, abs=1e-12)


def test_a_class_never_predicted_has_no_precision_and_counts_as_zero_in_the_mean():
    report = score(one_hot([0, 0, 1]), np.array([0, 2, 1]), LABELS)
    assert report.per_class[2].precision is None
    assert report.per_class[2].recall == 0
    assert report.per_class[2].f1 == 0
    assert report.precision_macro == pytest.approx((1 / 2 + 1 + 0) / 3)


def test_an_absent_class_has_no_recall_and_no_areas_and_keeps_its_column():
    report = score(one_hot([0, 1, 2, 0]), np.array([0, 1, 1, 0]), LABELS)
    absent = report.per_class[2]
    assert (absent.recall, absent.roc_auc, absent.average_precision, absent.support) == (None, None, None, 0)
    assert absent.precision == 0
    assert report.confusion_matrix == ((2, 0, 0), (0, 1, 1), (0, 0, 0))
    assert report.roc_auc_macro is None
    assert report.average_precision_macro is None


def test_a_single_class_is_undefined_without_any_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = score(one_hot([0, 0]), np.array([0, 0]), LABELS)
        found = curves(one_hot([0, 0]), np.array([0, 0]), LABELS)
    assert report.accuracy == 1
    assert {c.roc_auc for c in report.per_class} == {None}
    assert report.per_class[1].f1 is None
    assert [curve.label for curve in found.roc] == [MICRO_AVERAGE]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite_are_refused_with_their_number(bad):
    logits = one_hot([0, 1, 2, 0])
    logits[[1, 3], 0] = bad
    with pytest.raises(StepFailed, match=r"2 of 4 samples are not finite \(first rows: 1, 3\)"):
        score(logits, np.array([0, 1, 2, 0]), LABELS)


@pytest.mark.parametrize(
    ("logits", "targets"),
    [
        (np.zeros((2, 3), np.float32), np.array([0, 1, 2])),
        (np.zeros((2, 4), np.float32), np.array([0, 1])),
        (np.zeros((0, 3), np.float32), np.array([], np.int64)),
        (np.zeros((2, 3), np.float32), np.array([0, 3])),
        (np.zeros((2, 3), np.float32), np.array([-1, 0])),
    ],
)
def test_shapes_and_targets_that_do_not_fit_are_refused(logits, targets):
    with pytest.raises(DataError, match="expected"):
        score(logits, targets, LABELS)


def test_log_odds_are_those_of_the_softmax():
    logits, _, _ = random_case()
    p = softmax(logits.astype(np.float64), axis=1)
    assert log_odds(logits) == pytest.approx(np.log(p / (1 - p)), abs=1e-9)


def test_confident_samples_keep_their_order_where_softmax_rounds_them_all_to_one():
    logits = np.array([[60, 0], [50, 0], [55, 0], [45, 0]], dtype=np.float32)
    targets = np.array([0, 1, 0, 1])
    assert len(set(softmax(logits.astype(np.float64), axis=1)[:, 0])) == 1
    assert score(logits, targets, ("a", "b")).per_class[0].roc_auc == 1


def test_extreme_logits_give_finite_scores():
    logits = np.array([[3e38, -3e38, 0], [1e-30, 0, -1e-30], [0, 0, 0]], dtype=np.float32)
    assert np.isfinite(log_odds(logits)).all()


def test_curves_agree_with_scikit_learn_and_end_with_the_micro_average():
    logits, targets, labels = random_case(num_classes=3)
    p = softmax(logits.astype(np.float64), axis=1)
    found = curves(logits, targets, labels)
    assert (
        [c.label for c in found.roc] == [c.label for c in found.precision_recall] == [*labels, MICRO_AVERAGE]
    )
    truth = [targets == 0, targets == 1, targets == 2, np.eye(3)[targets].ravel()]
    for i, (is_class, values) in enumerate(zip(truth, [*p.T, p.ravel()], strict=True)):
        false_positives, true_positives, _ = oracle.roc_curve(is_class, values)
        assert found.roc[i].x == pytest.approx(false_positives, abs=1e-12)
        assert found.roc[i].y == pytest.approx(true_positives, abs=1e-12)
        assert found.roc[i].area == pytest.approx(oracle.roc_auc_score(is_class, values), abs=1e-12)
        precision, recall, _ = oracle.precision_recall_curve(is_class, values)
        assert found.precision_recall[i].x == pytest.approx(recall, abs=1e-12)
        assert found.precision_recall[i].y == pytest.approx(precision, abs=1e-12)
        expected = oracle.average_precision_score(is_class, values)
        assert found.precision_recall[i].area == pytest.approx(expected, abs=1e-12)


def test_the_top_k_accuracy_is_scikit_learns_and_undefined_where_every_sample_would_hit():
    logits, targets, labels = random_case(num_classes=8)
    expected = oracle.top_k_accuracy_score(targets, logits, k=3, labels=range(8))
    assert score(logits, targets, labels, top_k=3).top_k_accuracy == pytest.approx(expected, abs=1e-15)
    small = score(*random_case(num_classes=5))
    assert small.top_k_accuracy is None
    assert "k is 5 and there are 5 classes" in small.undefined[0].reason


def test_of_equal_logits_those_of_lower_classes_come_first_in_the_top_k_too():
    report = score(np.zeros((3, 3), np.float32), np.array([0, 1, 2]), LABELS, top_k=2)
    assert report.top_k_accuracy == pytest.approx(2 / 3)
    assert report.accuracy == pytest.approx(1 / 3)


def test_the_calibration_error_of_two_bins_counted_by_hand():
    # Confidence 0.85 on four samples of which two are right, 0.55 on two that are both right.
    confidence = np.array([0.85] * 4 + [0.55] * 2)
    logits = np.stack([np.log(confidence), np.log(1 - confidence)], axis=1).astype(np.float32)
    report = score(logits, np.array([0, 0, 1, 1, 0, 0]), ("yes", "no"), num_bins=10)
    assert [(b.num_samples, round(b.low, 9), round(b.accuracy, 9)) for b in report.reliability] == [
        (2, 0.5, 1.0),
        (4, 0.8, 0.5),
    ]
    assert report.ece == pytest.approx((4 * 0.35 + 2 * 0.45) / 6, abs=1e-6)


def test_a_certain_and_wrong_answer_has_a_finite_log_loss():
    report = score(np.array([[200.0, -200.0]], np.float32), np.array([1]), ("a", "b"))
    assert report.log_loss == pytest.approx(400)
    assert report.brier == pytest.approx(2)
    assert report.ece == pytest.approx(1)


def test_what_is_undefined_has_its_reason():
    report = score(one_hot([0, 0, 1]), np.array([0, 0, 0]), LABELS)
    reasons = {undefined.metric: undefined.reason for undefined in report.undefined}
    assert set(reasons) == {
        f"accuracy/{name}"
        for name in ("roc_auc_macro", "average_precision_macro", "top_k_accuracy", "matthews")
    }
    assert "one class only" in reasons["accuracy/matthews"]
    assert "class a, b, c has samples on one side only" in reasons["accuracy/roc_auc_macro"]
