"""Run a torch module as a Predictor: evaluation mode and inference mode are set here and nowhere else."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pt_core.artifacts.plugin import EXPORT_BATCH, RuntimeInfo
from pt_core.errors import StepFailed, StepUnavailable
from pt_core.inference.preprocess import check_batch
from pt_core.modeling.spec import ModelSpec


def for_inference(network: nn.Module) -> nn.Module:
    """Return the same network in evaluation mode, with no parameter asking for a gradient."""
    return network.eval().requires_grad_(requires_grad=False)


def check_device(device: str) -> None:
    """Refuse a device that torch does not find.

    Raises:
        StepUnavailable: with what was asked for.
    """
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise StepUnavailable(f"device {device}: torch {torch.__version__} finds no GPU; use cpu")


class TorchPredictor:
    """A callable of torch tensors (eager module, TorchScript or exported program) behind NumPy arrays."""

    def __init__(
        self,
        forward: Callable[[torch.Tensor], torch.Tensor],
        *,
        spec: ModelSpec,
        provider: str,
        device: str,
        num_warm_ups: int = 3,
        count_nodes: Callable[[], tuple[int, int]] | None = None,
    ) -> None:
        """Keep the callable and run it a few times, so that the first real call is like every other.

        Args:
            forward: (N, *input_shape) float32 -> (N, num_classes) float32.
            spec: the network's input.
            provider: what executes it, for a person.
            device: where.
            num_warm_ups: how often it is run.
            count_nodes: its nodes as written and as executed, where they can be counted; called when asked for.
        """
        self._forward = forward
        self._count_nodes = count_nodes
        self._spec = spec
        self._provider = provider
        self._device = torch.device(device)
        # TorchScript profiles its first runs and specialises after them.
        for _ in range(num_warm_ups):
            # The size that programs were exported with: one that holds for no other still loads, and parity says so.
            self.logits(np.zeros((EXPORT_BATCH, *spec.input_shape), dtype=np.float32))

    def logits(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return (N, num_classes) float32 logits of (N, *input_shape) float32 raw inputs."""
        # A copy: torch cannot hold a read-only array (memory-mapped splits are), and must not write to it.
        inputs = torch.from_numpy(check_batch(batch, self._spec).copy()).to(self._device)
        with torch.inference_mode():
            outputs = self._forward(inputs)
        if not isinstance(outputs, torch.Tensor):
            raise StepFailed(
                f"the network returned {type(outputs).__name__}, expected one tensor of logits (N, {self._spec.num_classes})"
            )
        if outputs.device.type != self._device.type:
            raise StepFailed(
                f"{self._provider}: asked for {self._device}, the network answered on {outputs.device}; "
                "it moves tensors to a device of its own"
            )
        return np.ascontiguousarray(outputs.cpu().numpy())

    def runtime(self) -> RuntimeInfo:
        """Return torch's version, what executes in it, its threads and its nodes."""
        num_nodes, num_nodes_optimized = self._count_nodes() if self._count_nodes else (None, None)
        return RuntimeInfo(
            runtime=f"torch {torch.__version__}",
            provider=f"{self._provider} on {self._device}",
            num_threads=torch.get_num_threads(),
            instruction_set=torch.backends.cpu.get_cpu_capability() if self._device.type == "cpu" else None,
            num_nodes=num_nodes,
            num_nodes_optimized=num_nodes_optimized,
        )
