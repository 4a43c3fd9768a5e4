"""The tree of steps: what is shared, what is refused, and how a refusal helps."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from pt_core.building.plan import Plan, Variant, make_plan
from pt_core.errors import PlanError


def variants(**chains: list[object]) -> tuple[Variant, ...]:
    return tuple(
        Variant.model_validate({"name": name.replace("_", "-"), "steps": steps})
        for name, steps in chains.items()
    )


def problems(*args: Variant) -> tuple[str, ...]:
    with pytest.raises(PlanError) as caught:
        make_plan(args)
    return caught.value.details or (caught.value.message,)


def test_shared_prefixes_are_run_once_and_parents_come_first():
    plan = make_plan(
        variants(
            reference=[],
            static=["onnx", "onnx-int8-static"],
            plain=["onnx"],
            dynamic=["onnx", "onnx-int8-dynamic"],
        )
    )
    keys = [node.key for node in plan.nodes]
    assert keys == ["torch", "torch/onnx", "torch/onnx/onnx-int8-static", "torch/onnx/onnx-int8-dynamic"]
    assert [len(level) for level in plan.levels()] == [1, 1, 2]
    assert [planned.node for planned in plan.variants] == [keys[0], keys[2], keys[1], keys[3]]
    assert [node.kind for node in plan.nodes] == ["convert", "convert", "quantize", "quantize"]


def test_options_that_differ_make_another_node_and_defaults_written_out_do_not():
    plan = make_plan(
        variants(
            plain=["onnx"],
            static=[{"onnx": {"opset": 20}}, "onnx-int8-static"],
            older=[{"onnx": {"opset": 18}}],
        )
    )
    assert len(plan.levels()[1]) == 2
    other = plan.levels()[1][1]
    assert other.key.startswith("torch/onnx@")
    assert other.step.options == {"opset": 18}


def test_a_plan_survives_json():
    plan = make_plan(variants(a=[{"onnx": {"opset": 18}}], b=[]))
    assert Plan.from_json(plan.to_json()) == plan
    variant = variants(a=[{"onnx": None}])[0]
    assert Variant.from_json(variant.to_json()) == variant


def test_a_chain_in_the_wrong_order_names_the_step_to_insert():
    found = problems(*variants(fine=[], bad=["onnx-int8-static"]))
    assert found == (
        "variants[1].steps[0] (bad): onnx-int8-static reads onnx, but torch leaves torch; insert onnx before it",
    )


def test_a_chain_that_cannot_go_back_says_so():
    (found,) = problems(*variants(bad=["onnx", "torchscript"]))
    assert found.startswith("variants[0].steps[1]")
    assert "no step leads from onnx to torch" in found


@pytest.mark.parametrize(
    ("chain", "step", "names"),
    [
        (["int8-dynamic", "int8-dynamic"], 1, "int8-dynamic after int8-dynamic"),
        (["onnx", "onnx-int8-dynamic", "onnx-int8-static"], 2, "onnx-int8-static after onnx-int8-dynamic"),
    ],
)
def test_quantizing_twice_is_refused_with_both_names(chain, step, names):
    assert problems(*variants(bad=chain)) == (
        f"variants[0].steps[{step}] (bad): {names}, expected one step that sets the precision; remove one",
    )


def test_every_problem_is_reported_at_once():
    found = problems(
        *variants(a=["onxx"], b=[{"onnx": {"opst": 1}}], c=["torch"], d=["onnx"], e=["onnx"]),
        *variants(d=["exported"]),
    )
    assert [line.split(" ")[0].rstrip(":") for line in found] == [
        "variants[0].steps[0]",
        "variants[1].steps[0]",
        "variants[2].steps[0]",
        "variants[4].steps",
        "variants[5].name",
    ]
    assert "did you mean 'onnx'?" in found[0]
    assert "options.opst: no such option; did you mean 'opset'?" in found[1]
    assert "every chain starts at torch already" in found[2]
    assert "the same chain as variant 'd'" in found[3]


def test_no_variant_at_all_is_refused():
    assert problems() == ("variants: none given, expected at least one",)


@pytest.mark.parametrize("name", ["", "Onnx", "a b", "-a", "a/b"])
def test_a_name_that_would_not_fit_a_link_is_refused(name):
    with pytest.raises(ValidationError):
        Variant(name=name)


def test_two_steps_in_one_mapping_are_refused():
    with pytest.raises(ValidationError, match="found keys"):
        Variant.model_validate({"name": "a", "steps": [{"onnx": {}, "exported": {}}]})


def test_what_this_machine_cannot_build_is_planned_with_its_reason_and_so_is_what_reads_it(monkeypatch):
    # A machine without onnxscript, as the plugin itself sees it.
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "onnxscript" else real(name, *a)
    )
    plan = make_plan(variants(static=["onnx", "onnx-int8-static"], fine=["exported"]))
    reasons = {node.key: node.unavailable for node in plan.nodes}
    assert reasons["torch/onnx"] == "onnx: needs onnxscript; pip install onnxscript"
    assert reasons["torch/onnx/onnx-int8-static"] == reasons["torch/onnx"]
    assert reasons["torch/exported"] is None
