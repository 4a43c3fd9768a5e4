"""Run a TensorRT engine as a Predictor: host arrays in and out, any batch, device memory held by torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pt_core.artifacts.artifact import Artifact
from pt_core.artifacts.plugin import RuntimeInfo
from pt_core.errors import IntegrityError, StepFailed
from pt_core.formats.onnx_ import INPUT, OUTPUT
from pt_core.formats.tensorrt_build import dtype_name
from pt_core.formats.tensorrt_library import Gpu, import_library, make_logger
from pt_core.formats.tensorrt_passport import ENGINE, Passport, remedy
from pt_core.inference.preprocess import check_batch


class TensorRTPredictor:
    """An execution context behind NumPy arrays; copies to and from the GPU are part of every call."""

    def __init__(self, artifact: Artifact, passport: Passport, *, gpu: Gpu) -> None:
        """Deserialise the engine, compare it with its passport, and run it once."""
        self._spec, self._passport, self._gpu = artifact.spec, passport, gpu
        library = import_library(passport.flavour)
        self._logger = make_logger(library)
        self._runtime = library.Runtime(self._logger)
        content = (Path(artifact.directory) / ENGINE).read_bytes()
        self._engine = self._runtime.deserialize_cuda_engine(content)
        if self._engine is None:
            raise StepFailed(
                f"{artifact.directory}: {passport.library} refused the engine on {gpu.name}; {remedy(artifact)}",
                details=[line[:500] for line in self._logger.errors[:10]],
            )
        _check_engine(self._engine, artifact, passport)
        self._context = self._engine.create_execution_context()
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self.logits(np.zeros(passport.profile.opt_shape, dtype=np.float32))

    def logits(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return (N, num_classes) float32 logits of (N, *input_shape) float32 raw inputs.

        A batch above the profile's largest runs in parts; one below its smallest is filled up with its last
        sample, whose logits are dropped.
        """
        inputs = torch.from_numpy(check_batch(batch, self._spec))
        logits = torch.empty((len(inputs), self._spec.num_classes), dtype=torch.float32)
        size = self._passport.profile.max_shape[0]
        for start in range(0, len(inputs), size):
            part = inputs[start : start + size]
            logits[start : start + size] = self._run(part)[: len(part)]
        return logits.numpy()

    def runtime(self) -> RuntimeInfo:
        """Return the library's version, the GPU, and the layers before and after the engine's fusion."""
        return RuntimeInfo(
            runtime=self._passport.library,
            provider=f"{self._gpu.name} (sm_{self._gpu.capability.replace('.', '')})",
            num_threads=1,
            inputs=tuple(tensor.name for tensor in self._passport.inputs),
            outputs=tuple(tensor.name for tensor in self._passport.outputs),
            num_nodes=self._passport.num_layers,
            num_nodes_optimized=self._engine.num_layers,
        )

    def _run(self, part: torch.Tensor) -> torch.Tensor:
        missing = self._passport.profile.min_shape[0] - len(part)
        if missing > 0:
            part = torch.cat([part, part[-1:].expand(missing, *part.shape[1:])])
        with torch.cuda.stream(self._stream):
            device_inputs = part.contiguous().cuda()
            outputs = torch.empty((len(part), self._spec.num_classes), dtype=torch.float32, device="cuda")
            self._context.set_input_shape(INPUT, tuple(device_inputs.shape))
            self._context.set_tensor_address(INPUT, device_inputs.data_ptr())
            self._context.set_tensor_address(OUTPUT, outputs.data_ptr())
            done = self._context.execute_async_v3(self._stream.cuda_stream)
            # Synchronises: the tensors on the device live until the copy is here.
            result = outputs.cpu()
        if not done:
            raise StepFailed(
                f"tensorrt: the engine refused a batch {tuple(part.shape)}",
                details=[line[:500] for line in self._logger.errors[-10:]],
            )
        return result


def _check_engine(engine: Any, artifact: Artifact, passport: Passport) -> None:
    """Compare names, types and profile of a deserialised engine with its passport.

    Raises:
        IntegrityError: the details name each difference.
    """
    names = {engine.get_tensor_name(index) for index in range(engine.num_io_tensors)}
    expected = {tensor.name: tensor for tensor in (*passport.inputs, *passport.outputs)}
    problems = [f"{name}: in one of the two only" for name in sorted(names ^ set(expected))]
    for name in names & set(expected):
        found = (dtype_name(engine.get_tensor_dtype(name)), tuple(engine.get_tensor_shape(name)))
        if found != (expected[name].dtype, expected[name].shape):
            problems.append(f"{name}: {found} in the engine")
    shapes = tuple(tuple(shape) for shape in engine.get_tensor_profile_shape(INPUT, 0))
    if shapes != passport.profile.shapes:
        problems.append(f"profile: shapes {shapes} in the engine, {passport.profile.shapes} in the passport")
    if problems:
        raise IntegrityError(
            f"{artifact.directory}: the engine is not the one of its passport; {remedy(artifact)}",
            details=problems,
        )
