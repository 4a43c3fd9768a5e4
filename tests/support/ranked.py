"""A network that notes which processes train it, and that dies by SIGKILL in one of them where a test says so."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import torch
from torch import nn

NOTES = "PT_TEST_NOTES"
"""Folder for a note of each process; without it nothing is noted."""
KILL = "PT_TEST_KILL"
"""RANK:PASS:TIMES, which process dies in which of its forward passes, and how often in all; needs the notes."""


class Ranked(nn.Module):
    """Two linear layers with batch normalisation and dropout between them."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.first = nn.Linear(64, 24)
        self.norm = nn.BatchNorm1d(24)
        self.drop = nn.Dropout(dropout)
        self.last = nn.Linear(24, 10)
        self._num_passes = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training and torch.is_grad_enabled() and NOTES in os.environ and "RANK" in os.environ:
            self._num_passes += 1
            _note(Path(os.environ[NOTES]), self._num_passes)
        return self.last(self.drop(self.norm(self.first(x.flatten(1))).relu()))


def _note(folder: Path, num_passes: int) -> None:
    note = {"pid": os.getpid(), "session": os.getsid(0), "group": os.getpgid(0)}
    note |= {"num_passes": num_passes, "num_threads": torch.get_num_threads()}
    rank = os.environ["RANK"]
    (folder / f"rank-{rank}.json").write_text(json.dumps(note))
    who, when, times = (os.environ.get(KILL) or "-:0:0").split(":")
    if who == rank and int(when) == num_passes and len(list(folder.glob("killed-*"))) < int(times):
        (folder / f"killed-{os.getpid()}").touch()
        os.kill(os.getpid(), signal.SIGKILL)
