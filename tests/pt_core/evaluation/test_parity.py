"""Parity: what passes, what is refused, and that each refusal names the batch size and the numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pt_core.artifacts.plugin import RuntimeInfo
from pt_core.errors import DataError, ParityError
from pt_core.evaluation.parity import BATCH_SIZES, check_parity

WEIGHT = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
SAMPLES = np.random.default_rng(1).random((20, 6)).astype(np.float32)


class Fake:
    """A linear network whose logits pass through a function of (logits, batch size)."""

    def __init__(self, change=lambda logits, size: logits) -> None:
        self._change = change

    def logits(self, batch):
        return self._change(batch @ WEIGHT, len(batch))

    def runtime(self) -> RuntimeInfo:
        return RuntimeInfo(runtime="fake", provider="fake", num_threads=1)


def refused(change, match: str, precision="fp32") -> None:
    with pytest.raises(ParityError, match=match):
        check_parity(Fake(), Fake(change), SAMPLES, precision)


def test_equal_predictors_agree_exactly_at_every_batch_size():
    parity = check_parity(Fake(), Fake(), SAMPLES, "fp32")
    assert tuple(p.batch_size for p in parity.points) == BATCH_SIZES == (1, 2, 3, 7, 8, 64)
    assert {p.max_abs_error for p in parity.points} == {0.0}
    assert {p.top1_agreement for p in parity.points} == {1.0}
    assert parity.self_max_abs_error == 0


def test_the_numbers_are_those_of_a_count_by_hand():
    # Centred, (10, 14, 12) is (-2, 2, 0) and (11, 15.5, 12.5) is (-2, 2.5, -0.5): error 0.5, over 2;
    # cosine 9 / sqrt(8 * 10.5). As they are, they differ by 1.5.
    class Constant(Fake):
        def __init__(self, row):
            self._row = np.array([row], np.float32)

        def logits(self, batch):
            return self._row.repeat(len(batch), axis=0)

    parity = check_parity(Constant([10, 14, 12]), Constant([11, 15.5, 12.5]), SAMPLES, "int8")
    point = parity.points[0]
    assert (point.max_abs_error, point.relative_error, point.top1_agreement) == (1.5, 0.25, 1.0)
    assert point.cosine == pytest.approx(9 / math.sqrt(84), abs=1e-12)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 64])
def test_an_error_at_one_batch_size_is_refused_with_that_size(size):
    refused(
        lambda logits, n: logits * (1 + (n == size)),
        rf"batch size {size}: relative error .*expected at most 0.0001",
    )


@pytest.mark.parametrize(
    ("precision", "share"), [("fp32", 1e-4), ("fp16", 0.01), ("bf16", 0.05), ("int8", 0.6)]
)
def test_the_tolerance_of_each_precision_is_where_it_says(precision, share):
    def moved(by):
        def change(logits, n):
            moved = logits.copy()
            if n < 64:
                # Of few logits one that is as wrong as INT8 may be is a large part of the power: SQNR would refuse it.
                return moved
            centred = logits - logits.mean(axis=1, keepdims=True)
            largest = np.unravel_index(np.abs(centred).argmax(), logits.shape)
            # A quarter of what one of four logits moves by goes into the row's mean.
            moved[largest] += by * centred[largest] / 0.75
            return moved

        return change

    check_parity(Fake(), Fake(moved(share * 0.98)), SAMPLES, precision)
    refused(moved(share * 1.02), "relative error", precision)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16", "int8"])
def test_a_constant_is_refused_whatever_the_logits_have_in_common(precision):
    reference = Fake(lambda logits, _: logits + 20)
    constant = Fake(lambda logits, _: np.full_like(logits, 20))
    with pytest.raises(ParityError, match="batch size 1: relative error"):
        check_parity(reference, constant, SAMPLES, precision)


def test_an_offset_that_softmax_ignores_is_reported_and_no_error():
    parity = check_parity(Fake(), Fake(lambda logits, _: logits + 1), SAMPLES, "fp32")
    assert parity.points[0].max_abs_error == pytest.approx(1)
    assert parity.points[0].relative_error < 1e-6


def test_unrelated_logits_of_the_right_size_are_refused_by_their_cosine():
    class Spread(Fake):
        def __init__(self, sign):
            self._sign = sign

        def logits(self, batch):
            row = np.array([[1.0] + [self._sign * 0.165, -self._sign * 0.165] * 15], np.float32)
            return row.repeat(len(batch), axis=0)

    # Every logit is within 0.33 of the largest, and the vectors still point elsewhere.
    with pytest.raises(ParityError, match=r"cosine 0\.\d+, expected at least 0\.95 for int8"):
        check_parity(Spread(1), Spread(-1), SAMPLES, "int8")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda logits, _: logits[:, :3], r"batch size 1: logits of shape \(1, 3\), expected \(1, 4\)"),
        (lambda logits, _: logits.astype(np.float64), "batch size 1: logits are float64, expected float32"),
        (
            lambda logits, n: logits * (np.nan if n == 7 else 1),
            "batch size 7: 28 of 28 logits are not finite",
        ),
        (lambda logits, n: logits / (0.0 if n == 3 else 1), "batch size 3: .*not finite"),
        (lambda logits, n: logits[: 1 if n == 2 else n], r"batch size 2: logits of shape \(1, 4\)"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_logits_of_another_form_are_refused(change, match):
    refused(change, match)
    refused(change, match, "int8")


def test_a_candidate_that_raises_is_refused_with_the_batch_size_and_what_it_raised():
    def only_four(logits, n):
        if n not in (1, 4):
            raise RuntimeError("shape '[4, 64]' is invalid")
        return logits

    refused(only_four, r"batch size 2: the candidate raised RuntimeError: shape '\[4, 64\]' is invalid")


def noisy(draw):
    return lambda logits, _: logits * (1 + 0.01 * draw(size=logits.shape).astype(np.float32))


def test_randomness_is_called_by_its_name_on_either_side():
    change = noisy(np.random.normal)
    refused(change, "the candidate differs from itself .*: it is random, as with dropout left on", "int8")
    with pytest.raises(
        ParityError, match=r"the reference differs from itself .*: it is random, as with dropout"
    ):
        check_parity(Fake(change), Fake(), SAMPLES, "int8")


def test_state_between_calls_is_called_by_its_name():
    calls = iter(range(1000))
    refused(lambda logits, _: logits * (1 + 0.01 * next(calls)), "it keeps state between calls", "int8")
    with pytest.raises(
        ParityError, match=r"the reference differs from itself .*: it keeps state between calls"
    ):
        check_parity(Fake(noisy(np.random.default_rng(0).normal)), Fake(), SAMPLES, "int8")


def test_state_that_shows_after_many_calls_only_is_found():
    calls = iter(range(1000))
    with pytest.raises(ParityError, match=r"the reference differs from itself .*: it keeps state"):
        check_parity(Fake(lambda logits, _: logits + (next(calls) > 4) * WEIGHT[0]), Fake(), SAMPLES, "fp32")


def test_a_reference_that_is_not_finite_proves_nothing():
    with pytest.raises(ParityError, match="the reference gives logits that are not finite"):
        check_parity(Fake(lambda logits, _: logits * np.nan), Fake(), SAMPLES, "fp32")


def test_a_batch_larger_than_the_samples_repeats_them_and_none_at_all_is_refused():
    assert len(check_parity(Fake(), Fake(), SAMPLES[:1], "fp32").points) == 6
    with pytest.raises(DataError, match="no samples"):
        check_parity(Fake(), Fake(), SAMPLES[:0], "fp32")


def test_other_names_than_every_format_uses_are_refused():
    class Named(Fake):
        def runtime(self) -> RuntimeInfo:
            return super().runtime().model_copy(update={"inputs": ("input",), "outputs": ("x", "y")})

    with pytest.raises(ParityError, match="outputs named x, y, expected logits"):
        check_parity(Fake(), Named(), SAMPLES, "fp32")


def test_every_problem_is_listed_and_a_baked_batch_is_told_from_rounding():
    with pytest.raises(
        ParityError, match=r"the same samples agree in batches of 8.* not in batches of 2, 64"
    ) as caught:
        check_parity(Fake(), Fake(lambda logits, n: logits * (1 + (n in (2, 64)))), SAMPLES, "fp32")
    assert any(detail.startswith("batch size 64: relative error") for detail in caught.value.details)
    # Just within the tolerance at the export's size and just outside it elsewhere: that is no baked batch.
    with pytest.raises(ParityError) as caught:
        check_parity(Fake(), Fake(lambda logits, n: logits * (1.34 if n == 8 else 1.36)), SAMPLES, "int8")
    assert "batches of 8" not in caught.value.message
