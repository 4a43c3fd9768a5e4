"""Format "compiled": native code that AOTInductor made of an exported program, one .pt2 package without Python in it."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import ValidationError

from pt_core.artifacts.artifact import Artifact, Precision
from pt_core.artifacts.plugin import Predictor
from pt_core.errors import IntegrityError, StepFailed, StepUnavailable
from pt_core.record import Record

if TYPE_CHECKING:
    from pt_core.formats.inductor import Passport

FILE = "model.pt2"
PASSPORT = "passport.json"
"""What the code needs from a machine: version of torch, processor, instruction sets."""


class CompiledFormat(Record):
    """An AOTInductor package, compiled with freezing for the instruction sets of this machine's processor."""

    name: ClassVar[str] = "compiled"
    is_program: ClassVar[bool] = True
    sources: ClassVar[tuple[str, ...]] = ("exported",)
    precision: ClassVar[Precision | None] = None

    def unavailable(self) -> str | None:
        """Return which compiler is missing, if it is; a package that exists is loaded without one."""
        compiler = cpp_compiler()
        if shutil.which(compiler):
            return None
        how = "xcode-select --install" if sys.platform == "darwin" else "apt-get install g++"
        return f"needs a C++ compiler and finds no {compiler}; {how}, or set CXX"

    def convert(self, source: Artifact, destination: Path) -> None:
        """Compile the program; sources and caches lie in a folder for temporary files, and go however it ends.

        Raises:
            StepFailed: the compiler cannot be called on files in that folder, or refused the code.
        """
        from pt_core.formats.exported import load_program
        from pt_core.formats.inductor import compile_program

        # Not in the staging directory: inductor joins its compiler's command lines unquoted.
        with tempfile.TemporaryDirectory(prefix="pt-inductor-") as scratch:
            _check_path(scratch)
            passport = compile_program(load_program(source), destination / FILE, scratch=Path(scratch))
        (destination / PASSPORT).write_text(passport.to_json())

    def load(self, artifact: Artifact, device: str) -> Predictor:
        """Load the code, where this machine is what it was compiled for.

        Raises:
            StepUnavailable: the machine lacks something; the message names it and the remedy.
            IntegrityError: the passport is none.
        """
        import torch

        from pt_core.formats.inductor import passport_problems
        from pt_core.inference.torch_predictor import TorchPredictor

        folder = Path(artifact.directory)
        passport = _read_passport(folder)
        problems = passport_problems(passport)
        if device != passport.device:
            problems.append(f"the device asked for is {device}, it was compiled for {passport.device}")
        if problems:
            raise StepUnavailable(
                f"compiled: {'; '.join(problems)}; build it again on a machine like this one, "
                "from the exported program or the checkpoint that it was made of"
            )
        # The package unpacks itself into a folder that would stay whenever a process ends without its destructors,
        # as isolated ones do; once the code is loaded nothing needs its file.
        with tempfile.TemporaryDirectory(prefix="pt-compiled-") as scratch, variable_set("TMPDIR", scratch):
            # What torch._inductor.aoti_load_package wraps, without the seconds that importing inductor takes.
            package = torch._C._aoti.AOTIModelPackageLoader(str(folder / FILE), "model", False, 1, -1)
        return TorchPredictor(
            lambda batch: package.run([batch])[0],
            spec=artifact.spec,
            provider=f"AOTInductor, {' '.join(passport.instruction_sets) or passport.machine}",
            device=device,
            count_nodes=lambda: (passport.num_nodes, passport.num_kernels),
        )


def cpp_compiler() -> str:
    """Return the compiler that inductor would call."""
    return os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")


def _check_path(scratch: str) -> None:
    if re.search(r"""[\s'"\\]""", scratch):
        raise StepFailed(
            f"compiled: the folder for temporary files is {Path(scratch).parent}, expected a path without spaces, "
            "quotes and backslashes, which inductor cannot pass to a compiler; set TMPDIR to one"
        )


def _read_passport(folder: Path) -> Passport:
    from pt_core.formats.inductor import Passport

    try:
        return Passport.from_json((folder / PASSPORT).read_bytes())
    except (OSError, ValidationError) as error:
        raise IntegrityError(f"{folder / PASSPORT}: no passport of compiled code: {error}"[:1000]) from error


@contextmanager
def variable_set(name: str, value: str) -> Iterator[None]:
    """Set an environment variable for a while; native code reads some settings from nowhere else."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
