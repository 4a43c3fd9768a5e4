"""What MLflow is told of a drop and of a variant's standing."""

from __future__ import annotations

import numpy as np
import pytest
from mlflow.utils.validation import _validate_metric_name
from run_results import make_run_result

from pt_core.data.dataset import Samples
from pt_core.decision.drops import measure_drops
from pt_core.decision.result import ChampionResult, RunResult, VariantResult
from pt_core.evaluation.config import SliceConfig
from pt_core.evaluation.difference import Divergence
from pt_core.evaluation.scores import SLICE_METRICS
from pt_core.evaluation.slices import part, score_slices
from tasks.tracking_fields import is_settled, variant_metrics, variant_tags


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


def test_the_drop_from_the_champion_has_one_name_for_all_champions(noisy: VariantResult) -> None:
    paired = noisy.drop_of("accuracy/accuracy", against="torch")
    assert paired is not None
    behind = paired.model_copy(update={"against": "champion digits/3", "drop": 0.25})
    limit = noisy.verdict.checks[1].model_copy(update={"against": "champion digits/3"})
    verdict = noisy.verdict.model_copy(update={"checks": (*noisy.verdict.checks, limit)})
    found = variant_metrics(noisy.model_copy(update={"drops": (*noisy.drops, behind), "verdict": verdict}))
    assert found["accuracy/drop_from_champion"] == 0.25
    assert found["accuracy/drop_from_champion_low"] == found["accuracy/drop_low"]
    assert found["accuracy/drop"] == noisy.accuracy_drop


def test_a_variant_says_whether_it_may_be_promoted_and_what_dominates_it(noisy: VariantResult) -> None:
    verdict = noisy.verdict.model_copy(update={"state": "pass"})
    passed = noisy.model_copy(update={"verdict": verdict})
    assert variant_tags("parent", passed)["promotable"] == "true"
    tags = variant_tags("parent", passed.model_copy(update={"dominated_by": "onnx"}))
    assert (tags["promotable"], tags["dominated_by"]) == ("false", "onnx")
    assert tags["reason"].endswith("; dominated by onnx")


@pytest.fixture(scope="module")
def decided(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """A run whose one failed variant parts from its reference."""
    result = make_run_result(tmp_path_factory.mktemp("home"))
    parts = Divergence.model_construct()
    variants = tuple(
        v.model_copy(update={"divergence": parts}) if v.state == "failed" else v for v in result.variants
    )
    return result.model_copy(update={"variants": variants})


def test_a_run_settles_what_its_inputs_come_to_unless_something_failed_or_could_not_be_told(
    decided: RunResult,
) -> None:
    def changed(**update: object) -> RunResult:
        first, *others = decided.variants
        return decided.model_copy(update={"variants": (first.model_copy(update=update), *others)})

    def judged(state: str) -> RunResult:
        return changed(verdict=decided.variants[0].verdict.model_copy(update={"state": state}))

    champion = ChampionResult(name="champion digits/3", model="digits", version="3", problem=None)
    assert is_settled(decided)
    assert is_settled(decided.model_copy(update={"winner": None}))
    assert is_settled(judged("fail"))
    assert is_settled(changed(state="skipped", problem="not installed"))
    assert is_settled(decided.model_copy(update={"champion": champion}))
    gone = champion.model_copy(update={"problem": "its files cannot be fetched"})
    assert not is_settled(decided.model_copy(update={"champion": gone}))
    assert not is_settled(judged("insufficient"))
    assert not is_settled(judged("not measured"))
    assert not is_settled(changed(state="failed", problem="out of memory"))
    assert not is_settled(changed(problem="not timed: no answer in 60 s"))


@pytest.mark.parametrize("edges", [(), (-1.5, -1e-7, 1e-7, 1e16), (1.0000001, 1.0000002)])
def test_mlflow_takes_the_name_of_every_metric_of_a_slice(
    noisy: VariantResult, edges: tuple[float, ...]
) -> None:
    column = np.array([[-2.0], [-1.0], [0.0], [0.5], [2e16], [1e-9], [1.00000015]], dtype=np.float32)
    samples = Samples(column, np.zeros(len(column), dtype=np.int64), np.arange(len(column)))
    slices = part([SliceConfig(name="own.size-1", column=0, edges=edges)], samples)
    scores, _ = score_slices(slices, samples.y, samples.y)
    names = {f"{one.metric}/{name}": 1.0 for one in scores for name in SLICE_METRICS}
    found = variant_metrics(noisy.model_copy(update={"metrics": names}))
    assert sum(name.startswith("slices/") for name in found) == len(names) >= 6
    for name in found:
        _validate_metric_name(name)
