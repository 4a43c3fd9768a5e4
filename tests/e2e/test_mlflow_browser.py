"""What a person sees of a run in MLflow: a real server, a real browser, assertions on the page's content."""

from __future__ import annotations

import contextlib
import html
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from pt_core.decision.result import RunResult
from tasks.dashboard import DEFAULT_PORT, dashboard_command

CHROMEDRIVER = shutil.which("chromedriver")
WAIT_S = 40
DEFAULT_DASHBOARD = f"http://127.0.0.1:{DEFAULT_PORT}"

pytestmark = [
    pytest.mark.browser,
    pytest.mark.e2e,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        not (shutil.which("chromium") and CHROMEDRIVER),
        reason="needs a browser; apt-get install chromium chromium-driver",
    ),
]

ROWS = """
const rows = {};
for (const cell of document.querySelectorAll('.ag-row .ag-cell')) {
  const number = cell.closest('.ag-row').getAttribute('row-index');
  (rows[number] ??= {})[cell.getAttribute('col-id')] = cell.innerText.trim();
}
return Object.values(rows);
"""
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


@pytest.fixture(scope="module")
def result(first, workplace) -> RunResult:
    """A run of the real command, under a name of its own so that its experiment holds nothing else."""
    assert first.code == 0, first.stderr
    done = workplace.run("--set", "name=dashboard")
    assert done.code == 0, done.stderr
    folder = workplace.home / "runs" / done.document["run_name"]
    return RunResult.from_json((folder / "run.json").read_bytes())


@pytest.fixture(scope="module")
def pages(home: Path, result: RunResult) -> Iterator[dict[str, str]]:
    """Serve the home folder's database by the very command that we print, and yield the links that we print."""
    port = free_port()
    dashboard = f"http://127.0.0.1:{port}"
    command = dashboard_command(f"sqlite:///{home}/mlflow.db", port=port)
    with served(command, dashboard, home / "server.log"):
        yield {link.name: link.url.replace(DEFAULT_DASHBOARD, dashboard) for link in result.links}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def served(command: str, address: str, log: Path) -> Iterator[None]:
    """Run a shell-style command in its own process group until the block ends, however it ends."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with log.open("wb") as output:
        server = subprocess.Popen(
            ["env", *shlex.split(command)],
            cwd=log.parent,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PATH": path},
            start_new_session=True,
        )
    try:
        wait_until_healthy(server, address, log)
        yield
    finally:
        stop_group(server)


def wait_until_healthy(server: subprocess.Popen[bytes], address: str, log: Path) -> None:
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end and server.poll() is None:
        if is_healthy(address):
            return
        time.sleep(0.2)
    pytest.fail(f"mlflow server did not become healthy:\n{log.read_text()[-3000:]}")


def is_healthy(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=2) as answer:
            return answer.status == 200
    except OSError:
        return False


def stop_group(server: subprocess.Popen[bytes]) -> None:
    for sign, patience in ((signal.SIGTERM, 10.0), (signal.SIGKILL, 10.0)):
        end = time.monotonic() + patience
        while time.monotonic() < end:
            server.poll()
            try:
                os.killpg(server.pid, sign)
            except ProcessLookupError:
                return
            time.sleep(0.1)
    pytest.fail("the server's process group is still there")


@pytest.fixture(scope="module")
def browser(home: Path) -> Iterator[object]:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--hide-scrollbars",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--no-first-run",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        f"--user-data-dir={home / 'chromium'}",
    ):
        options.add_argument(argument)
    driver = webdriver.Chrome(options=options, service=Service(CHROMEDRIVER))
    try:
        yield driver
    finally:
        driver.quit()


def open_page(browser, url: str, *, width: int, height: int) -> None:
    """Open a link in a fresh page, without the assistant's panel that MLflow opens on the first visit."""
    browser.set_window_size(width, height)
    browser.get("about:blank")
    browser.get(url)
    close = "[data-component-id='mlflow.assistant.chat_panel.close']"
    wait_for(browser, lambda: browser.execute_script("return document.body.innerText.length > 40"), "a page")
    browser.execute_script(f'document.querySelector("{close}")?.click()')


def wait_for(browser, condition, what: str):
    """Return the first true value of the condition."""
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.2)
    text = browser.execute_script("return document.body.innerText")
    keep_screenshot(browser, "mlflow-missing.png")
    return pytest.fail(f"{what} did not appear at {browser.current_url}; the page says:\n{text[:3000]}")


def keep_screenshot(browser, name: str) -> None:
    if folder := os.environ.get("PT_PIPELINE_SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        time.sleep(0.5)  # the last transition
        browser.save_screenshot(str(Path(folder) / name))


def accuracies(browser) -> dict[str, float]:
    """Return what the Models tab shows: model name to accuracy."""
    found = {}
    for row in browser.execute_script(ROWS):
        cell = next(
            (text for column, text in row.items() if '"accuracy/accuracy"' in html.unescape(column)), ""
        )
        if cell and row.get("name"):
            found[row["name"].split()[-1]] = float(cell)  # the words before are the colour's
    return found


def test_the_models_tab_shows_every_variant_with_its_accuracy_side_by_side(browser, pages, result):
    built = [variant for variant in result.variants if variant.state == "built"]
    expected = {variant.name: variant.evaluation.accuracy.accuracy for variant in built}
    assert len(expected) == 10
    open_page(browser, pages["Variants side by side"], width=2000, height=560)
    shown = wait_for(
        browser, lambda: len(accuracies(browser)) == len(expected) and accuracies(browser), "rows"
    )
    assert shown == pytest.approx(expected)
    groups = " ".join(browser.execute_script(COLUMNS))
    assert f"digits (#{result.dataset.digest[:12]})" in groups
    browser.set_window_size(1600, 560)
    browser.execute_script(SHOW_METRICS)
    keep_screenshot(browser, "mlflow-models.png")


def test_the_compare_page_shows_the_confusion_matrices_side_by_side(browser, pages, result):
    from selenium.webdriver.common.by import By

    open_page(browser, pages["Pictures side by side"], width=2800, height=620)
    chosen = wait_for(
        browser,
        lambda: browser.find_elements(By.CSS_SELECTOR, "[artifact-name='confusion_matrix.png']"),
        "confusion_matrix.png among the artifacts",
    )[0]
    browser.execute_script("arguments[0].scrollIntoView({block: 'start'}); arguments[0].click()", chosen)
    built = [variant for variant in result.variants if variant.state == "built"]
    pictures = wait_for(
        browser,
        lambda: (
            len(browser.execute_script(LOADED_PICTURES)) >= len(built)
            and browser.execute_script(LOADED_PICTURES)
        ),
        "a loaded confusion matrix for each variant",
    )
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
