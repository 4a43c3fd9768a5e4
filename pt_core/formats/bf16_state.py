"""A network in BF16: its tensors on disk as safetensors, and the module that takes and returns float32."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pt_core.artifacts.checkpoint import WEIGHTS
from pt_core.artifacts.tensors import check_finite
from pt_core.artifacts.weights import load_strictly
from pt_core.errors import IntegrityError
from pt_core.formats.structure import HalfPrecision

_READ_ERRORS = (
    SafetensorError,
    ValueError,
    TypeError,
    KeyError,
    RuntimeError,
    OverflowError,
    MemoryError,
    OSError,
)

_NETWORK = "network."
"""What the names of the user's own network begin with; before it comes the normalisation of the input."""


class Bfloat16(nn.Module):
    """A network in BF16 between float32 input and float32 output."""

    def __init__(self, network: nn.Module, *, channels_last: bool) -> None:
        """Cast the network; filters of two dimensions change their memory format, nothing else does."""
        super().__init__()
        self.network = network.to(torch.bfloat16)
        self.channels_last = channels_last
        for parameter in self.network.parameters():
            if channels_last and parameter.ndim == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        """Return float32 logits."""
        x = x.to(torch.bfloat16)
        if self.channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        # An annotation, because TorchScript would compile a call of cast.
        logits: Tensor = self.network(x)
        return logits.float()


def write_bf16_network(network: nn.Module, folder: Path) -> None:
    """Write every floating-point tensor of the user's network as BF16, and all others as they are.

    Raises:
        OSError: the disk refused a write.
    """
    tensors = {
        name: value.detach().to(_stored_dtype(name, value)).contiguous().clone()
        for name, value in network.state_dict().items()
    }
    try:
        save_file(tensors, folder / WEIGHTS)
    except SafetensorError as error:
        raise OSError(f"{folder / WEIGHTS}: could not be written: {error}") from error


def fill_bf16_network(network: nn.Module, folder: Path, half: HalfPrecision) -> None:
    """Load what :func:`write_bf16_network` wrote into a network as its code builds it, and cast that.

    Raises:
        IntegrityError: a tensor is missing, left over, not finite, or of another shape or type.
    """
    path = folder / WEIGHTS
    tensors = _read(path)
    state = network.state_dict()
    wrong = [
        f"{name}: {tensor.dtype}, expected {_stored_dtype(name, state[name])}"
        for name, tensor in tensors.items()
        if name in state and tensor.dtype != _stored_dtype(name, state[name])
    ]
    if wrong:
        raise IntegrityError(
            f"{path}: {len(wrong)} tensor(s) are not of the type they are stored in", details=wrong
        )
    # Every BF16 value is a float32 value: what the one strict loader compares and fills rounds back unchanged.
    arrays = {
        name: (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
        for name, tensor in tensors.items()
    }
    check_finite(path, arrays)
    load_strictly(network, arrays, source=path)
    network.network = Bfloat16(cast("nn.Module", network.network), channels_last=half.channels_last)


def _stored_dtype(name: str, tensor: Tensor) -> torch.dtype:
    is_cast = tensor.is_floating_point() and name.startswith(_NETWORK)
    return torch.bfloat16 if is_cast else tensor.dtype


def _read(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except _READ_ERRORS as error:
        raise IntegrityError(f"{path}: not a readable safetensors file: {error}"[:1000]) from error
