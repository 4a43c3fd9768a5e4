"""What is not known of a variant: every metric without a value, every check that was not decided, with its reason."""

from __future__ import annotations

from pt_core.decision.assemble import undefined_metrics
from pt_core.decision.result import RunResult, VariantResult
from pt_core.evaluation.report import ACCURACY_METRICS, EFFICIENCY_METRICS, EfficiencyReport, EvaluationReport

Gap = tuple[str, str]
"""A name and a reason."""

_NOT_TOLD = "no reason was recorded"
_OF_CLASSES = {
    "precision": "it was never predicted",
    "recall": "it has no test sample",
    "f1": "it was never predicted, or has no test sample",
    "roc_auc": "it has no test sample, or all are of it",
    "average_precision": "it has no test sample",
}
_SWEEP = ("best_throughput_samples_per_s", "best_batch_size")


def missing_metrics(variant: VariantResult) -> list[Gap]:
    """Return every metric without a value and why, flat names first, then those of single classes."""
    found = dict(undefined_metrics(variant))
    known = {*found, *variant.metrics}
    found |= {name: reason for name, reason in _unreported(variant) if name not in known}
    return [*sorted(found.items()), *_of_classes(variant.evaluation)]


def open_checks(variant: VariantResult) -> list[Gap]:
    """Return every rule that did not decide, and how it stands."""
    undecided = [check for check in variant.verdict.checks if check.state not in ("pass", "fail")]
    return [(f"{check.metric} {check.rule} {check.limit:g}", check.state) for check in undecided]


def not_done(result: RunResult, variant: VariantResult) -> list[str]:
    """Return what was left out altogether, one sentence each."""
    evaluation, artifact = variant.evaluation, variant.artifact
    said = []
    if variant.problem:
        said.append(f"{variant.name}: {variant.problem}")
    if evaluation is not None and not evaluation.robustness:
        said.append("Robustness was not measured at all: no attack, noise or corruption was configured.")
    if evaluation is not None and not evaluation.slices:
        said.append("No slice of the data was measured apart: a group on which it does worse would not show.")
    if result.transfer is None:
        said.append("Whether attacks crafted on other variants transfer to it was not measured.")
    if artifact is not None and artifact.steps and artifact.parity is None:
        said.append("It was not compared with the reference network output by output.")
    if artifact is not None and artifact.parity is not None and not artifact.parity.is_bound:
        said.append(
            "It was trained on after the reference, so agreement with it is told and was not required."
        )
    said.append(
        "Training was not repeated with other seeds, so how far results vary between trainings is unknown."
    )
    return said


def _unreported(variant: VariantResult) -> list[Gap]:
    evaluation, timing = variant.evaluation, variant.efficiency
    reason = variant.problem or _NOT_TOLD
    if evaluation is None:
        gaps = [(f"accuracy/{name}", f"not evaluated: {reason}") for name in ACCURACY_METRICS]
    else:
        gaps = [
            (f"accuracy/{name}", _NOT_TOLD)
            for name in ACCURACY_METRICS
            if getattr(evaluation.accuracy, name) is None
        ]
        gaps += _of_process(evaluation)
    if timing is None:
        return [*gaps, *((f"efficiency/{name}", f"not timed: {reason}") for name in EFFICIENCY_METRICS)]
    return gaps + [
        (f"efficiency/{name}", _why_not_timed(name, timing))
        for name in EFFICIENCY_METRICS
        if getattr(timing, name) is None
    ]


def _of_process(evaluation: EvaluationReport) -> list[Gap]:
    reasons = {
        "peak_memory_bytes": "this machine does not tell a process's peak of memory",
        "cold_start_s": _NOT_TOLD,
    }
    return [(f"efficiency/{name}", why) for name, why in reasons.items() if getattr(evaluation, name) is None]


def _why_not_timed(name: str, timing: EfficiencyReport) -> str:
    if name == "reference_flops":
        return timing.flops_reason or _NOT_TOLD
    return "no sweep over batch sizes was made" if name in _SWEEP else _NOT_TOLD


def _of_classes(evaluation: EvaluationReport | None) -> list[Gap]:
    return [
        (f"class {one.label}: {name}", reason)
        for one in (evaluation.accuracy.per_class if evaluation else ())
        for name, reason in _OF_CLASSES.items()
        if getattr(one, name) is None
    ]
