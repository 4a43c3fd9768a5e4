"""Weights of a network as named arrays: taken out, compared by name, shape and type, and put back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pt_core.artifacts.checkpoint import LoadReport
from pt_core.artifacts.tensors import Arrays
from pt_core.errors import ConfigError, IntegrityError


def state_arrays(network: nn.Module) -> Arrays:
    """Return the state dict as CPU arrays; tied weights are written once per name, half precision as float32.

    Raises:
        ConfigError: an entry is not a dense tensor, so it could be stored by a pickle only.
    """
    arrays: Arrays = {}
    for name, value in network.state_dict().items():
        if not isinstance(value, Tensor) or value.layout != torch.strided or value.is_quantized:
            raise ConfigError(
                f"model: entry {name!r} of the state dict is no dense tensor ({type(value).__name__}); "
                "keep such state out of state_dict (persistent=False, no get_extra_state)"
            )
        tensor = value.detach().cpu()
        half = tensor.dtype in (torch.bfloat16, torch.float16)
        arrays[name] = (tensor.float() if half else tensor).numpy()
    return arrays


def load_strictly(network: nn.Module, arrays: Mapping[str, NDArray[Any]], *, source: Path) -> LoadReport:
    """Load every name into a network, and return the report, which has nothing but loaded names.

    Raises:
        IntegrityError: a name is missing, unexpected, or differs in shape or type; the details list each.
    """
    report = _compare(network, arrays)
    if report.problems:
        raise IntegrityError(
            f"{source}: {len(report.problems)} tensor(s) do not fit the network {type(network).__name__}; "
            "the file or the model's code has changed",
            details=report.problems,
        )
    _put(network, arrays, report.loaded)
    return report


def load_partially(
    network: nn.Module,
    arrays: Mapping[str, NDArray[Any]],
    *,
    min_fraction: float,
) -> LoadReport:
    """Load the names that fit and report the rest; nothing is loaded where too little fits.

    Args:
        network: what is loaded into.
        arrays: the weights.
        min_fraction: least share of the network's weight elements that must be loaded, 0 to 1.

    Raises:
        IntegrityError: less than that share fits.
    """
    report = _compare(network, arrays)
    if not report.loaded_fraction >= min_fraction:
        raise IntegrityError(
            f"only {report.loaded_fraction:.1%} of the weights of {type(network).__name__} fit, "
            f"at least {min_fraction:.1%} is asked for",
            details=report.problems,
        )
    _put(network, arrays, report.loaded)
    return report


def _compare(network: nn.Module, arrays: Mapping[str, NDArray[Any]]) -> LoadReport:
    state: dict[str, Tensor] = dict(network.state_dict())
    common = [name for name in state if name in arrays]
    mismatched = {name: line for name in common if (line := _mismatch(state[name], arrays[name]))}
    loaded = tuple(name for name in common if name not in mismatched)
    num_all = sum(tensor.numel() for tensor in state.values())
    return LoadReport(
        loaded=loaded,
        missing=tuple(name for name in state if name not in arrays),
        unexpected=tuple(name for name in arrays if name not in state),
        mismatched=tuple(f"{name}: {line}" for name, line in mismatched.items()),
        loaded_fraction=sum(state[name].numel() for name in loaded) / num_all if num_all else 1.0,
    )


def _mismatch(tensor: Tensor, array: NDArray[Any]) -> str | None:
    if tuple(tensor.shape) != array.shape:
        return f"shape {array.shape}, expected {tuple(tensor.shape)}"
    dtype = torch.from_numpy(array).dtype
    if dtype != tensor.dtype and not (dtype.is_floating_point and tensor.dtype.is_floating_point):
        return f"{dtype}, expected {tensor.dtype}"
    return None


def _put(network: nn.Module, arrays: Mapping[str, NDArray[Any]], names: tuple[str, ...]) -> None:
    network.load_state_dict({name: torch.from_numpy(arrays[name]) for name in names}, strict=False)
