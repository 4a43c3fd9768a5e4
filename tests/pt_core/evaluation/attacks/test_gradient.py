import numpy as np
import pytest
import torch
from scipy.special import softmax
from torch import nn

from pt_core.errors import StepFailed
from pt_core.evaluation.attacks.bounds import Bounds
from pt_core.evaluation.attacks.gradient import fgsm, losses, pgd, random_start

UNBOUNDED = Bounds(np.ones(1, np.float32), None)
UNIT = Bounds(np.ones(1, np.float32), (0.0, 1.0))


@pytest.fixture
def linear():
    network = nn.Linear(6, 3).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return network


def by_hand(network, x, targets):
    """The gradient of the cross-entropy of a linear model: W^T (softmax(Wx + b) - onehot)."""
    weight, bias = (p.detach().numpy().astype(np.float64) for p in network.parameters())
    return (softmax(x @ weight.T + bias, axis=1) - np.eye(len(bias))[targets]) @ weight


def samples(generator=None, size=100):
    generator = generator or np.random.default_rng(0)
    return generator.random((size, 6), dtype=np.float32), generator.integers(0, 3, size)


def test_fgsm_follows_the_sign_of_the_gradient_worked_out_by_hand(linear):
    x, targets = samples()
    (found,) = fgsm(linear, x, targets, epsilons=[0.125], bounds=UNBOUNDED)
    direction = np.sign(by_hand(linear, x, targets))
    assert (direction != 0).all()
    assert found == pytest.approx(x + 0.125 * direction, abs=1e-6)
    assert found.dtype == np.float32


def test_samples_the_network_is_sure_of_are_attacked_too(linear):
    with torch.no_grad():
        for parameter in linear.parameters():
            parameter.mul_(1000)
    x, _ = samples()
    targets = linear(torch.from_numpy(x)).argmax(dim=1).numpy()
    plain = torch.from_numpy(x).requires_grad_()
    nn.functional.cross_entropy(linear(plain), torch.from_numpy(targets)).backward()
    assert (plain.grad == 0).any(), "the plain cross-entropy has no gradient on some of these"
    (found,) = fgsm(linear, x, targets, epsilons=[0.125], bounds=UNBOUNDED)
    assert np.abs(found - x) == pytest.approx(0.125, abs=1e-6)


def test_no_perturbation_is_larger_than_its_strength_or_leaves_the_range(linear):
    x, targets = samples()
    bounds = Bounds(np.ones(1, np.float32), (0.0, 1.0))
    for epsilon, found in zip(
        [0.02, 0.3], fgsm(linear, x, targets, epsilons=[0.02, 0.3], bounds=bounds), strict=True
    ):
        assert np.abs(found - x).max() <= epsilon + 1e-6
        assert found.min() >= 0
        assert found.max() <= 1


def test_a_table_is_perturbed_in_units_of_each_columns_deviation(linear):
    x, targets = samples()
    scale = np.array([1, 10, 0.1, 2, 100, 5], dtype=np.float32)
    (found,) = fgsm(linear, x, targets, epsilons=[0.5], bounds=Bounds(scale, None))
    assert np.abs(found - x) == pytest.approx(np.tile(0.5 * scale, (100, 1)), rel=1e-4)


def test_the_batch_size_does_not_change_an_attack(linear):
    x, targets = samples()
    (whole,) = fgsm(linear, x, targets, epsilons=[0.1], bounds=UNBOUNDED)
    parts = [
        fgsm(linear, x[i : i + 7], targets[i : i + 7], epsilons=[0.1], bounds=UNBOUNDED)[0]
        for i in range(0, 100, 7)
    ]
    assert np.array_equal(whole, np.concatenate(parts))


def test_the_network_is_left_as_it_was(linear):
    before = {name: value.clone() for name, value in linear.state_dict().items()}
    fgsm(linear, *samples(), epsilons=[0.1], bounds=UNBOUNDED)
    assert all(parameter.grad is None for parameter in linear.parameters())
    assert all(torch.equal(value, before[name]) for name, value in linear.state_dict().items())


def test_a_gradient_that_is_not_finite_is_refused(linear):
    with torch.no_grad():
        linear.weight.fill_(torch.inf)
    with pytest.raises(StepFailed, match="gradient is not finite"):
        fgsm(linear, *samples(), epsilons=[0.1], bounds=UNBOUNDED)


def attack(network, x, targets, **changes):
    settings = {"epsilon": 0.1, "norm": "linf", "num_steps": 10, "step_size": 0.025, "bounds": UNIT}
    return pgd(network, x, targets, **{**settings, **changes})


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("bounds", [UNIT, UNBOUNDED, Bounds(np.full(1, 255, np.float32), (-100.0, 155.0))])
def test_pgd_stays_in_its_ball_and_range_from_any_start(linear, norm, bounds):
    x, targets = samples()
    x = x * bounds.scale + np.float32(bounds.input_range[0] if bounds.input_range else 0)
    generators = (np.random.default_rng(0), np.random.default_rng(1))
    start = random_start(x.shape, epsilon=0.3, norm=norm, generators=generators)
    found = attack(linear, x, targets, epsilon=0.3, norm=norm, step_size=0.1, bounds=bounds, start=start)
    moved = (found.astype(np.float64) - x) / bounds.scale
    size = np.abs(moved).max(axis=1) if norm == "linf" else np.linalg.norm(moved, axis=1)
    assert size.min() > 0.05
    assert size.max() <= 0.3 + 1e-6
    assert found.dtype == np.float32
    if bounds.input_range:
        assert found.min() >= bounds.input_range[0]
        assert found.max() <= bounds.input_range[1]


def test_one_step_of_pgd_as_long_as_its_radius_is_fgsm(linear):
    x, targets = samples()
    (expected,) = fgsm(linear, x, targets, epsilons=[0.1], bounds=UNIT)
    assert attack(linear, x, targets, num_steps=1, step_size=0.1) == pytest.approx(expected, abs=1e-6)


def test_on_two_classes_of_a_linear_model_l2_pgd_finds_the_worst_point_there_is(linear):
    # The margin w.x falls fastest along w, so the worst point of the ball is x - epsilon * w / |w|.
    with torch.no_grad():
        linear.weight[2].fill_(0)
        linear.bias[2].fill_(-100)
    weight = linear.weight.detach().numpy()
    x, _ = samples()
    targets = np.zeros(len(x), np.int64)
    away = weight[1] - weight[0]
    expected = x + 0.3 * away / np.linalg.norm(away)
    found = attack(linear, x, targets, norm="l2", epsilon=0.3, step_size=0.1, bounds=UNBOUNDED)
    assert found == pytest.approx(expected, abs=1e-5)


def test_l2_in_a_table_is_measured_in_deviations(linear):
    x, targets = samples()
    scale = np.array([1, 10, 0.1, 2, 100, 5], dtype=np.float32)
    found = attack(linear, x, targets, norm="l2", epsilon=0.5, step_size=0.2, bounds=Bounds(scale, None))
    assert np.linalg.norm((found - x) / scale, axis=1) == pytest.approx(0.5, abs=1e-3)


def test_pgd_harms_a_network_more_than_fgsm_does():
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Linear(6, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 3)
    ).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(3)
    x, targets = samples()
    (single,) = fgsm(network, x, targets, epsilons=[0.3], bounds=UNIT)
    many = attack(network, x, targets, epsilon=0.3, step_size=0.075)
    assert losses(network, many, targets).mean() > losses(network, single, targets).mean() + 0.1


def test_random_starts_fill_their_ball_evenly():
    shape = (20_000, 3)
    linf, l2 = (
        random_start(
            shape, epsilon=2.0, norm=norm, generators=(np.random.default_rng(0), np.random.default_rng(1))
        )
        for norm in ("linf", "l2")
    )
    assert np.abs(linf).max() <= 2
    assert np.abs(linf).mean() == pytest.approx(1, abs=0.02)
    radius = np.linalg.norm(l2, axis=1)
    assert radius.max() <= 2 + 1e-6
    # Half of the volume of a three-dimensional ball lies within 0.5^(1/3) of its radius.
    assert (radius < 2 * 0.5 ** (1 / 3)).mean() == pytest.approx(0.5, abs=0.02)
    assert l2.mean(axis=0) == pytest.approx(0, abs=0.03)


def test_the_loss_is_the_log_odds_against_the_true_class(linear):
    x, targets = samples()
    p = softmax(linear(torch.from_numpy(x)).detach().numpy().astype(np.float64), axis=1)[
        np.arange(100), targets
    ]
    assert losses(linear, x, targets) == pytest.approx(np.log((1 - p) / p), abs=1e-5)


def test_pgd_with_a_gradient_that_is_not_finite_is_refused(linear):
    with torch.no_grad():
        linear.weight.fill_(torch.inf)
    with pytest.raises(StepFailed, match="gradient is not finite"):
        attack(linear, *samples())
