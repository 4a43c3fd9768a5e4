"""What MLflow is told of a drop and of a variant's standing."""

from __future__ import annotations

import pytest
from run_results import make_run_result

from pt_core.decision.drops import measure_drops
from pt_core.decision.result import VariantResult
from tasks.tracking_fields import variant_metrics, variant_tags


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> VariantResult:
    result = make_run_result(tmp_path_factory.mktemp("home"))
    found = next(variant for variant in result.variants if variant.name == "onnx-int8-dynamic")
    return found.model_copy(update={"drops": measure_drops(found, result.variants[0])})


def test_the_interval_of_the_drop_and_what_could_be_detected_are_metrics(noisy: VariantResult) -> None:
    found = variant_metrics(noisy)
    assert found["accuracy/drop_low"] <= found["accuracy/drop"] <= found["accuracy/drop_high"]
    assert 0 < found["accuracy/drop_detectable"] < 0.1
    # Only what a rule limits; the other drops are in the report.
    assert not any(name.startswith("accuracy/f1_macro_drop") for name in found)


def test_a_variant_says_whether_it_may_be_promoted_and_what_dominates_it(noisy: VariantResult) -> None:
    verdict = noisy.verdict.model_copy(update={"state": "pass"})
    passed = noisy.model_copy(update={"verdict": verdict})
    assert variant_tags("parent", passed)["promotable"] == "true"
    tags = variant_tags("parent", passed.model_copy(update={"dominated_by": "onnx"}))
    assert (tags["promotable"], tags["dominated_by"]) == ("false", "onnx")
    assert tags["reason"].endswith("; dominated by onnx")
