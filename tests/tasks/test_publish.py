"""What Prefect shows of the gate: the tree with a colour for each verdict, and every rule with its numbers."""

from __future__ import annotations

from pathlib import Path

from run_results import make_run_result

from pt_core.decision.result import Link
from tasks.publish import comparison_table, gate_report, link_list


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


def test_the_table_has_numbers_that_can_be_read_and_no_column_for_the_run_it_stands_in(
    tmp_path: Path,
) -> None:
    result = make_run_result(tmp_path)
    table = comparison_table(result)
    assert [row["variant"] for row in table] == [variant.name for variant in result.variants]
    numbers = [value for row in table for value in row.values() if isinstance(value, float)]
    assert numbers
    assert all(len(f"{number}".partition(".")[2]) <= 4 for number in numbers)
    assert all("run" not in row for row in table)


def test_every_page_of_the_run_is_one_line_of_the_links(tmp_path: Path) -> None:
    pages = (
        Link(
            name="This run", url="http://127.0.0.1:5000/#/experiments/1/runs/a?workflowType=machine_learning"
        ),
        Link(name="Runs over time", url="http://127.0.0.1:5000/#/experiments/1/runs?orderByAsc=true"),
    )
    listed = link_list(make_run_result(tmp_path).model_copy(update={"links": pages}))
    assert listed == "\n".join(f"- [{page.name}]({page.url})" for page in pages)
