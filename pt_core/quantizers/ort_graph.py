"""ONNX Runtime's static quantization of one graph: with some layers kept, of one layer alone, and which to keep."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

from pt_core.artifacts.artifact import LayerDamage
from pt_core.formats.onnx_ import INPUT
from pt_core.formats.onnx_runtime import OnnxRuntime
from pt_core.formats.onnx_session import OnnxPredictor
from pt_core.modeling.spec import ModelSpec
from pt_core.quantizers.accuracy_aware import Found, accuracy, rank_layers, search
from pt_core.quantizers.onnx_graph import describe_quantization
from pt_core.quantizers.ort_prepare import prepare_graph

_BATCH_SIZE = 32
"""Samples read at once to measure; ranges are observed one by one."""

_METHODS = {"minmax": CalibrationMethod.MinMax, "percentile": CalibrationMethod.Percentile}


class StaticGraph:
    """A prepared graph and the samples that its ranges come from, which are observed once for all that is made of it."""

    def __init__(
        self,
        path: Path,
        scratch: Path,
        *,
        samples: NDArray[np.float32],
        per_channel: bool,
        method: str,
        runtime: str,
    ) -> None:
        """Prepare the graph, and remember what every quantization of it has in common."""
        self.prepared = prepare_graph(path, scratch)
        self.samples = samples
        self._scratch = scratch
        self._numbers = itertools.count()
        self._per_channel = per_channel
        self._method = _METHODS[method]
        self._symmetric = runtime == "tensorrt"
        self._graph_level = OnnxRuntime.read(path.parent).graph_level

    def quantize(self, kept: Sequence[str] = (), only: str | None = None) -> Path:
        """Write the graph in INT8 but for the nodes kept, or with one node alone in INT8, and return its file."""
        made = self._scratch / f"quantized-{next(self._numbers)}.onnx"
        quantize_static(
            self.prepared,
            made,
            _Reader(self.samples),
            quant_format=QuantFormat.QDQ,
            per_channel=self._per_channel,
            activation_type=QuantType.QInt8 if self._symmetric else QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=self._method,
            nodes_to_exclude=list(kept),
            nodes_to_quantize=[] if only is None else [only],
            extra_options={"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False}
            if self._symmetric
            else {},
            calibration_cache_path=self._scratch / "ranges.json",
        )
        return made

    def logits(self, path: Path, spec: ModelSpec) -> NDArray[np.float32]:
        """Return the logits (N, C) of all samples by a graph on disk."""
        predictor = OnnxPredictor(path, spec=spec, device="cpu", graph_level=self._graph_level)
        starts = range(0, len(self.samples), _BATCH_SIZE)
        return np.concatenate([predictor.logits(self.samples[i : i + _BATCH_SIZE]) for i in starts])


def search_kept_layers(
    graph: StaticGraph,
    *,
    targets: NDArray[np.int64],
    spec: ModelSpec,
    scheme: str,
    max_accuracy_drop: float,
    max_tries: int,
) -> Found[Path]:
    """Return the file of the INT8 graph with the fewest layers kept that loses at most ``max_accuracy_drop``.

    Raises:
        NothingQuantized: no weight became INT8.
        AccuracyNotReached: no graph that was tried kept to the limit.
    """
    expected = graph.logits(graph.prepared, spec)

    def rank() -> tuple[LayerDamage, ...]:
        layers = describe_quantization(graph.quantize(), scheme=scheme).quantized_layers
        return rank_layers(layers, lambda layer: graph.logits(graph.quantize(only=layer), spec), expected)

    return search(
        graph.quantize,
        lambda path: accuracy(graph.logits(path, spec), targets),
        rank,
        scheme=scheme,
        float_accuracy=accuracy(expected, targets),
        max_accuracy_drop=max_accuracy_drop,
        max_tries=max_tries,
    )


class _Reader:
    """Feed calibration samples one by one, in order, once: histograms refuse a last batch of another size."""

    def __init__(self, samples: NDArray[np.float32]) -> None:
        self._samples: Iterator[NDArray[np.float32]] = iter(samples)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        """Return the next sample by input name, or ``None`` at the end."""
        sample = next(self._samples, None)
        return None if sample is None else {INPUT: sample[None]}
