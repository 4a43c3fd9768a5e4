"""Numbers as a verdict compares and shows them."""

from __future__ import annotations

import math

_DROP_DIGITS = 12


def finite(value: float | None) -> float | None:
    """Return the value, or ``None`` for one that is missing, infinite or not a number."""
    return value if value is not None and math.isfinite(value) else None


def drop(reference: float, value: float) -> float:
    """Return how far a value lies below the reference's, rounded to 12 decimals; below zero is a gain."""
    # Adding zero turns -0.0 into 0.0.
    return round(reference - value, _DROP_DIGITS) + 0.0


def show(value: float, *, beside: float | None = None) -> str:
    """Return a number for a sentence, with as many digits as it takes to differ from another."""
    if abs(value) >= 1000:
        text = f"{value:,.0f}"
    else:
        text = f"{value:.3g}" if 0 < abs(value) < 1e-3 else f"{value:.4f}"
    if beside is None or value == beside:
        return text
    candidates = (text, f"{value:.6g}", f"{value:.9g}", f"{value:.12g}")
    return next((c for c in candidates if float(c.replace(",", "")) != beside), repr(value))
