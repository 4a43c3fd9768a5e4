"""IntegrityReport: what was checked on a bundle, apart from the checks so that reading one imports nothing heavy."""

from __future__ import annotations

from pt_core.bundle import BundleKind
from pt_core.record import Record


class IntegrityReport(Record):
    """A bundle that passed every check."""

    kind: BundleKind
    """What the bundle is."""
    directory: str
    """Where it is."""
    digest: str
    """SHA-256 of its manifest."""
    num_files: int
    """Files checked, the manifest left out."""
    size_bytes: int
    """Their size together."""
    checks: tuple[str, ...]
    """What was checked, one short sentence each."""
    golden_max_abs_error: float | None
    """Greatest absolute difference of a replayed golden logit; undefined for a bundle without outputs."""
    notes: tuple[str, ...] = ()
    """What is not proved of it, one short sentence each."""
