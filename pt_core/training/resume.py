"""Durable checkpoints of a training in progress: how often, where, how many, and the newest that is whole."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch

from pt_core.artifacts.checkpoint import WEIGHTS, Checkpoint
from pt_core.artifacts.checkpoint_files import load_training_state, open_checkpoint
from pt_core.artifacts.tensors import load_tensors, read_golden
from pt_core.bundle import set_aside, sweep
from pt_core.environment import core_code_digest, runtime_identity
from pt_core.errors import IntegrityError
from pt_core.folder_lock import is_still, remove_unheld
from pt_core.training import parallel_config
from pt_core.training.config import EXECUTION_FIELDS, TrainConfig
from pt_core.training.requests import TrainRequest

TRAINING = "training"
"""Folder inside a store, with a folder for each training that has not ended."""

IDENTITY = "identity"
"""Key of the training state under which code and libraries are named."""

_LOCK_PATIENCE_S = 10.0
_MAX_UNFINISHED = 10
_PREFIX = "step-"

Save = Callable[[Path, str], Checkpoint]
"""Writes a checkpoint of the present state into a folder, under a name."""


class Found(NamedTuple):
    """A checkpoint to go on from."""

    checkpoint: Checkpoint
    """Its record."""
    weights: dict[str, torch.Tensor]
    """Its weights file."""
    state: dict[str, Any]
    """Its training state."""


def training_key(request: TrainRequest) -> str:
    """Return the name of the folder of a training: requests that compute the same share it."""
    plain = request.model_dump(mode="json", exclude={"halve_batch"})
    for name in EXECUTION_FIELDS:
        del plain["config"][name]
    for name in parallel_config.EXECUTION_FIELDS:
        del plain["config"]["parallel"][name]
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:24]


def code_identity() -> str:
    """Return the digest of what besides the request decides the bits of a training: code and libraries."""
    return hashlib.sha256(f"{core_code_digest()}|{runtime_identity()}".encode()).hexdigest()


class Trail:
    """The durable checkpoints of one training."""

    def __init__(self, folder: Path, config: TrainConfig, *, writes: bool = True) -> None:
        """Look at nothing yet; the folder is made by the first checkpoint.

        Args:
            folder: of this training alone.
            config: how often, and how many are kept.
            writes: whether this process writes; one that does not still finds.
        """
        self.folder = folder
        self.remarks: list[str] = []
        self._config = config
        self._writes = writes
        self._lock: int | None = None
        self._num_steps = 0
        self._written_at = time.monotonic()

    def newest(self) -> Found | None:
        """Return the newest checkpoint that is whole and of this code; damaged ones are set aside and remarked."""
        if not self.folder.is_dir() or not self._own():
            return None
        for directory in self._all():
            found = self._open(directory)
            if found is None:
                continue
            if found.state.get(IDENTITY) == code_identity():
                return found
            directory.rename(directory.with_name(f"unused-{directory.name}"))
            self.remarks.append(
                f"{directory.name} is of other code or libraries, with which this training would not go on as "
                "it began; not used"
            )
        return None

    def found_at(self, directory: Path) -> Found:
        """Return the checkpoint that the process that writes has found.

        Raises:
            IntegrityError: it is not here, or not whole.
        """
        return _read(directory)

    def is_due(self, num_steps: int) -> bool:
        """Return whether a checkpoint is to be written after ``num_steps`` steps of the whole training."""
        if not self._writes:
            return False
        every_steps, every_minutes = (
            self._config.checkpoint_every_steps,
            self._config.checkpoint_every_minutes,
        )
        if every_steps is not None and num_steps - self._num_steps >= every_steps:
            return True
        return every_minutes is not None and time.monotonic() - self._written_at >= 60 * every_minutes

    def went_on(self, num_steps: int) -> None:
        """Count from here: this many steps are safe."""
        self._num_steps = num_steps
        self._written_at = time.monotonic()

    def write(self, save: Save, *, num_steps: int) -> Path | None:
        """Write a checkpoint and remove the oldest beyond what is kept; return where it is, if it was written.

        Raises:
            IntegrityError: a weight is not finite.
            StepFailed: the disk refused it; earlier ones are untouched.
        """
        if not self._writes or not self._own():
            return None
        directory = Path(save(self.folder, f"{_PREFIX}{num_steps:010d}").directory)
        for old in self._all()[self._config.keep_checkpoints :]:
            shutil.rmtree(old, ignore_errors=True)
        self.went_on(num_steps)
        return directory

    def newest_finite(self) -> Path | None:
        """Return the newest checkpoint that is whole and whose outputs are finite."""
        for directory in self._all():
            with contextlib.suppress(IntegrityError):
                read_golden(open_checkpoint(directory))
                return directory
        return None

    def clear(self) -> None:
        """Remove everything: the training has ended well, and its checkpoint is elsewhere."""
        if self._writes and self._lock is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.release()
            with contextlib.suppress(OSError):  # another training has a folder there
                self.folder.parent.rmdir()

    def release(self) -> None:
        """Let another process train the same."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _all(self) -> list[Path]:
        """Return the checkpoints, newest first."""
        names = [path for path in self.folder.glob(f"{_PREFIX}*") if ".damaged-" not in path.name]
        return sorted(names, reverse=True)

    def _open(self, directory: Path) -> Found | None:
        try:
            return _read(directory)
        except IntegrityError as error:
            aside = set_aside(directory)
            self.remarks.append(f"{error.message.partition(';')[0]}; set aside as {aside.name}")
            return None

    def _own(self) -> bool:
        """Return whether this process may write here; two that train the same would remove each other's work."""
        if not self._writes or self._lock is not None:
            return True
        # Who was killed a moment ago may still be on its way out.
        end = time.monotonic() + _LOCK_PATIENCE_S
        while (lock := _locked(self.folder)) is None:
            if time.monotonic() > end:
                self._writes = False
                self.remarks.append(
                    f"another process trains the same and keeps its checkpoints in {self.folder}; "
                    "this one keeps none"
                )
                return False
            time.sleep(0.1)
        self._lock = lock
        sweep(self.folder)
        _forget_oldest(self.folder)
        return True


def open_trail(request: TrainRequest, *, writes: bool = True) -> Trail:
    """Return the durable checkpoints of a training."""
    return Trail(Path(request.store) / TRAINING / training_key(request), request.config, writes=writes)


def _read(directory: Path) -> Found:
    checkpoint = open_checkpoint(directory)
    arrays = load_tensors(directory / WEIGHTS, finite=True)
    state = load_training_state(checkpoint)
    return Found(checkpoint, {name: torch.from_numpy(value) for name, value in arrays.items()}, state)


def _locked(folder: Path) -> int | None:
    """Return a descriptor of the folder that holds its lock, ``None`` where another process has it."""
    # Who trained the same and ended meanwhile has removed the folder and what it is in.
    with contextlib.suppress(FileNotFoundError):
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder, os.O_RDONLY)
        if _try_lock(lock) and is_still(folder, lock):
            return lock
        os.close(lock)
    return None


def _forget_oldest(own: Path) -> None:
    """Keep the newest ten folders of trainings that nobody has ended: a changed configuration never comes back to one.

    A folder is removed only under its lock; where the file system has no locks, none is.
    """
    ages: dict[Path, float] = {}
    for path in own.parent.iterdir():
        with contextlib.suppress(FileNotFoundError):  # another training ends meanwhile
            ages[path] = path.stat().st_mtime
    for folder in sorted(ages, key=lambda path: ages[path])[:-_MAX_UNFINISHED]:
        if folder != own:
            remove_unheld(folder)


def _try_lock(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        # Without locks two that train the same cannot know of each other; work that goes on is worth more.
        pass
    return True
