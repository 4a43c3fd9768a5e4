"""A realistic RunResult built by hand: seven variants, real bundles on disk, seeded logits."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from sklearn import metrics as sk
from sklearn.datasets import load_digits

from pt_core.artifacts.artifact import Artifact, ArtifactInfo, Parity, ParityPoint, Quantization, Step
from pt_core.artifacts.checkpoint import Checkpoint, CheckpointInfo, EpochMetrics, LoadReport, StartedFrom
from pt_core.artifacts.plugin import RuntimeInfo
from pt_core.bundle import seal, staging
from pt_core.data.dataset import Dataset, DatasetInfo, Split
from pt_core.decision.result import Link, RunResult, VariantResult
from pt_core.decision.verdict import Check, Verdict
from pt_core.environment import Environment, Library
from pt_core.evaluation.calibration import calibrate
from pt_core.evaluation.report import (
    LOGITS,
    AccuracyReport,
    ClassMetrics,
    EfficiencyReport,
    EvaluationInfo,
    EvaluationReport,
    RobustnessPoint,
    metrics,
)
from pt_core.modeling.spec import ModelSpec

NUM_TEST = 360
FLOOR = 0.95
MAX_DROP = 0.01

# name, chain, format, precision, state, logit noise, latency ratio, payload bytes
VARIANTS = (
    ("torch", (), "torch", "fp32", "built", 0.0, 1.0, 47_212),
    ("torchscript", ("torchscript",), "torchscript", "fp32", "built", 0.0, 0.62, 61_930),
    ("exported", ("exported",), "exported", "fp32", "built", 0.0, 0.91, 88_120),
    ("onnx", ("onnx",), "onnx", "fp32", "built", 0.0, 0.21, 49_870),
    ("int8-dynamic", ("int8-dynamic",), "torch-int8", "int8", "failed", 0.0, 1.0, 0),
    ("onnx-int8-dynamic", ("onnx", "ort-dynamic"), "onnx", "int8", "built", 0.8, 0.34, 17_044),
    ("onnx-int8-static", ("onnx", "ort-static"), "onnx", "int8", "skipped", 0.0, 0.2, 0),
)

ENVIRONMENT = Environment(
    python="3.11.9",
    platform="Linux x86_64",
    cpu_model="Example CPU @ 2.00GHz",
    num_cpus=2,
    cpu_capabilities=("avx2", "avx512_vnni"),
    libraries=(Library(name="torch", version="2.13.0"), Library(name="onnxruntime", version="1.32.0")),
    git_commit="0123456789abcdef0123456789abcdef01234567",
    git_dirty=False,
)


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def make_run_result(home: Path, labels: tuple[str, ...] = tuple("0123456789")) -> RunResult:
    """Write real bundles below ``home`` and return the run that describes them."""
    dataset = make_dataset(home, labels)
    checkpoint = make_checkpoint(home, dataset)
    variants: list[VariantResult] = []
    for number, row in enumerate(VARIANTS):
        variants.append(make_variant(home, dataset, checkpoint, row, number, variants))
    return RunResult(
        run_name="digits-20261123-101500",
        pipeline="digits",
        started_at="2026-11-23T10:15:00Z",
        seed=0,
        reference="torch",
        dataset=dataset,
        checkpoint=checkpoint,
        variants=tuple(variants),
        winner="onnx",
        winner_reason="onnx is chosen: accuracy 0.9889, 0.21 times the latency of the reference (95 % interval 0.20 to 0.22)",
        prefect_flow_run_id="b5f5a8f0-7c3f-4a27-9d0e-7a0a51a1d001",
        mlflow_run_id=None,
        links=(Link(name="MLflow models", url="http://127.0.0.1:5000/#/experiments/1/models"),),
        reproduce="pt-pipeline run deployments/configs/digits.yaml --set seed=0",
    )


def make_dataset(home: Path, labels: tuple[str, ...]) -> Dataset:
    sizes = {"train": 1078, "validation": 180, "calibration": 179, "test": NUM_TEST}
    info = DatasetInfo(
        source="digits",
        fingerprint=sha("digits"),
        labels=labels,
        input_shape=(1, 8, 8),
        input_range=(0.0, 1.0),
        mean=(0.305,),
        std=(0.376,),
        splits=tuple(Split(name=n, num_samples=s, ids_sha256=sha(n)) for n, s in sizes.items()),
    )
    with staging(home / "datasets") as folder:
        targets = (np.arange(NUM_TEST) % len(labels)).astype(np.int64)
        np.save(folder / "test_x.npy", load_digits().images[:NUM_TEST, None].astype(np.float32) / 16)
        np.save(folder / "test_y.npy", targets)
        np.save(folder / "test_ids.npy", np.arange(NUM_TEST, dtype=np.int64))
        bundle = seal(folder, name="digits", kind="dataset", info=info)
    return Dataset.model_validate({**info.model_dump(), **bundle.model_dump()})


def model_spec(labels: tuple[str, ...]) -> ModelSpec:
    return ModelSpec(
        target="pt_core.modeling.cnn:cnn",
        arguments={"num_classes": len(labels)},
        input_shape=(1, 8, 8),
        num_classes=len(labels),
        mean=(0.305,),
        std=(0.376,),
        input_range=(0.0, 1.0),
    )


def make_checkpoint(home: Path, dataset: Dataset, num_epochs: int = 20) -> Checkpoint:
    history = tuple(
        EpochMetrics(
            epoch=epoch,
            train_loss=2.3 * 0.75**epoch + 0.01,
            train_accuracy=1 - 0.8 * 0.72**epoch,
            validation_loss=2.2 * 0.76**epoch + 0.04,
            validation_accuracy=1 - 0.7 * 0.74**epoch - 0.01,
            learning_rate=3e-3 * (1 - epoch / (num_epochs + 1)),
            gradient_norm=None if epoch == 1 else 1.0 / epoch,
            num_skipped_steps=0,
            samples_per_s=9000.0,
        )
        for epoch in range(1, num_epochs + 1)
    )
    info = CheckpointInfo(
        spec=model_spec(dataset.labels),
        labels=dataset.labels,
        dataset_digest=dataset.digest,
        data_fingerprint=dataset.fingerprint,
        config={"epochs": num_epochs, "batch_size": 64, "learning_rate": 3e-3, "optimizer": "adamw"},
        seed=0,
        precision="bf16-mixed",
        precision_reason="auto: this CPU computes bf16 in hardware (amx_bf16)",
        device="cpu",
        epoch=num_epochs,
        history=history,
        num_parameters=11_274,
        environment=ENVIRONMENT,
    )
    with staging(home / "checkpoints") as folder:
        (folder / "model.safetensors").write_bytes(b"weights")
        bundle = seal(folder, name="checkpoint", kind="checkpoint", info=info)
    return Checkpoint.model_validate({**info.model_dump(), **bundle.model_dump()})


def make_variant(
    home: Path,
    dataset: Dataset,
    checkpoint: Checkpoint,
    row: tuple,
    number: int,
    before: list[VariantResult],
) -> VariantResult:
    name, chain, _, _, state, _, _, _ = row
    steps = tuple(Step(name=step) for step in chain)
    if state != "built":
        return not_built(name, steps, state)
    artifact = make_artifact(home, checkpoint, row)
    evaluation = make_evaluation(home, dataset, artifact, row)
    efficiency = make_efficiency(artifact, row)
    accuracy = evaluation.accuracy.accuracy
    reference = before[0].evaluation.accuracy.accuracy if before else accuracy
    drop = reference - accuracy
    return VariantResult(
        name=name,
        steps=steps,
        state="built",
        problem=None,
        artifact=artifact,
        evaluation=evaluation,
        efficiency=efficiency,
        metrics=metrics(artifact, evaluation, efficiency),
        accuracy_drop=drop,
        verdict=judge_by_hand(name, artifact.digest, accuracy, drop),
    )


def not_built(name: str, steps: tuple[Step, ...], state: str) -> VariantResult:
    problem = {
        "failed": "int8-dynamic: no result after 120 s, killed",
        "skipped": "ort-static: needs onnxruntime.quantization with the QDQ operators; pip install 'onnxruntime>=1.20'",
    }[state]
    return VariantResult(
        name=name,
        steps=steps,
        state=state,
        problem=problem,
        artifact=None,
        evaluation=None,
        efficiency=None,
        metrics={},
        accuracy_drop=None,
        verdict=Verdict(
            variant=name,
            artifact_digest=None,
            reference="torch",
            state="not measured",
            checks=(
                Check(
                    metric="accuracy/accuracy",
                    rule="at_least",
                    limit=FLOOR,
                    observed=None,
                    interval=None,
                    state="not measured",
                ),
            ),
            reason=f"there is no artifact to measure: {state}",
        ),
    )


def judge_by_hand(name: str, digest: str, accuracy: float, drop: float) -> Verdict:
    checks = (
        Check(
            metric="accuracy/accuracy",
            rule="at_least",
            limit=FLOOR,
            observed=accuracy,
            interval=(accuracy - 0.02, min(1.0, accuracy + 0.012)),
            state="pass" if accuracy >= FLOOR else "fail",
        ),
        Check(
            metric="accuracy/accuracy",
            rule="max_drop",
            limit=MAX_DROP,
            observed=drop,
            interval=(drop - 0.01, drop + 0.01),
            state="pass" if drop <= MAX_DROP else "fail",
        ),
    )
    failed = [check for check in checks if check.state == "fail"]
    words = "; ".join(f"{c.metric} {c.rule} {c.limit:g}: observed {c.observed:.4f}" for c in failed)
    return Verdict(
        variant=name,
        artifact_digest=digest,
        reference="torch",
        state="fail" if failed else "pass",
        checks=checks,
        reason=words or f"all 2 rules hold: accuracy {accuracy:.4f}, drop {drop:+.4f}",
    )


def make_artifact(home: Path, checkpoint: Checkpoint, row: tuple) -> Artifact:
    name, chain, format_name, precision, _, _, _, size = row
    info = ArtifactInfo(
        format=format_name,
        precision=precision,
        steps=tuple(Step(name=step) for step in chain),
        checkpoint_digest=checkpoint.digest,
        parent_digest=checkpoint.digest,
        spec=checkpoint.spec,
        labels=checkpoint.labels,
        payload=("model.bin",),
        payload_bytes=size,
        quantization=Quantization(
            scheme=chain[-1],
            quantized_layers=("conv1", "conv2", "fc1"),
            kept_layers=("fc2",),
            weight_share=0.973,
        )
        if precision == "int8"
        else None,
        parity=make_parity(precision) if chain else None,
        environment=ENVIRONMENT,
    )
    with staging(home / "artifacts") as folder:
        (folder / "model.bin").write_bytes(name.encode() * (size // len(name)))
        bundle = seal(folder, name=name, kind="artifact", info=info)
    return Artifact.model_validate({**info.model_dump(), **bundle.model_dump()})


def make_parity(precision: str) -> Parity:
    error = 0.04 if precision == "int8" else 3e-7
    return Parity(
        precision=precision,
        max_relative_error=0.2 if precision == "int8" else 1e-4,
        self_max_abs_error=0.0,
        points=tuple(
            ParityPoint(
                batch_size=size,
                max_abs_error=error * 12,
                relative_error=error,
                cosine=0.9999,
                top1_agreement=1.0 if precision == "fp32" else 0.97,
            )
            for size in (1, 2, 3, 7, 64)
        ),
    )


def make_logits(num_classes: int, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Seeded logits (N, C) float32 and targets (N,) int64, about 98 % right before the extra noise."""
    generator = np.random.default_rng(7)
    targets = (np.arange(NUM_TEST) % num_classes).astype(np.int64)
    logits = generator.normal(0, 1.5, (NUM_TEST, num_classes))
    logits[np.arange(NUM_TEST), targets] += 6.5
    logits += np.random.default_rng(8).normal(0, 1, logits.shape) * noise
    return logits.astype(np.float32), targets


def make_evaluation(home: Path, dataset: Dataset, artifact: Artifact, row: tuple) -> EvaluationReport:
    name, *_, noise, _, _ = row
    logits, targets = make_logits(len(dataset.labels), noise)
    accuracy = make_accuracy(logits, targets, dataset.labels)
    info = EvaluationInfo(
        artifact_digest=artifact.digest,
        dataset_digest=dataset.digest,
        data_fingerprint=dataset.fingerprint,
        sample_ids_sha256=dataset.split("test").ids_sha256,
        attacks_digest=sha("attacks"),
        accuracy=accuracy,
        robustness=make_robustness(accuracy.accuracy, len(name)),
        peak_memory_bytes=90 * 2**20,
        runtime=make_runtime(artifact),
    )
    with staging(home / "evaluations") as folder:
        tensors = {"logits": logits, "targets": targets, "ids": np.arange(NUM_TEST, dtype=np.int64)}
        save_file(tensors, folder / LOGITS)
        bundle = seal(folder, name=name, kind="evaluation", info=info)
    return EvaluationReport.model_validate({**info.model_dump(), **bundle.model_dump()})


def make_runtime(artifact: Artifact) -> RuntimeInfo:
    """An ONNX graph that its runtime fused from 31 nodes to 12; no counts of anything else."""
    num_nodes, num_executed = (31, 12) if artifact.format == "onnx" else (None, None)
    return RuntimeInfo(
        runtime=f"{artifact.format} 1.0",
        provider="CPU",
        num_threads=1,
        num_nodes=num_nodes,
        num_nodes_optimized=num_executed,
    )


def make_robustness(accuracy: float, offset: int) -> tuple[RobustnessPoint, ...]:
    fgsm = {0.02: 0.05, 0.05: 0.16, 0.1: 0.45, 0.2: 0.78}
    noise = {0.05: 0.003, 0.1: 0.01, 0.2: 0.05, 0.4: 0.28}
    return tuple(
        RobustnessPoint(
            attack=attack,
            strength=strength,
            accuracy=max(0.0, accuracy - drop - offset * 0.002),
            num_samples=NUM_TEST,
        )
        for attack, drops in (("fgsm", fgsm), ("gaussian-noise", noise))
        for strength, drop in drops.items()
    )


def make_accuracy(logits: np.ndarray, targets: np.ndarray, labels: tuple[str, ...]) -> AccuracyReport:
    predicted = logits.argmax(1)
    numbers = list(range(len(labels)))
    precision, recall, f1, support = sk.precision_recall_fscore_support(
        targets, predicted, labels=numbers, zero_division=0
    )
    one_hot = np.eye(len(labels))[targets]
    areas = [sk.roc_auc_score(one_hot[:, k], logits[:, k]) for k in numbers]
    averages = [sk.average_precision_score(one_hot[:, k], logits[:, k]) for k in numbers]
    return AccuracyReport(
        num_samples=len(targets),
        accuracy=float((predicted == targets).mean()),
        precision_macro=float(precision.mean()),
        recall_macro=float(recall.mean()),
        f1_macro=float(f1.mean()),
        roc_auc_macro=float(np.mean(areas)),
        average_precision_macro=float(np.mean(averages)),
        per_class=tuple(
            ClassMetrics(
                label=label,
                precision=float(precision[k]),
                recall=float(recall[k]),
                f1=float(f1[k]),
                support=int(support[k]),
                roc_auc=float(areas[k]),
                average_precision=float(averages[k]),
            )
            for k, label in enumerate(labels)
        ),
        confusion_matrix=tuple(
            tuple(int(n) for n in line) for line in sk.confusion_matrix(targets, predicted, labels=numbers)
        ),
        reliability=calibrate(logits, targets, num_bins=15).bins,
    )


def make_efficiency(artifact: Artifact, row: tuple) -> EfficiencyReport:
    ratio = row[6]
    latency = 0.42 * ratio
    return EfficiencyReport(
        artifact_digest=artifact.digest,
        latency_ms_p50=latency,
        latency_ms_p95=latency * 1.2,
        latency_ms_p99=latency * 1.6,
        throughput_samples_per_s=22_000 / ratio,
        latency_ratio=ratio,
        latency_ratio_low=ratio * 0.96,
        latency_ratio_high=ratio * 1.05,
        noise_ratio_low=0.97,
        noise_ratio_high=1.03,
        num_rounds=30,
    )


def started_from(*, strict: bool = False) -> StartedFrom:
    """Return a warm start that left a tensor of each kind out."""
    report = LoadReport(
        loaded=("body.weight", "body.bias"),
        missing=("head.bias",),
        unexpected=("old.weight",),
        mismatched=("head.weight: shape (2, 4), expected (5, 4)",),
        loaded_fraction=0.75,
    )
    return StartedFrom(digest="e" * 64, directory="/somewhere", strict=strict, report=report)
