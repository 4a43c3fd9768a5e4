"""Train one network on one dataset: from a request, or from where an interrupted training of it stood, to a checkpoint."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from pt_core.artifacts.checkpoint import Checkpoint, CheckpointInfo, EpochMetrics
from pt_core.artifacts.checkpoint_files import save_checkpoint
from pt_core.bundle import check_digest
from pt_core.child import is_out_of_memory
from pt_core.devices import PrecisionDecision, resolve_device, resolve_precision
from pt_core.environment import describe_environment
from pt_core.errors import IntegrityError, OutOfMemory, TrainingDiverged
from pt_core.modeling.cost import network_cost
from pt_core.modeling.memory import saving_memory
from pt_core.modeling.network import build_network, complete_spec
from pt_core.modeling.spec import ModelSpec
from pt_core.training.averaging import averaged
from pt_core.training.classes import class_weights
from pt_core.training.epoch import refuse_non_finite
from pt_core.training.live import Live
from pt_core.training.loop import Standing, run_epochs, standing_state, steps_per_epoch, take_up
from pt_core.training.parallel import launch, parallelize
from pt_core.training.requests import TrainRequest
from pt_core.training.resume import IDENTITY, Found, Trail, code_identity, open_trail
from pt_core.training.session import Session, copy_to_cpu, preserved_randomness, start_session
from pt_core.training.splits import Data, open_data

NUM_GOLDEN = 16
"""Validation samples whose logits every bundle carries, for a replay on any machine."""


class Job(NamedTuple):
    """A training that has been set up."""

    request: TrainRequest
    """What is asked."""
    spec: ModelSpec
    """The network's structure."""
    precision: PrecisionDecision
    """The precision, and why."""
    session: Session
    """What the steps change."""
    data: Data
    """What is learnt from and watched."""
    trail: Trail
    """The durable checkpoints."""
    flops_per_sample: int | None
    """Floating-point operations of one sample's forward pass; counted once, since checkpoints are many."""

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of an epoch."""
        return steps_per_epoch(len(self.data.train.y), self.request.config)


def train(request: TrainRequest) -> Checkpoint:
    """Train, and return the checkpoint of the last epoch, or of the best one where early stopping is on.

    The best epoch has the lowest validation loss. Without ``early_stopping_patience`` the last epoch is
    kept, whatever its validation loss: the schedule ends there, and no choice is made on validation data.

    A training of the same request that was interrupted goes on from its last durable checkpoint. On the CPU,
    with as many threads, it ends with the bits of one that was not interrupted.

    Raises:
        IntegrityError: the dataset's bytes are damaged.
        ConfigError: the network cannot be built for this data, the device is not here, or torch refuses an option.
        TrainingDiverged: more losses were NaN or infinite than ``max_bad_steps``; the message names the last
            finite checkpoint.
        OutOfMemory: torch asked for more memory than there is.
        StepFailed: the scaler skipped every step, or the disk refused a checkpoint.
    """
    check_digest(request.dataset)
    if request.config.parallel.strategy == "ddp":
        return launch("pt_core.training.fit:train_here", request)
    return train_here(request)


def train_here(request: TrainRequest) -> Checkpoint:
    """Train in this process, alone or as one of several; errors are those of :func:`train`."""
    with _named(request):
        job = _set_up(request)
        try:
            with saving_memory(job.session.network, request.model.gradient_checkpointing):
                return _train(job)
        finally:
            job.trail.release()


def _set_up(request: TrainRequest) -> Job:
    config = request.config
    device = resolve_device(config.device)
    decision = resolve_precision(config.precision, device)
    # Copies and stages share what one device alone may have no room for.
    is_shared = config.parallel.strategy in ("dp", "model_parallel")
    spec = complete_spec(
        request.model,
        request.dataset,
        channels_last=config.channels_last,
        batch_size=_micro_batch(request),
        device="cpu" if is_shared else device,
        # A type that the device computes in need not be one of this processor.
        precision="fp32" if is_shared and device != "cpu" else decision.precision,
    )
    flops = network_cost(build_network(spec).eval(), input_shape=spec.input_shape).flops
    data = open_data(request, device)
    y = torch.from_numpy(data.train.y.copy())
    session = start_session(
        spec,
        config,
        model=request.model,
        seed=request.seed,
        device=device,
        precision=decision.precision,
        total_steps=config.epochs * steps_per_epoch(len(y), config),
        source=request.warm_start,
        micro_batch=_micro_batch(request),
        class_weights=class_weights(config.class_weights, y, num_classes=spec.num_classes),
    )
    session, remark = parallelize(session, num_samples=len(y), seed=request.seed)
    trail = open_trail(request, writes=session.peers.writes)
    trail.remarks += [remark] if remark else []
    return Job(request, spec, decision, session, data, trail, flops)


def _train(job: Job) -> Checkpoint:
    session, trail, config = job.session, job.trail, job.request.config
    standing = _go_on(job)
    live = Live(epochs=config.epochs, steps_per_epoch=job.steps_per_epoch, step_size=config.step_size)

    def after_step() -> None:
        if trail.is_due(_num_steps(job, standing)):
            refuse_non_finite(session, standing.sums, epoch=standing.epoch)
            _write_durably(job, standing)

    try:
        kept = run_epochs(
            session,
            job.data,
            standing,
            live=live if session.peers.writes else None,
            after_step=after_step,
        )
    except TrainingDiverged as error:
        raise error.with_message(f"{error.message}; {_last_finite(job, standing)}") from error
    if not session.peers.writes:
        return Checkpoint.from_json(session.peers.share(""))
    checkpoint = _write(
        job,
        Path(job.request.store),
        "checkpoint",
        epoch=kept.epoch,
        history=standing.history,
        weights=kept.weights,
        state=kept.training_state,
    )
    trail.clear()
    session.peers.share(checkpoint.to_json())
    return checkpoint


def _go_on(job: Job) -> Standing:
    """Return where the training stands: at its start, or where the newest durable checkpoint was taken."""
    found = _newest(job)
    if found is None:
        return Standing()
    standing = take_up(job.session, found.state, found.weights)
    job.trail.went_on(_num_steps(job, standing))
    where = f"after step {standing.sums.num_steps} of {job.steps_per_epoch} in epoch {standing.epoch}"
    job.trail.remarks.append(f"went on {where}, where an interrupted training stood")
    return standing


def _newest(job: Job) -> Found | None:
    """Return the checkpoint to go on from, the same in all processes."""
    peers = job.session.peers
    if peers.writes:
        found = job.trail.newest()
        peers.share(str(found.checkpoint.directory) if found else "")
        return found
    directory = peers.share("")
    return job.trail.found_at(Path(directory)) if directory else None


def _num_steps(job: Job, standing: Standing) -> int:
    return (standing.epoch - 1) * job.steps_per_epoch + standing.sums.num_steps


def _write_durably(job: Job, standing: Standing) -> None:
    """Write a checkpoint to go on from; one that is not finite is worth nothing, and the next look will say so."""

    def save(folder: Path, name: str) -> Checkpoint:
        with averaged(job.session.network, job.session.average):
            weights = copy_to_cpu(job.session.network.state_dict())
        state = {**standing_state(job.session, standing), IDENTITY: code_identity()}
        return _write(
            job, folder, name, epoch=standing.epoch, history=standing.history, weights=weights, state=state
        )

    num_steps = _num_steps(job, standing)
    with preserved_randomness(job.session):
        try:
            job.trail.write(save, num_steps=num_steps)
        except IntegrityError:
            job.trail.went_on(num_steps)


def _last_finite(job: Job, standing: Standing) -> str:
    """Keep what was reached, if it is finite, and return a clause that says where."""
    # Without skipping, the last steps were made with what was not finite.
    if job.request.config.max_bad_steps:
        _write_durably(job, standing)
    path = job.trail.newest_finite()
    return f"the last finite checkpoint is {path}" if path else "no finite checkpoint had been written"


def _write(
    job: Job,
    folder: Path,
    name: str,
    *,
    epoch: int,
    history: Sequence[EpochMetrics],
    weights: dict[str, torch.Tensor],
    state: dict[str, Any],
) -> Checkpoint:
    # A fresh network: on the CPU, contiguous, and with nothing that is not in the saved weights.
    network = build_network(job.spec).eval()
    network.load_state_dict(weights)
    golden = torch.tensor(job.data.validation.x[:NUM_GOLDEN])
    request, session = job.request, job.session
    info = CheckpointInfo(
        spec=job.spec,
        labels=request.dataset.labels,
        dataset_digest=request.dataset.digest,
        data_fingerprint=request.dataset.fingerprint,
        splits=request.dataset.splits,
        config=request.config.model_dump(mode="json"),
        seed=request.seed,
        precision=job.precision.precision,
        precision_reason=job.precision.reason,
        device=session.device,
        epoch=epoch,
        history=tuple(history),
        num_parameters=_num_parameters(session.network, trained=True),
        environment=describe_environment(),
        num_frozen_parameters=_num_parameters(session.network, trained=False),
        frozen=session.frozen,
        flops_per_sample=job.flops_per_sample,
        warm_start=session.warm_start,
        micro_batch=session.micro_batch if request.halve_batch else None,
        remarks=tuple(job.trail.remarks),
    )
    return save_checkpoint(
        folder, info=info, network=network, training_state=state, golden_inputs=golden, name=name
    )


def _micro_batch(request: TrainRequest) -> int:
    """Return how many samples a forward pass takes: at least two, for batch normalisation."""
    size = request.config.batch_size
    return max(2, -(-size // 2)) if request.halve_batch else size


def _num_parameters(network: nn.Module, *, trained: bool) -> int:
    return sum(p.numel() for p in network.parameters() if p.requires_grad == trained)


@contextlib.contextmanager
def _named(request: TrainRequest) -> Iterator[None]:
    """Give want of memory its own type, whichever library says it."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        said = f"train: out of memory with {_micro_batch(request)} samples a forward pass: {error}"
        raise OutOfMemory(said[:1000]) from error
