"""What serving an artifact may import: this process refuses everything else, to prove that a release needs no more."""

from __future__ import annotations

import os
import sys

from pt_core.child import CODE_PATH_VARIABLE

PIPELINE = (
    "pt_core.training",
    "pt_core.quantizers",
    "pt_core.evaluation",
    "pt_core.building",
    "pt_core.decision",
    "pt_core.reporting",
    "pt_core.release",
    "tasks",
    "flows",
    "deployments",
    "prefect",
    "mlflow",
    "fastapi",
    "sqlalchemy",
)
"""Never needed to serve: what trains, builds, measures and judges, the orchestrator, and the tracking server."""
LIBRARIES = ("sklearn", "pandas", "matplotlib", "torchvision")
"""Not needed either, but by the code of a user's own network, which may use what it likes."""
TORCH = ("torch", "torchao", "onnxscript")
"""Not needed either by the formats of :data:`WITHOUT_TORCH`."""
WITHOUT_TORCH = ("onnx", "openvino")
"""Formats whose runtime is a library of its own."""
WITH_USER_CODE = ("torch",)
"""Formats that are weights for the network's own code; all others hold the network."""


def refuse_all_but_serving(format_name: str) -> tuple[str, ...]:
    """Make every import fail, for the rest of this process, that serving a format does not need; return what is refused.

    To be called first in a fresh process: what is imported already cannot be refused any more.
    """
    runs_user_code = format_name in WITH_USER_CODE
    refused = (
        PIPELINE + (() if runs_user_code else LIBRARIES) + (TORCH if format_name in WITHOUT_TORCH else ())
    )
    early = [name for name in sys.modules if any(name == no or name.startswith(f"{no}.") for no in refused)]
    assert not early, early
    # Python's own way to say that there is no such module, also to a library that only asks whether there is.
    sys.modules.update(dict.fromkeys(refused))  # type: ignore[arg-type]
    if not runs_user_code:
        own = os.environ.pop(CODE_PATH_VARIABLE, "").split(os.pathsep)
        sys.path[:] = [entry for entry in sys.path if not entry or entry not in own]
    return refused
