"""One step: accumulated, unscaled and clipped once, made or skipped as a whole; classes weighed; weights averaged."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch.nn.functional import cross_entropy
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from pt_core.data.dataset import load_split
from pt_core.errors import ConfigError
from pt_core.modeling.network import complete_spec
from pt_core.modeling.spec import ModelConfig
from pt_core.training.batches import make_fetch
from pt_core.training.classes import balanced_order, class_weights, showings
from pt_core.training.config import TrainConfig
from pt_core.training.session import start_session
from pt_core.training.step import make_step

ROWS = torch.arange(96)


@pytest.fixture(scope="module")
def fetch(digits):
    return make_fetch(load_split(digits, "train"), device="cpu", channels_last=False)


@pytest.fixture
def start(digits):
    model = ModelConfig(target="pt_core.modeling.mlp:mlp", initialization="kaiming")
    spec = complete_spec(model, digits, channels_last=False)

    def start(precision="fp32", *, micro_batch=None, weights=None, **changes):
        plain = {"schedule": "constant", "weight_decay": 0.0}
        plain |= {} if "optimizer" in changes else {"optimizer": "sgd", "momentum": 0.0}
        return start_session(
            spec,
            TrainConfig.model_validate({**plain, **changes}),
            model=model,
            seed=0,
            device="cpu",
            precision=precision,
            total_steps=100,
            micro_batch=micro_batch,
            class_weights=weights,
        )

    return start


def state_of(session):
    return {name: value.clone() for name, value in session.network.state_dict().items()}


def are_equal(found, expected):
    return all(torch.equal(value, found[name]) for name, value in expected.items())


@pytest.mark.parametrize(
    ("precision", "tolerance"), [("fp32", 1e-6), ("bf16-mixed", 2e-2), ("fp16-mixed", 5e-3)]
)
def test_an_accumulated_step_is_the_step_of_all_samples_in_fp32(start, fetch, precision, tolerance):
    whole, parts = start(learning_rate=0.5), start(precision, micro_batch=20, learning_rate=0.5)
    before = state_of(whole)
    expected, found = (make_step(session, fetch=fetch, rows=ROWS) for session in (whole, parts))
    assert found.outcome == expected.outcome == "stepped"
    assert float(found.loss) == pytest.approx(float(expected.loss), rel=tolerance)
    assert float(found.norm) == pytest.approx(float(expected.norm), rel=tolerance)
    moved = torch.cat([(whole.network.state_dict()[n] - v).flatten() for n, v in before.items()])
    differs = torch.cat([(parts.network.state_dict()[n] - v).flatten() for n, v in state_of(whole).items()])
    assert float(moved.norm()) == pytest.approx(0.5 * min(1.0, float(expected.norm)), rel=1e-4)
    assert float(differs.norm()) <= tolerance * float(moved.norm())


def test_an_accumulated_step_with_one_overflow_is_skipped_as_a_whole(start, fetch):
    session = start("fp16-mixed", micro_batch=32)
    # Enough for the gradients of one of the three batches to overflow, and only of that one.
    loud = make_fetch_of(fetch, lambda x, rows: x * (1000.0 if 40 in rows.tolist() else 1.0))
    session = session._replace(scaler=torch.amp.GradScaler("cpu", init_scale=2.0**14))
    before, scale = state_of(session), session.scaler.get_scale()
    step = make_step(session, fetch=loud, rows=ROWS)
    assert math.isfinite(float(step.loss))
    assert step.outcome == "overflowed"
    assert are_equal(session.network.state_dict(), before)
    assert (session.scaler.get_scale(), session.schedule.num_steps) == (scale / 2, 0)
    assert make_step(session, fetch=fetch, rows=ROWS).outcome == "stepped"


def test_a_gradient_that_no_scale_makes_finite_is_bad_and_no_overflow(start, fetch):
    class Lengths(torch.nn.Module):
        """The gradient of a square root at zero is infinite, and times zero NaN, at a finite loss."""

        def forward(self, x):
            return x + x.pow(2).sum(1, keepdim=True).sub(x.pow(2).sum(1, keepdim=True)).sqrt()

    session = start("fp16-mixed")
    session = session._replace(
        wrapped=torch.nn.Sequential(session.network, Lengths()),
        scaler=torch.amp.GradScaler("cpu", init_scale=4.0),
    )
    steps = [make_step(session, fetch=fetch, rows=ROWS) for _ in range(4)]
    assert all(math.isfinite(float(step.loss)) for step in steps)
    assert [step.outcome for step in steps] == ["overflowed", "overflowed", "bad", "bad"]


@pytest.mark.parametrize("precision", ["fp32", "bf16-mixed", "fp16-mixed"])
def test_a_bad_step_changes_neither_weights_nor_statistics_nor_the_average(digits, fetch, start, precision):
    session = start(precision, micro_batch=32, ema_decay=0.5, optimizer="adamw")
    make_step(session, fetch=fetch, rows=ROWS)
    before, average = state_of(session), {name: value.clone() for name, value in session.average.items()}
    broken = make_fetch_of(fetch, lambda x, rows: x * (float("nan") if 40 in rows.tolist() else 1.0))
    step = make_step(session, fetch=broken, rows=ROWS)
    assert step.outcome == "bad"
    assert are_equal(session.network.state_dict(), before)
    assert are_equal(session.average, average)
    assert session.schedule.num_steps == 1
    assert {float(state["step"]) for state in session.optimizer.state.values()} == {1.0}


def make_fetch_of(fetch, change):
    def read(rows):
        x, y = fetch(rows)
        return change(x, rows), y

    return read


def test_the_loss_weighs_classes_and_does_not_depend_on_how_a_step_is_cut(start, fetch, digits):
    weights = torch.linspace(0.2, 3.0, 10)
    whole, parts = (
        start(weights=weights, micro_batch=size, label_smoothing=0.0, max_gradient_norm=None)
        for size in (None, 20)
    )
    x, y = fetch(ROWS)
    logits = whole.network(x).detach()
    by_hand = float(-(logits.log_softmax(1)[torch.arange(96), y] * weights[y]).double().sum() / 96)
    for session in (whole, parts):
        assert float(make_step(session, fetch=fetch, rows=ROWS).loss) == pytest.approx(by_hand, rel=1e-5)
    for name, value in whole.network.state_dict().items():
        torch.testing.assert_close(parts.network.state_dict()[name], value, rtol=1e-4, atol=1e-6)


def test_balanced_weights_are_those_of_scikit_learn():
    y = np.array([0] * 50 + [1] * 30 + [2] * 4)
    expected = compute_class_weight("balanced", classes=np.arange(3), y=y)
    found = class_weights("balanced", torch.from_numpy(y), num_classes=3)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6)
    given = class_weights([1.0, 1.0, 10.0], torch.from_numpy(y), num_classes=3)
    assert float(given[torch.from_numpy(y)].mean()) == pytest.approx(1.0)
    assert float(given[2] / given[0]) == pytest.approx(10.0)


def test_there_must_be_one_weight_for_each_class():
    with pytest.raises(ConfigError, match="2 numbers, but the data has 3 classes"):
        class_weights([1.0, 2.0], torch.tensor([0, 1, 2]), num_classes=3)


def test_the_balanced_order_draws_classes_equally_often():
    y = torch.tensor([0] * 2700 + [3] * 270 + [1] * 30)
    drawn = y[balanced_order(y, generator=torch.Generator().manual_seed(0))]
    shares = torch.bincount(drawn, minlength=4) / len(y)
    assert shares.tolist() == pytest.approx([1 / 3, 1 / 3, 0, 1 / 3], abs=0.03)
    again = balanced_order(y, generator=torch.Generator().manual_seed(0))
    assert torch.equal(y[again], drawn)
    assert set(again[drawn == 1].tolist()) == set(range(2970, 3000))


def test_a_row_that_comes_again_is_numbered_as_often_as_it_came_before():
    order = torch.tensor([2, 0, 2, 1, 2, 0])
    assert showings(order, num_samples=10).tolist() == [2, 0, 12, 1, 22, 10]


def test_the_average_is_torchs_average_once_its_decay_has_risen(start, fetch):
    session = start(ema_decay=0.1, learning_rate=0.5)
    expected = AveragedModel(session.network, multi_avg_fn=get_ema_multi_avg_fn(0.1))
    expected.update_parameters(session.network)  # its first only copies
    for _ in range(5):
        make_step(session, fetch=fetch, rows=ROWS)
        expected.update_parameters(session.network)
    for name, value in expected.module.named_parameters():
        torch.testing.assert_close(session.average[name], value.detach(), rtol=1e-5, atol=1e-6)
        assert not torch.equal(session.average[name], dict(session.network.named_parameters())[name])


def test_label_smoothing_is_torchs(start, fetch):
    session = start(label_smoothing=0.3)
    x, y = fetch(ROWS)
    expected = cross_entropy(session.network(x), y, label_smoothing=0.3)
    assert float(make_step(session, fetch=fetch, rows=ROWS).loss) == float(expected.detach())
