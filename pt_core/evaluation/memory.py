"""Resident memory of this process, now and at its peak since a mark."""

from __future__ import annotations

from pathlib import Path

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


def mark_peak() -> int | None:
    """Forget the peak so far, and return the resident bytes now; ``None`` where the kernel does not tell.

    Linux only. ``resource.getrusage`` is no substitute: its ``ru_maxrss`` survives ``exec``, so a child
    starts with the peak of the process that started it.
    """
    try:
        _CLEAR.write_text("5")
    except OSError:
        return None
    return _read("VmRSS")


def peak_growth(before: int | None) -> int | None:
    """Return how many bytes the peak since :func:`mark_peak` lies above what it returned."""
    peak = _read("VmHWM")
    return None if before is None or peak is None else max(0, peak - before)


def _read(field: str) -> int | None:
    if not _STATUS.exists():
        return None
    for line in _STATUS.read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024
    return None
