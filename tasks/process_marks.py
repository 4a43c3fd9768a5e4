"""What names one process for ever: the machine's start, and the tick at which the process started."""

from __future__ import annotations

from pathlib import Path


def machine() -> str:
    """Return what names the machine's start and the container of this process; nothing where the system does not tell."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def started(pid: int) -> str:
    """Return when a process started, in the system's ticks; nothing for one that has ended or that only waits to be reaped."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def mark_of(pid: int) -> str:
    """Return both as one text, which a clock that is set does not change; nothing where either is unknown."""
    here, tick = machine(), started(pid)
    return f"{here}/{tick}" if here and tick else ""
