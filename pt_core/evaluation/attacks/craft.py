"""Perturb the test split by every configured attack on the reference, once for all artifacts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
from pt_core.evaluation.attacks.bounds import Bounds, bounds_of, per_channel
from pt_core.evaluation.attacks.corruptions import corrupt
from pt_core.evaluation.attacks.folding import for_attack
from pt_core.evaluation.attacks.gradient import Norm, fgsm, losses, pgd, random_start
from pt_core.evaluation.attacks.noise import gaussian_noise, missing_values
from pt_core.evaluation.config import Corruption, EvaluationConfig
from pt_core.evaluation.points import check_fits, crafted, spread
from pt_core.evaluation.requests import AttackInfo, AttackPoint, AttackRequest, Attacks
from pt_core.isolation import report_progress

Perturb = Callable[[NDArray[np.float32], NDArray[np.int64]], list[NDArray[np.float32]]]
"""From a batch of samples and targets to one perturbed batch per strength."""

_STEP_SHARE = 2.5
"""All steps together, in radii: enough to cross the ball and come back, as Madry et al. advise."""


class Source(NamedTuple):
    """What perturbations are made from."""

    network: nn.Module
    """The reference, ready for attacks."""
    dataset: Dataset
    """Its ranges, means and deviations."""
    bounds: Bounds
    """Its unit and range."""
    config: EvaluationConfig
    """Which perturbations."""
    seed: int
    """Seed of all chance."""


def craft(request: AttackRequest) -> Attacks:
    """Write every perturbation of the test split into one bundle.

    Raises:
        ConfigError: a corruption does not fit the samples.
        IntegrityError: the bytes of the reference or the dataset are damaged.
        StepFailed: the reference's gradient is not finite.
    """
    check_digest(request.reference)
    check_digest(request.dataset)
    check_fits(request.config, request.dataset)
    samples = load_split(request.dataset, "test")
    rows = spread(len(samples.x), request.config.max_robustness_samples)
    points = attack_points(request.config)
    info = AttackInfo(
        points=points,
        num_samples=len(rows),
        reference_digest=request.reference.digest,
        dataset_digest=request.dataset.digest,
        seed=request.seed,
    )
    with staging(Path(request.store)) as folder:
        files = [folder / point.file for point in points]
        _write(files, _source(request, samples), samples, rows)
        bundle = seal(folder, name="attacks", kind="attacks", info=info)
    return Attacks.model_validate({**info.model_dump(), **bundle.model_dump()})


def attack_points(config: EvaluationConfig) -> tuple[AttackPoint, ...]:
    """Return every perturbation of a configuration that is replayed, in its order."""
    return tuple(
        AttackPoint(attack=attack, strength=strength, file=f"{attack}_{strength:g}.npy")
        for attack, strength in crafted(config)
    )


def perturbations(source: Source) -> Iterator[Perturb]:
    """Yield what makes the perturbations of a configuration, together in the order of its points."""
    network, dataset, bounds, config, _ = source
    if config.fgsm_epsilons:
        yield lambda x, y: fgsm(network, x, y, epsilons=config.fgsm_epsilons, bounds=bounds)
    if config.noise_sigmas:
        noise = np.random.default_rng(source.seed)
        yield lambda x, y: gaussian_noise(x, sigmas=config.noise_sigmas, bounds=bounds, generator=noise)
    for epsilon in config.pgd_epsilons:
        yield pgd_from_random_starts(source, epsilon=epsilon, norm="linf")
    for epsilon in config.pgd_l2_epsilons:
        yield pgd_from_random_starts(source, epsilon=epsilon, norm="l2")
    for corruption in config.corruptions:
        yield _corruption(corruption, config, dataset, _generator(source.seed, corruption))


def pgd_from_random_starts(source: Source, *, epsilon: float, norm: Norm) -> Perturb:
    """Return PGD that keeps, for each sample, the start that ended with the greatest loss."""
    network, _, bounds, config, seed = source
    starts = [
        tuple(_generator(seed, f"{part} {norm} {epsilon:g} {start}") for part in ("direction", "radius"))
        for start in range(config.pgd_restarts)
    ]

    def attempt(
        x: NDArray[np.float32], y: NDArray[np.int64], generators: tuple[np.random.Generator, ...]
    ) -> NDArray[np.float32]:
        return pgd(
            network,
            x,
            y,
            epsilon=epsilon,
            norm=norm,
            num_steps=config.pgd_steps,
            step_size=_STEP_SHARE * epsilon / config.pgd_steps,
            bounds=bounds,
            start=random_start(x.shape, epsilon=epsilon, norm=norm, generators=generators),
        )

    def perturb(x: NDArray[np.float32], y: NDArray[np.int64]) -> list[NDArray[np.float32]]:
        attempts = [attempt(x, y, generators) for generators in starts]
        if len(attempts) == 1:
            return attempts
        best = np.argmax([losses(network, attempted, y) for attempted in attempts], axis=0)
        return [np.stack(attempts)[best, np.arange(len(x))]]

    return perturb


def _corruption(
    corruption: Corruption, config: EvaluationConfig, dataset: Dataset, generator: np.random.Generator
) -> Perturb:
    severities, mean = config.corruption_severities, per_channel(dataset.mean, dataset)
    if corruption == "missing-values":
        return lambda x, _: missing_values(x, severities=severities, replacement=mean, generator=generator)
    input_range = dataset.input_range
    assert input_range is not None  # refused by check_fits
    return lambda x, _: corrupt(
        x, corruption, severities=severities, input_range=input_range, fill=mean, generator=generator
    )


def _generator(seed: int, purpose: str) -> np.random.Generator:
    """Return a stream of its own for each purpose, so that no perturbation depends on which others are made."""
    return np.random.default_rng((seed, int.from_bytes(purpose.encode())))


def _source(request: AttackRequest, samples: Samples) -> Source:
    network = load_network(request.reference, request.reference.spec)
    return Source(
        network=for_attack(network, torch.from_numpy(np.array(samples.x[:2]))),
        dataset=request.dataset,
        bounds=bounds_of(request.dataset),
        config=request.config,
        seed=request.seed,
    )


def _write(paths: list[Path], source: Source, samples: Samples, rows: list[int]) -> None:
    """Fill one memory-mapped file a point, batch by batch, so that memory does not grow with the split."""
    perturbs, size = list(perturbations(source)), source.config.batch_size
    shape = (len(rows), *samples.x.shape[1:])
    files = [open_memmap(path, mode="w+", dtype=np.float32, shape=shape) for path in paths]
    for start in range(0, len(rows), size):
        chosen = rows[start : start + size]
        x, y = np.array(samples.x[chosen]), samples.y[chosen]
        batches = [batch for perturb in perturbs for batch in perturb(x, y)]
        for file, batch in zip(files, batches, strict=True):
            file[start : start + len(chosen)] = batch
        report_progress(start + len(chosen), len(rows), "attacks")
    for file in files:
        file.flush()
