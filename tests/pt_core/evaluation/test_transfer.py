import numpy as np
import pytest

from pt_core.data.dataset import load_split
from pt_core.errors import StepFailed
from pt_core.evaluation.attacks.craft import craft
from pt_core.evaluation.config import EvaluationConfig
from pt_core.evaluation.evaluate import evaluate
from pt_core.evaluation.report import SQUARE
from pt_core.evaluation.requests import AttackRequest, Contender, EvaluateRequest, TransferRequest
from pt_core.evaluation.transfer import transfer
from pt_core.evaluation.transfer_table import TransferRow, TransferTable, gradient_masking

CONFIG = EvaluationConfig(
    fgsm_epsilons=(0.1,),
    noise_sigmas=(),
    square_epsilons=(0.02, 0.1),
    square_queries=150,
    square_samples=50,
    transfer_epsilon=0.1,
)


@pytest.fixture(scope="module")
def request_(reference, new_reference, dataset, store):
    """A linear model, and the same one with its gradients masked."""
    masked = new_reference(store, dataset, target="masked:masked", name="masked")
    attacks = craft(
        AttackRequest(reference=reference, dataset=dataset, config=CONFIG, seed=0, store=str(store))
    )
    contenders = []
    for name, artifact in (("plain", reference), ("masked", masked)):
        asked = EvaluateRequest(
            artifact=artifact, dataset=dataset, attacks=attacks, config=CONFIG, store=str(store)
        )
        contenders.append(Contender(name=name, artifact=artifact, evaluation=evaluate(asked)))
    return TransferRequest(
        contenders=tuple(contenders), dataset=dataset, config=CONFIG, seed=0, store=str(store)
    )


@pytest.fixture(scope="module")
def table(request_):
    return transfer(request_)


def test_square_is_measured_on_each_artifact_and_its_queries_are_counted(request_):
    for contender in request_.contenders:
        weak, strong = (p for p in contender.evaluation.robustness if p.attack == "square")
        assert (weak.metric, strong.metric) == ("robustness/square_0.02", "robustness/square_0.1")
        assert weak.num_samples == strong.num_samples == 50
        assert 50 <= strong.num_queries <= 150 * 50
        assert strong.accuracy <= weak.accuracy
    plain = request_.contenders[0].evaluation
    assert next(p for p in plain.robustness if p.attack == "fgsm").num_queries is None


def test_every_set_is_scored_on_every_variant_at_one_strength(table, dataset, weights_and_bias):
    assert table.scored_on == ("plain", "masked")
    assert [(row.crafted_on, row.attack) for row in table.rows] == [
        ("plain", "fgsm"),
        ("plain", "pgd"),
        ("masked", "fgsm"),
        ("masked", "pgd"),
        ("plain", "square"),
        ("masked", "square"),
    ]
    x, y, _ = load_split(dataset, "test")
    weight, bias = weights_and_bias()
    right = ((x @ weight.T + bias).argmax(axis=1) == y)[::3].mean()
    assert table.clean == pytest.approx((right, right))
    assert table.num_samples == 50
    assert table.epsilon == 0.1


def test_a_masked_network_falls_to_what_was_crafted_on_the_other_and_a_sentence_says_so(table):
    accuracy = {(row.crafted_on, row.attack): row.accuracy for row in table.rows}
    # The two agree on every sample, so that they are equally weak; only the gradients differ.
    assert accuracy["plain", "pgd"][0] == accuracy["plain", "pgd"][1] < table.clean[0] - 0.3
    # PGD keeps its random start, which is not along any gradient.
    assert accuracy["masked", "fgsm"][1] == pytest.approx(table.clean[1], abs=0.05)
    (sentence,) = gradient_masking(table)
    assert sentence.startswith("masked looks stronger than it is: at epsilon 0.1, ")
    assert "gradient masking" in sentence
    assert f"crafted on plain only {accuracy['plain', 'pgd'][1]:.2f}" in sentence


def test_an_evaluation_without_the_samples_of_square_is_refused(request_, dataset):
    other = CONFIG.model_copy(update={"square_samples": 20})
    with pytest.raises(StepFailed, match=r"evaluation of plain holds Square samples of shape \(50, 6\)"):
        transfer(request_.model_copy(update={"config": other}))


def test_what_square_made_is_kept_with_the_evaluation(request_, dataset):
    evaluation = request_.contenders[0].evaluation
    found = np.load(f"{evaluation.directory}/{SQUARE}")
    x = load_split(dataset, "test").x[::3]
    assert np.abs(found - x).max() <= 0.1 + 1e-6


def made(*rows, clean=(0.99, 0.99)):
    return TransferTable(
        epsilon=0.1,
        num_samples=64,
        num_queries=100,
        scored_on=("a", "b"),
        clean=clean,
        rows=tuple(TransferRow(crafted_on=on, attack=how, accuracy=accuracy) for on, how, accuracy in rows),
    )


@pytest.mark.parametrize(
    ("own", "other", "warned"), [(0.5, 0.5, False), (0.5, 0.41, False), (0.5, 0.39, True), (0.2, 0.9, False)]
)
def test_a_variant_is_warned_of_when_another_attack_leaves_a_tenth_less(own, other, warned):
    table = made(("a", "pgd", (own, 0.3)), ("a", "square", (0.9, 0.9)), ("b", "square", (other, 0.9)))
    assert bool(gradient_masking(table)) is warned


def test_an_attack_without_gradients_that_beats_the_variants_own_gradients_is_masking_too():
    (sentence,) = gradient_masking(made(("a", "pgd", (0.9, 0.9)), ("a", "square", (0.4, 0.9))))
    assert "square crafted on itself only 0.40" in sentence


def test_a_runtime_without_gradients_is_compared_with_square_alone():
    # PGD is expected to be stronger than a few queries; that says nothing about b.
    usual = made(("a", "pgd", (0.2, 0.2)), ("a", "square", (0.9, 0.9)), ("b", "square", (0.9, 0.9)))
    assert gradient_masking(usual) == ()
    flat = made(("a", "pgd", (0.2, 0.2)), ("a", "square", (0.5, 0.5)), ("b", "square", (0.9, 0.9)))
    (sentence,) = gradient_masking(flat)
    assert sentence.startswith("b looks stronger than it is")
    assert "square crafted on a only 0.50" in sentence
