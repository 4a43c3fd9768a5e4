"""The model card: a release told to people in Markdown, what was not measured no less than what was."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pt_core.artifacts.artifact import Artifact
from pt_core.decision.numbers import show
from pt_core.decision.result import RunResult, VariantResult
from pt_core.environment import Environment
from pt_core.release.gaps import missing_metrics, not_done, open_checks
from pt_core.release.requests import ARTIFACT, LINEAGE, SERVING, VERDICT
from pt_core.release.serving import Serving

Lines = list[str]


def write_card(
    result: RunResult,
    variant: VariantResult,
    artifact: Artifact,
    serving: Serving,
    *,
    forced_because: str | None = None,
) -> str:
    """Return the model card of a variant in Markdown; it says the same for the same run."""
    sections: tuple[tuple[str, Lines], ...] = (
        ("Intended use", _use()),
        ("Verdict", _verdict(result, variant)),
        ("Model", _model(result, variant, artifact)),
        ("Input and output", _interface(serving)),
        ("Training data", _data(result)),
        ("Measured", _measured(variant)),
        ("Against the reference and the champion", _drops(variant)),
        ("Not measured", _not_measured(result, variant)),
        ("Limits", _limits(result, variant, artifact)),
        ("Environment", _environments(result, variant, artifact)),
        ("Check it", _check(result)),
    )
    head = [f"# {_text(result.pipeline)}: {_text(variant.name)}", "", _text(variant.reason)]
    if forced_because:
        despite = (
            "although what is champion was not what it was compared with, or needlessly"
            if variant.promotable
            else "although it is not promotable"
        )
        head += ["", f"**Released by force {despite}**, since: {_text(forced_because)}"]
    body = [line for title, lines in sections for line in ("", f"## {title}", "", *lines)]
    return "\n".join([*head, *body]) + "\n"


def _use() -> Lines:
    return [
        "*To be written by the team that ships it: who uses it, for which decision, on which inputs, and what it must",
        "not be used for. Nothing below was measured on inputs other than the test samples.*",
    ]


def _verdict(result: RunResult, variant: VariantResult) -> Lines:
    verdict = variant.verdict
    rows = [
        (
            check.metric,
            check.rule,
            f"{check.limit:g}",
            check.against or "",
            _number(check.observed),
            _ends(check.interval),
            check.method or check.decided_by,
            f"**{check.state}**",
        )
        for check in verdict.checks
    ]
    chosen = (
        result.winner_reason if result.winner == variant.name else f"The run chose {result.winner or 'none'}."
    )
    said = [f"**{verdict.state}**, judged against {_text(verdict.reference)} in the run `{result.run_name}`."]
    if variant.why_not_promotable:
        said += ["", f"Not promotable by its run: {_text(variant.why_not_promotable)}."]
    table = _table(
        ("metric", "rule", "limit", "against", "observed", "95 % interval", "decided by", "state"), rows
    )
    return [*said, "", _text(chosen), "", *table]


def _model(result: RunResult, variant: VariantResult, artifact: Artifact) -> Lines:
    quantization, timing = artifact.quantization, variant.efficiency
    rows = [
        ("format", artifact.format),
        ("precision", artifact.precision),
        ("made by", artifact.chain),
        ("network", artifact.spec.target),
        ("parameters of the reference", str(result.checkpoint.num_parameters)),
        ("size", f"{artifact.payload_bytes} bytes"),
        (
            "operations for one sample",
            str(timing.reference_flops) if timing and timing.reference_flops else "not counted",
        ),
    ]
    if quantization:
        kept = ", ".join(quantization.kept_layers) or "none"
        calibrated = quantization.num_calibration_samples
        rows += [
            ("quantization", quantization.scheme),
            ("weights in INT8", f"{quantization.weight_share:.1%}"),
            ("layers kept in floating point", kept),
            ("calibration samples", str(calibrated) if calibrated else "none: nothing was calibrated"),
        ]
    return _table(("", ""), rows)


def _interface(serving: Serving) -> Lines:
    rows = [
        (
            side,
            one.name,
            one.dtype,
            str(list(one.shape)),
            "any finite" if one.range is None else _ends(one.range),
        )
        for side, tensors in (("input", serving.inputs), ("output", serving.outputs))
        for one in tensors
    ]
    return [
        *_table(("", "name", "type", "shape", "range"), rows),
        "",
        f"Before: {serving.preprocessing['input']}; normalisation is inside the network. "
        f"After: {serving.postprocessing}. Labels: {_text(', '.join(serving.labels))}. All of it is in `{SERVING}`.",
    ]


def _data(result: RunResult) -> Lines:
    dataset, checkpoint = result.dataset, result.checkpoint
    sizes = ", ".join(f"{split.name} {split.num_samples}" for split in dataset.splits)
    rows = [
        ("source", dataset.source),
        ("fingerprint", dataset.fingerprint),
        ("samples", sizes),
        ("classes", str(len(dataset.labels))),
        ("left out as unusable", str(dataset.num_quarantined)),
        (
            "trained in",
            f"{checkpoint.precision} on {checkpoint.device}, epoch {checkpoint.epoch} kept, seed {result.seed}",
        ),
    ]
    origin = (
        "*Where the samples come from, who consented to what, and whom they do not represent: "
        "to be written by the team; a fingerprint cannot say it.*"
    )
    return [*_table(("", ""), rows), "", origin]


def _measured(variant: VariantResult) -> Lines:
    if not variant.metrics:
        return ["Nothing was measured on it."]
    evaluation = variant.evaluation
    on = (
        f"On {evaluation.accuracy.num_samples} test samples."
        if evaluation
        else "It was not evaluated on any sample."
    )
    return [
        on,
        "",
        *_table(("metric", "value"), [(n, _number(v)) for n, v in sorted(variant.metrics.items())]),
    ]


def _drops(variant: VariantResult) -> Lines:
    if not variant.drops:
        return ["No drop was measured sample by sample."]
    rows = [
        (
            one.metric,
            one.against,
            _number(one.drop),
            _ends((one.low, one.high)),
            str(one.num_samples),
            "unknown" if one.detectable_drop is None else _number(one.detectable_drop),
        )
        for one in variant.drops
    ]
    return _table(("metric", "against", "drop", "95 % interval", "samples", "smallest detectable drop"), rows)


def _not_measured(result: RunResult, variant: VariantResult) -> Lines:
    lines = [f"- {_text(one)}" for one in not_done(result, variant)]
    for title, gaps in (
        ("Rules that did not decide:", open_checks(variant)),
        ("Metrics without a value:", missing_metrics(variant)),
    ):
        if gaps:
            lines += ["", title, "", *(f"- `{name}`: {_text(reason)}" for name, reason in gaps)]
    return lines


def _limits(result: RunResult, variant: VariantResult, artifact: Artifact) -> Lines:
    evaluation = variant.evaluation
    lines = [f"- {_text(warning)}" for warning in result.warnings]
    smallest = [
        one for one in variant.drops if one.detectable_drop is not None and one.metric == "accuracy/accuracy"
    ]
    for one in smallest:
        lines.append(
            f"- A drop in accuracy against {_text(one.against)} below {_number(one.detectable_drop)} could not have "
            f"been told from none on {one.num_samples} samples."
        )
    if evaluation is not None:
        tried = sorted({point.attack for point in evaluation.robustness})
        lines.append(
            f"- Robust means against {', '.join(tried) if tried else 'nothing: no perturbation was tried'}"
            f"{' at the strengths above, and against nothing else' if tried else ''}."
        )
    if result.checkpoint.environment.git_dirty:
        lines.append(
            "- It was trained from a checkout with uncommitted changes, so its commit does not tell all of its code."
        )
    if artifact.not_run is not None:
        lines.append(f"- It was never run: {_text(artifact.not_run)}")
    lines += [f"- Checked without running it: {_text(one)}" for one in artifact.checks]
    lines.append("- Speed holds for the machine below and no other; compare ratios, not milliseconds.")
    return lines


def _environments(result: RunResult, variant: VariantResult, artifact: Artifact) -> Lines:
    evaluation = variant.evaluation
    rows = [
        ("trained on", _machine(result.checkpoint.environment)),
        ("built on", _machine(artifact.environment)),
        ("libraries", ", ".join(f"{one.name} {one.version}" for one in artifact.environment.libraries)),
    ]
    if evaluation:
        runtime = evaluation.runtime
        rows.append(("executed by", f"{runtime.runtime}, {runtime.provider}, threads: {runtime.num_threads}"))
        rows.append(("instruction set", runtime.instruction_set or "the runtime does not tell"))
    return _table(("", ""), rows)


def _machine(environment: Environment) -> str:
    commit = environment.git_commit or "no Git checkout"
    dirty = " with uncommitted changes" if environment.git_dirty else ""
    return f"{environment.cpu_model}, {environment.platform}, Python {environment.python}, commit {commit}{dirty}"


def _check(result: RunResult) -> Lines:
    return [
        "```",
        "pt-pipeline verify .",
        "model_signing verify key . --signature model.sig --ignore-paths model.sig --public_key KEY.pub",
        f"{result.reproduce}",
        "```",
        "",
        f"The first replays the golden outputs too; the last makes the run again. `{ARTIFACT}/` is what was judged, "
        f"`{VERDICT}` how, `{LINEAGE}` what it comes from.",
    ]


def _table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> Lines:
    return [
        f"| {' | '.join(names)} |",
        f"|{'--|' * len(names)}",
        *(f"| {' | '.join(map(_cell, row))} |" for row in rows),
    ]


def _cell(text: str) -> str:
    return _text(text).replace("|", "\\|")


def _text(text: str) -> str:
    """Return text on one line that starts no HTML; names and reasons may come from a user's files."""
    return " ".join(text.replace("<", "&lt;").split())


def _number(value: float | None) -> str:
    if value is None:
        return "not measured"
    return f"{value:,.0f}" if value.is_integer() and abs(value) > 1 else show(value)


def _ends(interval: tuple[float, float] | None) -> str:
    return "none" if interval is None else f"{show(interval[0])} to {show(interval[1])}"
