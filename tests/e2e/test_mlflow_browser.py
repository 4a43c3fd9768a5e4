"""What a person sees of a run in MLflow: a real server, a real browser, assertions on the page's content."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, quote, urlencode

import chromium
import pytest
from pages import accuracies, keep_screenshot, open_page, wait_for
from servers import free_port, served

from pt_core.decision.result import RunResult
from tasks.dashboard import DEFAULT_PORT, dashboard_command

DEFAULT_DASHBOARD = f"http://127.0.0.1:{DEFAULT_PORT}"

pytestmark = [
    pytest.mark.browser,
    pytest.mark.e2e,
    pytest.mark.timeout(1200),
    chromium.NEEDED,
]

COLUMNS = "return [...document.querySelectorAll('.ag-header-group-cell')].map(cell => cell.innerText)"
SHOW_METRICS = "document.querySelector('.ag-body-horizontal-scroll-viewport').scrollLeft = 800"
LOADED_PICTURES = """
return [...document.images]
  .filter(image => image.complete && image.naturalWidth > 400 && image.getBoundingClientRect().width > 100)
  .map(image => ({left: image.getBoundingClientRect().left, top: image.getBoundingClientRect().top,
                  width: image.naturalWidth, height: image.naturalHeight}));
"""


@pytest.fixture(scope="module")
def home(workplace) -> Path:
    return workplace.home


# What is looked at is not how fast the variants are.
QUICK = {"efficiency.rounds": 5, "efficiency.extra_rounds": 0, "efficiency.sweep_batch_sizes": [1]}
TWO_VARIANTS = "[{name: torch, steps: []}, {name: onnx, steps: [onnx]}]"
LESS_TRAINED = {
    "train.epochs": 2,
    "variants": TWO_VARIANTS,
    "evaluation": "{fgsm_epsilons: [0.1], noise_sigmas: []}",
    "gate": "{rules: [{metric: accuracy/accuracy, at_least: 0.2}]}",
}


@pytest.fixture(scope="module")
def runs(first, workplace) -> list[RunResult]:
    """Three runs of the real command, under a name of their own so that their experiment holds nothing else.

    The first and the last take their artifacts from the cache; the second is trained less, so that accuracy changes.
    """
    assert first.code == 0, first.stderr
    return [run_it(workplace, changes) for changes in ({}, LESS_TRAINED, {"variants": TWO_VARIANTS})]


def run_it(workplace, changes: dict[str, object]) -> RunResult:
    settings = {"name": "dashboard", **QUICK, **changes}
    done = workplace.run(*(word for item in settings.items() for word in ("--set", "{}={}".format(*item))))
    assert done.code == 0, done.stderr
    folder = workplace.home / "runs" / done.document["run_name"]
    return RunResult.from_json((folder / "run.json").read_bytes())


@pytest.fixture(scope="module")
def result(runs: list[RunResult]) -> RunResult:
    """The run with all variants."""
    return runs[0]


@pytest.fixture(scope="module")
def pages(home: Path, result: RunResult) -> Iterator[dict[str, str]]:
    """Serve the home folder's database by the very command that we print, and yield the links that we print."""
    port = free_port()
    dashboard = f"http://127.0.0.1:{port}"
    command = dashboard_command(f"sqlite:///{home}/mlflow.db", port=port)
    with served(command, f"{dashboard}/health", home / "server.log"):
        yield {link.name: link.url.replace(DEFAULT_DASHBOARD, dashboard) for link in result.links}


@pytest.fixture(scope="module")
def browser(home: Path) -> Iterator[object]:
    with chromium.running(home / "chromium") as driver:
        yield driver


def compare_pictures(browser, name: str, count: int) -> list[dict[str, float]]:
    """Choose a picture on the compare page, and return where it is drawn, once for each run."""
    from selenium.webdriver.common.by import By

    found = wait_for(
        browser,
        lambda: browser.find_elements(By.CSS_SELECTOR, f"[artifact-name='{name}']"),
        f"{name} among the artifacts",
    )[0]
    browser.execute_script("arguments[0].scrollIntoView({block: 'start'}); arguments[0].click()", found)

    def loaded():
        pictures = browser.execute_script(LOADED_PICTURES)
        return pictures if len(pictures) >= count else []

    return wait_for(browser, loaded, f"a loaded {name} for each run")


def test_the_models_tab_shows_every_variant_of_all_runs_grouped_by_their_dataset(browser, pages, runs):
    built = [variant for result in runs for variant in result.variants if variant.state == "built"]
    expected = sorted((variant.name, variant.evaluation.accuracy.accuracy) for variant in built)
    assert len(expected) == 10 + 2 + 2
    open_page(browser, pages["Variants side by side"], width=2000, height=760)
    shown = wait_for(
        browser, lambda: len(accuracies(browser)) == len(expected) and accuracies(browser), "rows"
    )
    assert [name for name, _ in shown] == [name for name, _ in expected]
    assert [share for _, share in shown] == pytest.approx([share for _, share in expected])
    (digest,) = {result.dataset.digest for result in runs}
    groups = browser.execute_script(COLUMNS)
    assert [f"digits (#{digest[:12]})" in group for group in groups].count(True) == 1
    browser.set_window_size(1600, 760)
    browser.execute_script(SHOW_METRICS)
    keep_screenshot(browser, "mlflow-models.png")


BAR = re.compile(r"^\d\.\d\d$", re.MULTILINE)
"""The number beside a bar, on a line of its own."""


def chart_of_accuracy(page: str) -> str:
    """Return the words of the page's chart of accuracy."""
    return page.partition("accuracy/accuracy")[2].partition("accuracy/")[0]


def test_the_runs_over_time_are_the_parents_alone_in_their_order_with_the_winner_s_accuracy(
    browser, pages, runs
):
    open_page(browser, pages["Runs over time"], width=1600, height=900)

    def drawn():
        text = browser.execute_script("return document.body.innerText")
        chart = chart_of_accuracy(text)
        is_whole = all(r.run_name in chart for r in runs) and len(BAR.findall(chart)) == len(runs)
        return text if is_whole and f"{len(runs)} matching runs" in text else ""

    text = wait_for(browser, drawn, "the chart of accuracy over the three runs")
    listed = text.partition("accuracy/accuracy")[0]
    places = [listed.index(result.run_name) for result in runs]
    assert places == sorted(places), "the oldest first"
    assert "onnx-int8-static" not in listed, "no child run"
    accuracy = [
        variant.evaluation.accuracy.accuracy
        for result in runs
        for variant in result.variants
        if variant.name == result.winner
    ]
    assert accuracy[1] < min(accuracy[0], accuracy[2])
    assert sorted(BAR.findall(chart_of_accuracy(text))) == sorted(f"{share:.2f}" for share in accuracy)
    keep_screenshot(browser, "mlflow-runs.png")


def test_the_compare_page_shows_the_pictures_of_three_runs_side_by_side(browser, pages, runs):
    address, _, query = pages["Pictures side by side"].partition("?")
    chosen = parse_qs(query) | {"runs": [json.dumps([result.mlflow_run_id for result in runs])]}
    open_page(browser, f"{address}?{urlencode(chosen, doseq=True, quote_via=quote)}", width=1600, height=760)
    pictures = compare_pictures(browser, "accuracy_latency.png", len(runs))
    assert len({round(picture["top"]) for picture in pictures}) == 1
    assert len({round(picture["left"]) for picture in pictures}) == len(runs)
    text = browser.execute_script("return document.body.innerText")
    assert f"Comparing {len(runs)} Runs from 1 Experiment" in text
    assert all(result.run_name in text for result in runs)
    keep_screenshot(browser, "mlflow-compare-runs.png")


def test_the_compare_page_shows_the_confusion_matrices_side_by_side(browser, pages, result):
    open_page(browser, pages["Pictures side by side"], width=2800, height=620)
    built = [variant for variant in result.variants if variant.state == "built"]
    pictures = compare_pictures(browser, "confusion_matrix.png", len(built))
    assert len(pictures) == len(built)
    assert len({round(picture["top"]) for picture in pictures}) == 1
    assert len({round(picture["left"]) for picture in pictures}) == len(built)
    text = browser.execute_script("return document.body.innerText")
    assert f"Comparing {len(built)} Runs from 1 Experiment" in text
    assert all(variant.name in text for variant in built)
    keep_screenshot(browser, "mlflow-compare.png")


def test_the_charts_link_lists_the_child_runs_that_mlflow_otherwise_hides(browser, pages, result):
    open_page(browser, pages["Charts of the variants"], width=1800, height=1000)

    def listed():
        text = browser.execute_script("return document.body.innerText")
        return text if f"{len(result.variants)} matching runs" in text and "quantization" in text else ""

    text = wait_for(browser, listed, "the list of child runs with its charts")
    assert all(variant.name in text for variant in result.variants)
    for section in ("accuracy", "efficiency", "robustness"):
        assert re.search(rf"^{section}\s+\(\d+\)$", text, re.MULTILINE)
    keep_screenshot(browser, "mlflow-charts.png")
