"""What every test shares: no telemetry, no settings of the developer's own, quiet native threads."""

from __future__ import annotations

import os

for name in [n for n in os.environ if n.startswith(("PREFECT_", "MLFLOW_", "PT_PIPELINE_"))]:
    if name != "PT_PIPELINE_SCREENSHOTS":
        del os.environ[name]
os.environ["DO_NOT_TRACK"] = "true"
os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"
