"""What can be verified of a TensorRT engine on a machine that cannot run it."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from pt_core.artifacts.artifact import Artifact
from pt_core.errors import IntegrityError
from pt_core.formats.onnx_ import FILE as ONNX
from pt_core.formats.onnx_ import INPUT, OUTPUT
from pt_core.formats.tensorrt_build import parse_network
from pt_core.formats.tensorrt_library import import_library, make_logger
from pt_core.formats.tensorrt_passport import ENGINE, Passport, Profile, TensorInfo, remedy


def inspect_engine(artifact: Artifact, passport: Passport) -> tuple[str, ...]:
    """Return what was checked, one sentence each; the digests were compared when the passport was read.

    Raises:
        IntegrityError: the engine is malformed, or the ONNX beside it parses to another network.
    """
    library = import_library(passport.flavour)
    _check_header(library, artifact)
    network = parse_network(library, Path(artifact.directory) / ONNX, is_int8=artifact.precision == "int8")
    spec = artifact.spec
    dynamic = {axis.axis for axis in spec.dynamic_axes}
    sample = tuple(-1 if axis in dynamic else size for axis, size in enumerate(spec.input_shape))
    inputs = (TensorInfo(name=INPUT, dtype="float32", shape=(-1, *sample)),)
    outputs = (TensorInfo(name=OUTPUT, dtype="float32", shape=(-1, spec.num_classes)),)
    profile = passport.profile
    sizes = [shape[0] for shape in profile.shapes]
    expected_profile = Profile.of(spec, min_batch=sizes[0], opt_batch=sizes[1], max_batch=sizes[2])
    problems = [
        f"{name}: {found}, expected {expected}"
        for name, found, expected in (
            ("inputs of the network", network.inputs, inputs),
            ("outputs of the network", network.outputs, outputs),
            ("inputs in the passport", passport.inputs, inputs),
            ("outputs in the passport", passport.outputs, outputs),
            ("layers in the passport", passport.num_layers, network.definition.num_layers),
            ("profile in the passport", profile, expected_profile),
        )
        if found != expected
    ]
    if problems:
        raise IntegrityError(
            f"{artifact.directory}: the ONNX beside the engine is another network; {remedy(artifact)}",
            details=problems,
        )
    return (
        f"The network of {ONNX} parses in {passport.library}: {passport.num_layers} layers, "
        f"{INPUT} float32 (N, {spec.describe_input()}), {OUTPUT} float32 (N, {spec.num_classes}).",
        f"The engine takes inputs from {profile.min_shape} to {profile.max_shape}, best {profile.opt_shape}, "
        f"and was built for {passport.architectures}.",
        f"The engine is {passport.engine_bytes} bytes, SHA-256 {passport.engine_sha256[:12]}, and its header is whole.",
        f"The passport's digests of the engine and of {', '.join(passport.onnx_sha256)} match the files.",
    )


def _check_header(library: ModuleType, artifact: Artifact) -> None:
    content = (Path(artifact.directory) / ENGINE).read_bytes()
    runtime = library.Runtime(make_logger(library))
    # TensorRT for RTX reads an engine's header without a GPU; the other library does not offer it.
    if not hasattr(runtime, "get_engine_validity"):
        return
    _, diagnostics = runtime.get_engine_validity(content)
    broken = library.EngineInvalidityDiagnostics
    found = [
        flag.name for flag in (broken.MALFORMED_ENGINE, broken.VERSION_MISMATCH) if diagnostics & int(flag)
    ]
    if found:
        raise IntegrityError(
            f"{Path(artifact.directory) / ENGINE}: {', '.join(found).lower().replace('_', ' ')}; {remedy(artifact)}"
        )
