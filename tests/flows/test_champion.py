"""The champion's part in a run: measured like every variant, by the record that this run built if it is one of them."""

from __future__ import annotations

import pytest
from run_results import make_run_result

from flows.champion import to_measure, warnings_about, with_measurements
from flows.config import PipelineConfig
from pt_core.decision.result import ChampionResult
from pt_core.errors import NotComparable, StepFailed

VARIANTS = ({"name": "torch", "steps": []},)


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    return make_run_result(tmp_path_factory.mktemp("store"))


@pytest.fixture
def champion(result):
    return ChampionResult(
        name="champion digits/3",
        model="digits",
        version="3",
        problem=None,
        artifact=next(v.artifact for v in result.variants if v.name == "onnx"),
        dataset_digest=result.dataset.digest,
    )


@pytest.fixture(scope="module")
def config():
    def make(**promotion):
        return PipelineConfig(variants=VARIANTS, promotion=promotion)

    return make


def test_it_is_evaluated_and_timed_as_one_artifact_more(champion, result):
    assert to_measure(champion) == {champion.name: champion.artifact}
    onnx = next(v for v in result.variants if v.name == "onnx")
    digest = champion.artifact.digest
    found = with_measurements(champion, {digest: onnx.evaluation}, {digest: onnx.efficiency})
    assert (found.evaluation, found.efficiency, found.problem) == (onnx.evaluation, onnx.efficiency, None)
    assert found.metrics == onnx.metrics
    assert found.measured.state == "built"


def test_nothing_is_measured_where_there_is_none_or_it_does_not_verify(champion):
    assert (to_measure(None), with_measurements(None, {}, {})) == ({}, None)
    broken = champion.model_copy(update={"artifact": None, "problem": "its files do not verify"})
    assert to_measure(broken) == {}
    assert with_measurements(broken, {}, {}) == broken


def test_one_that_does_not_fit_the_samples_has_no_numbers_and_says_why(champion):
    error = NotComparable("evaluate: the artifact does not fit the dataset", details=["labels 9"])
    found = with_measurements(champion, {champion.artifact.digest: error}, {})
    assert (found.evaluation, found.efficiency, found.metrics) == (None, None, {})
    assert found.problem == "evaluate: the artifact does not fit the dataset\n  labels 9"
    assert found.measured.artifact is None


def test_one_that_could_only_not_be_timed_keeps_its_accuracy(champion, result):
    onnx = next(v for v in result.variants if v.name == "onnx")
    digest = champion.artifact.digest
    found = with_measurements(
        champion, {digest: onnx.evaluation}, {digest: StepFailed("no result after 9 s")}
    )
    assert found.metrics["accuracy/accuracy"] == onnx.metrics["accuracy/accuracy"]
    assert "efficiency/latency_ratio" not in found.metrics
    assert found.problem == "no result after 9 s"


def test_a_reader_is_warned_of_what_makes_the_comparison_worth_less(champion, result, config):
    dataset = result.dataset
    assert warnings_about(None, config(), dataset) == warnings_about(champion, config(), dataset) == ()
    (off,) = warnings_about(None, config(compare_with_champion=False), dataset)
    assert "rules against the champion were not applied" in off
    (broken,) = warnings_about(champion.model_copy(update={"problem": "a\n  b"}), config(), dataset)
    assert broken.startswith("the champion digits/3 could not be measured in full: a b; rules of the gate")
    other = champion.model_copy(update={"dataset_digest": "0" * 64})
    (flattered,) = warnings_about(other, config(), dataset)
    assert "may be among the test samples here" in flattered
