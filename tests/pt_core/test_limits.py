from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pt_core import limits
from pt_core.limits import (
    Limits,
    exact_session_memory_bytes,
    session_memory_bytes,
    total_memory_bytes,
)

MIB = 2**20

HOLD = """
import os, sys
held = bytearray(b"x" * (64 * 2**20))
for _ in range(3):
    if os.fork() == 0:
        sys.stdin.read()
        os._exit(0)
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def family():
    """Return the leader of a session of four processes that share 64 MiB."""
    leader = subprocess.Popen(
        [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    assert leader.stdout.readline() == b"ready\n"
    yield leader.pid
    leader.communicate()


def test_the_memory_of_a_session_counts_what_it_started_and_what_they_share_once_when_exact(family) -> None:
    known: dict[int, bool] = {}
    assert 4 * 64 * MIB < session_memory_bytes(family, known) < 4 * 80 * MIB
    assert sum(known.values()) == 4
    assert 64 * MIB < exact_session_memory_bytes(known) < 100 * MIB


def test_pages_of_a_mapped_file_do_not_count(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(bytes(64 * MIB))
    code = (
        "import mmap, sys; f = open(sys.argv[1], 'rb'); m = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ);"
        "sum(m[i] for i in range(0, len(m), 4096)); print('ready', flush=True); sys.stdin.read()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "data")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert child.stdout.readline() == b"ready\n"
    taken = session_memory_bytes(child.pid, {})
    child.communicate()
    assert 0 < taken < 32 * MIB


@pytest.mark.parametrize(
    "rollup",
    [None, "00-ff ---p 0 00:00 0 [rollup]\nRss: 9 kB\nPss: 9 kB\n"],
    ids=["unreadable", "old kernel"],
)
def test_where_the_kernel_tells_no_shares_all_pages_count(tmp_path, monkeypatch, rollup) -> None:
    for pid in ("7", "8"):
        (tmp_path / pid).mkdir()
        (tmp_path / pid / "status").write_text("RssAnon:\t 100 kB\nRssFile:\t 5 kB\nRssShmem:\t 20 kB\n")
    (tmp_path / "8" / "smaps_rollup").write_text("Rss: 99 kB\nPss_Anon: 50 kB\nPss_Shmem: 10 kB\n")
    if rollup:
        (tmp_path / "7" / "smaps_rollup").write_text(rollup)
    monkeypatch.setattr(limits, "_PROC", tmp_path)
    assert exact_session_memory_bytes({7: True, 8: True, 9: True}) == (120 + 60) * 1024


def test_processes_that_ended_are_forgotten() -> None:
    known = {2**22 + 1: True}
    session_memory_bytes(os.getpid(), known)
    assert 2**22 + 1 not in known


def test_the_memory_of_this_machine_is_what_the_kernel_says_or_less() -> None:
    (line,) = [line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal")]
    assert 0 < total_memory_bytes() <= int(line.split()[1]) * 1024


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        ("0::/a/b\n", {"a/memory.max": "1048576\n", "a/b/memory.max": "max\n"}, MIB),
        ("0::/seen/by/the/host\n", {"memory.max": "2097152\n"}, 2 * MIB),
        ("5:cpu,memory:/a\n0::/\n", {"memory/a/memory.limit_in_bytes": "3145728"}, 3 * MIB),
        ("0::/a\n", {"a/memory.max": "max\n"}, None),
        ("1:name=systemd:/\n", {}, None),
    ],
)
def test_a_container_has_the_memory_of_its_control_group(
    tmp_path, monkeypatch, groups, files, expected
) -> None:
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "self" / "cgroup").write_text(groups)
    for name, text in files.items():
        (tmp_path / "cgroup" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "cgroup" / name).write_text(text)
    whole = total_memory_bytes()
    monkeypatch.setattr(limits, "_PROC", tmp_path / "proc")
    monkeypatch.setattr(limits, "_CGROUPS", tmp_path / "cgroup")
    assert total_memory_bytes() == (expected or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    assert expected is None or expected < whole


def test_a_system_that_does_not_tell_is_said_so_once(tmp_path) -> None:
    # A process of its own: MLflow, Prefect and others, once imported, set up logging as they like.
    program = f"""
from pathlib import Path
from pt_core import limits
limits._PROC = Path({str(tmp_path)!r})
assert limits.session_memory_bytes(1, {{}}) is None
assert limits.session_memory_bytes(1, {{}}) is None
"""
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stderr
    assert told.splitlines() == [
        "memory limits are not kept on this system: it has no /proc to read memory from"
    ]


def test_no_time_and_no_memory_are_no_limits() -> None:
    with pytest.raises(ValueError, match="greater than 0"):
        Limits(timeout_s=0)
    with pytest.raises(ValueError, match="greater than 0"):
        Limits(timeout_s=1, max_memory_bytes=0)
