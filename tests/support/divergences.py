"""A Divergence made by hand: a failed variant of which the first bad layer and its step are known."""

from __future__ import annotations

from typing import Any

from pt_core.evaluation.difference import Divergence, LayerDifference, LinkDifference, explain


def layer(name: str = "network.0.3", **changes: Any) -> LayerDifference:
    """Return one layer, over tolerance unless ``changes`` say otherwise."""
    numbers = {"max_abs_error": 1.5, "relative_error": 0.41, "sqnr_db": 7.7, "cosine": 0.93, "jump": 0.4}
    return LayerDifference(**{"layer": name, "kind": "Conv2d", "within": False, **numbers, **changes})


def link(first: LayerDifference | None, **changes: Any) -> LinkDifference:
    """Return the step at which a layer parts, or one of which no layer is known to."""
    made = LinkDifference(
        source="exported",
        target="onnx",
        state="differs",
        precision="bf16",
        max_relative_error=0.05,
        num_layers=12,
        first=first,
    )
    return made.model_copy(update=changes)


def divergence(step: LinkDifference, *others: LinkDifference, allowed: float = 0.35) -> Divergence:
    """Return what is found where ``step`` is the first bad one and ``others`` are the rest of the chain."""
    assert step.first is not None
    return Divergence(
        a="torch",
        b="int8-dynamic",
        num_samples=16,
        batch_size=4,
        precision="int8",
        max_relative_error=allowed,
        agrees=False,
        first=step.first,
        link=step,
        ranked=(step.first,),
        chain=(step, *others),
        sentence=explain(step.first, step, allowed),
    )
