"""Attack along the gradient: FGSM, and PGD in the L-infinity or the L2 ball."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pt_core.errors import StepFailed
from pt_core.evaluation.attacks.bounds import Bounds, clip

Norm = Literal["linf", "l2"]

_LEAST_NORM = 1e-12
"""Shorter vectors have no direction."""

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""From logits (B, C) and targets (B, 1) to a loss per sample (B,), the greater the more wrong."""

Step = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Move a point along a gradient and back into the ball; may write into both."""


def log_odds(logits: torch.Tensor, column: torch.Tensor) -> torch.Tensor:
    """Return the log-odds against the true class, (B,) float64, from logits (B, C) and targets (B, 1).

    Its gradient is that of the cross-entropy divided by 1 - p(true) > 0, so the direction is the same, but
    it does not round to zero on samples that the network is sure of, which would leave them unattacked and
    look like robustness.
    """
    wide = logits.double()
    others = wide.scatter(1, column, -torch.inf)
    return others.logsumexp(dim=1) - wide.gather(1, column).squeeze(1)


def fgsm(
    network: nn.Module,
    x: NDArray[np.float32],
    targets: NDArray[np.int64],
    *,
    epsilons: Sequence[float],
    bounds: Bounds,
    loss: Loss = log_odds,
) -> list[NDArray[np.float32]]:
    """Return ``clip(x + epsilon * scale * sign(gradient))`` for every epsilon, from one gradient.

    The fast gradient sign method of Goodfellow et al., https://arxiv.org/abs/1412.6572.

    Args:
        network: in evaluation mode; its parameters get no gradients.
        x: (B, *input_shape) float32.
        targets: (B,) int64.
        epsilons: strengths in units of ``bounds.scale``.
        bounds: scale and range.
        loss: what is to grow.

    Raises:
        StepFailed: the gradient is not finite, so it has no direction.
    """
    gradient = _input_gradient(network, torch.from_numpy(np.array(x)), _column(targets), loss)
    _check_finite(gradient)
    direction = gradient.sign().numpy() * bounds.scale
    return [clip(x + np.float32(epsilon) * direction, bounds) for epsilon in epsilons]


def pgd(
    network: nn.Module,
    x: NDArray[np.float32],
    targets: NDArray[np.int64],
    *,
    epsilon: float,
    norm: Norm,
    num_steps: int,
    step_size: float,
    bounds: Bounds,
    start: NDArray[np.float32] | None = None,
    loss: Loss = log_odds,
) -> NDArray[np.float32]:
    """Return the samples after steps up the loss, each followed by the projection into the ball and range.

    Projected gradient descent of Madry et al., https://arxiv.org/abs/1706.06083.

    Args:
        network: in evaluation mode; its parameters get no gradients.
        x: (B, *input_shape) float32.
        targets: (B,) int64.
        epsilon: radius of the ball in units of ``bounds.scale``; "l2" is the norm over a whole sample.
        norm: which ball.
        num_steps: gradients taken.
        step_size: length of a step in the same units and norm.
        bounds: scale and range.
        start: offset that the first step starts from, in units of ``bounds.scale``, shaped like ``x``;
            ``None`` starts at ``x``.
        loss: what is to grow.

    Raises:
        StepFailed: a gradient is not finite, so it has no direction.
    """
    column = _column(targets)
    step = (_linf_step if norm == "linf" else _l2_step)(x, epsilon, step_size, bounds)
    point = torch.from_numpy(np.array(x))
    if start is not None:
        point = torch.from_numpy(clip(x + start * bounds.scale, bounds))
    for done in range(num_steps):
        gradient = _input_gradient(network, point, column, loss)
        if (
            done == 0
        ):  # and once more at the end: looking at each step would wait for an accelerator each time
            _check_finite(gradient)
        point = step(point, gradient)
    _check_finite(point)
    return point.numpy()


def random_start(
    shape: Sequence[int], *, epsilon: float, norm: Norm, generators: tuple[np.random.Generator, ...]
) -> NDArray[np.float32]:
    """Return offsets drawn uniformly from the ball, in units of the scale.

    Args:
        shape: (B, *input_shape).
        epsilon: radius.
        norm: which ball.
        generators: one for directions and one for radii, so that the batch size changes neither.
    """
    directions, radii = generators
    if norm == "linf":
        return (2 * directions.random(shape, dtype=np.float32) - 1) * np.float32(epsilon)
    normal = directions.standard_normal(shape, dtype=np.float32)
    flat = normal.reshape(len(normal), -1)
    # The volume within radius r grows as r^d.
    radius = epsilon * radii.random(len(flat)) ** (1 / flat.shape[1])
    factor = radius / np.maximum(np.linalg.norm(flat, axis=1), _LEAST_NORM)
    return np.asarray((flat * factor[:, None]).reshape(normal.shape), dtype=np.float32)


def losses(network: nn.Module, x: NDArray[np.float32], targets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the (B,) loss of every sample, the greater the more wrong."""
    with torch.no_grad():
        found = log_odds(network(torch.from_numpy(np.array(x))), _column(targets))
    return np.asarray(found.numpy(), dtype=np.float64)


def _input_gradient(
    network: nn.Module, point: torch.Tensor, column: torch.Tensor, loss: Loss
) -> torch.Tensor:
    """Return the gradient with respect to the input alone; none is computed for the parameters."""
    point.requires_grad_()
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(loss(network(point), column).sum(), point)
    point.requires_grad = False
    return gradient


def _linf_step(x: NDArray[np.float32], epsilon: float, step_size: float, bounds: Bounds) -> Step:
    """Project the offset, not the point on a box made before: the usual way, and so equal to the last bit."""
    origin = torch.from_numpy(np.array(x))
    reach = torch.from_numpy(np.float32(epsilon) * bounds.scale)
    length = torch.from_numpy(np.float32(step_size) * bounds.scale)

    def step(point: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
        offset = point.addcmul_(gradient.sign_(), length).sub_(origin)
        moved = torch.clamp(offset, -reach, reach, out=offset).add_(origin)
        return moved if bounds.input_range is None else moved.clamp_(*bounds.input_range)

    return step


def _l2_step(x: NDArray[np.float32], epsilon: float, step_size: float, bounds: Bounds) -> Step:
    """Take steps in the space where one unit of strength is 1 along every axis."""
    origin, scale = torch.from_numpy(np.array(x)), torch.from_numpy(bounds.scale)

    def step(point: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
        gradient.mul_(scale)
        offset = (point - origin).div_(scale)
        offset.addcmul_(gradient, step_size / _norms(gradient))
        offset.mul_((epsilon / _norms(offset)).clamp_(max=1))
        moved = offset.mul_(scale).add_(origin)
        return moved if bounds.input_range is None else moved.clamp_(*bounds.input_range)

    return step


def _norms(x: torch.Tensor) -> torch.Tensor:
    """Return the L2 norm of every sample, shaped to broadcast over it."""
    axes = tuple(range(1, x.ndim))
    norms: torch.Tensor = torch.linalg.vector_norm(x, dim=axes, keepdim=True)
    return norms.clamp_(min=_LEAST_NORM)


def _column(targets: NDArray[np.int64]) -> torch.Tensor:
    return torch.from_numpy(np.array(targets))[:, None]


def _check_finite(gradient: torch.Tensor) -> None:
    if not gradient.isfinite().all():
        raise StepFailed(
            "attacks: the reference's gradient is not finite; train it again with a lower learning rate"
        )
