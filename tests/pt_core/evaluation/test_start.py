"""What starting an artifact takes is measured in a process that has imported no runtime before."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pt_core.artifacts.artifact import Artifact
from pt_core.errors import IntegrityError
from pt_core.evaluation.requests import StartReport, StartRequest
from pt_core.evaluation.start import measure_start
from pt_core.isolation import run_isolated


def test_a_start_counts_what_importing_torch_takes(reference: Artifact) -> None:
    found = run_isolated(
        "pt_core.evaluation.start:measure_start",
        StartRequest(artifact=reference, batch_size=64),
        reply=StartReport,
        timeout_s=120,
        num_threads=1,
    )
    # Nobody imports torch in less, and a child that had it before would need but milliseconds.
    assert 0.2 < found.cold_start_s < 100
    if Path("/proc/self/clear_refs").exists():
        assert 50 * 2**20 < found.peak_memory_bytes < 1500 * 2**20


def test_the_process_that_measures_a_start_has_no_runtime_before() -> None:
    code = (
        "import sys, pt_core.evaluation.start\n"
        "print([name for name in ('torch', 'onnxruntime', 'openvino', 'sklearn') if name in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


def test_a_damaged_artifact_is_not_started(new_reference, dataset, tmp_path) -> None:
    damaged = new_reference(tmp_path, dataset)
    file = Path(damaged.directory) / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(IntegrityError, match="against its manifest"):
        measure_start(StartRequest(artifact=damaged, batch_size=1))
