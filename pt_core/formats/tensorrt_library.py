"""Which NVIDIA GPU is here and which of the two TensorRT libraries serves it; one code path for both."""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import logging
from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import Any, NamedTuple

from pt_core.errors import StepUnavailable
from pt_core.formats.tensorrt_passport import Flavour

RTX_CAPABILITIES = ("7.5", "8.0", "8.6", "8.9", "12.0", "12.1")
"""GPU architectures that TensorRT for RTX builds for, with or without a GPU at hand."""

INSTALL = "pip install 'pt-pipeline[tensorrt]' (TensorRT for RTX, which also builds where there is no GPU)"

_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR
_QUIETEST_ERROR = 1  # severities: internal error 0, error 1, warning 2, info 3, verbose 4

logger = logging.getLogger(__name__)


class Gpu(NamedTuple):
    """An NVIDIA GPU."""

    name: str
    """What the driver calls it."""
    capability: str
    """Its architecture, e.g. "8.9"."""


@cache
def find_gpu() -> Gpu | None:
    """Return the first NVIDIA GPU as its driver reports it, or ``None``; imports no heavy library."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    count, device, major, minor = (ctypes.c_int() for _ in range(4))
    name = ctypes.create_string_buffer(128)
    calls: tuple[Callable[[], int], ...] = (
        lambda: driver.cuInit(0),
        lambda: driver.cuDeviceGetCount(ctypes.byref(count)),
        lambda: driver.cuDeviceGet(ctypes.byref(device), 0),
        lambda: driver.cuDeviceGetName(name, len(name), device),
        lambda: driver.cuDeviceGetAttribute(ctypes.byref(major), _MAJOR, device),
        lambda: driver.cuDeviceGetAttribute(ctypes.byref(minor), _MINOR, device),
    )
    if any(call() != 0 for call in calls):
        return None
    return Gpu(name.value.decode(errors="replace"), f"{major.value}.{minor.value}")


def choose_flavour() -> Flavour | None:
    """Return the library to build with, or ``None``: TensorRT where it has a GPU to build on, else that for RTX."""
    gpu = find_gpu()
    if gpu and importlib.util.find_spec("tensorrt"):
        return "tensorrt"
    if importlib.util.find_spec("tensorrt_rtx") and (gpu is None or gpu.capability in RTX_CAPABILITIES):
        return "tensorrt-rtx"
    return None


def why_no_library() -> str | None:
    """Return what is missing to build an engine here and how to get it, or ``None``."""
    if choose_flavour():
        return None
    gpu = find_gpu()
    if gpu and gpu.capability not in RTX_CAPABILITIES:
        return f"{gpu.name} (compute capability {gpu.capability}) needs tensorrt; pip install 'tensorrt>=11'"
    if importlib.util.find_spec("tensorrt"):
        return f"tensorrt builds on the GPU that it is for, and there is none here; {INSTALL}"
    return f"needs tensorrt-rtx; {INSTALL}"


def installed_library(flavour: Flavour) -> str | None:
    """Return a library's name and version as passports write them, or ``None`` if it is not installed."""
    if importlib.util.find_spec(_module(flavour)) is None:
        return None
    # Asked of the library itself: its distribution has another name for each CUDA version.
    return f"{flavour} {import_library(flavour).__version__}"


def import_library(flavour: Flavour) -> ModuleType:
    """Import one of the two libraries.

    Raises:
        StepUnavailable: it does not load.
    """
    try:
        return importlib.import_module(_module(flavour))
    except (ImportError, OSError) as error:
        raise StepUnavailable(f"tensorrt: {flavour} does not load: {error}; {INSTALL}") from error


def _module(flavour: Flavour) -> str:
    return flavour.replace("-", "_")


def make_logger(library: ModuleType) -> Any:
    """Return a logger of the library that keeps errors in its ``errors`` and hands warnings to Python's logging."""

    class Kept(library.ILogger):  # type: ignore[misc,name-defined]
        """Where the library speaks; its classes want an instance of their own base."""

        def __init__(self) -> None:
            """Start with nothing said."""
            super().__init__()
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            """Take one message."""
            if int(severity) <= _QUIETEST_ERROR:
                self.errors.append(message)
            elif int(severity) == _QUIETEST_ERROR + 1:
                logger.info("tensorrt: %s", message)

    return Kept()
