"""One optimizer step: forward and backward over its batches, unscaled and clipped once, made or skipped as a whole."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 - the customary name
from torch import nn

from pt_core.training.averaging import update_average
from pt_core.training.batches import Fetch
from pt_core.training.optim import stepping
from pt_core.training.session import Session
from pt_core.training.sums import Outcome


class Step(NamedTuple):
    """What one step gave."""

    loss: torch.Tensor
    """Mean over its samples, () float32 on the device."""
    correct: torch.Tensor
    """How many of them are right, () int64 on the device."""
    norm: torch.Tensor
    """Norm of the gradient before clipping, () on the device."""
    outcome: Outcome
    """Whether the weights changed."""


def make_step(session: Session, *, fetch: Fetch, rows: torch.Tensor) -> Step:
    """Make one optimizer step on the mean loss of ``rows``, (N,) int64.

    A step whose loss or gradient is NaN or infinite, and one that overflowed under the scaler, changes no
    weight, no state of the optimizer, not the schedule and not the average. With ``max_bad_steps`` 0 and
    no scaler nothing is read back from the device, so that is left to who looks at the losses.
    """
    session.peers.start_step(session.schedule.num_steps)
    live, held = session.held_buffers
    if session.config.max_bad_steps and live:
        torch._foreach_copy_(held, live)
    loss, correct = _backward(session, fetch, rows)
    session.scaler.unscale_(session.optimizer)
    norm = _clip(session)
    outcome = _judge(session, loss, norm)
    if outcome == "stepped":
        with stepping(session.optimizer):
            session.scaler.step(session.optimizer)
    if outcome == "bad" and live:
        torch._foreach_copy_(live, held)
    session.scaler.update()
    if outcome == "stepped":
        session.schedule.step()
        _update_average(session)
    return Step(loss=loss, correct=correct, norm=norm, outcome=outcome)


def parts_of(session: Session, rows: torch.Tensor) -> list[torch.Tensor]:
    """Return the rows of each forward pass that this process makes for a step, in turn."""
    return session.peers.parts(rows, session.micro_batch or max(1, len(rows)))


def evaluate_batch(
    session: Session, *, fetch: Fetch, rows: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the mean loss of ``rows`` and how many are right, without a step."""
    mine = session.peers.take(rows)
    add_up = session.peers.add_up
    if not len(mine):
        nothing = torch.zeros((), device=session.device)
        return add_up(nothing), add_up(nothing.long())
    x, y = fetch(mine)
    loss, correct = _forward(session, x, y)
    return add_up(loss if len(mine) == len(rows) else loss * (len(mine) / len(rows))), add_up(correct)


def _backward(session: Session, fetch: Fetch, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Leave the gradient of the mean loss of ``rows``; return that loss and how many are right."""
    peers, parts = session.peers, parts_of(session, rows)
    losses: list[torch.Tensor] = []
    corrects: list[torch.Tensor] = []
    for part in parts[:-1]:
        with peers.holding():
            _backward_part(session, fetch, part, len(rows), losses, corrects)
    _backward_part(session, fetch, parts[-1], len(rows), losses, corrects)
    if len(parts) == 1:
        return peers.add_up(losses[0]), peers.add_up(corrects[0])
    return peers.add_up(torch.stack(losses).sum()), peers.add_up(torch.stack(corrects).sum())


def _backward_part(
    session: Session,
    fetch: Fetch,
    part: torch.Tensor,
    num_rows: int,
    losses: list[torch.Tensor],
    corrects: list[torch.Tensor],
) -> None:
    x, y = fetch(part)
    loss, correct = _forward(session, x, y)
    if not losses:
        # Not before the first forward pass: what the gradients of the last step take would go to its activations, and
        # those of this step would be new pages; a ResNet-18's step takes 6 % longer so.
        session.optimizer.zero_grad(set_to_none=True)
    if len(part) != num_rows:
        loss = loss * (len(part) / num_rows)
    losses.append(loss.detach())
    corrects.append(correct)
    # The other processes' gradients are averaged in, so each brings its share that many times.
    whole = loss if session.peers.num == 1 else loss * session.peers.num
    session.scaler.scale(whole).backward()  # type: ignore[no-untyped-call]


def _forward(session: Session, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    with session.autocast():
        logits = session.forward(x)
    smoothing, weight = session.config.label_smoothing, session.class_weights
    # The loss is always fp32: exponentials of half-precision logits overflow or vanish.
    logits = logits.float()
    if weight is None:
        loss = F.cross_entropy(logits, y, label_smoothing=smoothing)
    else:
        # torch would divide by the weights in the batch, so that a batch of one class would not feel them.
        summed = F.cross_entropy(logits, y, weight=weight, label_smoothing=smoothing, reduction="sum")
        loss = summed / len(y)
    return loss, (logits.detach().argmax(dim=1) == y).sum()


def _clip(session: Session) -> torch.Tensor:
    """Clip the gradients; return their norm before."""
    parameters = [p for p in session.parameters if p.grad is not None]
    norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    if session.config.max_gradient_norm is not None:
        nn.utils.clip_grads_with_norm_(parameters, session.config.max_gradient_norm, norm)
    return norm


def _judge(session: Session, loss: torch.Tensor, norm: torch.Tensor) -> Outcome:
    if not (session.config.max_bad_steps or session.scaler.is_enabled()):
        return "stepped"
    if not math.isfinite(float(loss)):
        return "bad"
    if math.isfinite(float(norm)):
        return "stepped"
    # What a scale of 1 does not cure is no overflow: the gradient itself is NaN or infinite.
    return "overflowed" if session.scaler.is_enabled() and session.scaler.get_scale() > 1 else "bad"


def _update_average(session: Session) -> None:
    decay = session.config.ema_decay
    if session.average is not None and decay is not None:
        update_average(session.average, session.network, decay=decay, num_steps=session.schedule.num_steps)
