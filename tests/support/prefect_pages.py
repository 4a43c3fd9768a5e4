"""Prefect's pages as a person uses them: the form of a deployment, the tabs of a run, and its API to look behind them."""

from __future__ import annotations

import json
import time
import urllib.request
from pathlib import Path

import pytest
from pages import open_page, wait_for

ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")

TINY = """\
name: {name}
data: {{source: digits}}
model: {{target: "pt_core.modeling.cnn:cnn"}}
train: {{epochs: {epochs}}}
variants:
  - {{name: torch, steps: []}}
  - {{name: onnx, steps: [onnx]}}
evaluation: {{fgsm_epsilons: [0.1], noise_sigmas: []}}
efficiency: {{rounds: 5, extra_rounds: 0, sweep_batch_sizes: [1]}}
gate: {{rules: [{{metric: accuracy/accuracy, at_least: 0.2}}]}}
"""


def tiny_config(folder: Path, name: str, *, epochs: int = 1) -> Path:
    """Write a configuration of two variants and few measurements."""
    path = folder / f"{name}.yaml"
    path.write_text(TINY.format(name=name, epochs=epochs))
    return path


def ask(prefect: str, path: str, document: object = None, method: str | None = None):
    """Return what Prefect's API answers; a document is posted."""
    request = urllib.request.Request(
        f"{prefect}/api/{path}",
        data=None if document is None else json.dumps(document).encode(),
        headers={"Content-Type": "application/json"},
        method=method,
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        body = answer.read()
    return json.loads(body) if body else None


def deployment_id(prefect: str, name: str) -> str:
    """Return the id of flow/deployment."""
    return ask(prefect, f"deployments/name/{name}")["id"]


def runs_of(prefect: str, deployment: str) -> list[dict]:
    """Return a deployment's runs, the first to start first."""
    wanted = {"deployments": {"id": {"any_": [deployment]}}, "sort": "EXPECTED_START_TIME_ASC"}
    return ask(prefect, "flow_runs/filter", wanted)


def wait_until_ended(prefect: str, run: str, *, seconds: float = 240) -> dict:
    """Return a flow run that has ended."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = ask(prefect, f"flow_runs/{run}")
        if found["state_type"] in ENDED:
            return found
        time.sleep(0.5)
    return pytest.fail(f"the run has not ended after {seconds:g} s; it is {found['state']}")


def open_form(browser, prefect: str, name: str) -> None:
    """Open the run form of a deployment from its page, as a person does."""
    open_deployment(browser, prefect, name)
    press(browser, "Run")
    press(browser, "Custom run", "[role=menuitem]")
    # The run's name, the switch of the schema and the start are there before the fields of the flow.
    wait_for(browser, lambda: len(titles(browser)) > 3, "the run form")


def open_deployment(browser, prefect: str, name: str) -> None:
    """Open the page of a deployment."""
    url = f"{prefect}/v2/deployments/deployment/{deployment_id(prefect, name)}"
    open_page(browser, url, width=1280, height=1000)
    wait_for(browser, lambda: _find(browser, "button", "Run"), "the page of the deployment")


def open_run(browser, prefect: str, run: str, tab: str) -> None:
    """Open the page of a flow run at one of its tabs."""
    open_page(browser, f"{prefect}/v2/runs/flow-run/{run}", width=1280, height=1000)
    press(browser, tab, "[role=tab]")


def press(browser, words: str, selector: str = "button") -> None:
    """Click what has exactly these words on it."""
    wait_for(browser, lambda: _pressed(browser, words, selector), f"{words!r}")


def field(browser, title: str):
    """Return the control that a label of the form is for."""
    from selenium.webdriver.common.by import By

    label = wait_for(browser, lambda: _labels(browser).get(title), f"the field {title!r}")
    return browser.find_element(By.ID, label)


def titles(browser) -> list[str]:
    """Return the titles of the form's fields, from top to bottom."""
    return list(_labels(browser))


def options(browser, title: str) -> list[str]:
    """Open a select and return what can be chosen."""
    field(browser, title).click()
    # A list that is still opening has words without letters.
    return wait_for(browser, lambda: all(texts := _option_texts(browser)) and texts, "options")


def choose(browser, title: str, option: str) -> None:
    """Choose in a select."""
    options(browser, title)
    press(browser, option, "[role=option]")


def write(browser, title: str, text: str) -> None:
    """Write into a field in place of what is in it."""
    from selenium.webdriver.common.keys import Keys

    control = field(browser, title)
    control.send_keys(Keys.CONTROL, "a")
    control.send_keys(text)
    assert control.get_attribute("value") == text


def _option_texts(browser) -> list[str]:
    return browser.execute_script(
        "return [...document.querySelectorAll('[role=option]')].map(o => o.innerText)"
    )


def _labels(browser) -> dict[str, str]:
    script = "return [...document.querySelectorAll('form label')].map(l => [l.innerText, l.htmlFor])"
    return {words.removesuffix(" (Optional)"): control for words, control in browser.execute_script(script)}


def _pressed(browser, words: str, selector: str) -> bool:
    found = _find(browser, selector, words)
    if found:
        found[0].click()
    return bool(found)


def _find(browser, selector: str, words: str) -> list:
    script = (
        "return [...document.querySelectorAll(arguments[0])].filter(e => e.innerText.trim() === arguments[1])"
    )
    return browser.execute_script(script, selector, words)
