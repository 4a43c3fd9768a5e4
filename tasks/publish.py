"""Task publish: what Prefect's own pages show of a run: the comparison, the gate with its tree, the links to MLflow."""

from __future__ import annotations

from prefect import task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from pydantic import JsonValue

from pt_core.decision.compare import comparison_rows
from pt_core.decision.result import RunResult, VariantResult
from pt_core.decision.verdict import Check

_COLOURS = {"pass": "#1b7f4d", "fail": "#b3261e", "insufficient": "#b26a00", "not measured": "#6b7280"}


@task(name="publish", task_run_name="publish to Prefect", cache_policy=NO_CACHE)
def publish(result: RunResult) -> None:
    """Create the Prefect artifacts of a run."""
    key = result.pipeline
    create_table_artifact(
        table=comparison_table(result), key=f"{key}-comparison", description=result.sentence
    )
    create_markdown_artifact(
        markdown=gate_report(result), key=f"{key}-gate", description="Every rule on every variant"
    )
    create_markdown_artifact(
        markdown=link_list(result), key=f"{key}-links", description="The pages of this run in MLflow and here"
    )


def comparison_table(result: RunResult) -> list[dict[str, JsonValue]]:
    """Return the comparison as a page has room for it: without the run, which is this one, and with four decimals."""
    rows = [row.model_dump(mode="json", exclude={"run"}) for row in comparison_rows(result)]
    return [{name: _rounded(value) for name, value in row.items()} for row in rows]


def link_list(result: RunResult) -> str:
    """Return the links as a Markdown list."""
    return "\n".join(f"- [{link.name}]({link.url})" for link in result.links)


def _rounded(value: JsonValue) -> JsonValue:
    return round(value, 4) if isinstance(value, float) else value


def gate_report(result: RunResult) -> str:
    """Return the gate as Markdown: the outcome, the tree as a mermaid diagram, every rule of every variant."""
    return "\n".join([f"## {_escape(result.sentence)}", "", *_tree(result), "", *_rules(result), ""])


def _tree(result: RunResult) -> list[str]:
    lines = ["```mermaid", "graph LR", '  n0["checkpoint"]']
    known: dict[tuple[str, ...], str] = {(): "n0"}
    for variant in result.variants:
        chain: tuple[str, ...] = ()
        for name in ("torch", *(step.label for step in variant.steps)):
            parent, chain = known[chain], (*chain, name)
            if chain not in known:
                known[chain] = f"n{len(known)}"
                lines.append(f'  {parent} --> {known[chain]}["{name}"]')
        lines.append(
            f"  style {known[chain]} fill:{_COLOURS[variant.verdict.state]},color:#ffffff,stroke:#00000000"
        )
    return [*lines, "```"]


def _rules(result: RunResult) -> list[str]:
    lines = ["| variant | verdict | reason |", "|--|--|--|"]
    lines += [f"| {v.name} | **{v.verdict.state}** | {_escape(v.reason)} |" for v in result.variants]
    lines += ["", "| variant | metric | rule | limit | observed | state |", "|--|--|--|--|--|--|"]
    return [*lines, *(row for variant in result.variants for row in _check_rows(variant))]


def _check_rows(variant: VariantResult) -> list[str]:
    return [
        f"| {variant.name} | {check.metric} | {check.rule} | {check.limit:g} "
        f"| {_observed(check)} | {check.state} |"
        for check in variant.verdict.checks
    ]


def _observed(check: Check) -> str:
    """Return the observed value, its interval, and what it is compared with."""
    if check.observed is None:
        return "-"
    ends = f" ({check.interval[0]:.4f} to {check.interval[1]:.4f})" if check.interval else ""
    against = f" against {check.against}" if check.against else ""
    return f"{check.observed:.4f}{ends}{against}"


def _escape(text: str) -> str:
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").split())
