"""Our perturbations against those of two public libraries.

At equal settings (their loss, the network as it is) on a deep network too, where ten steps of PGD magnify
the last bit. As shipped (our loss, folded normalisations) the same attack is rounded in another way.
"""

import warnings

import numpy as np
import pytest
import torch
from torch import nn

from pt_core.evaluation.attacks.bounds import Bounds
from pt_core.evaluation.attacks.folding import for_attack
from pt_core.evaluation.attacks.gradient import fgsm, log_odds, losses, pgd, random_start
from pt_core.modeling.cnn import cnn
from pt_core.modeling.resnet import resnet18

EPSILON, STEP, STEPS = 0.1, 0.025, 10
UNIT = Bounds(np.ones((1, 1, 1), np.float32), (0.0, 1.0))
SHAPE = (3, 12, 12)
LIBRARIES = ("foolbox", "art")


def cross_entropy(logits, column):
    return nn.functional.cross_entropy(logits, column.squeeze(1), reduction="none")


@pytest.fixture(scope="module")
def problem():
    torch.manual_seed(0)
    return trained(cnn(SHAPE, 10, width=8))


@pytest.fixture(scope="module")
def deep_problem():
    torch.manual_seed(0)
    return trained(resnet18(SHAPE, 10, width=8))


def trained(network):
    """Return a network after a few steps of training, and a batch."""
    prototypes = torch.rand(10, *SHAPE)

    def draw(size):
        targets = torch.randint(0, 10, (size,))
        return 0.4 * prototypes[targets] + 0.6 * torch.rand(size, *SHAPE), targets

    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    for _ in range(15):
        x, targets = draw(32)
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(x), targets).backward()
        optimizer.step()
    x, targets = draw(64)
    return network.eval(), x.numpy(), targets.numpy()


@pytest.fixture(params=LIBRARIES)
def library(request):
    return library_named(request.param)


def library_named(name):
    with warnings.catch_warnings():
        # foolbox imports a SciPy name that is on its way out.
        warnings.simplefilter("ignore", DeprecationWarning)
        pytest.importorskip(name, reason=f"{name} is not installed; it is in the extra dev")
        if name == "art":
            pytest.importorskip("art.attacks.evasion")
    return {"foolbox": by_foolbox, "art": by_art}[name]


def by_foolbox(network, x, targets, attack, *, input_range=(0.0, 1.0)):
    import foolbox as fb

    kind = {
        "fgsm": fb.attacks.FGSM(random_start=False),
        "linf": fb.attacks.LinfPGD(abs_stepsize=STEP, steps=STEPS, random_start=False),
        "l2": fb.attacks.L2PGD(abs_stepsize=10 * STEP, steps=STEPS, random_start=False),
    }[attack]
    model = fb.PyTorchModel(network, bounds=input_range, device="cpu")
    criterion = fb.criteria.Misclassification(torch.from_numpy(targets))
    epsilon = 10 * EPSILON if attack == "l2" else EPSILON
    return kind.run(model, torch.from_numpy(x), criterion, epsilon=epsilon).numpy()


def by_art(network, x, targets, attack, *, input_range=(0.0, 1.0)):
    from art.attacks.evasion import FastGradientMethod, ProjectedGradientDescent
    from art.estimators.classification import PyTorchClassifier

    model = PyTorchClassifier(
        network, nn.CrossEntropyLoss(), x.shape[1:], 10, clip_values=input_range, device_type="cpu"
    )
    if attack == "fgsm":
        return FastGradientMethod(model, eps=EPSILON, batch_size=len(x)).generate(x, targets)
    factor, norm = (10, 2) if attack == "l2" else (1, np.inf)
    return ProjectedGradientDescent(
        model,
        norm=norm,
        eps=factor * EPSILON,
        eps_step=factor * STEP,
        max_iter=STEPS,
        batch_size=len(x),
        verbose=False,
    ).generate(x, targets)


def agreement(found, theirs):
    return (np.abs(found - theirs) <= 1e-6).mean()


def test_fgsm_is_theirs(problem, library):
    network, x, targets = problem
    (found,) = fgsm(network, x, targets, epsilons=[EPSILON], bounds=UNIT, loss=cross_entropy)
    assert np.abs(found - x).max() == pytest.approx(EPSILON, abs=1e-6)
    assert agreement(found, library(network, x, targets, "fgsm")) >= 0.999


def ours(network, x, targets, norm, *, bounds=UNIT, start=None, loss=log_odds):
    factor = 10 if norm == "l2" else 1
    return pgd(
        network,
        x,
        targets,
        epsilon=factor * EPSILON,
        norm=norm,
        num_steps=STEPS,
        step_size=factor * STEP,
        bounds=bounds,
        start=start,
        loss=loss,
    )


def test_at_equal_settings_a_deep_network_is_perturbed_as_by_them(deep_problem, library):
    network, x, targets = deep_problem
    settings = {"bounds": UNIT, "loss": cross_entropy}
    (single,) = fgsm(network, x, targets, epsilons=[EPSILON], **settings)
    many = pgd(network, x, targets, epsilon=EPSILON, norm="linf", num_steps=STEPS, step_size=STEP, **settings)
    assert agreement(single, library(network, x, targets, "fgsm")) >= 0.999
    assert agreement(many, library(network, x, targets, "linf")) >= 0.999


def test_pgd_in_the_linf_ball_is_theirs(problem, library):
    network, x, targets = problem
    found = ours(network, x, targets, "linf", loss=cross_entropy)
    assert agreement(found, library(network, x, targets, "linf")) >= 0.999


def test_as_shipped_pgd_parts_in_few_values_and_does_as_much_harm(problem, library):
    # Folding rounds otherwise, and ten steps magnify the last bit.
    network, x, targets = problem
    theirs = library(network, x, targets, "linf")
    found = ours(for_attack(network, torch.from_numpy(x[:2])), x, targets, "linf")
    assert agreement(found, theirs) >= 0.95
    assert losses(network, found, targets).mean() >= losses(network, theirs, targets).mean() - 0.01


def test_pgd_in_the_l2_ball_is_theirs(problem, library):
    # Where the range binds the two differ: ART cuts to the range first and projects then, foolbox the
    # other way round, as we do.
    network, x, targets = problem
    wide = (-10.0, 11.0)
    found = ours(network, x, targets, "l2", bounds=UNIT._replace(input_range=wide), loss=cross_entropy)
    assert agreement(found, library(network, x, targets, "l2", input_range=wide)) >= 0.999


def test_pgd_in_the_l2_ball_is_foolboxs_where_the_range_binds(problem):
    network, x, targets = problem
    found = ours(network, x, targets, "l2", loss=cross_entropy)
    assert ((found == 0) | (found == 1)).mean() > 0.001
    assert agreement(found, library_named("foolbox")(network, x, targets, "l2")) >= 0.999


def test_pgd_from_the_same_random_start_is_foolboxs(problem):
    library_named("foolbox")
    import eagerpy as ep
    import foolbox as fb

    network, x, targets = problem
    generators = (np.random.default_rng(0), np.random.default_rng(1))
    start = random_start(x.shape, epsilon=EPSILON, norm="linf", generators=generators)

    class SameStart(fb.attacks.LinfPGD):
        def get_random_start(self, x0, epsilon):
            return x0 + ep.astensor(torch.from_numpy(start))

    model = fb.PyTorchModel(network, bounds=(0, 1), device="cpu")
    criterion = fb.criteria.Misclassification(torch.from_numpy(targets))
    attack = SameStart(abs_stepsize=STEP, steps=STEPS, random_start=True)
    theirs = attack.run(model, torch.from_numpy(x), criterion, epsilon=EPSILON).numpy()
    assert agreement(ours(network, x, targets, "linf", start=start, loss=cross_entropy), theirs) >= 0.999
