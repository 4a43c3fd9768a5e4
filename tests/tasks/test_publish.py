"""What Prefect shows of the gate: the tree with a colour for each verdict, and every rule with its numbers."""

from __future__ import annotations

from pathlib import Path

from run_results import make_run_result

from tasks.publish import gate_report


def test_the_tree_joins_shared_steps_and_colours_every_variant(tmp_path: Path) -> None:
    result = make_run_result(tmp_path)
    report = gate_report(result)
    assert report.count('"onnx"]') == 1, "the step that two chains share is drawn once"
    assert report.count("  style n") == len(result.variants)
    assert "```mermaid\ngraph LR" in report


def test_every_rule_of_every_variant_is_in_the_table(tmp_path: Path) -> None:
    result = make_run_result(tmp_path)
    rows = [line for line in gate_report(result).splitlines() if line.startswith("| ")]
    checks = sum(len(variant.verdict.checks) for variant in result.variants)
    assert len(rows) == 2 + len(result.variants) + checks
    for variant in result.variants:
        assert f"| {variant.name} | **{variant.verdict.state}** |" in gate_report(result)
        for check in variant.verdict.checks:
            cells = f"| {variant.name} | {check.metric} | {check.rule} | {check.limit:g} |"
            assert any(row.startswith(cells) and row.endswith(f"| {check.state} |") for row in rows)
