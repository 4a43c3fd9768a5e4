"""Serving: what a program that is not this one needs to know to run the artifact of a release."""

from __future__ import annotations

from pydantic import JsonValue

from pt_core.artifacts.artifact import Artifact
from pt_core.artifacts.plugin import INPUT_NAME, OUTPUT_NAME
from pt_core.data.dataset import Dataset
from pt_core.decision.result import VariantResult
from pt_core.environment import Library
from pt_core.record import Record

_RUNTIMES = {"onnx": "onnxruntime", "openvino": "openvino", "tensorrt": "tensorrt-rtx"}
"""The library that executes a format; torch does the others."""


class TensorSpec(Record):
    """One tensor that goes in or comes out."""

    name: str
    """Its name, where the runtime has names."""
    dtype: str
    """Type of its elements."""
    shape: tuple[int | str, ...]
    """Its shape; an axis of any size is its name, a range of sizes is written as one."""
    range: tuple[float, float] | None
    """Least and greatest legal value; ``None`` where any finite number is."""


class Serving(Record):
    """How to call an artifact, and what its answer means."""

    format: str
    """The format that loads it."""
    payload: tuple[str, ...]
    """Its files, relative to the release."""
    inputs: tuple[TensorSpec, ...]
    """What it takes."""
    outputs: tuple[TensorSpec, ...]
    """What it gives."""
    labels: tuple[str, ...]
    """Name of each class, in the order of the logits."""
    preprocessing: dict[str, JsonValue]
    """How files and rows become inputs; normalisation is not part of it, the network does that itself."""
    postprocessing: str
    """How the output becomes probabilities and a label."""
    golden: str
    """Inputs and the outputs that they must give, relative to the release."""
    setting: str | None
    """The setting that the runtime is pinned to, where it can execute the artifact in several ways."""
    runtime: str | None
    """Library that executed it when it was measured."""
    provider: str | None
    """Execution provider or backend that it was measured on."""
    requirements: tuple[str, ...]
    """The libraries that it was built and measured with, as pip names them."""


def serving_of(variant: VariantResult, artifact: Artifact, dataset: Dataset, *, folder: str) -> Serving:
    """Return how to call the artifact of a variant; ``folder`` is where it lies in the release."""
    spec, evaluation = artifact.spec, variant.evaluation
    runtime = evaluation.runtime if evaluation else None
    names = (
        (runtime.inputs or (INPUT_NAME,), runtime.outputs or (OUTPUT_NAME,))
        if runtime
        else ((INPUT_NAME,), (OUTPUT_NAME,))
    )
    sizes = {axis.axis: f"{axis.min} to {axis.max}" for axis in spec.dynamic_axes}
    sample = tuple(sizes.get(axis, size) for axis, size in enumerate(spec.input_shape))
    return Serving(
        format=artifact.format,
        payload=tuple(f"{folder}/{name}" for name in artifact.payload),
        inputs=(
            TensorSpec(name=names[0][0], dtype="float32", shape=("batch", *sample), range=spec.input_range),
        ),
        outputs=(
            TensorSpec(name=names[1][0], dtype="float32", shape=("batch", spec.num_classes), range=None),
        ),
        labels=artifact.labels,
        preprocessing={
            "input": "pixels in the range of the input" if spec.input_range else "columns as numbers",
            "normalisation": "none: the first layer of the network does it",
            # What the samples were read by: columns and categories of a table, decoding of image files.
            **dataset.model_dump(mode="json", include={"table", "images"}, exclude_none=True),
        },
        postprocessing="softmax over the last axis gives probabilities; the greatest one's position names the label",
        golden=f"{folder}/golden.safetensors",
        setting=artifact.parity.pinned if artifact.parity else None,
        runtime=runtime.runtime if runtime else None,
        provider=runtime.provider if runtime else None,
        requirements=_requirements(artifact),
    )


def _requirements(artifact: Artifact) -> tuple[str, ...]:
    wanted = {"numpy", "safetensors", _RUNTIMES.get(artifact.format, "torch")}
    if artifact.quantization and artifact.format not in _RUNTIMES:
        wanted.add("torchao")
    found: tuple[Library, ...] = artifact.environment.libraries
    return tuple(f"{one.name}=={one.version.partition('+')[0]}" for one in found if one.name in wanted)
