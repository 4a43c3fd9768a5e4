"""Steps: which ones the scaler skips, what clipping does, and what stays untouched."""

from __future__ import annotations

import math

import pytest
import torch

from pt_core.data.dataset import load_split
from pt_core.errors import TrainingDiverged
from pt_core.modeling.network import complete_spec
from pt_core.modeling.spec import ModelConfig
from pt_core.training.batches import make_fetch, ordered_rows
from pt_core.training.config import TrainConfig
from pt_core.training.epoch import train_epoch, validate
from pt_core.training.session import start_session


@pytest.fixture
def start(digits):
    spec = complete_spec(ModelConfig(target="pt_core.modeling.mlp:mlp"), digits, channels_last=False)

    def start(precision="fp32", **changes):
        config = TrainConfig.model_validate({"schedule": "constant", "optimizer": "sgd", **changes})
        model = ModelConfig(initialization="kaiming")
        return start_session(
            spec, config, model=model, seed=0, device="cpu", precision=precision, total_steps=100
        )

    return start


@pytest.fixture
def run_epoch(digits):
    fetch = make_fetch(load_split(digits, "train"), device="cpu", channels_last=False)

    def run(session, num_samples=640):
        return train_epoch(session, fetch=fetch, rows=ordered_rows(num_samples, batch_size=64), epoch=1)

    return run


def test_every_skipped_step_is_counted(start, run_epoch):
    start_scale = 2.0**22
    session = start("fp16-mixed")
    session = session._replace(scaler=torch.amp.GradScaler("cpu", init_scale=start_scale))
    result = run_epoch(session)
    # The scale halves at each overflow and does not grow in so few steps: it counts on its own.
    num_halvings = math.log2(start_scale / session.scaler.get_scale())
    assert 10 > result.num_skipped_steps == num_halvings > 0
    assert session.schedule.num_steps == 10 - num_halvings
    assert math.isfinite(result.gradient_norm)


def test_a_skipped_step_changes_no_weight_and_not_the_schedule(start, run_epoch):
    session = start("fp16-mixed")
    session = session._replace(scaler=torch.amp.GradScaler("cpu", init_scale=2.0**100))
    before = {name: value.clone() for name, value in session.network.state_dict().items()}
    result = run_epoch(session)
    assert (result.num_skipped_steps, result.gradient_norm, session.schedule.num_steps) == (10, None, 0)
    assert all(torch.equal(value, before[name]) for name, value in session.network.state_dict().items())


@pytest.mark.parametrize("precision", ["fp32", "bf16-mixed"])
def test_without_a_scaler_no_step_is_skipped(start, run_epoch, precision):
    session = start(precision)
    assert run_epoch(session).num_skipped_steps == 0
    assert session.schedule.num_steps == 10


def test_clipping_bounds_the_length_of_a_step(start, run_epoch):
    limit, rate = 0.01, 0.5
    session = start(max_gradient_norm=limit, learning_rate=rate, momentum=0.0, weight_decay=0.0)
    before = torch.cat([p.detach().flatten() for p in session.network.parameters()])
    result = run_epoch(session, num_samples=64)
    after = torch.cat([p.detach().flatten() for p in session.network.parameters()])
    assert result.gradient_norm > limit
    assert float((after - before).norm()) == pytest.approx(limit * rate, rel=1e-3)


def test_validation_changes_nothing(start, digits):
    session = start()
    before = {name: value.clone() for name, value in session.network.state_dict().items()}
    fetch = make_fetch(load_split(digits, "validation"), device="cpu", channels_last=False)
    results = [
        validate(session, fetch=fetch, rows=ordered_rows(179, batch_size=size), epoch=1) for size in (16, 179)
    ]
    assert results[0].loss == pytest.approx(results[1].loss, rel=1e-6)
    assert results[0].accuracy == results[1].accuracy
    assert all(torch.equal(value, before[name]) for name, value in session.network.state_dict().items())


def test_a_learning_rate_that_explodes_is_refused(start, run_epoch):
    with pytest.raises(
        TrainingDiverged,
        match=r"epoch 1, step \d+, after 5 such steps were skipped; lower train\.learning_rate",
    ):
        run_epoch(start(learning_rate=1e30, max_gradient_norm=None, max_bad_steps=5))
