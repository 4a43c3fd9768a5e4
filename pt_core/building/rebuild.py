"""Build an artifact that is bound to a device again, for the machine at hand, from the source that its bundle keeps."""

from __future__ import annotations

from pathlib import Path

from pt_core.artifacts.artifact import Artifact
from pt_core.artifacts.plugin import DeviceBound
from pt_core.artifacts.registry import make_format
from pt_core.building.build import run_step
from pt_core.building.requests import StepRequest
from pt_core.errors import ConfigError
from pt_core.keys import Keys
from pt_core.limits import Limits


def rebuild(artifact: Artifact, *, store: Path, limits: Limits, keys: Keys | None = None) -> Artifact:
    """Run an artifact's last step again on the files of its source, which lie in the same bundle.

    The result is compared with that source, where this machine can run it; the bundle it comes from is kept.

    Args:
        artifact: an artifact of a format that is built for a kind of device, such as "tensorrt".
        store: folder that the new bundle is written into.
        limits: what the two halves of the step may each take.
        keys: where the key that signs the new bundle is; without, it is not signed.

    Raises:
        ConfigError: its format runs anywhere, so there is nothing to rebuild.
        IntegrityError: the bundle's bytes are not those of its manifest.
        StepUnavailable: this machine lacks what building needs.
        StepFailed: building failed.
    """
    plugin = make_format(artifact.format)
    if not isinstance(plugin, DeviceBound):
        raise ConfigError(
            f"{artifact.directory}: {artifact.format} is not built for a kind of device; there is nothing to rebuild"
        )
    source = artifact.model_copy(
        update={
            "format": plugin.sources[0],
            "steps": artifact.steps[:-1],
            "passport": None,
            "checks": (),
            "not_run": None,
        }
    )
    request = StepRequest(
        source=source,
        reference=source,
        step=artifact.steps[-1],
        dataset=None,
        store=str(store),
        signing_keys=keys,
    )
    return run_step(request, limits=limits)
