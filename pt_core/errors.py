"""The one error tree: what went wrong, where, observed against expected, and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NotRequired, Self, TypedDict

MAX_DETAILS = 10
"""How many details a message shows; the rest is counted, so that a message stays bounded."""


class ErrorDict(TypedDict):
    """An error as plain JSON, so that it can cross a process boundary without a pickle."""

    type: str
    message: str
    details: list[str]
    evidence: NotRequired[str]


class PtCoreError(Exception):
    """Base of every failure this product reports by name."""

    exit_code: ClassVar[int] = 1
    """The process exit code: 1 a stage failed, 2 bad input, 3 refused, by the gate or by a person, 4 another promoter came first."""

    def __init__(self, message: str, *, details: Sequence[str] = ()) -> None:
        """Keep the sentence and its details (one line each) as fields."""
        super().__init__(message)
        self.message = message
        self.details = tuple(details)
        self.evidence: str | None = None
        """What was found out about it, a record as JSON, e.g. where two artifacts part."""
        self.output = ""
        """The end of what the process that raised it printed, if it was an isolated one."""

    def __str__(self) -> str:
        """Return the sentence and at most ten details, one a line."""
        shown = [f"  {detail}" for detail in self.details[:MAX_DETAILS]]
        hidden = len(self.details) - len(shown)
        more = [f"  ... and {hidden} more"] if hidden else []
        return "\n".join([self.message, *shown, *more])

    def with_message(self, message: str) -> Self:
        """Return the same failure under another sentence."""
        other = type(self)(message, details=self.details)
        other.evidence = self.evidence
        other.output = self.output
        return other

    def to_dict(self) -> ErrorDict:
        """Return the error as plain JSON."""
        plain: ErrorDict = {
            "type": type(self).__name__,
            "message": self.message,
            "details": list(self.details),
        }
        if self.evidence is not None:
            plain["evidence"] = self.evidence
        return plain


class ConfigError(PtCoreError):
    """The configuration is not valid."""

    exit_code = 2


class PlanError(PtCoreError):
    """A chain of steps cannot be built in the order given."""

    exit_code = 2


class DataError(PtCoreError):
    """The data cannot be trained or evaluated on."""

    exit_code = 2


class IntegrityError(PtCoreError):
    """Bytes, keys, shapes or values are not what their manifest says."""


class StepUnavailable(PtCoreError):
    """This machine lacks what the step needs; the message says what to install."""


class StepFailed(PtCoreError):
    """A step crashed, timed out or raised; the details hold the end of its output."""

    def __str__(self) -> str:
        """Return the sentence and the last ten details: the end of an output says what happened."""
        hidden = len(self.details) - MAX_DETAILS
        earlier = [f"  ... {hidden} lines before"] if hidden > 0 else []
        return "\n".join([self.message, *earlier, *(f"  {detail}" for detail in self.details[-MAX_DETAILS:])])


class OutOfMemory(StepFailed):
    """A step asked for more memory than there is, or than its limit allows."""


class TrainingDiverged(StepFailed):
    """The loss or its gradient was NaN or infinite more often than the configuration allows."""


class NothingQuantized(PtCoreError):
    """A quantizer changed no layer, so its artifact would be the source under another name."""


class AccuracyNotReached(PtCoreError):
    """No quantized network that was tried keeps to the accuracy asked for; the details list each try."""


class NothingFused(PtCoreError):
    """No normalisation could be folded, so the artifact would be the source under another name."""


class ParityError(PtCoreError):
    """An artifact's outputs differ from its source's by more than its precision allows."""


class NotComparable(PtCoreError):
    """Two reports do not rest on the same samples, attacks or reference."""

    exit_code = 2


class PromotionConflict(PtCoreError):
    """Somebody else moved or holds the alias that a promotion was about to move."""

    exit_code = 4


class GateRefused(PtCoreError):
    """No variant passed the gate."""

    exit_code = 3


def _below(error: type[PtCoreError]) -> list[type[PtCoreError]]:
    return [one for child in error.__subclasses__() for one in (child, *_below(child))]


_BY_NAME: dict[str, type[PtCoreError]] = {error.__name__: error for error in _below(PtCoreError)}


def error_from_dict(error: ErrorDict) -> PtCoreError:
    """Rebuild the error that :meth:`PtCoreError.to_dict` wrote."""
    rebuilt = _BY_NAME.get(error["type"], StepFailed)(error["message"], details=error["details"])
    rebuilt.evidence = error.get("evidence")
    return rebuilt
