import numpy as np
import pytest

from pt_core.evaluation.attacks.bounds import Bounds
from pt_core.evaluation.attacks.square import square

UNIT = Bounds(np.ones(1, np.float32), (0.0, 1.0))


class Counted:
    """A linear classifier that counts what it is asked and refuses sizes that are no power of two."""

    def __init__(self, weight, bias):
        self.weight, self.bias, self.calls, self.sizes = weight, bias, 0, set()

    def __call__(self, batch):
        self.calls += 1
        self.sizes.add(len(batch))
        return (batch.reshape(len(batch), -1) @ self.weight.T + self.bias).astype(np.float32)


def problem(shape, *, size=64, seed=0):
    generator = np.random.default_rng(seed)
    x = generator.random((size, *shape), dtype=np.float32)
    weight = generator.standard_normal((2, int(np.prod(shape)))).astype(np.float32)
    bias = -(x.reshape(size, -1) @ weight.T).mean(axis=0)
    model = Counted(weight, bias)
    targets = model(x).argmax(axis=1)
    model.calls, model.sizes = 0, set()
    return model, x, targets


def attack(model, x, targets, **changes):
    settings = {"epsilon": 0.1, "max_queries": 100, "bounds": UNIT, "seed": 0}
    return square(model, x, targets, **{**settings, **changes})


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 6, 10), (30,)])
def test_it_stays_in_the_ball_the_range_and_the_budget(shape):
    model, x, targets = problem(shape)
    found = attack(model, x, targets, epsilon=0.02, max_queries=40)
    assert np.abs(found.x - x).max() <= 0.02 + 1e-6
    assert 0 <= found.x.min() <= found.x.max() <= 1
    assert len(x) <= found.num_queries <= 40 * len(x)
    assert model.calls <= 40
    assert found.is_right.any()
    assert not found.is_right.all()
    assert np.array_equal(model(found.x).argmax(axis=1) == targets, found.is_right)


@pytest.mark.parametrize("shape", [(1, 6, 6), (30,)])
def test_with_queries_enough_it_comes_near_the_worst_case_of_a_linear_model(shape):
    model, x, targets = problem(shape)
    # Within the ball, the margin of a linear model falls by at most epsilon * |w_true - w_other|_1.
    away = np.abs(model.weight[0] - model.weight[1]).sum()
    margin = np.abs(np.subtract(*model(x).T))
    unclipped = Bounds(np.ones(1, np.float32), None)
    epsilon = float(np.median(margin) / away)
    worst_case = (margin > epsilon * away).mean()
    found = attack(model, x, targets, epsilon=epsilon, max_queries=1000, bounds=unclipped)
    assert worst_case <= found.is_right.mean() <= worst_case + 0.1
    hasty = attack(model, x, targets, epsilon=epsilon, max_queries=5, bounds=unclipped)
    assert hasty.is_right.mean() >= found.is_right.mean() + 0.1


def test_samples_that_were_wrong_or_have_fallen_cost_no_more_queries():
    model, x, targets = problem((3, 8, 8))
    wrong = attack(model, x, 1 - targets)
    assert np.array_equal(wrong.x, x)
    assert wrong.num_queries == len(x)
    fallen = attack(model, x, targets, epsilon=0.5)
    assert not fallen.is_right.any()
    assert fallen.num_queries < 10 * len(x)


def test_a_runtime_sees_few_batch_sizes():
    model, x, targets = problem((3, 8, 8), size=50)
    attack(model, x, targets, epsilon=0.03)
    assert model.sizes <= {50, 64, 32, 16, 8, 4, 2, 1}


def test_the_seed_decides_the_search_and_nothing_else_does():
    model, x, targets = problem((3, 8, 8))
    first, again, other = (attack(model, x, targets, epsilon=0.02, seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(first.x, again.x)
    assert not np.array_equal(first.x, other.x)


def test_a_tables_columns_move_in_units_of_their_deviation():
    model, x, targets = problem((30,))
    scale = np.linspace(0.1, 3, 30, dtype=np.float32)
    found = attack(model, x, targets, epsilon=0.01, bounds=Bounds(scale, None))
    assert (np.abs(found.x - x) <= 0.01 * scale + 1e-6).all()
    assert np.abs(found.x - x)[:, -1].max() == pytest.approx(0.03, abs=1e-5)
