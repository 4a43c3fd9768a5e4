"""Steps that end in every way a step can end; run in child processes by the tests of isolation."""

from __future__ import annotations

import ctypes
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

from pt_core.errors import ParityError
from pt_core.isolation import report_progress
from pt_core.record import Record


class Word(Record):
    text: str
    number: int = 0


class Other(Record):
    different: str


def echo(request: Word) -> Word:
    return Word(text=request.text[::-1], number=os.getpid())


def count(request: Word) -> Word:
    for done in range(1, request.number + 1):
        report_progress(done, request.number, request.text)
    return request


def count_in_a_grandchild(request: Word) -> Word:
    """Return what a process of the step's own finds in its files after it reported progress."""
    code = """
import tempfile
from pt_core.isolation import report_progress
files = [tempfile.TemporaryFile() for _ in range(30)]
report_progress(1, 1, "wrong process")
print(sum(len(file.read()) for file in files if file.seek(0) == 0))
"""
    child = subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True)
    return Word(text=child.stdout.strip())


def reply_something_else(request: Word) -> Other:
    return Other(different=request.text)


def reply_no_record(request: Word) -> Word:
    return 3


def segfault(request: Word) -> Word:
    print("about to crash", flush=True)
    ctypes.string_at(0)
    return request


def abort(request: Word) -> Word:
    os.abort()


def leave(request: Word) -> Word:
    print("leaving", flush=True)
    os._exit(request.number)


def leave_politely(request: Word) -> Word:
    sys.exit(request.number)


def exhaust_memory(request: Word) -> Word:
    return Word(text="x", number=len(bytearray(2**60)))


def raise_plainly(request: Word) -> Word:
    raise ZeroDivisionError(request.text)


def take_memory(request: Word) -> Word:
    kept = bytearray(b"x" * request.number)
    time.sleep(0.5)
    return Word(text="kept", number=len(kept))


def fill_a_full_device(request: Word) -> Word:
    with Path("/dev/full").open("wb") as device:
        device.write(b"x")
    return request


def raise_typed(request: Word) -> Word:
    print("about to differ", flush=True)
    raise ParityError("differs by 0.5", details=["batch 1", "batch 7"])


def flood(request: Word) -> Word:
    for number in range(20_000):
        print("line", number, "x" * 100)
    os._exit(9)


def hang_with_a_grandchild(request: Word) -> Word:
    grandchild = subprocess.Popen(["sleep", "600"])
    Path(request.text + ".partial").write_text(f"{os.getpid()} {grandchild.pid}")
    Path(request.text + ".partial").rename(request.text)
    time.sleep(600)
    return request


def hang_holding_the_interpreter(request: Word) -> Word:
    Path(request.text + ".partial").write_text(f"{os.getpid()}")
    Path(request.text + ".partial").rename(request.text)
    ctypes.PyDLL(None).sleep(600)
    return request


def environment(request: Word) -> Word:
    names = ("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "OMP_NUM_THREADS")
    return Word(text=" ".join(os.environ.get(name, "-") for name in names))


def path_position(request: Word) -> Word:
    return Word(text=__file__, number=len(sys.path) - 1 - sys.path.index(str(Path(__file__).parent)))


def free_every_other_piece(request: Word) -> Word:
    """Return how many MiB of 16 pieces of 8 MiB this process still holds once it has freed half of them."""
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    libc.free(
        libc.malloc(ctypes.c_size_t(16 * 2**20))
    )  # from then on glibc puts all smaller ones on its heap
    before = _resident_mib()
    pieces = [libc.malloc(ctypes.c_size_t(8 * 2**20)) for _ in range(16)]
    for piece in pieces:
        ctypes.memset(piece, 1, 8 * 2**20)
    for piece in pieces[::2]:
        libc.free(piece)
    return Word(text="", number=_resident_mib() - before)


def take_the_same_again(request: Word) -> Word:
    """Return how many pages were new when four pieces of 16 MiB were taken, filled and freed a second time."""
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    before = 0
    for _ in range(2):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        pieces = [libc.malloc(ctypes.c_size_t(16 * 2**20)) for _ in range(4)]
        for piece in pieces:
            ctypes.memset(piece, 1, 16 * 2**20)
        for piece in pieces:
            libc.free(piece)
    return Word(text="", number=resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)


def _resident_mib() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 2**20
