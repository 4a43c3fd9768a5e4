"""The champion's part in a run: what is deployed now is fetched, measured like every variant, and compared with."""

from __future__ import annotations

from collections.abc import Mapping

from flows.config import PipelineConfig
from flows.home import Home
from pt_core.artifacts.artifact import Artifact
from pt_core.data.dataset import Dataset
from pt_core.decision.result import ChampionResult
from pt_core.errors import PtCoreError
from pt_core.evaluation.report import EfficiencyReport, EvaluationReport, metrics
from tasks.champion import fetch_champion


def find_champion(config: PipelineConfig, home: Home) -> ChampionResult | None:
    """Return what is deployed now under this pipeline's name; ``None`` if nothing is, or it is not to be asked."""
    if not config.promotion.compare_with_champion:
        return None
    model = config.promotion.name_for(config.name)
    return fetch_champion(home.tracking_uri, model=model, folder=str(home.releases))


def to_measure(champion: ChampionResult | None) -> dict[str, Artifact | PtCoreError]:
    """Return the champion as one more artifact to evaluate and time, under its name; nothing if it cannot be."""
    return {champion.name: champion.artifact} if champion and champion.artifact else {}


def with_measurements(
    champion: ChampionResult | None,
    reports: Mapping[str, EvaluationReport | PtCoreError],
    timings: Mapping[str, EfficiencyReport | PtCoreError],
) -> ChampionResult | None:
    """Return the champion with what was measured on it, and with why something was not."""
    if champion is None or champion.artifact is None:
        return champion
    report, timing = reports.get(champion.artifact.digest), timings.get(champion.artifact.digest)
    failure = next((error for error in (report, timing) if isinstance(error, PtCoreError)), None)
    evaluation = report if isinstance(report, EvaluationReport) else None
    efficiency = timing if isinstance(timing, EfficiencyReport) else None
    return champion.model_copy(
        update={
            "problem": str(failure) if failure else champion.problem,
            "evaluation": evaluation,
            "efficiency": efficiency,
            "metrics": metrics(champion.artifact, evaluation, efficiency) if evaluation else {},
        }
    )


def warnings_about(
    champion: ChampionResult | None, config: PipelineConfig, dataset: Dataset
) -> tuple[str, ...]:
    """Return what a reader should know before trusting a comparison with the champion, each in one sentence."""
    compares = any(rule.against == "champion" for rule in config.gate.rules)
    if not config.promotion.compare_with_champion:
        unasked = (
            "promotion.compare_with_champion is off: the gate's rules against the champion were not applied"
        )
        return (unasked,) if compares else ()
    if champion is None:
        return ()
    if champion.problem:
        effect = "; rules of the gate that need it are not measured, so they do not pass" if compares else ""
        return (
            f"the {champion.name} could not be measured in full: {' '.join(champion.problem.split())}{effect}",
        )
    if champion.dataset_digest not in (None, dataset.digest):
        return (
            f"the {champion.name} was trained on another dataset or split than this run's: samples it was trained on "
            "may be among the test samples here, which flatters it",
        )
    return ()
