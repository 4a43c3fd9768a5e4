"""Perturb the test split by FGSM on the reference and by Gaussian noise, once for all artifacts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from torch import nn

from pt_core.artifacts.checkpoint_files import load_network
from pt_core.bundle import check_digest, seal, staging
from pt_core.data.dataset import Dataset, Samples, load_split
from pt_core.errors import StepFailed
from pt_core.evaluation.config import EvaluationConfig
from pt_core.evaluation.requests import AttackInfo, AttackPoint, AttackRequest, Attacks
from pt_core.isolation import report_progress


class Bounds(NamedTuple):
    """What limits a perturbation."""

    scale: NDArray[np.float32]
    """One unit of strength, broadcast over a sample: the width of the range, or deviations for tables."""
    input_range: tuple[float, float] | None
    """Perturbed samples are clipped to this; ``None`` does not clip."""


def craft(request: AttackRequest) -> Attacks:
    """Write every perturbation of the test split into one bundle.

    Raises:
        IntegrityError: the bytes of the reference or the dataset are damaged.
        StepFailed: the reference's gradient is not finite.
    """
    check_digest(request.reference)
    check_digest(request.dataset)
    network = load_network(request.reference, request.reference.spec)
    samples = load_split(request.dataset, "test")
    points = attack_points(request.config)
    with staging(Path(request.store)) as folder:
        _write(folder, points, network=network, samples=samples, request=request)
        info = AttackInfo(
            points=points,
            reference_digest=request.reference.digest,
            dataset_digest=request.dataset.digest,
            seed=request.seed,
        )
        bundle = seal(folder, name="attacks", kind="attacks", info=info)
    return Attacks.model_validate({**info.model_dump(), **bundle.model_dump()})


def attack_points(config: EvaluationConfig) -> tuple[AttackPoint, ...]:
    """Return every perturbation of a configuration, in its order."""
    strengths = [("fgsm", epsilon) for epsilon in config.fgsm_epsilons]
    strengths += [("gaussian-noise", sigma) for sigma in config.noise_sigmas]
    return tuple(
        AttackPoint(attack=attack, strength=strength, file=f"{attack}_{strength:g}.npy")
        for attack, strength in strengths
    )


def fgsm(
    network: nn.Module,
    x: NDArray[np.float32],
    targets: NDArray[np.int64],
    *,
    epsilons: Sequence[float],
    bounds: Bounds,
) -> list[NDArray[np.float32]]:
    """Return ``clip(x + epsilon * scale * sign(gradient))`` for every epsilon, from one gradient.

    The fast gradient sign method of Goodfellow et al., https://arxiv.org/abs/1412.6572. The loss is the
    log-odds against the true class: its gradient is that of the cross-entropy divided by 1 - p(true) > 0,
    so the sign is the same, but it does not round to zero on samples that the network is sure of, which
    would leave them unattacked and look like robustness.

    Args:
        network: in evaluation mode; its parameters get no gradients.
        x: (B, *input_shape) float32.
        targets: (B,) int64.
        epsilons: strengths in units of ``bounds.scale``.
        bounds: scale and range.

    Raises:
        StepFailed: the gradient is not finite, so it has no direction.
    """
    inputs = torch.from_numpy(np.array(x)).requires_grad_()
    true = torch.from_numpy(np.array(targets))[:, None]
    with torch.enable_grad():
        logits = network(inputs).double()
        others = logits.scatter(1, true, -torch.inf)
        loss = (others.logsumexp(dim=1) - logits.gather(1, true).squeeze(1)).sum()
        (gradient,) = torch.autograd.grad(loss, inputs)
    if not gradient.isfinite().all():
        raise StepFailed(
            "attacks: the reference's gradient is not finite; train it again with a lower learning rate"
        )
    direction = gradient.sign().numpy() * bounds.scale
    return [_clip(x + np.float32(epsilon) * direction, bounds) for epsilon in epsilons]


def gaussian_noise(
    x: NDArray[np.float32], *, sigmas: Sequence[float], bounds: Bounds, generator: np.random.Generator
) -> list[NDArray[np.float32]]:
    """Return ``clip(x + sigma * scale * noise)`` for every sigma, all from the same draw of the noise."""
    noise = generator.standard_normal(x.shape, dtype=np.float32) * bounds.scale
    return [_clip(x + np.float32(sigma) * noise, bounds) for sigma in sigmas]


def bounds_of(dataset: Dataset) -> Bounds:
    """Return a dataset's range in units of its width, or no range in units of each column's deviation."""
    trailing = (1,) * (len(dataset.input_shape) - 1)
    std = np.asarray(dataset.std, dtype=np.float32).reshape(-1, *trailing)
    if dataset.input_range is None:
        return Bounds(std, None)
    least, greatest = dataset.input_range
    return Bounds(np.full_like(std, greatest - least), dataset.input_range)


def _write(
    folder: Path,
    points: Sequence[AttackPoint],
    *,
    network: nn.Module,
    samples: Samples,
    request: AttackRequest,
) -> None:
    """Fill one memory-mapped file a point, batch by batch, so that memory does not grow with the split."""
    network.eval()
    config, bounds = request.config, bounds_of(request.dataset)
    generator = np.random.default_rng(request.seed)
    files = [
        open_memmap(folder / point.file, mode="w+", dtype=np.float32, shape=samples.x.shape)
        for point in points
    ]
    for start in range(0, len(samples.x), config.batch_size):
        rows = slice(start, start + config.batch_size)
        x = np.array(samples.x[rows])
        perturbed = fgsm(network, x, samples.y[rows], epsilons=config.fgsm_epsilons, bounds=bounds)
        perturbed += gaussian_noise(x, sigmas=config.noise_sigmas, bounds=bounds, generator=generator)
        for file, batch in zip(files, perturbed, strict=True):
            file[rows] = batch
        report_progress(min(rows.stop, len(samples.x)), len(samples.x), "attacks")
    for file in files:
        file.flush()


def _clip(x: NDArray[np.float32], bounds: Bounds) -> NDArray[np.float32]:
    if bounds.input_range is None:
        return x
    least, greatest = (np.float32(bound) for bound in bounds.input_range)
    return np.clip(x, least, greatest)
