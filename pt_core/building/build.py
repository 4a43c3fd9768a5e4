"""Run one step of a chain: payload, reload, comparison and publication, in that order or not at all."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from pt_core.artifacts.artifact import Artifact, ArtifactInfo, Step
from pt_core.artifacts.checkpoint import WEIGHTS, Checkpoint
from pt_core.artifacts.plugin import Plugin
from pt_core.artifacts.registry import make_step, plugin_precision, plugin_target
from pt_core.building.failure import recorded
from pt_core.building.locate import located
from pt_core.building.requests import (
    CheckRequest,
    CheckResult,
    Conversion,
    ConvertRequest,
    StepRequest,
)
from pt_core.bundle import seal, staging
from pt_core.environment import describe_environment
from pt_core.errors import ParityError, PlanError
from pt_core.isolation import Runner, isolated
from pt_core.limits import Limits
from pt_core.signing import sign

__all__ = ["StepRequest", "build_step", "checkpoint_source", "run_step"]

STEP_TARGET = "pt_core.building.build:build_step"
"""What a failed step is recorded under, since neither half can run without the other."""

NUM_THREADS = 1
"""Cores of each half: steps run side by side."""

ROOT = Step(name="torch")
"""The step that every chain starts with: the checkpoint as an artifact, the reference of all others."""

_UNSEALED = "0" * 64


def checkpoint_source(checkpoint: Checkpoint) -> Artifact:
    """Return a checkpoint as the source of the root step."""
    return Artifact(
        format="checkpoint",
        precision="fp32",
        steps=(),
        checkpoint_digest=checkpoint.digest,
        parent_digest=checkpoint.digest,
        spec=checkpoint.spec,
        labels=checkpoint.labels,
        payload=(WEIGHTS,),
        payload_bytes=(Path(checkpoint.directory) / WEIGHTS).stat().st_size,
        quantization=None,
        parity=None,
        environment=checkpoint.environment,
        directory=checkpoint.directory,
        digest=checkpoint.digest,
        size_bytes=checkpoint.size_bytes,
    )


def run_step(request: StepRequest, *, limits: Limits) -> Artifact:
    """Run a step in a fresh process, check its result in another, and publish it; on failure nothing is published.

    Args:
        request: the step and what it reads.
        limits: what converting, and then checking, may each take.

    Raises:
        PlanError: the step does not read the source's format.
        IntegrityError: the source's bytes are not those that the record names.
        StepUnavailable: this machine lacks what the step needs.
        NothingQuantized: a quantizer changed no layer.
        ParityError: the result does not compute what the reference computes.
        StepFailed: the step crashed, was over a limit or raised anything else. As with the other failures, the
            message names a script in the store's ``failures`` that runs the step alone.
    """
    name, store = request.step.name, Path(request.store)
    with recorded(name, STEP_TARGET, request, store=store, limits=limits, num_threads=NUM_THREADS):
        return build_step(request, isolated(limits, writes_to=store, num_threads=NUM_THREADS))


def build_step(request: StepRequest, run: Runner) -> Artifact:
    """Write the payload, reload and compare it, and publish the whole; ``run`` runs the two halves."""
    plugin = make_step(request.step)
    if request.source.format not in plugin.sources:
        raise PlanError(
            f"{plugin.name}: reads {' or '.join(plugin.sources)}, the source is {request.source.format}"
        )
    if (request.reference is None) != (request.source.format == "checkpoint"):
        raise PlanError(f"{plugin.name}: every step but the root needs a reference, and the root has none")
    with staging(Path(request.store)) as folder:
        conversion = run(
            "pt_core.building.worker:convert",
            ConvertRequest(
                source=request.source,
                step=request.step,
                dataset=request.dataset,
                destination=str(folder),
            ),
            reply=Conversion,
        )
        info = _describe(request, plugin, conversion)
        staged = _staged(info, folder)
        asked = CheckRequest(
            staged=staged, source=request.source, reference=request.reference, dataset=request.dataset
        )
        try:
            result = run("pt_core.building.worker:check", asked, reply=CheckResult)
        except ParityError as error:
            raise located(error, request, staged, run) from error
        info = info.model_copy(update=dict(result))
        # Here and not in a half: a plugin's code is not to run where the key is read.
        signer = partial(sign, keys=request.signing_keys) if request.signing_keys else None
        bundle = seal(folder, name=plugin.name, kind="artifact", info=info, sign=signer)
    return Artifact.model_validate({**info.model_dump(), **bundle.model_dump()})


def _describe(request: StepRequest, plugin: Plugin, conversion: Conversion) -> ArtifactInfo:
    source = request.source
    is_root = request.reference is None
    return ArtifactInfo(
        format=plugin_target(plugin),
        precision=plugin_precision(plugin) or source.precision,
        steps=() if is_root else (*source.steps, request.step),
        checkpoint_digest=source.checkpoint_digest,
        parent_digest=source.digest,
        spec=source.spec,
        labels=source.labels,
        payload=conversion.payload,
        payload_bytes=conversion.payload_bytes,
        quantization=conversion.quantization or source.quantization,
        parity=None,
        environment=describe_environment(),
    )


def _staged(info: ArtifactInfo, folder: Path) -> Artifact:
    return Artifact.model_validate(
        {
            **info.model_dump(),
            "directory": str(folder),
            "digest": _UNSEALED,
            "size_bytes": info.payload_bytes,
        }
    )
