"""A step of another package that ends in every way a step can end; installed by the tests that need it."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import ClassVar, Literal

from pt_core.record import Record

Way = Literal[
    "succeed",
    "segfault",
    "abort",
    "hang",
    "raise",
    "eat",
    "eat-in-a-grandchild",
    "ask-too-much",
    "ask-torch-too-much",
    "fill-from-python",
    "fill-from-numpy",
    "fill-from-torch",
    "fill-from-torchscript",
]

# Not so fast that it eats twice what it may between two looks at it.
EATER = (
    "import time\nkept = []\nwhile True:\n    kept.append(bytearray(b'x' * 2**24))\n    time.sleep(0.02)\n"
)


class FailingFormat(Record):
    """Writes a payload and then fails, so that there is something half-written to leave behind."""

    name: ClassVar[str] = "failing"
    sources: ClassVar[tuple[str, ...]] = ("torch",)
    precision: ClassVar[None] = None
    way: Way = "succeed"

    def unavailable(self):
        return None

    def convert(self, source, destination):
        shutil.copyfile(Path(source.directory) / "model.safetensors", destination / "model.safetensors")
        print(f"about to {self.way}", flush=True)
        fail(self.way, destination)

    def load(self, artifact, device):
        from pt_core.formats.torch_ import TorchFormat

        return TorchFormat().load(artifact, device)


class UnloadableFormat(FailingFormat):
    """Converts well, and crashes when it is loaded: the second half of a step."""

    name: ClassVar[str] = "unloadable"

    def load(self, artifact, device):
        print("about to load", flush=True)
        fail("segfault", Path(artifact.directory))


def fail(way: Way, folder: Path) -> None:
    ways = {
        "succeed": lambda: None,
        "segfault": lambda: ctypes.string_at(0),
        "abort": os.abort,
        "hang": lambda: time.sleep(3600),
        "raise": lambda: {}["a key that nobody has"],
        "eat": lambda: exec(EATER),
        "eat-in-a-grandchild": lambda: subprocess.run([sys.executable, "-c", EATER], check=True),
        "ask-too-much": lambda: bytearray(2**60),
        "ask-torch-too-much": lambda: __import__("torch").empty(2**58),
        "fill-from-python": lambda: (folder / "filling").write_bytes(bytes(2**24)),
        "fill-from-numpy": lambda: (np := __import__("numpy")).save(folder / "filling", np.zeros(2**22)),
        "fill-from-torch": lambda: (torch := __import__("torch")).save(
            torch.zeros(2**22), folder / "filling"
        ),
        "fill-from-torchscript": lambda: fill_from_torchscript(folder),
    }
    ways[way]()


def fill_from_torchscript(folder: Path) -> None:
    import warnings

    import torch

    warnings.simplefilter("ignore")
    torch.jit.save(torch.jit.script(torch.nn.Linear(2048, 2048)), str(folder / "filling"))
