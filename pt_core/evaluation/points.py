"""The perturbations of a configuration: their names, whether they fit the samples, and which samples they take."""

from __future__ import annotations

from collections.abc import Sequence

from pt_core.data.dataset import DatasetInfo
from pt_core.errors import ConfigError
from pt_core.evaluation.config import EvaluationConfig

TABLE_CORRUPTIONS = ("missing-values",)
"""Corruptions of tables; the others are of images."""
JPEG_CHANNELS = (1, 3)
"""Channels of an image that JPEG can hold."""

Strengths = tuple[tuple[str, float], ...]
"""Name and strength of every perturbation, in order."""


def crafted(config: EvaluationConfig) -> Strengths:
    """Return the perturbations that are made once on the reference and replayed on every artifact."""
    severities = [float(severity) for severity in config.corruption_severities]
    families: list[tuple[str, Sequence[float]]] = [
        ("fgsm", config.fgsm_epsilons),
        ("gaussian-noise", config.noise_sigmas),
        ("pgd", config.pgd_epsilons),
        ("pgd-l2", config.pgd_l2_epsilons),
        *((corruption, severities) for corruption in config.corruptions),
    ]
    return tuple((attack, strength) for attack, strengths in families for strength in strengths)


def measured(config: EvaluationConfig) -> Strengths:
    """Return every perturbation that an artifact is scored under."""
    return (*crafted(config), *(("square", epsilon) for epsilon in config.square_epsilons))


def metric_name(attack: str, strength: float) -> str:
    """Return the flat metric name of the accuracy under a perturbation."""
    return f"robustness/{attack}_{strength:g}"


def check_fits(config: EvaluationConfig, dataset: DatasetInfo) -> None:
    """Refuse a corruption that means nothing for these samples.

    Raises:
        ConfigError: names each such corruption and what it needs.
    """
    problems = {name: _misfit(name, dataset) for name in config.corruptions}
    details = [f"{name} {problem}" for name, problem in problems.items() if problem]
    if details:
        shape, input_range = dataset.input_shape, dataset.input_range
        raise ConfigError(
            f"evaluation.corruptions: do not fit samples of shape {shape} with input_range {input_range}; "
            "leave them out",
            details=details,
        )


def _misfit(corruption: str, dataset: DatasetInfo) -> str | None:
    is_image = len(dataset.input_shape) == 3 and dataset.input_range is not None
    if corruption in TABLE_CORRUPTIONS:
        return None if len(dataset.input_shape) == 1 else "needs a table of columns"
    if not is_image:
        return "needs images (C, H, W) with an input_range"
    if corruption == "jpeg" and dataset.input_shape[0] not in JPEG_CHANNELS:
        return f"needs images of {' or '.join(map(str, JPEG_CHANNELS))} channels"
    return None


def spread(total: int, limit: int) -> list[int]:
    """Return the rows of at most ``limit`` samples, spread evenly over ``total``."""
    count = min(total, limit)
    return [row * total // count for row in range(count)]
