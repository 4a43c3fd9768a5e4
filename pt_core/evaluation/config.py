"""EvaluationConfig: what to measure on every artifact."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pt_core.record import Record

Strength = Annotated[float, Field(gt=0)]
Severity = Annotated[int, Field(ge=1, le=5)]
Threshold = Annotated[float, Field(gt=0, lt=1)]
ImportPath = Annotated[str, Field(pattern=r"^[\w.]+:\w+$")]
Corruption = Literal["blur", "contrast", "brightness", "jpeg", "occlusion", "missing-values"]

_STRENGTHS = (
    "thresholds",
    "fgsm_epsilons",
    "noise_sigmas",
    "pgd_epsilons",
    "pgd_l2_epsilons",
    "corruptions",
    "corruption_severities",
    "square_epsilons",
)


class SliceConfig(Record):
    """One way to part the test samples, each part scored on its own."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    """Its name in metrics: slices/NAME=VALUE/accuracy."""
    column: Annotated[int, Field(ge=0)] | Annotated[str, Field(min_length=1)] | None = None
    """Name of the column of a table whose value parts the samples, or number of the input, from 0."""
    edges: tuple[float, ...] = ()
    """Where ranges of the column begin and end, rising; below the first and from the last on are ranges too.
    Without edges every distinct value is a slice."""
    function: ImportPath | None = None
    """Import path "module:function" instead of a column: from (N, *input_shape) float32 and (N,) int64 classes to N labels."""
    min_samples: int = Field(default=30, ge=1)
    """A slice of fewer samples has no metrics, which the report says."""

    @model_validator(mode="after")
    def _parts_by_one_thing(self) -> Self:
        if (self.column is None) == (self.function is None):
            raise ValueError(f"slice {self.name}: expected either column or function")
        if self.edges and self.column is None:
            raise ValueError(f"slice {self.name}: edges part a column; leave them out, or give column")
        if any(low >= high for low, high in pairwise(self.edges)):
            raise ValueError(f"slice {self.name}: edges {self.edges} do not rise; sort them, each once")
        return self


class EvaluationConfig(Record):
    """What to measure on every artifact; a perturbation whose tuple is empty is not measured."""

    batch_size: int = Field(default=64, ge=1)
    """Samples per inference when scoring."""
    top_k: int = Field(default=5, ge=1)
    """How many greatest logits count as a hit in accuracy/top_k_accuracy; undefined with so many classes or fewer."""
    calibration_bins: int = Field(default=15, ge=2, le=100)
    """Bins of the reliability diagram and of the calibration error."""
    thresholds: tuple[Threshold, ...] = ()
    """For two classes: call the second one from these probabilities on, and score that: accuracy/recall_at_0.3."""
    slices: tuple[SliceConfig, ...] = ()
    """Parts of the test samples that are scored on their own."""
    metrics: tuple[ImportPath, ...] = ()
    """Your own metrics, "module:function" from (N, C) float32 logits and (N,) int64 targets to a number: custom/FUNCTION."""
    max_robustness_samples: int = Field(default=5000, ge=1)
    """Perturb at most this many test samples, spread evenly over the split."""
    fgsm_epsilons: tuple[Strength, ...] = (0.02, 0.05, 0.1, 0.2)
    """FGSM step sizes, as a share of the width of the input range (for tables: of each column's deviation)."""
    noise_sigmas: tuple[Strength, ...] = (0.05, 0.1, 0.2, 0.4)
    """Standard deviations of Gaussian noise, in the same units."""
    pgd_epsilons: tuple[Strength, ...] = ()
    """L-infinity radii of PGD, in the same units."""
    pgd_l2_epsilons: tuple[Strength, ...] = ()
    """L2 radii of PGD over a whole sample, in the same units; a radius r moves d values by r / sqrt(d) each."""
    pgd_steps: int = Field(default=10, ge=1)
    """Steps of PGD, each 2.5 / steps of the radius long."""
    pgd_restarts: int = Field(default=1, ge=1)
    """Random starts of PGD; each sample keeps the most harmful."""
    corruptions: tuple[Corruption, ...] = ()
    """Common corruptions: blur, contrast, brightness, jpeg, occlusion of images; missing-values of tables."""
    corruption_severities: tuple[Severity, ...] = (1, 2, 3, 4, 5)
    """Severities of every corruption, 1 to 5."""
    square_epsilons: tuple[Strength, ...] = ()
    """L-infinity radii of the gradient-free Square attack on each artifact's own runtime, in the same units."""
    square_queries: int = Field(default=100, ge=2)
    """Queries that Square may spend on one sample."""
    square_samples: int = Field(default=64, ge=1)
    """Test samples that Square attacks, spread evenly over the split."""
    transfer_epsilon: Strength | None = None
    """L-infinity radius of the transfer table, one of square_epsilons; null makes no table."""

    @model_validator(mode="after")
    def _strengths_differ(self) -> Self:
        for name in _STRENGTHS:
            # Metrics and files are named by the first six digits of a strength.
            counts = Counter(v if isinstance(v, str) else f"{v:g}" for v in getattr(self, name))
            repeated = [text for text, count in counts.items() if count > 1]
            if repeated:
                raise ValueError(f"{name}: {repeated[0]} is given twice (to six digits); leave one out")
        return self

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        for field, names in (
            ("slices", [one.name for one in self.slices]),
            ("metrics", [path.partition(":")[2] for path in self.metrics]),
        ):
            repeated = [name for name, count in Counter(names).items() if count > 1]
            if repeated:
                raise ValueError(f"{field}: {repeated[0]!r} is the name of two; rename one")
        return self

    @model_validator(mode="after")
    def _transfer_has_its_samples(self) -> Self:
        if self.transfer_epsilon is not None and self.transfer_epsilon not in self.square_epsilons:
            raise ValueError(
                f"transfer_epsilon: {self.transfer_epsilon:g} is none of square_epsilons {self.square_epsilons}; "
                "runtimes without gradients enter the table by Square at that radius, so add it there"
            )
        return self


class EfficiencyConfig(Record):
    """How to time every artifact against the reference."""

    latency_batch_size: int = Field(default=1, ge=1)
    """Samples per call when measuring latency."""
    throughput_batch_size: int = Field(default=64, ge=1)
    """Samples per call when measuring throughput."""
    sweep_batch_sizes: tuple[Annotated[int, Field(ge=1)], ...] = (1, 8, 64)
    """Samples per call at which throughput is measured; the report names the best."""
    rounds: int = Field(default=30, ge=5)
    """Interleaved rounds; each times the reference and every variant once, in a shuffled order."""
    extra_rounds: int = Field(default=120, ge=0)
    """More rounds of latency, at most, while a ratio is not known to ratio_tolerance."""
    ratio_tolerance: float = Field(default=0.03, gt=0)
    """Half the width of the interval of a latency ratio that is narrow enough, as a share of the ratio."""
    noise_floor: float = Field(default=0.05, ge=0)
    """Share of a ratio that is taken as noise even where the reference against itself shows less: what differs
    from process to process, such as where memory lies, is the same in all rounds of one."""
    calls_per_round: int = Field(default=10, ge=1)
    """Calls of one variant in one round."""
    num_threads: int | None = Field(default=1, ge=1)
    """Cores of one inference; null takes all, which a busy machine makes slow and erratic."""
    max_seconds: float = Field(default=20, gt=0)
    """Rounds stop early, though never before five, once this is spent (half on latency, a quarter on throughput,
    a quarter on the sweep)."""
    cold_starts: bool = True
    """Whether every artifact is also started alone, in a fresh process, for its cold start and peak memory; about two
    seconds each, most of them to import its runtime. Off, both are not measured."""
