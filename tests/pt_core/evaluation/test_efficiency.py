import numpy as np
import pytest

from pt_core.errors import IntegrityError
from pt_core.evaluation.config import EfficiencyConfig
from pt_core.evaluation.efficiency import measure, summarize
from pt_core.evaluation.requests import EfficiencyReports, EfficiencyRequest
from pt_core.isolation import run_isolated


def test_reports_hold_units_ratios_and_the_noise_of_the_reference_against_itself():
    generator = np.random.default_rng(0)
    noise = generator.normal(1, 0.02, size=(30, 3, 10))
    latency = (noise * np.array([2e6, 2e6, 1e6])[None, :, None]).astype(np.int64)
    throughput = np.full((30, 3, 1), [[8e6], [8e6], [2e6]], dtype=np.int64)
    reference, fast = summarize(["r", "f"], latency=latency, throughput=throughput, throughput_batch_size=64)
    assert (reference.artifact_digest, fast.artifact_digest) == ("r", "f")
    assert fast.latency_ms_p50 == pytest.approx(1, rel=0.02)
    assert fast.latency_ms_p50 < fast.latency_ms_p95 < fast.latency_ms_p99
    assert fast.latency_ms_p99 == pytest.approx(np.quantile(latency[:, 2], 0.99) / 1e6)
    assert fast.throughput_samples_per_s == pytest.approx(64 / 0.002)
    assert reference.throughput_samples_per_s == pytest.approx(64 / 0.008)
    assert fast.latency_ratio_low < 0.5 * 1.02
    assert fast.latency_ratio == pytest.approx(0.5, rel=0.02)
    assert reference.latency_ratio == pytest.approx(1, rel=0.02)
    assert (reference.latency_ratio_low, reference.latency_ratio_high) == (
        fast.noise_ratio_low,
        fast.noise_ratio_high,
    )
    assert fast.noise_ratio_low <= 1.02
    assert fast.num_rounds == 30


def test_the_reference_is_as_fast_as_itself(reference, dataset):
    seen = []
    found = run_isolated(
        "pt_core.evaluation.efficiency:measure",
        EfficiencyRequest(
            reference=reference,
            artifacts=(reference,),
            dataset=dataset,
            config=EfficiencyConfig(rounds=20, throughput_batch_size=200, max_seconds=100),
        ),
        reply=EfficiencyReports,
        timeout_s=120,
        num_threads=1,
        on_progress=seen.append,
    )
    first, second = found.reports
    assert first.artifact_digest == second.artifact_digest == reference.digest
    for report in found.reports:
        # A busy machine moves single rounds a lot; the median of twenty pairs stays near 1.
        assert 0.5 < report.latency_ratio < 2
        assert report.latency_ratio_low <= report.latency_ratio <= report.latency_ratio_high
        assert 0 < report.latency_ms_p50 <= report.latency_ms_p95 <= report.latency_ms_p99
        assert report.num_rounds == 20
    assert second.throughput_samples_per_s > 1000 / second.latency_ms_p50
    assert (seen[-1].done, seen[-1].total) == (40, 40)


def test_a_dataset_with_rewritten_labels_is_refused(reference, relabelled_dataset):
    request = EfficiencyRequest(
        reference=reference, artifacts=(), dataset=relabelled_dataset, config=EfficiencyConfig(rounds=5)
    )
    with pytest.raises(IntegrityError, match=r"test_y\.npy"):
        measure(request)
