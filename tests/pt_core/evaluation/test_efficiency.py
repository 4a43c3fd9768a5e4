import numpy as np
import pytest

from pt_core.errors import IntegrityError
from pt_core.evaluation.config import EfficiencyConfig
from pt_core.evaluation.cost import cost_of
from pt_core.evaluation.efficiency import measure, summarize, with_sweep
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
            config=EfficiencyConfig(
                rounds=20, throughput_batch_size=200, sweep_batch_sizes=(8, 1, 200), max_seconds=100
            ),
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
        assert report.num_rounds >= 20
        assert report.comparison == "too close to tell"
        assert report.judged_ratio_low < report.latency_ratio_low
        assert report.judged_ratio_high > report.latency_ratio_high
        assert [point.batch_size for point in report.sweep] == [1, 8, 200]
        best = max(report.sweep, key=lambda point: point.throughput_samples_per_s)
        assert report.best_batch_size == best.batch_size
        assert report.best_throughput_samples_per_s == best.throughput_samples_per_s
        # One linear layer of 6 columns and 3 classes.
        assert (report.num_parameters, report.reference_flops) == (6 * 3 + 3, 2 * 6 * 3)
    assert second.throughput_samples_per_s > 1000 / second.latency_ms_p50
    assert (seen[-1].done, seen[-1].total) == (40, 40)


@pytest.mark.parametrize(
    ("ratio", "expected"),
    [(0.5, "faster"), (0.97, "too close to tell"), (1.03, "too close to tell"), (2.0, "slower")],
)
def test_a_ratio_inside_the_noise_is_too_close_to_tell(ratio, expected):
    latency = np.full((30, 3, 4), 1_000_000)
    latency[:, 2] = int(1_000_000 * ratio)
    reports = summarize(
        ["r", "v"], latency=latency, throughput=latency, throughput_batch_size=8, noise_floor=0.05
    )
    assert reports[1].comparison == expected
    assert reports[1].judged_range == pytest.approx((ratio / 1.05, ratio * 1.05))
    assert reports[0].comparison == "too close to tell"


def test_where_the_reference_strays_from_itself_ratios_are_widened_by_as_much():
    latency = np.full((30, 3, 4), 1_000_000)
    latency[:, 1] = 800_000
    latency[:, 2] = 900_000
    _, variant = summarize(
        ["r", "v"], latency=latency, throughput=latency, throughput_batch_size=8, noise_floor=0.05
    )
    assert variant.judged_range == pytest.approx((0.9 * 0.8, 0.9 / 0.8))
    assert variant.comparison == "too close to tell"


def test_the_sweep_names_the_batch_size_of_the_best_throughput():
    latency = np.full((5, 2, 1), 1_000_000)
    reports = summarize(["r"], latency=latency, throughput=latency, throughput_batch_size=1)
    (report,) = with_sweep(reports, {64: latency * 80, 8: latency * 4, 1: latency})
    assert [(p.batch_size, p.throughput_samples_per_s) for p in report.sweep] == [
        (1, 1000),
        (8, 2000),
        (64, 800),
    ]
    assert (report.best_batch_size, report.best_throughput_samples_per_s) == (8, 2000)
    assert with_sweep(reports, {}) == reports


def test_flops_and_parameters_are_those_of_the_linear_layer(reference):
    # 6 columns and 3 classes: a multiplication and an addition for each weight, and a bias.
    assert cost_of(reference) == (6 * 3 + 3, 2 * 6 * 3, None)


def test_a_dataset_with_rewritten_labels_is_refused(reference, relabelled_dataset):
    request = EfficiencyRequest(
        reference=reference, artifacts=(), dataset=relabelled_dataset, config=EfficiencyConfig(rounds=5)
    )
    with pytest.raises(IntegrityError, match=r"test_y\.npy"):
        measure(request)
