"""How often a run says that it lives, and how long its silence may last before it counts as dead."""

from __future__ import annotations

HEARTBEAT_VARIABLE = "PREFECT_FLOWS_HEARTBEAT_FREQUENCY"
"""What a run reads it from; Prefect's own is 180 s."""
HEARTBEAT_S = 30
"""The least that Prefect allows."""
SILENCE_S = 70
"""Two heartbeats, and a little; Prefect looks every 5 s more."""
