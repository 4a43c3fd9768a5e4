"""NNCF on one OpenVINO graph: quantize it with some layers kept, compute its logits, search which layers to keep."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import nncf
import numpy as np
import openvino
from numpy.typing import NDArray

from pt_core.artifacts.artifact import LayerDamage
from pt_core.environment import num_cpus
from pt_core.errors import NothingQuantized
from pt_core.formats.openvino_ import InferencePrecision, read_model
from pt_core.formats.openvino_session import compile_model
from pt_core.quantizers.accuracy_aware import Found, accuracy, rank_layers, search
from pt_core.quantizers.openvino_graph import describe_model

_BATCH_SIZE = 32
"""Samples read at once to measure; NNCF reads them one by one."""


class Nncf:
    """A graph on disk and the samples that its ranges come from."""

    def __init__(
        self,
        path: Path,
        *,
        samples: NDArray[np.float32],
        preset: str,
        fast_bias_correction: bool,
        inference_precision: InferencePrecision,
    ) -> None:
        """Remember what every quantization of the graph has in common."""
        nncf.set_log_level(logging.ERROR)
        self._path = path
        self._samples = samples
        self._preset = nncf.QuantizationPreset(preset)
        self._fast_bias_correction = fast_bias_correction
        self._inference_precision = inference_precision

    def quantize(self, kept: Sequence[str] = ()) -> openvino.Model:
        """Return the graph in INT8 but for the layers kept; every sample is read, in order, so nothing is random.

        Raises:
            NothingQuantized: NNCF does not quantize such a graph.
        """
        try:
            return nncf.quantize(
                self.read(),
                nncf.Dataset([sample[None] for sample in self._samples]),
                preset=self._preset,
                subset_size=len(self._samples),
                fast_bias_correction=self._fast_bias_correction,
                ignored_scope=nncf.IgnoredScope(names=list(kept)) if kept else None,
            )
        except nncf.UnsupportedModelError as error:
            raise NothingQuantized(f"NNCF does not quantize this graph: {str(error)[:1000]}") from error

    def read(self) -> openvino.Model:
        """Return the graph as it was before."""
        return read_model(self._path)

    def logits(self, model: openvino.Model) -> NDArray[np.float32]:
        """Return the logits (N, C) of all samples."""
        compiled = compile_model(model, self._inference_precision, num_threads=num_cpus())
        batches = range(0, len(self._samples), _BATCH_SIZE)
        return np.concatenate([compiled(self._samples[i : i + _BATCH_SIZE])[0] for i in batches])


def search_kept_layers(
    graph: Nncf,
    *,
    targets: NDArray[np.int64],
    scheme: str,
    max_accuracy_drop: float,
    max_tries: int,
) -> Found[openvino.Model]:
    """Return the INT8 graph with the fewest layers kept that loses at most ``max_accuracy_drop``.

    Raises:
        NothingQuantized: no layer became INT8.
        AccuracyNotReached: no graph that was tried kept to the limit.
    """
    expected = graph.logits(graph.read())

    def rank() -> tuple[LayerDamage, ...]:
        layers = describe_model(graph.quantize(), scheme=scheme).quantized_layers
        return rank_layers(
            layers, lambda layer: graph.logits(graph.quantize(_others(layers, layer))), expected
        )

    return search(
        graph.quantize,
        lambda model: accuracy(graph.logits(model), targets),
        rank,
        scheme=scheme,
        float_accuracy=accuracy(expected, targets),
        max_accuracy_drop=max_accuracy_drop,
        max_tries=max_tries,
    )


def _others(layers: tuple[str, ...], layer: str) -> list[str]:
    return [other for other in layers if other != layer]
