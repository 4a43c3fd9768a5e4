"""Build a TensorRT engine from an ONNX graph: parsed, profiled, compiled for named GPUs, its passport written."""

from __future__ import annotations

import contextlib
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from pt_core.artifacts.artifact import Artifact
from pt_core.bundle import hash_file
from pt_core.errors import StepFailed
from pt_core.formats.onnx_ import FILE as ONNX
from pt_core.formats.onnx_ import INPUT
from pt_core.formats.tensorrt_library import find_gpu, import_library, make_logger
from pt_core.formats.tensorrt_passport import ENGINE, PASSPORT, Flavour, Passport, Profile, TensorInfo

QUANTIZE_FOR_TENSORRT = (
    "TensorRT takes symmetric INT8 without an INT32 bias: quantize by onnx-int8-static with "
    "options.runtime tensorrt, i.e. [onnx, {onnx-int8-static: {runtime: tensorrt}}, tensorrt]"
)
_MAX_ERRORS = 10
_MAX_ERROR = 500


class Network(NamedTuple):
    """A parsed network and what it needs to stay alive."""

    definition: Any
    """The library's network."""
    builder: Any
    """What it is built by."""
    logger: Any
    """Where its errors are."""
    keep: tuple[Any, ...]
    """Owners of its memory: the parser holds the weights."""

    @property
    def inputs(self) -> tuple[TensorInfo, ...]:
        """Its inputs."""
        count = self.definition.num_inputs
        return tuple(describe_tensor(self.definition.get_input(index)) for index in range(count))

    @property
    def outputs(self) -> tuple[TensorInfo, ...]:
        """Its outputs."""
        count = self.definition.num_outputs
        return tuple(describe_tensor(self.definition.get_output(index)) for index in range(count))


def describe_tensor(tensor: Any) -> TensorInfo:
    """Return the name, type and shape of one of the library's tensors."""
    return TensorInfo(name=tensor.name, dtype=dtype_name(tensor.dtype), shape=tuple(tensor.shape))


def dtype_name(dtype: Any) -> str:
    """Return a type of the library by NumPy's name for the two that may cross the border, else by its own."""
    return {"FLOAT": "float32", "HALF": "float16"}.get(dtype.name, str(dtype.name).lower())


def parse_network(library: ModuleType, path: Path, *, is_int8: bool) -> Network:
    """Parse an ONNX file, external weights included.

    Raises:
        StepFailed: the parser refused a node; the details name each, and the message the remedy.
    """
    log = make_logger(library)
    builder = library.Builder(log)
    # Strongly typed: types come from the graph alone. TensorRT 11 has no other networks, 10 has to be told.
    typed = getattr(library.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    definition = builder.create_network(0 if typed is None else 1 << int(typed))
    parser = library.OnnxParser(definition, log)
    if not parser.parse_from_file(str(path)):
        errors = [parser.get_error(index) for index in range(parser.num_errors)]
        raise _refused(library, errors, is_int8=is_int8)
    return Network(definition, builder, log, (parser,))


def build(
    source: Artifact,
    destination: Path,
    *,
    flavour: Flavour,
    profile: Profile,
    workspace_bytes: int,
    compute_capabilities: tuple[str, ...],
) -> Passport:
    """Write the engine, a copy of its ONNX and its passport into ``destination``.

    Args:
        source: an artifact with an ONNX graph among its files.
        destination: an empty directory.
        flavour: the library to build with.
        profile: the input shapes to build for.
        workspace_bytes: scratch memory that a kernel may use.
        compute_capabilities: GPUs to build for where there is none here; with a GPU it is built for that one.

    Raises:
        StepFailed: the parser refused a node, or the library found no way to build the network.
    """
    library = import_library(flavour)
    files = _copy_onnx(source, destination)
    network = parse_network(library, destination / ONNX, is_int8=source.precision == "int8")
    batch = network.inputs[0].shape[0]
    if batch != -1:
        raise StepFailed(
            f"tensorrt: the graph takes batches of {batch} only, expected any; export it with a dynamic batch"
        )
    gpu = find_gpu()
    targets = (gpu.capability,) if gpu else compute_capabilities
    config = _configure(library, network, profile, workspace_bytes, targets=None if gpu else targets)
    engine = network.builder.build_serialized_network(network.definition, config)
    if engine is None:
        raise StepFailed(
            f"tensorrt: {flavour} could not build {source.chain} for {', '.join(targets)}",
            details=[" ".join(line.split())[:_MAX_ERROR] for line in network.logger.errors[:_MAX_ERRORS]],
        )
    (destination / ENGINE).write_bytes(engine)
    passport = Passport(
        flavour=flavour,
        version=library.__version__,
        compute_capabilities=targets,
        gpu=gpu.name if gpu else None,
        precision=source.precision,
        onnx_sha256={name: hash_file(destination / name) for name in files},
        engine_sha256=hash_file(destination / ENGINE),
        engine_bytes=(destination / ENGINE).stat().st_size,
        profile=profile,
        inputs=network.inputs,
        outputs=network.outputs,
        num_layers=network.definition.num_layers,
        workspace_bytes=workspace_bytes,
    )
    (destination / PASSPORT).write_text(passport.to_json())
    return passport


def _copy_onnx(source: Artifact, destination: Path) -> tuple[str, ...]:
    """Copy the graph with its weights; of a bundle that holds an engine already, only the graph."""
    names = tuple(name for name in source.payload if name not in (ENGINE, PASSPORT))
    for name in names:
        (destination / name).write_bytes((Path(source.directory) / name).read_bytes())
    return names


def _configure(
    library: ModuleType,
    network: Network,
    profile: Profile,
    workspace_bytes: int,
    *,
    targets: tuple[str, ...] | None,
) -> Any:
    config = network.builder.create_builder_config()
    config.set_memory_pool_limit(library.MemoryPoolType.WORKSPACE, workspace_bytes)
    # Timings of another build or GPU would decide the kernels; without the cache equal requests decide alike.
    config.set_flag(library.BuilderFlag.DISABLE_TIMING_CACHE)
    # On by default, and it rounds FP32 products to 10 bits: what is called fp32 must compute in fp32.
    config.clear_flag(library.BuilderFlag.TF32)
    optimisation = network.builder.create_optimization_profile()
    optimisation.set_shape(INPUT, *profile.shapes)
    if config.add_optimization_profile(optimisation) < 0:
        raise StepFailed(
            f"tensorrt: the shapes {profile.shapes} do not fit the input {network.inputs[0].shape}; "
            "export the graph with a dynamic batch"
        )
    if targets is not None:
        config.num_compute_capabilities = len(targets)
        for index, target in enumerate(targets):
            capability = getattr(library.ComputeCapability, f"SM{target.replace('.', '')}")
            config.set_compute_capability(capability, index)
    return config


def _refused(library: ModuleType, errors: list[Any], *, is_int8: bool) -> StepFailed:
    nodes = []
    for error in errors:
        reason = " ".join(error.desc().split())
        # Without a driver every error ends with that fact, which is not the reason.
        with contextlib.suppress(ValueError):
            reason = reason[: reason.index("[checkMacros.cpp")].strip()
        nodes.append(f"{error.node_name() or 'the graph'} ({error.node_operator()}): {reason}"[:_MAX_ERROR])
    advice = (
        QUANTIZE_FOR_TENSORRT
        if is_int8
        else "replace that layer, set another options.onnx.opset, or leave this variant out"
    )
    first = nodes[0] if nodes else "the graph, without saying why"
    return StepFailed(
        f"tensorrt: the parser of {library.__name__} {library.__version__} refused {first}; {advice}",
        details=nodes[1:],
    )
