"""RunResult: everything one pipeline run found, the input of every table, picture and page."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, JsonValue

from pt_core.artifacts.artifact import Artifact, Step
from pt_core.artifacts.checkpoint import Checkpoint
from pt_core.data.dataset import Dataset
from pt_core.decision.config import GateConfig
from pt_core.decision.statistics import PairedDrop
from pt_core.decision.verdict import State, Verdict
from pt_core.evaluation.difference import Divergence
from pt_core.evaluation.report import EfficiencyReport, EvaluationReport
from pt_core.evaluation.transfer_table import TransferTable
from pt_core.record import Record

VariantState = Literal["built", "failed", "skipped"]


def standing(state: State, *, over_budget: bool, dominated_by: str | None) -> str:
    """Return a verdict in a word or two: what passed but may not be deployed is dominated or over budget."""
    if over_budget:
        return "over budget"
    return "dominated" if dominated_by else state


class MeasuredVariant(Record):
    """One variant, built and measured but not yet judged."""

    name: str
    """Name of the variant."""
    steps: tuple[Step, ...]
    """Its chain; empty for the reference."""
    state: VariantState
    """Whether it was built; failed names a step that broke, skipped one this machine cannot run."""
    problem: str | None
    """Why it failed, was skipped, could not be run here, or could not be timed."""
    artifact: Artifact | None
    """What was built."""
    evaluation: EvaluationReport | None
    """What was measured on it."""
    efficiency: EfficiencyReport | None
    """How fast it is."""
    divergence: Divergence | None = None
    """Where it parts from the reference, if it failed parity or a rule on accuracy or robustness."""


class VariantResult(MeasuredVariant):
    """One variant, from its chain to its verdict."""

    metrics: dict[str, float]
    """Every number by its flat name."""
    accuracy_drop: float | None
    """Accuracy of the reference minus its own, absolute; below zero is a gain."""
    drops: tuple[PairedDrop, ...] = ()
    """How far each metric falls behind the reference's and the champion's, with its interval."""
    verdict: Verdict
    """Its judgement."""
    over_budget: tuple[str, ...] = ()
    """Every budget that it exceeds though it passed, in words."""
    dominated_by: str | None = None
    """Name of another that passed and is as good in accuracy, latency and size and better in one of them."""

    def drop_of(self, metric: str, *, against: str) -> PairedDrop | None:
        """Return how far one metric falls behind another variant's, where that was measured."""
        return next((d for d in self.drops if (d.metric, d.against) == (metric, against)), None)

    @property
    def passed(self) -> bool:
        """Whether it was built and keeps every limit of the gate."""
        return self.state == "built" and self.artifact is not None and self.verdict.state == "pass"

    @property
    def promotable(self) -> bool:
        """Whether it may be deployed: it passed, keeps every budget, and none other is as good in everything."""
        return self.passed and not self.over_budget and self.dominated_by is None

    @property
    def on_front(self) -> bool:
        """Whether it is on the Pareto front of those that passed, over accuracy drop, latency ratio and size."""
        return self.passed and self.dominated_by is None

    @property
    def standing(self) -> str:
        """Its verdict in a word or two; see :func:`pt_core.decision.result.standing`."""
        return standing(
            self.verdict.state, over_budget=bool(self.over_budget), dominated_by=self.dominated_by
        )

    @property
    def why_not_promotable(self) -> str:
        """Why one that passed may not be deployed all the same; nothing for all others."""
        if self.over_budget:
            return f"over budget: {', '.join(self.over_budget)}"
        return f"dominated by {self.dominated_by}" if self.dominated_by else ""

    @property
    def reason(self) -> str:
        """Why it has its verdict, and why it may not be deployed if it passed all the same."""
        return "; ".join(filter(None, [self.verdict.reason, self.why_not_promotable]))


class ChampionResult(Record):
    """The version that is deployed now, measured in this run like every variant; never a candidate itself."""

    name: str
    """How tables and messages call it, e.g. "champion digits/3"; no variant can be called so."""
    model: str
    """Name of the registered model."""
    version: str | None
    """Its version; ``None`` where the registry could not be asked."""
    release_digest: str | None = None
    """Digest of the release that was fetched."""
    run_name: str | None = None
    """The run that it was chosen in, where the registry tells."""
    dataset_digest: str | None = None
    """Digest of the dataset that it was trained on, where its lineage tells."""
    problem: str | None
    """Why it could not be fetched, verified, evaluated or timed here; rules that need what is missing do not pass."""
    artifact: Artifact | None = None
    """What is deployed, verified; ``None`` where it could not be."""
    evaluation: EvaluationReport | None = None
    """What was measured on it, on the samples of this run."""
    efficiency: EfficiencyReport | None = None
    """How fast it is, timed among the variants."""
    metrics: dict[str, float] = Field(default_factory=dict)
    """Every number by its flat name."""

    @property
    def measured(self) -> MeasuredVariant:
        """What variants are judged against; one that was not evaluated has no numbers at all."""
        is_known = self.evaluation is not None
        return MeasuredVariant(
            name=self.name,
            steps=self.artifact.steps if self.artifact else (),
            state="built" if is_known else "failed",
            problem=self.problem,
            artifact=self.artifact if is_known else None,
            evaluation=self.evaluation,
            efficiency=self.efficiency if is_known else None,
        )


class Link(Record):
    """A page about the run."""

    name: str
    """What it shows."""
    url: str
    """Where it is."""


class RunResult(Record):
    """Everything one pipeline run found."""

    run_name: str
    """Name of the run, unique in its home folder."""
    pipeline: str
    """Name of the pipeline."""
    started_at: str
    """Start, ISO 8601 in UTC."""
    seed: int
    """The seed of everything random."""
    reference: str
    """Name of the variant that others are compared with."""
    dataset: Dataset
    """The samples."""
    checkpoint: Checkpoint
    """The training that all variants come from."""
    variants: tuple[VariantResult, ...]
    """In the order of the configuration."""
    champion: ChampionResult | None = None
    """What is deployed now, measured beside them; ``None`` if nothing is, or it was not to be compared with."""
    transfer: TransferTable | None = None
    """Accuracy on what was crafted on one variant and scored on another; ``None`` where it was not measured."""
    warnings: tuple[str, ...] = ()
    """What a reader should know before trusting the numbers, each in one sentence."""
    winner: str | None
    """Name of the chosen variant; ``None`` when nothing passed."""
    winner_reason: str
    """Why, in one sentence."""
    prefect_flow_run_id: str | None
    """Id of the flow run."""
    mlflow_run_id: str | None
    """Id of the parent run."""
    links: tuple[Link, ...]
    """Pages about the run."""
    reproduce: str
    """The command that does it again."""
    config: dict[str, JsonValue] | None = None
    """The whole configuration, as it was after overrides; ``None`` in results of earlier versions."""
    promoted: str | None = None
    """The version that the run made champion by itself, as ``models:/NAME/NUMBER``."""
    policy: GateConfig | None = None
    """The rules and the strategy that it was judged by; ``None`` in results of earlier versions."""

    @property
    def sentence(self) -> str:
        """The outcome in one sentence."""
        passed = [variant.name for variant in self.variants if variant.verdict.state == "pass"]
        counted = f"{len(passed)} of {len(self.variants)} variants passed the gate"
        return f"{counted}; {self.winner_reason}"
