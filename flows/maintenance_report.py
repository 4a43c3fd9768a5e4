"""MaintenanceReport: what a maintenance did, in sentences and as a table."""

from __future__ import annotations

from typing import Literal

from pydantic import computed_field

from pt_core.record import Record


class Removed(Record):
    """A folder that was removed, or would be."""

    kind: Literal["run", "bundle"]
    """What it is."""
    name: str
    """Its name."""
    directory: str
    """Where it was."""
    size_bytes: int
    """Bytes of its files."""


class Kept(Record):
    """A run that is older than those to keep, and stays."""

    name: str
    """Its name."""
    why: str
    """Why it stays."""


class MaintenanceReport(Record):
    """What a maintenance did."""

    home: str
    """The home folder."""
    dry_run: bool
    """Whether nothing was changed."""
    num_left_overs: int = 0
    """Folders of dead writers that were deleted."""
    settled: tuple[str, ...] = ()
    """Promotions whose process had died, and how they ended, a sentence each."""
    num_sent: int = 0
    """Entries for MLflow that runs had left behind and that were sent now."""
    closed: tuple[str, ...] = ()
    """Runs whose process had died, closed in MLflow, as PIPELINE/RUN."""
    removed: tuple[Removed, ...] = ()
    """What was removed, or would be in a dry run."""
    kept: tuple[Kept, ...] = ()
    """Older runs that stay all the same."""
    num_aliased: int = 0
    """Registered versions that an alias points at; all that they rest on stays."""
    problems: tuple[str, ...] = ()
    """What could not be done, a sentence each."""

    @computed_field(return_type=int)
    def bytes_freed(self) -> int:
        """Bytes of all that was removed, or would be."""
        return sum(one.size_bytes for one in self.removed)

    @property
    def sentence(self) -> str:
        """The outcome in one sentence."""
        num_runs = sum(one.kind == "run" for one in self.removed)
        verb = "would be removed" if self.dry_run else "removed"
        megabytes = f"{sum(one.size_bytes for one in self.removed) / 1e6:,.1f} MB"
        done = f"{num_runs} runs and {len(self.removed) - num_runs} bundles {verb} ({megabytes})"
        if self.dry_run:
            return done
        rest = (
            (len(self.closed), "MLflow runs of dead processes closed"),
            (len(self.settled), "promotions settled"),
            (self.num_sent, "entries sent to MLflow"),
            (self.num_left_overs, "left-overs swept"),
        )
        return "; ".join([done, *(f"{count} {what}" for count, what in rest if count)])
