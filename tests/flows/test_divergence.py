"""Which refused variants get an explanation, in a real flow on real artifacts, and that none changes a verdict."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny
from prefect import flow
from prefect.events.clients import NullEventsClient
from prefect.events.worker import EventsWorker
from prefect.testing.utilities import prefect_test_harness
from safetensors.numpy import load_file, save_file
from tiny_fixtures import dataset

from flows.divergence import explain_refused
from pt_core.artifacts.artifact import Artifact, Step
from pt_core.artifacts.checkpoint import WEIGHTS
from pt_core.decision.result import MeasuredVariant, VariantResult
from pt_core.decision.verdict import Check, Verdict
from pt_core.limits import Limits

__all__ = ["dataset"]

LAYER = "network.1.4.weight"


@pytest.fixture(autouse=True)
def _server() -> Iterator[None]:
    # Nobody reads the events, and the harness waits for every one of them: for minutes, where the server is slow.
    EventsWorker.set_client_override(NullEventsClient)
    try:
        with prefect_test_harness():
            yield
    finally:
        EventsWorker.set_client_override(None)


def variant(name: str, artifact: Artifact, *failed: str) -> VariantResult:
    """Return a variant that fails an upper limit on the drop of each metric given."""
    checks = tuple(
        Check(metric=metric, rule="max_drop", limit=0.01, observed=0.5, interval=None, state="fail")
        for metric in failed
    )
    return VariantResult(
        name=name,
        steps=() if name == "torch" else (Step(name=name),),
        state="built",
        problem=None,
        artifact=artifact,
        evaluation=None,
        efficiency=None,
        metrics={},
        accuracy_drop=None,
        verdict=Verdict(
            variant=name,
            artifact_digest=artifact.digest,
            reference="torch",
            state="fail" if failed else "pass",
            checks=checks,
            reason="as its checks say",
        ),
    )


def broken(root: Artifact, store: Path, factor: float) -> Artifact:
    """Return the reference with the weights of its last layer multiplied."""
    folder = Path(shutil.copytree(root.directory, store / f"times-{factor}"))
    weights = load_file(folder / WEIGHTS)
    save_file(weights | {LAYER: weights[LAYER] * factor}, folder / WEIGHTS)
    changes = {"directory": str(folder), "steps": (Step(name="fused"),), "parent_digest": root.digest}
    return tiny.reseal(root.model_copy(update=changes), store)


def test_those_refused_for_what_they_answer_are_explained_and_no_verdict_changes(dataset, tmp_path, hear):
    told = hear("flows.divergence")
    root = tiny.root_artifact(tiny.checkpoint(tmp_path, dataset), tmp_path)
    wrong, damaged = (broken(root, tmp_path, factor) for factor in (2.0, 3.0))
    (Path(damaged.directory) / WEIGHTS).write_bytes(b"not what was sealed")
    judged = (
        variant("torch", root, "robustness/noise/accuracy"),
        variant("by-accuracy", wrong, "accuracy/accuracy"),
        variant("by-a-slice", wrong, "slices/small/accuracy"),
        variant("as-the-reference", wrong, "robustness/noise/accuracy"),
        variant("by-speed", wrong, "efficiency/latency_ms_p95"),
        variant("damaged", damaged, "accuracy/accuracy"),
        variant("passed", wrong),
    )
    fields = judged[0].model_dump(include=set(MeasuredVariant.model_fields))
    reference = MeasuredVariant.model_validate(fields)

    @flow
    def explain() -> tuple[VariantResult, ...]:
        return explain_refused(judged, reference, dataset=dataset, limits=Limits(timeout_s=60))

    found = {one.name: one for one in explain()}
    explained = {name: one.divergence for name, one in found.items() if one.divergence}
    assert set(explained) == {"by-accuracy", "by-a-slice"}
    assert {one.first.layer for one in explained.values()} == {LAYER.removesuffix(".weight")}
    assert tuple(one.model_copy(update={"divergence": None}) for one in found.values()) == judged
    assert any(
        "damaged: where it parts from the reference could not be found" in sentence for sentence in told
    )
