"""Build and measure the tree of variants: level by level, a broken branch never taking another with it."""

from __future__ import annotations

from collections.abc import Mapping

from flows.config import PipelineConfig
from flows.home import Home
from flows.requests import evaluate_request, step_request
from pt_core.artifacts.artifact import Artifact, Step
from pt_core.building.locate import divergence_of
from pt_core.building.plan import Plan, PlanNode
from pt_core.data.dataset import Dataset
from pt_core.decision.result import MeasuredVariant, VariantState
from pt_core.errors import PtCoreError, StepFailed, StepUnavailable
from pt_core.evaluation.report import EfficiencyReport, EvaluationReport
from pt_core.evaluation.requests import Attacks, EfficiencyRequest
from pt_core.limits import Limits
from tasks.caching import settle
from tasks.convert import convert
from tasks.efficiency import Timed, efficiency
from tasks.evaluate import evaluate
from tasks.quantize import quantize

Built = dict[str, Artifact | PtCoreError]
"""What each node of the plan became."""

_TASKS = {"convert": convert, "quantize": quantize}


def build_tree(plan: Plan, *, reference: Artifact, dataset: Dataset, home: Home, limits: Limits) -> Built:
    """Run every step of the plan below the root; steps of one level run side by side."""
    built: Built = {plan.nodes[0].key: reference}
    for level in plan.levels()[1:]:
        submitted = []
        for node in level:
            source = built[node.parent or plan.nodes[0].key]
            blocker = _blocker(node, source)
            if blocker or isinstance(source, PtCoreError):
                built[node.key] = blocker or StepUnavailable(str(source))
                continue
            request = step_request(source, reference, node.step, dataset, home)
            task = _TASKS[node.kind]
            submitted.append((node, task, request, task.submit(request, limits)))
        for node, task, request, future in submitted:
            try:
                built[node.key] = settle(task, request, limits, future)
            except Exception as error:  # noqa: BLE001 - where a variant's failure becomes a recorded one
                built[node.key] = as_recorded(error)
    return built


def as_recorded(error: Exception) -> PtCoreError:
    """Return a failure as a named one."""
    return error if isinstance(error, PtCoreError) else StepFailed(f"{type(error).__name__}: {error}"[:2000])


def _blocker(node: PlanNode, source: Artifact | PtCoreError) -> PtCoreError | None:
    if node.unavailable:
        return StepUnavailable(node.unavailable)
    if isinstance(source, PtCoreError):
        return source.with_message(f"{node.parent}, which it is built from: {source.message}")
    return None


def evaluate_all(
    built: Mapping[str, Artifact | PtCoreError],
    *,
    attacks: Attacks,
    dataset: Dataset,
    config: PipelineConfig,
    home: Home,
) -> dict[str, EvaluationReport | PtCoreError]:
    """Evaluate every artifact that runs here on the same samples, side by side; keyed by artifact digest."""
    limits = config.limits.for_step()
    artifacts = {a.digest: a for a in built.values() if isinstance(a, Artifact) and a.not_run is None}
    requests = {
        digest: evaluate_request(config, artifact, attacks, dataset, home)
        for digest, artifact in artifacts.items()
    }
    futures = {digest: evaluate.submit(request, limits) for digest, request in requests.items()}
    reports: dict[str, EvaluationReport | PtCoreError] = {}
    for digest, future in futures.items():
        try:
            reports[digest] = settle(evaluate, requests[digest], limits, future)
        except Exception as error:  # noqa: BLE001 - where a variant's failure becomes a recorded one
            reports[digest] = as_recorded(error)
    return reports


def time_all(
    built: Mapping[str, Artifact | PtCoreError],
    *,
    reports: Mapping[str, EvaluationReport | PtCoreError],
    reference: Artifact,
    dataset: Dataset,
    config: PipelineConfig,
) -> Timed:
    """Time every artifact that could be evaluated, with nothing else running; keyed by artifact digest."""
    timed = {
        artifact.digest: artifact
        for artifact in built.values()
        if isinstance(artifact, Artifact) and isinstance(reports.get(artifact.digest), EvaluationReport)
    }
    others = tuple(artifact for digest, artifact in timed.items() if digest != reference.digest)
    request = EfficiencyRequest(
        reference=reference, artifacts=others, dataset=dataset, config=config.efficiency
    )
    try:
        return efficiency(request, config.limits.for_step())
    except Exception as error:  # noqa: BLE001 - where a failure to time becomes a recorded one
        return dict.fromkeys(timed, as_recorded(error))


def measured_variants(
    config: PipelineConfig,
    plan: Plan,
    *,
    built: Mapping[str, Artifact | PtCoreError],
    reports: Mapping[str, EvaluationReport | PtCoreError],
    timings: Mapping[str, EfficiencyReport | PtCoreError],
) -> tuple[MeasuredVariant, ...]:
    """Gather what is known of each variant, in the order of the configuration."""
    node_of = {variant.name: variant.node for variant in plan.variants}
    return tuple(
        _measured(variant.name, variant.steps, built[node_of[variant.name]], reports, timings)
        for variant in config.variants
    )


def _measured(
    name: str,
    steps: tuple[Step, ...],
    outcome: Artifact | PtCoreError,
    reports: Mapping[str, EvaluationReport | PtCoreError],
    timings: Mapping[str, EfficiencyReport | PtCoreError],
) -> MeasuredVariant:
    artifact = outcome if isinstance(outcome, Artifact) else None
    report = reports.get(artifact.digest) if artifact else None
    timing = timings.get(artifact.digest) if artifact else None
    failure = next((error for error in (outcome, report) if isinstance(error, PtCoreError)), None)
    not_run = StepUnavailable(artifact.not_run) if artifact and artifact.not_run else None
    problem = failure or not_run or (timing if isinstance(timing, PtCoreError) else None)
    return MeasuredVariant(
        name=name,
        steps=steps,
        state=_state(failure),
        problem=str(problem) if problem else None,
        artifact=artifact,
        evaluation=report if isinstance(report, EvaluationReport) else None,
        efficiency=timing if isinstance(timing, EfficiencyReport) else None,
        divergence=divergence_of(failure) if failure else None,
    )


def _state(problem: PtCoreError | None) -> VariantState:
    if problem is None:
        return "built"
    return "skipped" if isinstance(problem, StepUnavailable) else "failed"
