"""The policies that come with the product, each as the plain settings of a GateConfig."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

PresetName = Literal["strict", "balanced", "smoke"]

DEFAULT: PresetName = "balanced"
"""Stands where a configuration gives no rules."""

_ACCURACY, _LATENCY = "accuracy/accuracy", "efficiency/latency_ratio"

PRESETS: Mapping[str, Mapping[str, object]] = {
    # To ship without a person looking: everything must be proved, which takes a few thousand test samples.
    "strict": {
        "confidence": "interval",
        "min_samples": 1000,
        "rules": (
            {"metric": _ACCURACY, "at_least": 0.95},
            {"metric": _ACCURACY, "max_drop": 0.01},
            {"metric": _ACCURACY, "max_drop": 0.01, "against": "champion"},
            {"metric": "robustness/fgsm_*", "max_drop": 0.03},
            {"metric": "robustness/gaussian-noise_*", "max_drop": 0.03},
            {"metric": _LATENCY, "at_most": 1.1},
        ),
    },
    # For everyday work: what decides about accuracy must be proved, and a few hundred test samples are enough.
    "balanced": {
        "confidence": "interval",
        "min_samples": 100,
        "rules": (
            {"metric": _ACCURACY, "at_least": 0.9, "confidence": "point"},
            {"metric": _ACCURACY, "max_drop": 0.02},
            {"metric": _ACCURACY, "max_drop": 0.02, "against": "champion"},
        ),
    },
    # To see that a pipeline runs at all: numbers are taken as they come, and nothing is proved.
    "smoke": {
        "confidence": "point",
        "min_samples": 1,
        "rules": (
            {"metric": _ACCURACY, "at_least": 0.5},
            {"metric": _ACCURACY, "max_drop": 0.1},
        ),
    },
}
"""What each policy says; settings that it leaves out have their defaults."""
