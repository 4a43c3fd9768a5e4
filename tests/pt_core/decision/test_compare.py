import re

import pytest

from pt_core.decision.compare import compare_runs, comparison_rows, human_bytes
from pt_core.decision.tables import to_markdown, variants_text
from pt_core.errors import NotComparable


@pytest.fixture
def example(run, variant):
    return run(
        variant("torch"),
        variant("onnx-int8", accuracy=0.96, ratio=0.5, size=2048, steps=("onnx", "onnx-int8-static")),
        variant("broken", state="failed", problem="onnx | opset\n9 is <too> low", steps=("onnx",)),
        winner="onnx-int8",
    )


def test_a_row_holds_the_numbers_of_its_variant(example):
    torch, onnx, broken = comparison_rows(example)
    assert (torch.steps, onnx.steps) == ("", "onnx > onnx-int8-static")
    assert (torch.chosen, onnx.chosen) == (False, True)
    assert onnx.accuracy == 0.96
    assert onnx.accuracy_drop == pytest.approx(0.02)
    assert (onnx.latency_ratio, onnx.size_bytes, onnx.peak_memory_bytes) == (0.5, 2048, 3 * 2**20)
    assert onnx.latency_ratio_low < 0.5 < onnx.latency_ratio_high
    assert (onnx.verdict, broken.verdict) == ("pass", "not measured")
    assert (broken.accuracy, broken.robust_accuracy, broken.latency_ratio, broken.size_bytes) == (None,) * 4


def test_robust_accuracy_is_that_of_the_middle_epsilon(example, run, variant):
    assert comparison_rows(example)[0].robust_metric == "robustness/fgsm_0.05"
    assert comparison_rows(example)[0].robust_accuracy == pytest.approx(0.85)
    (odd,) = comparison_rows(run(variant("torch", epsilons=(0.3, 0.1, 0.2))))
    assert odd.robust_metric == "robustness/fgsm_0.2"
    (none,) = comparison_rows(run(variant("torch", epsilons=())))
    assert (none.robust_metric, none.robust_accuracy) == (None, None)


def test_runs_on_the_same_dataset_stand_one_after_the_other(run, variant):
    rows = compare_runs([run(variant("a"), name="one"), run(variant("b"), variant("c"), name="two")])
    assert [(row.run, row.variant) for row in rows] == [("one", "a"), ("two", "b"), ("two", "c")]


def test_runs_on_different_datasets_are_refused_and_named(run, variant):
    with pytest.raises(NotComparable) as caught:
        compare_runs([run(variant("a"), name="one"), run(variant("a"), name="two", digest="e" * 64)])
    assert caught.value.details == (
        "one: digits, digest dddddddddddd, content ffffffffffff",
        "two: digits, digest eeeeeeeeeeee, content ffffffffffff",
    )


def cells(line):
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def test_markdown_has_one_line_a_row_whatever_a_message_holds(example):
    lines = to_markdown(variants_text(comparison_rows(example))).splitlines()
    assert len(lines) == 2 + 3
    assert {len(cells(line)) for line in lines} == {10}
    assert cells(lines[0])[4] == "Robust (fgsm 0.05)"
    assert cells(lines[3])[:7] == [
        "**onnx-int8**",
        "onnx > onnx-int8-static",
        "0.9600",
        "0.0200",
        "0.8500",
        "0.50 (0.49 to 0.51)",
        "2.0 KiB",
    ]
    assert cells(lines[4])[-1] == r"not measured: onnx \| opset 9 is &lt;too> low"
    assert cells(lines[4])[2:8] == ["-"] * 6


def test_markdown_of_several_runs_names_the_run_and_each_epsilon(run, variant):
    rows = compare_runs(
        [run(variant("a"), name="one"), run(variant("a", epsilons=(0.3,)), name="two")],
    )
    header, _, first, second = to_markdown(variants_text(rows)).splitlines()
    assert cells(header)[0] == "Run"
    assert cells(first)[0] == "one"
    assert cells(first)[5] == "0.8500 (fgsm 0.05)"
    assert cells(second)[5] == "0.6000 (fgsm 0.3)"


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (None, "-"),
        (0, "0 B"),
        (1023, "1023 B"),
        (1536, "1.5 KiB"),
        (2**20, "1.0 MiB"),
        (5 * 2**40, "5120.0 GiB"),
    ],
)
def test_sizes_read_in_powers_of_1024(size, text):
    assert human_bytes(size) == text
