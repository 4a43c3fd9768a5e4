"""Rewrite "bf16": the network with BF16 weights and activations, half the bytes; input and output stay float32."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pt_core.artifacts.artifact import Artifact, Precision
from pt_core.record import Record


class Bf16(Record):
    """BF16 in eager PyTorch, and in all that is converted from it.

    Fast on processors that multiply BF16 in hardware (avx512_bf16, amx_bf16; see ``pt-pipeline doctor``). On others
    it works just the same, and takes longer than FP32.
    """

    name: ClassVar[str] = "bf16"
    sources: ClassVar[tuple[str, ...]] = ("torch",)
    target: ClassVar[str] = "torch"
    precision: ClassVar[Precision | None] = "bf16"

    channels_last: bool = True
    """Whether images and filters lie in memory with their channels last, as the BF16 kernels of CPUs want them."""

    def unavailable(self) -> str | None:
        """Return ``None``: every processor can, if slowly."""
        return None

    def rewrite(self, source: Artifact, destination: Path) -> None:
        """Round every floating-point tensor of the network to BF16; the normalisation of the input stays float32.

        Raises:
            PlanError: the source is not FP32.
        """
        from pt_core.formats.bf16_state import write_bf16_network
        from pt_core.formats.structure import HalfPrecision, read_structure, refuse_lowered, write_structure
        from pt_core.formats.torch_ import load_module

        refuse_lowered(self.name, source)
        write_bf16_network(load_module(source), destination)
        structure = read_structure(Path(source.directory))
        channels_last = self.channels_last and len(source.spec.input_shape) == 3
        write_structure(
            destination, structure.model_copy(update={"bf16": HalfPrecision(channels_last=channels_last)})
        )
