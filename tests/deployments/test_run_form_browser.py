"""A retrain from Prefect's run form to MLflow's pages, in a real browser on the running stack."""

from __future__ import annotations

import chromium
import pytest
from pages import accuracies, keep_screenshot, open_page, page_text, wait_for
from prefect_pages import (
    ask,
    choose,
    deployment_id,
    field,
    open_form,
    open_run,
    options,
    press,
    runs_of,
    tiny_config,
    titles,
    wait_until_ended,
    write,
)

from pt_core.decision.result import RunResult

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600), chromium.NEEDED]

LINK = "return [...document.links].find(link => link.innerText.includes(arguments[0]))?.href"
OPEN = "return document.querySelector('[role=option]') !== null"
CONTRADICTION = "train.epochs=3, and the field epochs of the form says train.epochs=2"


@pytest.fixture(scope="module")
def runs(browser, stack, tmp_path_factory) -> dict[str, str]:
    """Ids of two runs that were started from the form: one whose fields contradict each other, and a good one.

    They are of two deployments, since a deployment has one run at a time.
    """
    config = tiny_config(tmp_path_factory.mktemp("form"), "form")
    open_form(browser, stack.prefect_url, "retrain/retrain-nightly")
    write(browser, "Configuration", str(config))
    write(browser, "Epochs", "2")
    press(browser, "Add item")
    write_item(browser, "train.epochs=3")
    bad = submit(browser, stack, "contradiction", "retrain/retrain-nightly")

    open_form(browser, stack.prefect_url, "retrain/retrain")
    write(browser, "Epochs", "2")
    choose(browser, "Gate", "smoke")
    browser.set_window_size(1280, 1420)
    keep_screenshot(browser, "prefect-run-form.png")
    write(browser, "Configuration", str(config))
    return {"bad": bad, "good": submit(browser, stack, "from-the-form", "retrain/retrain")}


def write_item(browser, text: str) -> None:
    """Write into the list's only item."""
    from selenium.webdriver.common.by import By

    empty = "return [...document.querySelectorAll('form textarea')].filter(box => !box.value)"
    wait_for(browser, lambda: browser.execute_script(empty), "an empty item")[0].send_keys(text)
    assert browser.find_elements(By.CSS_SELECTOR, "form textarea")[-1].get_attribute("value") == text


def submit(browser, stack, name: str, deployment: str) -> str:
    """Name the run, submit the form, and return the id of the run that this made."""
    write(browser, "Run Name", name)
    press(browser, "Submit")
    wait_for(browser, lambda: f"{name} scheduled to start now" in page_text(browser), "the run's start")
    made = runs_of(stack.prefect_url, deployment_id(stack.prefect_url, deployment))
    return [run["id"] for run in made if run["name"] == name][-1]


@pytest.fixture(scope="module")
def completed(runs, stack) -> RunResult:
    """What the good run left in the home."""
    ended = wait_until_ended(stack.prefect_url, runs["good"])
    assert ended["state_type"] == "COMPLETED", ended["state"]
    folder = stack.home / "runs" / f"from-the-form-{runs['good'][:8]}"
    return RunResult.from_json((folder / "run.json").read_bytes())


def test_the_form_has_seven_fields_each_with_its_help_and_what_it_is_by_default(browser, stack):
    open_form(browser, stack.prefect_url, "retrain/retrain")

    shown = page_text(browser)
    assert titles(browser)[1:8] == [
        "Configuration",
        "Epochs",
        "Precision",
        "Gate",
        "Promote the winner",
        "Other settings",
        "Run even if nothing has changed",
    ]
    for sentence in (
        "A YAML file in the folder the run works in, or the name of a shipped configuration.",
        "Passes over the training split; 0 is as configured.",
        "How strict the gate is; smoke only shows that the pipeline runs.",
        "Any other setting, each as name.name=value, for example train.learning_rate=0.001.",
    ):
        assert sentence in shown
    assert field(browser, "Configuration").get_attribute("value") == "digits"
    assert field(browser, "Epochs").get_attribute("value") == "0"
    assert field(browser, "Gate").text == "as configured"
    assert field(browser, "Run even if nothing has changed").get_attribute("aria-checked") == "false"


def test_every_choice_of_the_form_is_a_select_of_all_its_values(browser, stack):
    from selenium.webdriver.common.keys import Keys

    open_form(browser, stack.prefect_url, "retrain/retrain")
    for title, choices in {
        "Precision": ["as configured", "auto", "fp32", "bf16-mixed", "fp16-mixed"],
        "Gate": ["as configured", "strict", "balanced", "smoke"],
        "Promote the winner": ["as configured", "never", "if it passes", "ask a person"],
    }.items():
        assert options(browser, title) == choices
        browser.switch_to.active_element.send_keys(Keys.ESCAPE)
        wait_for(browser, lambda: not browser.execute_script(OPEN), "the list closed")


def test_fields_that_contradict_each_other_come_back_as_one_sentence_without_a_traceback(
    browser, stack, runs
):
    ended = wait_until_ended(stack.prefect_url, runs["bad"])
    assert ended["state_type"] == "FAILED"

    open_run(browser, stack.prefect_url, runs["bad"], "Details")
    details = wait_for(
        browser, lambda: "State Message" in page_text(browser) and page_text(browser), "the state's message"
    )
    message = details.partition("State Message")[2].strip().splitlines()[0]
    assert message == f"overrides: {CONTRADICTION}; say it in one place, or leave epochs as configured"

    press(browser, "Logs", "[role=tab]")
    logs = wait_for(
        browser, lambda: CONTRADICTION in page_text(browser) and page_text(browser), "the sentence in the log"
    )
    assert "Traceback" not in logs


def test_a_run_from_the_form_has_the_settings_of_the_form_and_tasks_with_names(
    browser, stack, runs, completed
):
    assert len(completed.checkpoint.history) == 2
    assert completed.policy.preset == "smoke"
    graph = ask(stack.prefect_url, f"flow_runs/{runs['good']}/graph-v2")
    assert {
        "prepare digits",
        "train pt_core.modeling.cnn:cnn",
        "verify checkpoint",
        "convert to onnx",
        "evaluate onnx",
        "judge onnx",
        "publish to Prefect",
    } <= {node["label"] for _, node in graph["nodes"]}

    open_run(browser, stack.prefect_url, runs["good"], "Task Runs")
    wait_for(
        browser,
        lambda: all(
            name in page_text(browser)
            for name in ("verify checkpoint", "convert to onnx", "evaluate onnx", "judge onnx")
        ),
        "the tasks by their names",
    )
    assert "Completed" in page_text(browser)
    keep_screenshot(browser, "prefect-run.png")


def test_the_artifacts_show_the_comparison_the_gate_and_the_way_to_the_variants_in_mlflow(
    browser, stack, runs, completed
):
    open_artifact(browser, stack, runs["good"], f"{completed.pipeline}-comparison")
    wait_for(browser, lambda: "latency_ratio" in page_text(browser), "the table")
    assert completed.sentence in page_text(browser)

    open_artifact(browser, stack, runs["good"], f"{completed.pipeline}-gate")
    wait_for(browser, lambda: "accuracy/accuracy" in page_text(browser), "the rules")
    wait_for(browser, lambda: browser.execute_script(DIAGRAM), "the tree as a picture")
    keep_screenshot(browser, "prefect-gate.png")

    open_artifact(browser, stack, runs["good"], f"{completed.pipeline}-links")
    # As wide as it takes for the column of the accuracy to be there.
    open_page(browser, link(browser, "Variants side by side"), width=2000, height=760)
    expected = sorted((v.name, v.evaluation.accuracy.accuracy) for v in completed.variants)
    assert [name for name, _ in expected] == ["onnx", "torch"]
    shown = wait_for(browser, lambda: len(accuracies(browser)) == 2 and accuracies(browser), "two models")
    assert browser.current_url.startswith(stack.mlflow_url)
    assert [name for name, _ in shown] == ["onnx", "torch"]
    assert [share for _, share in shown] == pytest.approx([share for _, share in expected], abs=1e-6)


DIAGRAM = "return document.querySelectorAll('svg[id^=mermaid], svg[aria-roledescription]').length"


def open_artifact(browser, stack, run: str, key: str) -> None:
    """Open what an artifact of a run holds, from the run's page."""
    open_run(browser, stack.prefect_url, run, "Artifacts")
    follow(browser, key)
    wait_for(browser, lambda: "Flow run:" in page_text(browser), "the artifact's history")
    (found,) = (one for one in ask(stack.prefect_url, "artifacts/filter", of_run(run)) if one["key"] == key)
    follow(browser, found["id"][:8])


def of_run(run: str) -> dict:
    return {"artifacts": {"flow_run_id": {"any_": [run]}}}


def follow(browser, words: str) -> None:
    """Follow the link that has these words in it."""
    browser.get(link(browser, words))


def link(browser, words: str) -> str:
    """Return where the link leads that has these words in it."""
    return wait_for(browser, lambda: browser.execute_script(LINK, words), f"a link {words!r}")
