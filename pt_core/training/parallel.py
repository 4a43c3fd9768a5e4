"""Training in several processes or on several GPUs: the only file that knows of ranks."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
import os
import socket
import tempfile
import time
import traceback
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch
from torch.distributed.nn.functional import all_reduce

from pt_core.artifacts.checkpoint import Checkpoint
from pt_core.child import PROGRESS_VARIABLE, SCRATCH_VARIABLE, call
from pt_core.devices import resolve_device
from pt_core.errors import ConfigError, PtCoreError, StepFailed, TrainingDiverged, error_from_dict
from pt_core.training.batches import in_batches
from pt_core.training.config import TrainConfig
from pt_core.training.last_pass import last_pass, refuse_lone_samples, refuse_small_steps
from pt_core.training.parallel_config import ParallelConfig
from pt_core.training.requests import TrainRequest
from pt_core.training.resume import training_key
from pt_core.training.session import Peers, Session
from pt_core.training.shared_norm import share_statistics

_WHERE = "train.parallel"
_COLLECTIVE_TIMEOUT = datetime.timedelta(minutes=30)
"""How long a process waits for another: the first writes checkpoints and reads them while the rest waits."""
_PATIENCE_S = 3.0
"""How long a process that lost another waits before it fails too, so that the lost one is seen first."""
_LAST_CHECKPOINT_S = 60.0
"""How long the first process has to keep a diverged training's last finite checkpoint."""
_NUM_DETAILS = 30
_REQUEST = "request.json"
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def launch(target: str, request: TrainRequest) -> Checkpoint:
    """Run ``target`` ("module:function") on the request in each process of a ddp training; return its reply.

    The processes belong to this one's session, so that who watches or kills that session has them all. On one
    machine they meet in a file of a private folder and talk over the loopback interface only.

    Raises:
        ConfigError: there are fewer GPUs than processes, or the device is none that processes can share.
        PtCoreError: the typed error that one of them raised; it is never tried again.
        StepFailed: one of them crashed or was killed, once more than ``max_restarts``.
    """
    config = request.config.parallel
    _refuse_device(config, resolve_device(request.config.device))
    parent = os.environ.get(SCRATCH_VARIABLE)
    with tempfile.TemporaryDirectory(prefix="pt-ranks-", dir=parent) as scratch, _progress_wire() as wire:
        folder = Path(scratch)
        # The launcher reads "$" in its arguments as its own; a file it leaves alone.
        (folder / _REQUEST).write_text(request.to_json())
        with _environment(config):
            work = elastic_launch(_launch_config(config, folder, run_id=training_key(request)), _run_rank)
            try:
                replies = work(target, scratch, wire)
            except ChildFailedError as error:
                raise _name_failure(error, folder, config) from error
        return Checkpoint.from_json(next(iter(replies.values())))


def parallelize(session: Session, *, num_samples: int, seed: int) -> tuple[Session, str | None]:
    """Return the session as one of its peers, or on several GPUs; with a remark where that changes nothing.

    Args:
        session: as one process alone would start it; in the ranks of :func:`launch`, of the same seed in all.
        num_samples: of the training split.
        seed: of the run.

    Raises:
        ConfigError: a step has fewer samples than there are processes, or a GPU would normalise over one sample.
    """
    strategy = session.config.parallel.strategy
    if strategy == "dp":
        return _data_parallel(session, num_samples)
    if strategy == "ddp":
        refuse_small_steps(session, num_samples)
        return _distributed(session, seed=seed), None
    return session, None


def take(rows: torch.Tensor, *, rank: int, num: int) -> torch.Tensor:
    """Return the rows of a batch that a process computes; sizes differ by one at most."""
    return rows.tensor_split(num)[rank]


def share_of_step(rows: torch.Tensor, size: int, *, rank: int, num: int) -> list[torch.Tensor]:
    """Return what a process computes of a step, in turn, at most ``size`` (or one more) rows at a time.

    All processes together compute in each turn what one alone would with ``num`` times the size: batch
    normalisation sees the same samples, and no process waits for a turn that another does not have.
    """
    return [take(batch, rank=rank, num=num) for batch in in_batches(rows, size * num)]


def _data_parallel(session: Session, num_samples: int) -> tuple[Session, str | None]:
    num_gpus = torch.cuda.device_count() if session.device == "cuda" else 0
    if num_gpus < 2:
        found = "the CPU" if session.device == "cpu" else f"one {session.device} device"
        return session, f"dp shares batches among GPUs; on {found} it trains as strategy none does"
    last = last_pass(session, num_samples, num_ranks=1)
    refuse_lone_samples(session.network, last, num_gpus=num_gpus)
    return session._replace(wrapped=nn.DataParallel(session.network, device_ids=list(range(num_gpus)))), None


def _distributed(session: Session, *, seed: int) -> Session:
    rank, num = dist.get_rank(), dist.get_world_size()
    share_statistics(session.network, all_reduce)
    wrapped = nn.parallel.DistributedDataParallel(
        session.network,
        device_ids=[torch.cuda.current_device()] if session.device == "cuda" else None,
        # Every process computes the same buffers, from the statistics of all.
        broadcast_buffers=False,
        find_unused_parameters=session.config.parallel.find_unused_parameters,
    )

    def add_up(number: torch.Tensor) -> torch.Tensor:
        total = number.detach().clone()
        dist.all_reduce(total)
        return total

    def start_step(num_steps: int) -> None:
        # A mask of dropout depends on seed, step and rank alone, also where a training goes on.
        digest = hashlib.blake2b(f"{seed}/{rank}/{num_steps}".encode(), digest_size=7).digest()
        torch.manual_seed(int.from_bytes(digest))

    peers = Peers(
        num=num,
        take=lambda rows: take(rows, rank=rank, num=num),
        parts=lambda rows, size: share_of_step(rows, size, rank=rank, num=num),
        add_up=add_up,
        holding=wrapped.no_sync,
        writes=rank == 0,
        share=lambda text: _share(text, session.device),
        start_step=start_step,
    )
    return session._replace(wrapped=wrapped, peers=peers)


def _share(text: str, device: str) -> str:
    """Return the text of rank 0 in all processes; as bytes, since what torch sends by itself is a pickle."""
    content = torch.frombuffer(bytearray(text.encode() or b"\0"), dtype=torch.uint8).to(device)
    size = torch.tensor([len(text.encode())], device=device)
    dist.broadcast(size, src=0)
    if dist.get_rank():
        content = torch.zeros(max(1, int(size)), dtype=torch.uint8, device=device)
    dist.broadcast(content, src=0)
    return bytes(content.cpu().tolist())[: int(size)].decode()


def _run_rank(target: str, scratch: str, wire: Connection | None) -> str:
    """Train as one of the processes; return the reply as JSON. Called in a process of its own."""
    rank, folder = int(os.environ["RANK"]), Path(scratch)
    request = (folder / _REQUEST).read_text()
    for told in sorted(folder.glob("refused-*.json")):
        # What was refused before a restart would be refused again.
        raise error_from_dict(json.loads(told.read_text()))
    if rank == 0 and wire is not None:
        os.environ[PROGRESS_VARIABLE] = f"{wire.fileno()}:{os.getpid()}"
    try:
        _join(TrainRequest.model_validate_json(request).config, folder)
        return call(target, request).to_json()
    except PtCoreError as error:
        _tell(folder / f"refused-{rank}.json", error)
        if rank and isinstance(error, TrainingDiverged):
            time.sleep(_LAST_CHECKPOINT_S)
        raise
    except Exception as error:
        said = f"train: rank {rank} raised {type(error).__name__}: {error}"[:2000]
        failure = StepFailed(said, details=traceback.format_exc().splitlines()[-_NUM_DETAILS:])
        _tell(folder / f"crashed-{rank}.json", failure)
        time.sleep(_PATIENCE_S)
        raise


def _join(config: TrainConfig, folder: Path) -> None:
    """Meet the other processes: on one machine in a file, else where the launcher says."""
    on_gpu = resolve_device(config.device) == "cuda"
    if on_gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    rank, num = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    backend = "nccl" if on_gpu else "gloo"
    if config.parallel.nodes > 1:
        dist.init_process_group(backend, timeout=_COLLECTIVE_TIMEOUT)
        return
    # A new file after each restart: the old one names processes that are gone.
    place = folder / f"ranks-{os.environ['TORCHELASTIC_RESTART_COUNT']}"
    store = dist.FileStore(str(place), num)  # type: ignore[attr-defined]
    dist.init_process_group(backend, store=store, rank=rank, world_size=num, timeout=_COLLECTIVE_TIMEOUT)


def _tell(path: Path, error: PtCoreError) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(error.to_dict()))
    partial.rename(path)


def _launch_config(config: ParallelConfig, folder: Path, *, run_id: str) -> LaunchConfig:
    is_alone = config.nodes == 1
    (folder / "logs").mkdir()
    return LaunchConfig(
        min_nodes=config.nodes,
        max_nodes=config.nodes,
        nproc_per_node=config.processes,
        run_id=run_id,
        rdzv_backend="c10d",
        # A file, not a port: the launcher's store has no password, and would listen on every interface.
        rdzv_endpoint=str(folder / "rendezvous") if is_alone else str(config.rendezvous_endpoint),
        rdzv_configs={"store_type": "file"} if is_alone else {},
        local_addr="127.0.0.1" if is_alone else None,
        max_restarts=config.max_restarts,
        logs_specs=DefaultLogsSpecs(log_dir=str(folder / "logs")),
    )


@contextlib.contextmanager
def _environment(config: ParallelConfig) -> Iterator[None]:
    """Give what the processes inherit: a share of the cores, and on one machine the loopback interface."""
    num_threads = torch.get_num_threads() // config.processes
    changes = dict.fromkeys(_THREADS, str(max(1, num_threads)))
    if config.nodes == 1:
        loopback = next((name for _, name in socket.if_nameindex() if name in ("lo", "lo0")), None)
        if loopback:
            changes |= {"GLOO_SOCKET_IFNAME": loopback, "NCCL_SOCKET_IFNAME": loopback}
        changes["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


@contextlib.contextmanager
def _progress_wire() -> Iterator[Connection | None]:
    """Give this process's pipe for progress, if there is one, in a form that a new process can be handed."""
    descriptor, _, listener_of = os.environ.get(PROGRESS_VARIABLE, "").partition(":")
    if listener_of != str(os.getpid()):
        yield None
        return
    with Connection(os.dup(int(descriptor)), readable=False) as wire:
        yield wire


def _name_failure(error: ChildFailedError, folder: Path, config: ParallelConfig) -> PtCoreError:
    """Return what a person is told: a typed refusal first, then who was killed, then who raised."""
    for told in sorted(folder.glob("refused-*.json")):
        return error_from_dict(json.loads(told.read_text()))
    rank, failure = error.get_first_failure()
    after = f", after all {config.max_restarts} of train.parallel.max_restarts" if config.max_restarts else ""
    more = f"; run again to go on from the last durable checkpoint, or raise {_WHERE}.max_restarts"
    crashed = folder / f"crashed-{rank}.json"
    if failure.exitcode >= 0 and crashed.exists():
        told_error = error_from_dict(json.loads(crashed.read_text()))
        return told_error.with_message(f"{told_error.message}{after}")
    how = (
        f"was killed by {failure.signal_name()}"
        if failure.exitcode < 0
        else f"exited with {failure.exitcode}"
    )
    return StepFailed(f"train: rank {rank} of {config.world_size} (process {failure.pid}) {how}{after}{more}")


def _refuse_device(config: ParallelConfig, device: str) -> None:
    if device == "mps":
        raise ConfigError(
            f"{_WHERE}: processes cannot share an mps device; set train.device to cpu, or strategy to none"
        )
    if device == "cuda" and torch.cuda.device_count() < config.processes:
        raise ConfigError(
            f"{_WHERE}.processes: {config.processes}, but this machine has {torch.cuda.device_count()} GPUs and ddp "
            "needs one for each; set fewer, or train.device to cpu"
        )
