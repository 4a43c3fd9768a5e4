"""Which device and which autocast precision to use, and why."""

from __future__ import annotations

import torch

from pt_core.environment import cpu_capabilities
from pt_core.errors import ConfigError
from pt_core.record import Record

HARDWARE_BF16 = ("amx_bf16", "avx512_bf16")
"""CPU instruction sets that multiply bf16 in hardware."""

AUTOCAST_DTYPES = {"bf16-mixed": torch.bfloat16, "fp16-mixed": torch.float16}
"""Autocast type of each mixed precision."""


class PrecisionDecision(Record):
    """The precision to train in, and why."""

    precision: str
    """fp32, bf16-mixed or fp16-mixed."""
    reason: str
    """One clause for a person."""


def resolve_device(choice: str) -> str:
    """Return the torch device for "auto", "cpu", "cuda" or "mps".

    Raises:
        ConfigError: the device asked for is not here.
    """
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if choice == "auto":
        return next(name for name, is_here in present.items() if is_here)
    if not present[choice]:
        here = ", ".join(name for name, is_here in present.items() if is_here)
        raise ConfigError(f"train.device: {choice} is not available on this machine, found {here}; use auto")
    return choice


def resolve_precision(choice: str, device: str) -> PrecisionDecision:
    """Return the autocast precision for "auto", "fp32", "bf16-mixed" or "fp16-mixed" on a device."""
    if choice != "auto":
        return PrecisionDecision(precision=choice, reason="set in the configuration")
    if device == "cuda":
        name = torch.cuda.get_device_name()
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return PrecisionDecision(precision="bf16-mixed", reason=f"{name} computes bf16 in hardware")
        return PrecisionDecision(
            precision="fp16-mixed", reason=f"{name} has no bf16, fp16 with GradScaler instead"
        )
    found = [name for name in HARDWARE_BF16 if name in cpu_capabilities()]
    if device == "cpu" and found:
        return PrecisionDecision(precision="bf16-mixed", reason=f"this CPU has {found[0]}")
    return PrecisionDecision(precision="fp32", reason=f"no bf16 in hardware on this {device}")
