from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import softmax
from torch import nn

from pt_core.bundle import open_bundle
from pt_core.data.dataset import load_split
from pt_core.errors import IntegrityError, StepFailed
from pt_core.evaluation.attacks.bounds import Bounds, bounds_of
from pt_core.evaluation.attacks.craft import craft
from pt_core.evaluation.attacks.gradient import fgsm
from pt_core.evaluation.attacks.noise import gaussian_noise
from pt_core.evaluation.config import EvaluationConfig
from pt_core.evaluation.requests import AttackRequest, Attacks
from pt_core.isolation import run_isolated

UNBOUNDED = Bounds(np.ones(1, np.float32), None)
CONFIG = EvaluationConfig(fgsm_epsilons=(0.05, 0.2), noise_sigmas=(0.1, 0.4), batch_size=64)


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


def request_for(reference, dataset, store, *, seed=0, config=CONFIG):
    return AttackRequest(reference=reference, dataset=dataset, config=config, seed=seed, store=str(store))


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
    (noisy,) = gaussian_noise(
        np.zeros((20_000, 6), np.float32),
        sigmas=[0.5],
        bounds=Bounds(scale, None),
        generator=np.random.default_rng(0),
    )
    assert noisy.std(axis=0) == pytest.approx(0.5 * scale, rel=0.03)


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


def test_noise_of_all_strengths_is_one_draw_scaled():
    x = np.full((50, 6), 0.5, np.float32)
    weak, strong = gaussian_noise(x, sigmas=[0.1, 0.2], bounds=UNBOUNDED, generator=np.random.default_rng(3))
    assert strong - x == pytest.approx(2 * (weak - x), abs=1e-6)


def test_crafting_writes_every_point_and_the_same_bytes_for_the_same_seed(reference, dataset, store):
    attacks = craft(request_for(reference, dataset, store))
    assert [p.file for p in attacks.points] == [
        "fgsm_0.05.npy",
        "fgsm_0.2.npy",
        "gaussian-noise_0.1.npy",
        "gaussian-noise_0.4.npy",
    ]
    assert (attacks.dataset_digest, attacks.reference_digest) == (dataset.digest, reference.digest)
    _, manifest = open_bundle(Path(attacks.directory), kind="attacks")
    assert {entry.path for entry in manifest.files} == {p.file for p in attacks.points}
    assert craft(request_for(reference, dataset, store)).digest == attacks.digest
    other = CONFIG.model_copy(update={"batch_size": 11})
    assert craft(request_for(reference, dataset, store, config=other)).digest == attacks.digest
    noise, gradient = (
        [np.load(Path(made.directory) / attacks.points[i].file) for made in (attacks, reseeded)]
        for reseeded in [craft(request_for(reference, dataset, store, seed=1))]
        for i in (2, 0)
    )
    assert not np.array_equal(*noise)
    assert np.array_equal(*gradient)


def test_crafted_samples_are_the_test_split_moved_along_the_references_gradient(
    reference, dataset, store, weights_and_bias
):
    attacks = craft(request_for(reference, dataset, store))
    x, y, _ = load_split(dataset, "test")
    weight, bias = (values.astype(np.float64) for values in weights_and_bias())
    gradient = (softmax(x @ weight.T + bias, axis=1) - np.eye(3)[y]) @ weight
    found = np.load(Path(attacks.directory) / "fgsm_0.05.npy")
    clear = np.abs(gradient) > 1e-6
    expected = np.clip(x + np.float32(0.05) * np.sign(gradient), 0, 1)
    assert clear.mean() > 0.8
    assert found[clear] == pytest.approx(expected[clear], abs=1e-6)


def test_crafting_runs_in_its_own_process(reference, dataset, store):
    request = request_for(reference, dataset, store)
    found = run_isolated(
        "pt_core.evaluation.attacks.craft:craft", request, reply=Attacks, timeout_s=120, num_threads=1
    )
    assert found.digest == craft(request).digest


def test_a_damaged_reference_is_refused(dataset, new_reference, tmp_path):
    damaged = new_reference(tmp_path, dataset)
    weights = Path(damaged.directory) / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(IntegrityError, match=r"model\.safetensors"):
        craft(request_for(damaged, dataset, tmp_path))


def test_a_dataset_with_rewritten_labels_is_refused(reference, relabelled_dataset, tmp_path):
    with pytest.raises(IntegrityError, match=r"test_y\.npy"):
        craft(request_for(reference, relabelled_dataset, tmp_path))


def test_strengths_are_shares_of_the_input_range(new_dataset, new_reference, dataset, reference, tmp_path):
    # The same pictures and the same network, with pixels from 0 to 255.
    bytes_ = new_dataset(tmp_path, input_range=(0.0, 255.0), scale=255)
    network = new_reference(tmp_path, bytes_)
    units, attacks = (
        craft(request_for(reference, dataset, tmp_path)),
        craft(request_for(network, bytes_, tmp_path)),
    )
    x = load_split(bytes_, "test").x
    for point in attacks.points:
        found, unit = (np.load(Path(made.directory) / point.file) for made in (attacks, units))
        if point.attack == "fgsm":
            assert np.abs(found - x).max() == pytest.approx(255 * point.strength, rel=1e-4)
        else:
            assert found == pytest.approx(255 * unit, abs=1e-3)


def test_bounds_are_widths_for_pixels_and_deviations_for_tables(dataset):
    assert bounds_of(dataset).scale.tolist() == [1] * 6
    assert bounds_of(dataset.model_copy(update={"input_range": (0.0, 255.0)})).scale.tolist() == [255] * 6
    assert bounds_of(dataset.model_copy(update={"input_range": (-1.0, 1.0)})).scale.tolist() == [2] * 6
    table = dataset.model_copy(update={"input_range": None, "std": (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)})
    assert bounds_of(table) == (pytest.approx([1, 2, 3, 4, 5, 6]), None)
    picture = table.model_copy(update={"input_shape": (2, 4, 4), "std": (0.5, 2.0)})
    assert bounds_of(picture).scale.shape == (2, 1, 1)


@pytest.mark.parametrize("strengths", [(0.0,), (-0.1,), (0.1, 0.1), (0.1, 0.10000001)])
def test_strengths_that_mean_nothing_or_share_a_name_are_refused(strengths):
    with pytest.raises(ValueError, match=r"greater than 0|given twice"):
        EvaluationConfig(fgsm_epsilons=strengths)
    with pytest.raises(ValueError, match=r"greater than 0|given twice"):
        EvaluationConfig(noise_sigmas=strengths)
