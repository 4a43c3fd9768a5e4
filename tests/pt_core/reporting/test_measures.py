"""What a run's page says of reliability, thresholds, slices, own metrics, and what is undefined."""

from __future__ import annotations

import numpy as np
import pytest

from pt_core.decision.result import RunResult
from pt_core.evaluation.report import SweepPoint, Undefined
from pt_core.evaluation.scores import CustomScore, SliceScores, ThresholdScores
from pt_core.reporting.html import render_report
from pt_core.reporting.reliability import reliability


@pytest.fixture(scope="module")
def measured(result: RunResult) -> RunResult:
    """The run, its first variant with everything that can be asked for."""
    first = result.variants[0]
    threshold = ThresholdScores(
        threshold=0.3, true_positives=3, false_positives=1, false_negatives=1, true_negatives=5
    )
    reason = "4 samples, expected at least 30"
    evaluation = first.evaluation.model_copy(
        update={
            "accuracy": first.evaluation.accuracy.model_copy(update={"thresholds": (threshold,)}),
            "slices": (
                SliceScores(slice="age", value="<b>", num_samples=40, accuracy=0.975, recall_macro=0.9125),
                SliceScores(slice="age", value="old", num_samples=4, accuracy=None, recall_macro=None),
            ),
            "custom": (CustomScore(function="own:cost", value=0.125),),
            "undefined": (Undefined(metric="slices/age=old/accuracy", reason=reason),),
        }
    )
    variant = first.model_copy(update={"evaluation": evaluation})
    return result.model_copy(update={"variants": (variant, *result.variants[1:])})


def test_the_page_holds_thresholds_slices_own_metrics_and_what_is_undefined(measured):
    html = render_report(measured)
    for text in ("<h2>Thresholds</h2>", ">0.3<", "0.8333", "<h2>Slices</h2>", "age = &lt;b&gt;", "0.9750"):
        assert text in html, text
    for text in ("own:cost", "0.1250", "slices/age=old/accuracy", "4 samples, expected at least 30"):
        assert text in html, text
    assert "Reliability diagram of torch" in html


def test_the_page_tells_what_is_faster_once_noise_is_taken_off(result):
    sweep = tuple(
        SweepPoint(batch_size=size, latency_ms_p50=1, throughput_samples_per_s=1000.4 * size)
        for size in (1, 8)
    )
    update = {
        "sweep": sweep,
        "best_throughput_samples_per_s": 8003.2,
        "best_batch_size": 8,
        "num_parameters": 24_266,
        "flops_reason": "torch cannot count them",
        "judged_ratio_low": 0.9,
        "judged_ratio_high": 1.2,
    }
    variants = [
        variant.model_copy(update={"efficiency": variant.efficiency.model_copy(update=update)})
        for variant in result.variants
        if variant.efficiency
    ]
    html = render_report(result.model_copy(update={"variants": tuple(variants)}))
    for text in ("<h2>Speed</h2>", "too close to tell", "8,003", "1: 1,000, 8: 8,003", "24,266 parameters"):
        assert text in html, text
    assert "unknown: torch cannot count them" in html


def test_a_run_without_them_has_no_empty_tables(result):
    html = render_report(result)
    assert not {"<h2>Thresholds</h2>", "<h2>Slices</h2>", "<h2>Own metrics</h2>"} & set(html.splitlines())


def test_the_reliability_diagram_draws_every_bin_at_its_accuracy(result):
    evaluation = result.variants[0].evaluation
    axes, counts = reliability("torch", evaluation).axes
    bins = evaluation.accuracy.reliability
    right, gaps = axes.containers
    np.testing.assert_allclose([bar.get_height() for bar in right], [one.accuracy for one in bins])
    tops = [bar.get_y() + bar.get_height() for bar in gaps]
    np.testing.assert_allclose(tops, [one.confidence for one in bins])
    np.testing.assert_allclose([bar.get_x() for bar in right], [one.low for one in bins])
    assert sum(bar.get_height() for bar in counts.containers[0]) == evaluation.accuracy.num_samples


def test_without_bins_there_is_no_diagram(result):
    evaluation = result.variants[0].evaluation
    empty = evaluation.model_copy(
        update={"accuracy": evaluation.accuracy.model_copy(update={"reliability": ()})}
    )
    assert reliability("torch", empty) is None
