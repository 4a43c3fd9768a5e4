"""What machine, libraries and code this process runs on, without importing any heavy library."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import platform
import subprocess
import sysconfig
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from pt_core.errors import ConfigError
from pt_core.record import Record
from pt_core.walk import walk

LIBRARIES = (
    "torch",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "openvino",
    "nncf",
    "torchao",
    "tensorrt",
    "tensorrt-rtx",
    "numpy",
    "scikit-learn",
    "safetensors",
    "pillow",
    "pandas",
    "pyarrow",
    "kornia",
    "prefect",
    "mlflow",
)
"""Libraries whose versions decide what samples are and what an artifact does."""

SOURCE_VARIABLE = "PT_PIPELINE_SOURCE"
"""Environment variable: the folder that the configuration and the user's code are in, for child processes too."""

_PACKAGES = ("site-packages", "dist-packages")
"""Names of folders of installed packages."""

_IMPORTABLE = ("*.py", ":(exclude,glob)**/.*/**", *(f":(exclude,glob)**/{name}/**" for name in _PACKAGES))
"""The Python files of a folder and below, as Git names them: those of hidden folders and environments are left out."""

CPU_CAPABILITIES = (
    "avx2",
    "avx512f",
    "avx512_vnni",
    "avx_vnni",
    "avx512_bf16",
    "amx_bf16",
    "amx_int8",
)
"""Instruction sets that decide how fast low precision is, by their names in /proc/cpuinfo."""


class Library(Record):
    """One installed library."""

    name: str
    """Its distribution name."""
    version: str
    """Its version."""


class Environment(Record):
    """Where a record was made."""

    python: str
    """Version of the interpreter."""
    platform: str
    """Operating system and architecture."""
    cpu_model: str
    """Name of the processor."""
    num_cpus: int
    """Cores that this process may use."""
    cpu_capabilities: tuple[str, ...]
    """Instruction sets for low precision that the processor has."""
    libraries: tuple[Library, ...]
    """The libraries that decide what an artifact does."""
    git_commit: str | None
    """Commit of the folder that the configuration and the user's code are in, if it is a Git checkout."""
    git_dirty: bool | None
    """Whether that checkout had uncommitted changes."""


def describe_environment() -> Environment:
    """Describe this machine, its libraries and the Git state of the folder that the user's code is in."""
    return _describe(source_folder())


def source_folder() -> Path:
    """Return the folder that the configuration and the user's code are in; the working directory where none is named."""
    return Path(os.environ.get(SOURCE_VARIABLE) or Path.cwd())


@cache
def _describe(folder: Path) -> Environment:
    commit, dirty = git_state(folder)
    return Environment(
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.machine()}",
        cpu_model=_cpu_field("model name") or platform.processor() or "unknown",
        num_cpus=num_cpus(),
        cpu_capabilities=cpu_capabilities(),
        libraries=installed_libraries(),
        git_commit=commit,
        git_dirty=dirty,
    )


def num_inference_threads() -> int:
    """Return the cores that one inference may use: the limit that a step was started with, or all."""
    return int(os.environ.get("OMP_NUM_THREADS") or num_cpus())


def num_cpus() -> int:
    """Return how many cores this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def cpu_capabilities() -> tuple[str, ...]:
    """Return which of :data:`CPU_CAPABILITIES` this processor has (Linux; elsewhere none is known)."""
    flags = set((_cpu_field("flags") or "").split())
    return tuple(name for name in CPU_CAPABILITIES if name in flags)


def library_version(name: str) -> str | None:
    """Return the installed version of a distribution, or ``None``."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def installed_libraries() -> tuple[Library, ...]:
    """Return those of :data:`LIBRARIES` that are installed."""
    found = ((name, library_version(name)) for name in LIBRARIES)
    return tuple(Library(name=name, version=version) for name, version in found if version)


@cache
def core_code_digest() -> str:
    """Return the SHA-256 of every source file of ``pt_core``: the code part of a cache key."""
    return _digest_sources(Path(__file__).parent)


@cache
def code_digest(target: str) -> str:
    """Return the SHA-256 of the sources behind "package.module:name", without importing them.

    A package or single-file module is hashed together with all sources in the folder that it lies in and below, which
    it may import; one among installed packages or the standard library, alone and whole. Code of ``pt_core`` has the
    digest of ``pt_core``.

    Raises:
        ConfigError: the module cannot be found.
    """
    top_level = target.partition(":")[0].partition(".")[0]
    if top_level == "pt_core":
        return core_code_digest()
    spec = importlib.util.find_spec(top_level)
    if spec is None:
        raise ConfigError(f"{target}: no module named {top_level!r}")
    if spec.submodule_search_locations:
        folders = [Path(folder) for folder in spec.submodule_search_locations]
        digests = [_digest_sources(folder if _is_installed(folder) else folder.parent) for folder in folders]
        return hashlib.sha256("".join(digests).encode()).hexdigest()
    origin = Path(spec.origin or "")
    if _is_installed(origin):
        return hashlib.sha256(origin.read_bytes()).hexdigest()
    return _digest_sources(origin.parent)


@cache
def runtime_identity() -> str:
    """Return what besides code and requests decides a result: interpreter, libraries, instruction sets, GPU driver."""
    libraries = [f"{library.name}={library.version}" for library in installed_libraries()]
    driver = Path("/proc/driver/nvidia/version")
    gpu = driver.read_text().splitlines()[:1] if driver.exists() else ["no GPU driver"]
    for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        gpu += [line for line in path.read_text().splitlines() if line.startswith("Model:")]
    return "|".join([platform.python_version(), *libraries, *cpu_capabilities(), *gpu])


def _is_installed(path: Path) -> bool:
    """Return whether a module or package lies among packages that have versions, beside what it does not import."""
    return path.parent.name in _PACKAGES or path.parent == Path(sysconfig.get_path("stdlib"))


def _digest_sources(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(_sources(folder)):
        digest.update(f"{path.relative_to(folder).as_posix()}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _sources(folder: Path) -> Iterator[Path]:
    """Return the Python files below a folder, leaving out hidden folders, environments and what may not be looked at."""
    return (Path(file.path) for file in walk(folder, enters=_is_own) if file.name.endswith(".py"))


def _is_own(folder: os.DirEntry[str]) -> bool:
    if folder.name.startswith(".") or folder.name in _PACKAGES:
        return False
    # A link may lead to all of a disk, and Python goes through one only by its name.
    is_reached = folder.name.isidentifier() or not folder.is_symlink()
    return is_reached and not (Path(folder.path) / "pyvenv.cfg").exists()


@cache
def _cpu_field(name: str) -> str | None:
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return None
    for line in path.read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return None


def git_state(folder: Path) -> tuple[str | None, bool | None]:
    """Return the commit that a folder is at and whether it holds anything else; ``None`` twice outside a checkout.

    That is a tracked file that differs, anywhere in the checkout, and a Python file here that Git neither tracks nor
    ignores: it would be imported all the same.
    """
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return None, None
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    added = _git(folder, "ls-files", "--others", "--exclude-standard", "--", *_IMPORTABLE)
    # No answer, of a checkout too large, is no word that it is clean.
    return commit, changed != "" or added != ""


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        result = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() if result.returncode == 0 else None
