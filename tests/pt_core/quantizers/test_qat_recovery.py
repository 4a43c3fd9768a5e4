"""Where plain static INT8 loses points, quantization-aware training gets back at least half of them."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "qat.py"


@pytest.mark.e2e
def test_training_gets_back_half_of_the_points_that_static_int8_loses(tmp_path):
    location = importlib.util.spec_from_file_location("benchmark_qat", SCRIPT)
    benchmark = importlib.util.module_from_spec(location)
    location.loader.exec_module(benchmark)
    rows = benchmark.study(tmp_path, seed=0, names=("int8-static", "int8-qat"))
    lost, share = benchmark.recovered(rows, "int8-qat")
    assert lost >= 2
    assert share >= 0.5
