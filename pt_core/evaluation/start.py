"""What starting one artifact takes: seconds to its first answer and growth of memory, in a process of its own."""

from __future__ import annotations

import time

import numpy as np

from pt_core.evaluation.memory import mark_peak, peak_growth
from pt_core.evaluation.requests import StartReport, StartRequest
from pt_core.inference.predictor import load_predictor

_NUM_CALLS = 3
"""Calls at the batch size, since runtimes choose kernels and grow their arenas in the first ones."""


def measure_start(request: StartRequest) -> StartReport:
    """Start one artifact in this process, which has imported no runtime yet, with nothing else running.

    ``cold_start_s`` counts from checking the artifact's bytes, over importing its runtime and loading it, to the answer
    for one sample of zeros; its files and libraries are in the page cache by then. ``peak_memory_bytes`` is the
    growth of this process's peak resident memory from before that until a few calls at the batch size are answered:
    runtime library, weights and activations. It counts pages of shared libraries, and leaves out what Python and
    NumPy held before.

    Raises:
        IntegrityError: the bytes of the artifact are damaged.
        StepUnavailable: this machine lacks its runtime.
    """
    shape = request.artifact.spec.input_shape
    before = mark_peak()
    started = time.perf_counter()
    predictor = load_predictor(request.artifact, device="cpu")
    predictor.logits(np.zeros((1, *shape), dtype=np.float32))
    cold_start_s = time.perf_counter() - started
    batch = np.zeros((request.batch_size, *shape), dtype=np.float32)
    for _ in range(_NUM_CALLS):
        predictor.logits(batch)
    return StartReport(cold_start_s=cold_start_s, peak_memory_bytes=peak_growth(before))
