"""What a run's tags, parameters, metrics and table say in MLflow; plain values, without MLflow itself."""

from __future__ import annotations

import json
from collections.abc import Sequence

from pt_core.artifacts.checkpoint import Checkpoint, EpochMetrics, StartedFrom
from pt_core.decision.compare import ComparisonRow
from pt_core.decision.result import RunResult, VariantResult
from pt_core.evaluation.pairs import ACCURACY

SETTLED = "settled"
"""Tag: whether the same run would end the same way tomorrow; see :func:`is_settled`."""

_FIRST = ("accuracy/accuracy", "accuracy/drop", "efficiency/latency_ratio", "efficiency/size_bytes")
"""What a person compares first."""
_SECTIONS = ("accuracy", "robustness", "custom", "slices", "efficiency", "parity", "quantization")


def is_settled(result: RunResult) -> bool:
    """Return whether the same run would end the same way tomorrow: nothing in it failed, or could not be told.

    What runs out of time, memory or disk, and a time that a busy machine leaves undecided, may be otherwise then. What
    this machine cannot run, and an artifact that parts from its reference, will not.
    """
    is_champion_known = result.champion is None or result.champion.problem is None
    return is_champion_known and all(_is_decided(variant) for variant in result.variants)


def _is_decided(variant: VariantResult) -> bool:
    if variant.state == "skipped" or (variant.artifact and variant.artifact.not_run is not None):
        return True
    if variant.state == "failed":
        return variant.divergence is not None
    return variant.problem is None and variant.verdict.state in ("pass", "fail")


def training_params(checkpoint: Checkpoint) -> dict[str, str]:
    """Return what decided the training: its configuration, the network, the seed."""
    fixed = {
        "model": checkpoint.spec.target,
        "num_parameters": str(checkpoint.num_parameters),
        "num_frozen_parameters": str(checkpoint.num_frozen_parameters),
        "seed": str(checkpoint.seed),
        "precision": checkpoint.precision,
        "device": checkpoint.device,
        "best_epoch": str(checkpoint.epoch),
    }
    flops = checkpoint.flops_per_sample
    counted = {"flops_per_sample": str(flops)} if flops is not None else {}
    started = _warm_start_params(checkpoint.warm_start) if checkpoint.warm_start else {}
    config = {f"train.{key}": _text(value) for key, value in checkpoint.config.items()}
    return {**config, **fixed, **counted, **started}


def _warm_start_params(started: StartedFrom) -> dict[str, str]:
    return {
        "warm_start": started.digest,
        "warm_start.strict": _text(started.strict),
        "warm_start.loaded_fraction": _text(started.report.loaded_fraction),
    }


def epoch_metrics(epoch: EpochMetrics) -> dict[str, float]:
    """Return one epoch's numbers; an undefined one is left out."""
    values = epoch.model_dump(exclude={"epoch"})
    return {f"training/{name}": float(value) for name, value in values.items() if value is not None}


def git_tags(checkpoint: Checkpoint) -> dict[str, str]:
    """Return the commit that the checkpoint was trained at; one from the cache is older than the run's own."""
    commit = checkpoint.environment.git_commit
    return {"checkpoint_git_commit": commit} if commit else {}


def variant_metrics(variant: VariantResult) -> dict[str, float]:
    """Return every number of a variant by its slash-prefixed name, in the order that MLflow's columns take."""
    drop = {} if variant.accuracy_drop is None else {"accuracy/drop": variant.accuracy_drop}
    found = {**variant.metrics, **drop, **_drops(variant)}
    # MLflow refuses the "=" in the names of slices.
    return {name.replace("=", ":"): found[name] for name in sorted(found, key=_column)}


def _drops(variant: VariantResult) -> dict[str, float]:
    """Return the interval of the drop of accuracy, and of every other metric that a rule limits the drop of."""
    reference = variant.verdict.reference
    limited = {
        (check.metric, check.against or reference)
        for check in variant.verdict.checks
        if check.rule == "max_drop"
    }
    found: dict[str, float] = {}
    for metric, against in sorted({(ACCURACY, reference), *limited}):
        paired = variant.drop_of(metric, against=against)
        if paired is None:
            continue
        prefix = "accuracy/drop" if metric == ACCURACY else f"{metric}_drop"
        values = {"_low": paired.low, "_high": paired.high, "_detectable": paired.detectable_drop}
        if against != reference:
            # Under one name for all champions, so that runs over time have one column.
            prefix, values = f"{prefix}_from_champion", {"": paired.drop, **values}
        found |= {f"{prefix}{name}": value for name, value in values.items() if value is not None}
    return found


def _column(name: str) -> tuple[bool, int, str]:
    section = name.partition("/")[0]
    place = _SECTIONS.index(section) if section in _SECTIONS else len(_SECTIONS)
    return name not in _FIRST, place, name


def variant_params(variant: VariantResult) -> dict[str, str]:
    """Return what a variant is."""
    artifact = variant.artifact
    return {
        "variant": variant.name,
        "steps": " > ".join(step.name for step in variant.steps) or "reference",
        "format": artifact.format if artifact else "none",
        "precision": artifact.precision if artifact else "none",
    }


def variant_tags(parent_run_id: str, variant: VariantResult) -> dict[str, str]:
    """Return what a variant's run is found by."""
    return {
        "mlflow.parentRunId": parent_run_id,
        "role": "variant",
        "stage": "evaluate",
        "variant": variant.name,
        "state": variant.state,
        "verdict": variant.verdict.state,
        "promotable": str(variant.promotable).lower(),
        "dominated_by": variant.dominated_by or "none",
        "reason": variant.problem or variant.reason,
        "artifact_digest": variant.artifact.digest if variant.artifact else "none",
    }


def split_json(rows: Sequence[ComparisonRow]) -> str:
    """Return the table in pandas' "split" form, which ``mlflow.load_table`` and the dashboard read."""
    columns = list(ComparisonRow.model_fields)
    data = [[getattr(row, column) for column in columns] for row in rows]
    return json.dumps({"columns": columns, "data": data}, allow_nan=False)


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
