import uuid

import numpy as np
import pytest
from pydantic import ValidationError
from safetensors.numpy import save_file
from scipy.special import softmax
from sklearn import metrics as oracle

from pt_core.artifacts.plugin import RuntimeInfo
from pt_core.bundle import seal, staging
from pt_core.data.dataset import Samples, load_split
from pt_core.errors import ConfigError, StepFailed
from pt_core.evaluation.accuracy import score
from pt_core.evaluation.attacks.craft import craft
from pt_core.evaluation.config import EvaluationConfig, SliceConfig
from pt_core.evaluation.custom import measure_custom
from pt_core.evaluation.evaluate import evaluate
from pt_core.evaluation.measures import check_measures, code_of, may_be_slice, measure_names
from pt_core.evaluation.pairs import pair_answers
from pt_core.evaluation.report import LOGITS, EvaluationInfo, EvaluationReport, metrics
from pt_core.evaluation.requests import AttackRequest, EvaluateRequest
from pt_core.evaluation.shares import sample_counts, shares
from pt_core.evaluation.slices import part, score_slices

USER_CODE = """
import numpy as np

def halves(x, y):
    return ["first half" if row < len(y) // 2 else "a/b" for row in range(len(y))]

def too_few(x, y):
    return ["one"]

def clash(x, y):
    return ["a/b" if row % 2 else "a?b" for row in range(len(y))]

def long(x, y):
    return ["x" * 101] * len(y)

def broken(x, y):
    raise KeyError("no such thing")

def cost(logits, targets):
    logits[:] = 0  # its own copy
    return (targets == 2).mean()

def nothing(logits, targets):
    return float("nan")

def endless(logits, targets):
    return np.float32("inf")

def no_number(logits, targets):
    return "many"
"""


@pytest.fixture
def user(tmp_path, monkeypatch):
    (tmp_path / "own_measures.py").write_text(USER_CODE)
    monkeypatch.syspath_prepend(str(tmp_path))
    return "own_measures:{}".format


def binary_case(num_samples=400, seed=0):
    generator = np.random.default_rng(seed)
    targets = generator.integers(0, 2, num_samples)
    logits = generator.normal(size=(num_samples, 2)) + 1.0 * np.eye(2)[targets]
    return logits.astype(np.float32), targets


def test_every_metric_at_a_threshold_is_scikit_learns():
    logits, targets = binary_case()
    probability = softmax(logits.astype(np.float64), axis=1)[:, 1]
    found = score(logits, targets, ("no", "yes"), thresholds=(0.2, 0.5, 0.9)).thresholds
    assert [one.threshold for one in found] == [0.2, 0.5, 0.9]
    for one in found:
        called = probability >= one.threshold
        assert one.accuracy == pytest.approx(oracle.accuracy_score(targets, called), abs=1e-15)
        assert one.precision == pytest.approx(oracle.precision_score(targets, called), abs=1e-15)
        assert one.recall == pytest.approx(oracle.recall_score(targets, called), abs=1e-15)
        assert one.specificity == pytest.approx(oracle.recall_score(1 - targets, ~called), abs=1e-15)
        assert one.f1 == pytest.approx(oracle.f1_score(targets, called), abs=1e-15)
    assert found[0].recall > found[2].recall


def test_a_probability_equal_to_the_threshold_is_positive():
    report = score(np.zeros((4, 2), np.float32), np.array([0, 1, 1, 0]), ("no", "yes"), thresholds=(0.5,))
    assert report.thresholds[0].recall == 1
    assert report.thresholds[0].specificity == 0


def test_what_is_undefined_at_a_threshold_is_none_with_its_reason():
    logits = np.array([[5, 0], [4, 0], [3, 0]], dtype=np.float32)
    report = score(logits, np.zeros(3, dtype=np.int64), ("no", "yes"), thresholds=(0.9,))
    (found,) = report.thresholds
    assert (found.accuracy, found.specificity) == (1, 1)
    assert (found.precision, found.recall, found.f1) == (None, None, None)
    reasons = {one.metric: one.reason for one in report.undefined}
    assert reasons["accuracy/precision_at_0.9"] == "no sample is called positive"
    assert reasons["accuracy/recall_at_0.9"] == "no sample is positive"
    assert reasons["accuracy/f1_at_0.9"] == "no sample is positive or called so"


def table(columns, targets=None):
    x = np.array(columns, dtype=np.float32).T
    y = np.zeros(len(x), dtype=np.int64) if targets is None else np.array(targets)
    return Samples(x, y, np.arange(len(x)))


def test_a_column_is_parted_by_its_values_or_by_ranges():
    samples = table([[0, 1, 1, 0], [0.1, 0.7, 0.3, 9.0]])
    values = part([SliceConfig(name="kind", column=0)], samples)
    assert [(one.value, one.rows.tolist()) for one in values] == [("0", [0, 3]), ("1", [1, 2])]
    ranges = part([SliceConfig(name="size", column=1, edges=(0.3, 0.7, 20.0))], samples)
    # An edge belongs to the range above it, and a range without samples is none.
    assert [(one.value, one.rows.tolist()) for one in ranges] == [
        ("below_0.3", [0]),
        ("0.3_to_0.7", [2]),
        ("0.7_to_20", [1, 3]),
    ]


def test_edges_that_differ_in_the_seventh_digit_or_are_huge_have_names_of_their_own():
    column = [0.0, 1.00000015, 5.0, 3e20]
    found = part([SliceConfig(name="size", column=0, edges=(1.0000001, 1.0000002, 1e20))], table([column]))
    assert [one.value for one in found] == [
        "below_1.0000001",
        "1.0000001_to_1.0000002",
        "1.0000002_to_100000000000000000000",
        "from_100000000000000000000",
    ]


def test_a_label_that_is_too_long_for_a_name_is_refused(user):
    with pytest.raises(ConfigError, match="name of 101 characters, expected at most 100: 'xxx"):
        part([SliceConfig(name="own", function=user("long"))], table([[0, 1, 2, 3]]))
    edges = (1e100, 1e101)
    with pytest.raises(ConfigError, match="expected at most 100"):
        part([SliceConfig(name="own", column=0, edges=edges)], table([[0, 1, 2, 3]]))


def test_a_function_parts_the_samples_under_names_that_metrics_may_have(user):
    samples = table([[0, 1, 2, 3]])
    found = part([SliceConfig(name="half", function=user("halves"))], samples)
    assert [(one.value, one.rows.tolist()) for one in found] == [("a_b", [2, 3]), ("first half", [0, 1])]


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        ("too_few", StepFailed, "returned 1 labels for 4 samples"),
        ("broken", StepFailed, "raised KeyError"),
        ("clash", ConfigError, "two values of own are called 'a_b'"),
        ("absent", ConfigError, r"evaluation\.slices: .* defines no 'absent'"),
    ],
)
def test_a_function_that_parts_nothing_is_refused(user, function, error, message):
    with pytest.raises(error, match=message):
        part([SliceConfig(name="own", function=user(function))], table([[0, 1, 2, 3]]))


def test_a_column_of_too_many_values_needs_edges():
    with pytest.raises(ConfigError, match="150 values, expected at most 100; give edges"):
        part([SliceConfig(name="id", column=0)], table([range(150)]))


def test_slices_are_scored_apart_and_a_small_one_is_undefined_with_its_reason():
    samples = table([[0, 0, 0, 0, 1]], targets=[0, 0, 0, 2, 1])
    slices = part([SliceConfig(name="kind", column=0, min_samples=2)], samples)
    scores, undefined = score_slices(slices, np.array([0, 0, 1, 2, 1]), samples.y)
    assert scores[0].metric == "slices/kind=0"
    assert (scores[0].accuracy, scores[0].num_samples) == (0.75, 4)
    assert scores[0].recall_macro == pytest.approx((2 / 3 + 1) / 2)
    assert (scores[1].accuracy, scores[1].recall_macro, scores[1].num_samples) == (None, None, 1)
    assert [(one.metric, one.reason) for one in undefined] == [
        ("slices/kind=1/accuracy", "1 samples, expected at least 2"),
        ("slices/kind=1/recall_macro", "1 samples, expected at least 2"),
    ]


def test_an_own_metric_that_is_no_number_is_undefined_with_its_reason(user):
    logits, targets = np.ones((4, 3), np.float32), np.array([0, 1, 2, 2])
    functions = [user(name) for name in ("cost", "nothing", "endless", "no_number", "broken")]
    scores, undefined = measure_custom(functions, logits, targets)
    assert [one.value for one in scores] == [0.5, None, None, None, None]
    assert scores[0].metric == "custom/cost"
    assert (logits == 1).all()
    assert [one.reason.partition(" ")[2] for one in undefined[:3]] == [
        "returned nan, expected a finite number",
        "returned inf, expected a finite number",
        "raised ValueError: could not convert string to float: 'many'",
    ]
    assert undefined[3].reason.endswith("raised KeyError: 'no such thing'")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("raise RuntimeError('no licence')", "it raised RuntimeError: no licence"),
        ("raise SystemExit(3)", "it raised SystemExit: 3"),
        ("import nowhere_to_be_found", "No module named 'nowhere_to_be_found'; install what it needs"),
        ("1 / 0", "it raised ZeroDivisionError"),
    ],
)
@pytest.mark.parametrize("place", ["{}.py", "{}/__init__.py"])
def test_whatever_the_module_of_an_own_metric_raises_is_a_configuration_error(
    tmp_path, monkeypatch, code, said, place
):
    # A name of its own each time: Python remembers what it has found.
    name = f"own_{uuid.uuid4().hex}"
    file = tmp_path / place.format(name)
    file.parent.mkdir(exist_ok=True)
    file.write_text(f"{code}\ndef cost(logits, targets):\n    return 0.0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigError) as refused:
        measure_custom([f"{name}:cost"], np.ones((4, 3), np.float32), np.zeros(4, np.int64))
    assert str(refused.value).startswith(f"evaluation.metrics: {name} cannot be imported: ")
    assert said in str(refused.value)


def test_a_package_that_cannot_be_imported_is_a_configuration_error(tmp_path, monkeypatch):
    name = f"own_{uuid.uuid4().hex}"
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("raise OSError('no disk')\n")
    (tmp_path / name / "inner.py").write_text("def cost(logits, targets):\n    return 0.0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigError, match=f"{name}.inner cannot be imported: it raised OSError: no disk"):
        measure_custom([f"{name}.inner:cost"], np.ones((4, 3), np.float32), np.zeros(4, np.int64))


def test_names_code_and_slices_are_known_before_anything_is_measured():
    config = EvaluationConfig(
        thresholds=(0.25,),
        metrics=("a.b:cost",),
        slices=(SliceConfig(name="age", column=1), SliceConfig(name="who", function="c:d")),
    )
    assert measure_names(config) >= {"accuracy/recall_at_0.25", "accuracy/accuracy_at_0.25", "custom/cost"}
    assert code_of(config) == {"a.b:cost": "evaluation.metrics", "c:d": "evaluation.slices"}
    expected = {
        "slices/age=3/accuracy": True,
        "slices/*/accuracy": True,
        "slices/who=*/recall_macro": True,
        "slices/other=3/accuracy": False,
        "slices/age=3/f1": False,
        "accuracy/accuracy": False,
    }
    assert {name: may_be_slice(config, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"slices": [{"name": "a"}]}, "expected either column or function"),
        ({"slices": [{"name": "a", "column": 1, "function": "a:b"}]}, "expected either column or function"),
        ({"slices": [{"name": "a", "function": "a:b", "edges": [1]}]}, "edges part a column"),
        ({"slices": [{"name": "a", "column": 1, "edges": [2, 1]}]}, "do not rise"),
        ({"slices": [{"name": "a", "column": 1}, {"name": "a", "column": 2}]}, "'a' is the name of two"),
        ({"metrics": ["a:cost", "b:cost"]}, "'cost' is the name of two"),
        ({"thresholds": [0.5, 0.5]}, "given twice"),
        ({"thresholds": [1.0]}, "less than 1"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_the_configuration(given, message):
    with pytest.raises(ValidationError, match=message):
        EvaluationConfig.model_validate(given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"thresholds": (0.5,)}, "3 classes, expected 2"),
        ({"slices": (SliceConfig(name="a", column=6),)}, "expected 0 to 5"),
    ],
)
def test_what_does_not_fit_the_samples_is_refused_with_the_remedy(dataset, given, message):
    with pytest.raises(ConfigError, match=message):
        check_measures(EvaluationConfig(**given), dataset)


def test_pixels_are_no_columns(dataset):
    images = dataset.model_copy(update={"input_shape": (1, 8, 8)})
    config = EvaluationConfig(slices=(SliceConfig(name="a", column=0),))
    with pytest.raises(ConfigError, match="give function instead"):
        check_measures(config, images)


def test_an_evaluation_holds_slices_and_own_metrics_and_pairs_them(reference, dataset, store, user):
    config = EvaluationConfig(
        fgsm_epsilons=(),
        noise_sigmas=(0.1,),
        top_k=2,
        calibration_bins=4,
        slices=(SliceConfig(name="column", column=0, edges=(0.5,), min_samples=20),),
        metrics=(user("cost"), user("nothing")),
    )
    attacks = craft(
        AttackRequest(reference=reference, dataset=dataset, config=config, seed=0, store=str(store))
    )
    request = EvaluateRequest(
        artifact=reference, dataset=dataset, attacks=attacks, config=config, store=str(store)
    )
    report = evaluate(request)
    x, y, _ = load_split(dataset, "test")
    flat = metrics(reference, report, None)
    assert flat["custom/cost"] == (y == 2).mean()
    assert "custom/nothing" not in flat
    assert [one.metric for one in report.undefined] == ["custom/nothing"]
    low = x[:, 0] < 0.5
    assert flat["slices/column=below_0.5/num_samples"] == low.sum()
    counts = (flat["slices/column=below_0.5/accuracy"] * low.sum()) + (
        flat["slices/column=from_0.5/accuracy"] * (~low).sum()
    )
    assert counts == pytest.approx(flat["accuracy/accuracy"] * 150)
    assert report.accuracy.top_k == 2
    assert report.accuracy.top_k_accuracy is not None
    assert len(report.accuracy.reliability) <= 4
    pairs = pair_answers(report, report).pairs
    assert pairs["slices/column=below_0.5/accuracy"].num_samples == low.sum()
    assert pairs["accuracy/top_k_accuracy"].drop == 0
    assert shares(report)["slices/column=below_0.5/accuracy"].num_samples == low.sum()
    assert sample_counts(report)["slices/column=below_0.5/recall_macro"] == low.sum()


def test_answers_at_a_threshold_are_paired_over_those_it_is_about(tmp_path):
    weak, strong = binary_case(), binary_case()
    better = strong[0] + 2.0 * np.eye(2, dtype=np.float32)[strong[1]]
    first, second = (write_binary(tmp_path, logits, weak[1]) for logits in (weak[0], better))
    pairs = pair_answers(first, second).pairs
    positive = int((weak[1] == 1).sum())
    counted = {name: pairs[f"accuracy/{name}_at_0.3"] for name in ("accuracy", "recall", "specificity")}
    assert [one.num_samples for one in counted.values()] == [400, positive, 400 - positive]
    for name, one in counted.items():
        before, after = (getattr(found.accuracy.thresholds[0], name) for found in (first, second))
        assert one.drop == pytest.approx(before - after), name
        assert one.drop < 0
    share = shares(second)["accuracy/recall_at_0.3"]
    assert (share.num_samples, share.value) == (positive, second.accuracy.thresholds[0].recall)
    assert "accuracy/precision_at_0.3" not in pairs


def write_binary(folder, logits, targets):
    """Return an evaluation on disk of two classes, decided at 0.3."""
    info = EvaluationInfo(
        artifact_digest=str(logits.sum()),
        dataset_digest="d",
        data_fingerprint="f",
        sample_ids_sha256="i",
        attacks_digest="a",
        accuracy=score(logits, targets, ("no", "yes"), thresholds=(0.3,)),
        robustness=(),
        peak_memory_bytes=None,
        runtime=RuntimeInfo(runtime="r", provider="p", num_threads=1),
    )
    with staging(folder) as part_folder:
        tensors = {"logits": logits, "targets": targets, "ids": np.arange(len(targets))}
        save_file(tensors, part_folder / LOGITS)
        bundle = seal(part_folder, name="evaluation", kind="evaluation", info=info)
    return EvaluationReport.model_validate({**info.model_dump(), **bundle.model_dump()})
