"""Compile a torch.export program ahead of time with AOTInductor: native code whose needs are written beside it."""

from __future__ import annotations

import importlib
import platform
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch.export import ExportedProgram

from pt_core.errors import StepFailed
from pt_core.formats.compiled import cpp_compiler, variable_set
from pt_core.formats.exported import count_operators
from pt_core.record import Record

_KERNEL_CALL = re.compile(
    r"^\s*(?:cpp_\w+\(|AOTI_TORCH_ERROR_CODE_CHECK\(aoti_torch_(?:cpu_\w+|proxy_executor\w*)\()", re.MULTILINE
)
"""A line of generated code that computes: a kernel of inductor's own, or one of torch's and oneDNN's."""


class Passport(Record):
    """What compiled code needs from the machine that runs it."""

    torch: str
    """Version of torch whose libraries it calls."""
    platform: str
    """Operating system, as Python names it."""
    machine: str
    """Architecture of the processor."""
    device: Literal["cpu"]
    """Device it runs on."""
    instruction_sets: tuple[str, ...]
    """Instruction sets that the compiler was allowed to use; the processor must have each."""
    compiler: str
    """The compiler and its version."""
    threads: Literal["chosen at run time"]
    """Its kernels ask OpenMP for the number of threads each time they run."""
    num_nodes: int
    """Operators of the exported program."""
    num_kernels: int
    """Kernels that are left to call after fusion."""


def compile_program(program: ExportedProgram, package: Path, *, scratch: Path) -> Passport:
    """Write a package of compiled code; its batch stays as dynamic as the program's.

    Args:
        program: what is compiled, on the CPU.
        package: the .pt2 file to write.
        scratch: an empty folder for sources, objects and every cache; the caller removes it.

    Raises:
        StepFailed: the compiler refused the generated code.
    """
    from torch._inductor.cpu_vec_isa import pick_vec_isa
    from torch._inductor.exc import CppCompileError
    from torch._inductor.package.package import package_aoti

    settings = _settings(scratch)
    with (
        variable_set("TORCHINDUCTOR_CACHE_DIR", str(scratch)),
        torch.no_grad(),
        _quantized_convolutions_are_channels_last(),
    ):
        try:
            compiled = torch._inductor.aot_compile(
                program.module(), *program.example_inputs, options=settings
            )
        except CppCompileError as error:
            raise StepFailed(
                f"compiled: {cpp_compiler()} refused the generated code: {str(error)[-1000:]}; "
                "try another compiler by CXX, or convert to torchscript or onnx"
            ) from error
        with torch._inductor.config.patch(settings):
            flags = pick_vec_isa().build_arch_flags()
    files = cast("list[str]", compiled)
    sources = [file for file in files if file.endswith(".cpp")]
    # The sources are not needed to run, and name every path of this machine.
    package_aoti(str(package), [file for file in files if file not in sources])
    return Passport(
        torch=torch.__version__,
        platform=sys.platform,
        machine=platform.machine(),
        device="cpu",
        instruction_sets=_instruction_sets(flags),
        compiler=_version(cpp_compiler()),
        threads="chosen at run time",
        num_nodes=count_operators(program),
        num_kernels=sum(len(_KERNEL_CALL.findall(Path(file).read_text())) for file in sources),
    )


@contextmanager
def _quantized_convolutions_are_channels_last() -> Iterator[None]:
    """Correct the layout that torch 2.13 assumes of a quantized convolution of one channel and a dynamic batch.

    Its lowering of convolutions takes the output of such an input for contiguous, as that of its FP32 kernel is.
    The kernel of quantized ones always writes channels last, so what follows would read scrambled numbers
    (``_prepare_convolution_fusion_create`` in torch/_inductor/mkldnn_ir.py has the reasoning for FP32).
    """
    # Untyped on purpose: nothing here is part of torch's interface.
    mkldnn_ir: Any = importlib.import_module("torch._inductor.mkldnn_ir")
    prepare = mkldnn_ir._prepare_convolution_fusion_create
    is_contiguous = mkldnn_ir.is_contiguous_storage_and_layout

    def corrected(cls: type, *arguments: object, **named: object) -> object:
        is_quantized = cls.__name__.startswith("QConv")
        mkldnn_ir.is_contiguous_storage_and_layout = (lambda _: False) if is_quantized else is_contiguous
        return prepare(cls, *arguments, **named)

    mkldnn_ir._prepare_convolution_fusion_create = corrected
    try:
        yield
    finally:
        mkldnn_ir._prepare_convolution_fusion_create = prepare
        mkldnn_ir.is_contiguous_storage_and_layout = is_contiguous


def passport_problems(passport: Passport) -> list[str]:
    """Return what this machine lacks, one clause each; none where the code can run here."""
    here = {
        "torch": (passport.torch, str(torch.__version__)),
        "operating system": (passport.platform, sys.platform),
        "processor": (passport.machine, platform.machine()),
    }
    problems = [
        f"the {what} is {found}, it was compiled for {wanted}"
        for what, (wanted, found) in here.items()
        if wanted != found
    ]
    missing = [name for name in passport.instruction_sets if name not in _capabilities()]
    if missing and not problems:
        problems.append(f"the processor lacks {', '.join(missing)}, which it was compiled with")
    return problems


def _settings(scratch: Path) -> dict[str, object]:
    return {
        # Folds weights into constants that oneDNN has packed; it decides the speed.
        "freezing": True,
        "aot_inductor.package": True,
        # Without it the one thread of the compiling process is all that the code would ever use.
        "cpp.dynamic_threads": True,
        # The instruction sets that inductor vectorises for and no others, instead of all that this processor has:
        # what the passport names is then exactly what the code needs.
        "cpp.march": "",
        # Each probe compiles all vector headers of torch for seconds; those of the intrinsics remain.
        "cpp.vec_isa_ok": True,
        "cpp.cxx": (None, str(_write_compiler(scratch))),
        # They go to a folder of the user's that no setting moves, and serve no single compilation.
        "aot_inductor.precompile_headers": False,
        "aot_inductor.enable_line_tables": False,
        # A pool of processes would outlive the compilation, for a handful of kernels.
        "compile_threads": 1,
    }


def _write_compiler(scratch: Path) -> Path:
    """Return a script that calls the compiler and keeps this machine's paths out of what it writes."""
    real = shutil.which(cpp_compiler()) or cpp_compiler()
    # Inductor asks the name what kind of compiler it is.
    script = scratch / "bin" / Path(real).name
    script.parent.mkdir(exist_ok=True)
    maps = {scratch: ".", Path(torch.__file__).parent: "torch"}
    options = " ".join(shlex.quote(f"-ffile-prefix-map={path}={name}") for path, name in maps.items())
    script.write_text(f'#!/bin/sh\nexec {shlex.quote(real)} {options} "$@"\n')
    script.chmod(0o700)
    return script


def _instruction_sets(flags: str) -> tuple[str, ...]:
    """Return the names in compiler flags such as ``-mavx512f -mfma``, or the extensions of an ``-march``."""
    found = re.findall(r"-m(?!arch|sve-)([\w-]+)|\+(\w+)", flags)
    return tuple(dict.fromkeys((flag or extension).replace("-", "") for flag, extension in found))


def _capabilities() -> set[str]:
    found = {name.replace("_", "") for name, value in torch.cpu.get_capabilities().items() if value is True}
    return found | ({"fma"} if "fma3" in found else set())


def _version(compiler: str) -> str:
    output = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=True).stdout
    return output.partition("\n")[0]
