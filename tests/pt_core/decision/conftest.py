"""Variants and runs made of plain numbers."""

from __future__ import annotations

import pytest

from pt_core.artifacts.artifact import Artifact, Step
from pt_core.artifacts.checkpoint import Checkpoint
from pt_core.artifacts.plugin import RuntimeInfo
from pt_core.data.config import SPLITS
from pt_core.data.dataset import Dataset, Split
from pt_core.decision.assemble import judge_variant
from pt_core.decision.config import GateConfig, GateRule
from pt_core.decision.result import MeasuredVariant, RunResult
from pt_core.environment import describe_environment
from pt_core.evaluation.report import AccuracyReport, EfficiencyReport, EvaluationReport, RobustnessPoint
from pt_core.modeling.spec import ModelSpec

RULE = GateRule(metric="accuracy/accuracy", at_least=0.95, confidence="point")
GATE = GateConfig(rules=(RULE,), min_samples=100)
SPEC = ModelSpec(
    target="m:f", arguments={}, input_shape=(4,), num_classes=2, mean=None, std=None, input_range=None
)
BUNDLE = {"directory": "/nowhere", "size_bytes": 10}


def make_artifact(size):
    return Artifact(
        **BUNDLE,
        digest="a" * 64,
        format="torch",
        precision="fp32",
        steps=(),
        checkpoint_digest="c",
        parent_digest="c",
        spec=SPEC,
        labels=("a", "b"),
        payload=(),
        payload_bytes=size,
        quantization=None,
        parity=None,
        environment=describe_environment(),
    )


def make_evaluation(accuracy, robust, epsilons):
    return EvaluationReport(
        **BUNDLE,
        digest="e" * 64,
        artifact_digest="a" * 64,
        dataset_digest="d",
        data_fingerprint="f",
        sample_ids_sha256="s",
        attacks_digest="t",
        accuracy=AccuracyReport(
            num_samples=360,
            accuracy=accuracy,
            precision_macro=accuracy,
            recall_macro=accuracy,
            f1_macro=accuracy,
            roc_auc_macro=None,
            average_precision_macro=None,
            per_class=(),
            confusion_matrix=(),
        ),
        robustness=tuple(
            RobustnessPoint(attack="fgsm", strength=epsilon, accuracy=robust - epsilon, num_samples=360)
            for epsilon in epsilons
        ),
        peak_memory_bytes=3 * 2**20,
        runtime=RuntimeInfo(runtime="r", provider="p", num_threads=1),
    )


def make_efficiency(ratio, spread):
    return EfficiencyReport(
        artifact_digest="a" * 64,
        latency_ms_p50=ratio,
        latency_ms_p95=ratio,
        latency_ms_p99=ratio,
        throughput_samples_per_s=1 / ratio,
        latency_ratio=ratio,
        latency_ratio_low=ratio * (1 - spread),
        latency_ratio_high=ratio * (1 + spread),
        noise_ratio_low=0.98,
        noise_ratio_high=1.02,
        num_rounds=30,
    )


def make_measured(
    name,
    *,
    accuracy=0.98,
    ratio=1.0,
    spread=0.02,
    size=1000,
    steps=(),
    state="built",
    problem=None,
    epsilons=(0.02, 0.05, 0.1, 0.2),
):
    built = state == "built"
    return MeasuredVariant(
        name=name,
        steps=tuple(Step(name=step) for step in steps),
        state=state,
        problem=problem,
        artifact=make_artifact(size) if built else None,
        evaluation=make_evaluation(accuracy, 0.9, epsilons) if built and accuracy is not None else None,
        efficiency=make_efficiency(ratio, spread) if built and ratio is not None else None,
    )


def make_variant(name, **numbers):
    return judge_variant(make_measured(name, **numbers), reference=make_measured("torch"), config=GATE)


def make_run(*variants, name="run-1", digest="d" * 64, winner=None):
    dataset = Dataset(
        **BUNDLE,
        digest=digest,
        source="digits",
        fingerprint="f" * 64,
        labels=("a", "b"),
        input_shape=(4,),
        input_range=None,
        mean=(0.0,),
        std=(1.0,),
        splits=tuple(Split(name=split, num_samples=1, ids_sha256="s") for split in SPLITS),
    )
    checkpoint = Checkpoint(
        **BUNDLE,
        digest="c" * 64,
        spec=SPEC,
        labels=("a", "b"),
        dataset_digest=digest,
        data_fingerprint="f",
        config={},
        seed=0,
        precision="fp32",
        precision_reason="r",
        device="cpu",
        epoch=1,
        history=(),
        num_parameters=1,
        environment=describe_environment(),
    )
    return RunResult(
        run_name=name,
        pipeline="p",
        started_at="2026-01-01T00:00:00Z",
        seed=0,
        reference="torch",
        dataset=dataset,
        checkpoint=checkpoint,
        variants=variants,
        winner=winner,
        winner_reason="why",
        prefect_flow_run_id=None,
        mlflow_run_id=None,
        links=(),
        reproduce="pt-pipeline run",
    )


@pytest.fixture(scope="session")
def measured():
    return make_measured


@pytest.fixture(scope="session")
def variant():
    return make_variant


@pytest.fixture(scope="session")
def run():
    return make_run
