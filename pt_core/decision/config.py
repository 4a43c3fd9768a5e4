"""GateConfig: a policy, the limits that an artifact must keep and how the one to deploy is chosen of those that do."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from pt_core.decision.presets import DEFAULT, PRESETS, PresetName
from pt_core.record import Record

Confidence = Literal["interval", "point"]
Against = Literal["reference", "champion"]

LIMITS = ("at_least", "at_most", "max_drop", "max_ratio")
"""The limits of which a rule has exactly one."""

_THROUGHPUT = "efficiency/throughput_samples_per_s"
_BEST_THROUGHPUT = "efficiency/best_throughput_samples_per_s"
_SCORED = ("accuracy/", "robustness/", "slices/")
_LOWER_IS_BETTER = ("log_loss", "brier", "ece")


def higher_is_better(metric: str) -> bool:
    """Return whether more of a metric is better; of all others less is."""
    is_score = metric.startswith(_SCORED) and metric.rpartition("/")[2] not in _LOWER_IS_BETTER
    return is_score or metric in (_THROUGHPUT, _BEST_THROUGHPUT)


class GateRule(Record):
    """One limit on one metric; exactly one of the four limits is given."""

    metric: str
    """Flat metric name, e.g. accuracy/accuracy or efficiency/latency_ratio. With a star, as in robustness/fgsm_*
    or slices/*/accuracy, the rule holds for every metric of such a name that was measured."""
    at_least: float | None = None
    """The metric must not be below this."""
    at_most: float | None = None
    """The metric must not be above this."""
    max_drop: float | None = Field(default=None, ge=0)
    """The metric must not be more than this below the other's, in absolute terms; for accuracy, robustness
    and throughput, where higher is better."""
    max_ratio: float | None = Field(default=None, gt=0)
    """The metric must not be more than this times the other's; for sizes, times and losses, where lower is better."""
    against: Against = "reference"
    """Whose metric max_drop and max_ratio compare with. Without a champion a rule against it is not applicable."""
    confidence: Confidence | None = None
    """Whether the interval decides or the value alone; null is as the policy says."""

    @model_validator(mode="after")
    def _one_limit(self) -> Self:
        given = [name for name in LIMITS if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"expected exactly one of {', '.join(LIMITS)}; found {', '.join(given) or 'none'}"
            )
        if self.against != "reference" and given[0] not in ("max_drop", "max_ratio"):
            raise ValueError(
                f"{given[0]} on {self.metric}: compares with nothing, so leave against out, or use max_drop or max_ratio"
            )
        return self

    @model_validator(mode="after")
    def _a_drop_is_bad_and_so_is_a_rise(self) -> Self:
        # What is better of the user's own metrics is for the user to say, by the limit that is given.
        if self.metric.startswith("custom/"):
            return self
        if self.max_drop is not None and not higher_is_better(self.metric):
            raise ValueError(
                f"max_drop on {self.metric}: expected a metric where higher is better ({', '.join(_SCORED)}, "
                f"{_THROUGHPUT}); elsewhere a rise, which is worse, would pass; use at_most or max_ratio"
            )
        if self.max_ratio is not None and higher_is_better(self.metric):
            raise ValueError(
                f"max_ratio on {self.metric}: expected a metric where lower is better; here a fall, which is "
                "worse, would pass; use max_drop"
            )
        return self

    @model_validator(mode="after")
    def _a_star_stands_for_metrics_of_one_kind(self) -> Self:
        section, _, name = self.metric.rpartition("/")
        if "*" in self.metric.partition("/")[0]:
            raise ValueError(
                f"{self.metric}: a star there would stand for sections of different kinds; name the section, as in "
                "slices/*/accuracy or robustness/fgsm_*"
            )
        if "*" in name and section != "robustness":
            raise ValueError(
                f"{self.metric}: a star there would mix metrics that are better high with others that are better "
                "low; name the metric, as in slices/*/accuracy"
            )
        return self


class SelectionConfig(Record):
    """Which of the variants that passed is chosen; null is no limit."""

    strategy: Literal["latency", "throughput", "size", "accuracy"] = "latency"
    """What comes first: the smallest latency, the highest throughput, the smallest size, or the smallest drop of accuracy."""
    max_latency_ms_p95: float | None = Field(default=None, gt=0)
    """Milliseconds that 95 % of calls may take."""
    min_throughput_samples_per_s: float | None = Field(default=None, gt=0)
    """Samples per second that it must reach."""
    max_size_bytes: int | None = Field(default=None, gt=0)
    """Bytes that the shipped files may have."""
    max_peak_memory_bytes: int | None = Field(default=None, gt=0)
    """Bytes by which the memory of a process may grow that runs it."""


class GateConfig(Record):
    """A policy: the limits an artifact must keep to be deployable, and the choice among those that do."""

    preset: PresetName | None = None
    """strict, balanced or smoke: what is not given here comes from it; balanced, if no rules are given."""
    confidence: Confidence = "interval"
    """interval: a rule holds only if the whole interval keeps the limit; point: the value alone decides."""
    min_samples: int = Field(default=100, ge=1)
    """With fewer samples than this, rules on accuracy, robustness, slices and your own metrics are "insufficient"."""
    rules: tuple[GateRule, ...] = Field(default=(), min_length=1)
    """All must hold; at least one, since with none nothing would be checked. Left out, they are the preset's."""
    selection: SelectionConfig = SelectionConfig()
    """Which of those that passed is chosen."""

    @model_validator(mode="before")
    @classmethod
    def _fill_from_preset(cls, given: object) -> object:
        if isinstance(given, str):
            given = {"preset": given}
        if not isinstance(given, dict):
            return given
        name = given.get("preset") or (None if "rules" in given else DEFAULT)
        # A name that is none of a preset is refused as any other value is.
        return {**PRESETS.get(name, {}), **given, "preset": name} if isinstance(name, str) else given

    def is_of_preset(self, rule: GateRule) -> bool:
        """Return whether a rule is one that the named preset gives, word for word."""
        given = PRESETS[self.preset]["rules"] if self.preset else ()
        assert isinstance(given, tuple)
        return rule in [GateRule.model_validate(one) for one in given]
