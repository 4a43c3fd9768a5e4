"""What a process may take, and how much of it a whole session of processes takes now."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from pydantic import Field

from pt_core.record import Record

logger = logging.getLogger(__name__)

_PROC = Path("/proc")
_CGROUPS = Path("/sys/fs/cgroup")


class Limits(Record):
    """What one isolated function may take before it is stopped."""

    timeout_s: float = Field(gt=0)
    """Seconds."""
    max_memory_bytes: int | None = Field(default=None, gt=0)
    """Resident memory of the process and all it starts, without files it maps; ``None`` means no limit."""


def total_memory_bytes() -> int:
    """Return the memory of this machine, or of the control group this process runs in if that is less."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([total, *_group_limits()])


def session_memory_bytes(leader: int, known: dict[int, bool]) -> int | None:
    """Return the resident memory of all processes in the session that ``leader`` leads.

    Anonymous and shared memory count; pages of mapped files do not, since the kernel drops those
    when it needs room. A page that several forked processes share counts once for each, so the sum is
    never too low; :func:`exact_session_memory_bytes` takes longer and counts it once.

    Args:
        leader: process id of the session's leader.
        known: which process ids belong to the session, kept from call to call by the caller, so
            that a call looks closely at new processes only.

    Returns:
        ``None`` where the system does not tell, which is all but Linux.
    """
    if not _PROC.joinpath("self", "status").exists():
        _warn_unwatched()
        return None
    pids = {int(name) for name in os.listdir(_PROC) if name.isdigit()}  # noqa: PTH208 - ten times a second
    for gone in known.keys() - pids:
        del known[gone]
    for new in pids - known.keys():
        known[new] = _session_of(new) == leader
    return sum(_resident_bytes(pid) for pid, inside in known.items() if inside)


def exact_session_memory_bytes(known: dict[int, bool]) -> int:
    """Return the memory of the processes in ``known`` with shared pages counted once.

    Of a process whose shares the kernel does not tell, as one before 5.5 or of another user, all pages count.
    """
    members = [pid for pid, inside in known.items() if inside]
    shares = {pid: _read_fields(pid, "smaps_rollup", ("Pss_Anon", "Pss_Shmem")) for pid in members}
    return sum(_resident_bytes(pid) if share is None else share for pid, share in shares.items())


def gibibytes(num_bytes: int) -> str:
    """Return a number of bytes as people read it."""
    return f"{num_bytes / 2**30:.2f} GiB"


def _session_of(pid: int) -> int | None:
    try:
        stat = _PROC.joinpath(str(pid), "stat").read_text()
    except OSError:
        return None
    # The name in parentheses may itself hold spaces and parentheses; after it: state, parent, group, session.
    return int(stat.rpartition(")")[2].split()[3])


def _resident_bytes(pid: int) -> int:
    # A process that is gone takes nothing.
    return _read_fields(pid, "status", ("RssAnon", "RssShmem")) or 0


def _read_fields(pid: int, file: str, names: Iterable[str]) -> int | None:
    """Return the sum of some fields in kB as bytes; ``None`` where the file or one of them is not there."""
    try:
        lines = _PROC.joinpath(str(pid), file).read_text().splitlines()
    except OSError:
        return None
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    if any(name not in fields for name in names):
        return None
    return sum(int(fields[name].split()[0]) * 1024 for name in names)


def _group_limits() -> list[int]:
    """Return the memory limits of this process's control group and those above it, of either version."""
    try:
        lines = _PROC.joinpath("self", "cgroup").read_text().splitlines()
    except OSError:
        return []
    limits = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            top, file = _CGROUPS, "memory.max"
        elif "memory" in controllers.split(","):
            top, file = _CGROUPS / "memory", "memory.limit_in_bytes"
        else:
            continue
        group = top / path.lstrip("/")
        # Inside a container the path is the host's and only the top of the tree is seen.
        limits += [
            _read_limit(folder / file) for folder in (group, *group.parents) if folder.is_relative_to(top)
        ]
    return [limit for limit in limits if limit is not None]


def _read_limit(file: Path) -> int | None:
    try:
        text = file.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


@cache
def _warn_unwatched() -> None:
    logger.warning("memory limits are not kept on this system: it has no /proc to read memory from")
