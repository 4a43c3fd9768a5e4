"""The report of a variant that parts from its reference: the sentence, every step, the layers by damage."""

from __future__ import annotations

from pt_core.evaluation.difference import Divergence, LayerDifference, LinkDifference, explain
from pt_core.reporting.html import render_report


def layer(name: str, jump: float | None) -> LayerDifference:
    return LayerDifference(
        layer=name,
        kind="Conv2d",
        max_abs_error=jump,
        relative_error=jump,
        sqnr_db=jump,
        cosine=jump,
        jump=jump,
        within=jump is not None,
    )


def test_the_page_says_where_a_failed_variant_parts(result):
    broken, fine = layer("network.<3>", None), layer("network.5", 0.25)
    link = LinkDifference(
        source="exported",
        target="onnx",
        state="differs",
        precision="fp32",
        max_relative_error=1e-4,
        num_layers=2,
        first=broken,
    )
    hidden = link.model_copy(
        update={"first": None, "state": "cannot be opened", "note": "tensorrt cannot be opened"}
    )
    found = Divergence(
        a="torch",
        b="int8-dynamic",
        num_samples=16,
        batch_size=4,
        precision="int8",
        max_relative_error=0.35,
        agrees=False,
        first=broken,
        link=link,
        ranked=(broken, fine),
        chain=(link, hidden),
        sentence=explain(broken, link, 0.35),
    )
    variants = tuple(v.model_copy(update={"divergence": found}) if v.steps else v for v in result.variants)
    page = render_report(result.model_copy(update={"variants": variants[:3]}))
    assert "first layer over tolerance: network.&lt;3&gt; (Conv2d), at the step exported -&gt; onnx" in page
    assert "not finite, allowed 0.0001" in page
    assert "tensorrt cannot be opened" in page
    assert '<th scope="row">network.5</th>' in page
    assert "Where they part" not in render_report(result)
