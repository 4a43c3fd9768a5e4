"""The report of a variant that parts from its reference: the sentence, every step, the layers by damage."""

from __future__ import annotations

from divergences import divergence, layer, link

from pt_core.reporting.html import render_report

UNDEFINED = dict.fromkeys(("max_abs_error", "relative_error", "sqnr_db", "cosine", "jump"))


def test_the_page_says_where_a_failed_variant_parts(result):
    broken, fine = layer("network.<3>", **UNDEFINED), layer("network.5", jump=0.25, within=True)
    step = link(broken, precision="fp32", max_relative_error=1e-4)
    hidden = link(None, state="cannot be opened", note="tensorrt cannot be opened")
    found = divergence(step, hidden).model_copy(update={"ranked": (broken, fine)})
    variants = tuple(v.model_copy(update={"divergence": found}) if v.steps else v for v in result.variants)
    page = render_report(result.model_copy(update={"variants": variants[:3]}))
    assert "first layer over tolerance: network.&lt;3&gt; (Conv2d), at the step exported -&gt; onnx" in page
    assert "not finite, allowed 0.0001" in page
    assert "tensorrt cannot be opened" in page
    assert '<th scope="row">network.5</th>' in page
    assert "Where they part" not in render_report(result)
