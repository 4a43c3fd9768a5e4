"""An artifact that was built and never run passes nothing, wins nothing, and keeps its reason to the last page."""

from __future__ import annotations

import pytest

from pt_core.decision.assemble import judge_variant
from pt_core.decision.config import GateConfig, GateRule
from pt_core.decision.select import select

REASON = "built for sm_86; there is no NVIDIA GPU here to run it"


@pytest.fixture
def engine(measured):
    made = measured("engine", accuracy=None, ratio=None, size=1, problem=REASON)
    return made.model_copy(update={"artifact": made.artifact.model_copy(update={"not_run": REASON})})


@pytest.mark.parametrize(
    "rule",
    [
        GateRule(metric="efficiency/size_bytes", at_most=1e9),
        GateRule(metric="accuracy/accuracy", at_least=0.0),
    ],
    ids=["a rule it would keep", "a rule it cannot be held to"],
)
def test_it_is_not_measured_whatever_the_rule(engine, rule, measured, variant):
    config = GateConfig(rules=(rule,), min_samples=1)
    judged = judge_variant(engine, reference=measured("torch"), config=config)
    assert judged.state == "built"
    assert judged.verdict.state == "not measured"
    assert judged.verdict.reason == f"not measured: {REASON}"
    assert judged.verdict.artifact_digest == engine.artifact.digest
    assert {check.state for check in judged.verdict.checks} == {"not measured"}
    assert judged.metrics == {"efficiency/size_bytes": 1.0}
    assert select([judged]) == (None, "none is chosen: 1 not measured")
    assert select([judged, variant("torch")])[0] == "torch"
