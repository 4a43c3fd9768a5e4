"""The page says which layers accuracy-aware quantization kept and what each try cost."""

from __future__ import annotations

from pt_core.artifacts.artifact import LayerDamage, QuantizationTry
from pt_core.reporting.html import render_report

TRIES = (
    QuantizationTry(kept_layers=(), accuracy=0.9, accuracy_drop=0.0625, seconds=1.25),
    QuantizationTry(kept_layers=("conv<7>",), accuracy=0.96, accuracy_drop=0.0025, seconds=2.5),
)
DAMAGE = tuple(LayerDamage(layer=f"layer{i}", damage=0.5 / (i + 1)) for i in range(12))


def with_tries(result, tries, damage):
    """Return a run whose quantized variants searched."""

    def change(variant):
        artifact = variant.artifact
        if artifact is None or artifact.quantization is None:
            return variant
        quantization = artifact.quantization.model_copy(update={"tries": tries, "damage": damage})
        changed = artifact.model_copy(update={"quantization": quantization})
        return variant.model_copy(update={"artifact": changed})

    return result.model_copy(update={"variants": tuple(change(variant) for variant in result.variants)})


def test_each_try_and_the_layers_it_kept_are_listed(result):
    html = render_report(with_tries(result, TRIES, DAMAGE))
    assert "onnx-int8-dynamic: 2 tries, 3.8 s, to keep to an accuracy" in html
    for text in ("0.0625", "0.0025", "conv&lt;7&gt;", "<td>none</td>".replace("<td>", '<td class="why">')):
        assert text in html
    assert "<code>layer9</code> 5.0e-02 and 2 more." in html
    assert "layer10" not in html


def test_a_run_that_searched_nothing_says_nothing_of_it(result):
    assert "to keep to an accuracy" not in render_report(result)


def test_parity_of_a_network_that_was_trained_on_has_no_limit(result):
    def change(variant):
        if variant.artifact is None or variant.artifact.parity is None:
            return variant
        parity = variant.artifact.parity.model_copy(update={"is_bound": False})
        return variant.model_copy(update={"artifact": variant.artifact.model_copy(update={"parity": parity})})

    assert "none: trained on" not in render_report(result)
    changed = result.model_copy(update={"variants": tuple(change(variant) for variant in result.variants)})
    assert "none: trained on" in render_report(changed)
