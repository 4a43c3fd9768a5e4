"""Schedules on the running stack: a run at its minute, paused and resumed in the pages, and nothing to do the next time."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import chromium
import pytest
from pages import keep_screenshot, page_text, wait_for
from prefect_pages import (
    ask,
    deployment_id,
    open_deployment,
    open_run,
    press,
    runs_of,
    tiny_config,
    wait_until_ended,
)

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600), chromium.NEEDED]

ZONE = "Asia/Kolkata"
"""Five hours and a half before UTC, summer and winter."""

KEPT = (
    "flow_id",
    "entrypoint",
    "path",
    "pull_steps",
    "tags",
    "parameter_openapi_schema",
    "enforce_parameter_schema",
    "work_pool_name",
    "job_variables",
)
"""What a deployment is but for its name, its parameters and its schedules."""

DIALOG = "return document.querySelector('[role=dialog]')?.innerText ?? ''"
MENU = "return [...document.querySelectorAll('button')].filter(b => b.innerText === 'Open menu').at(-1)"
SWITCH = "return document.querySelector('[role=switch]')"


@pytest.fixture(scope="module", autouse=True)
def soon(stack, tmp_path_factory) -> tuple[str, datetime]:
    """A deployment like the nightly one, and its minute: the next but for what Prefect needs to plan it."""
    at = (datetime.now(UTC) + timedelta(seconds=80)).replace(second=0, microsecond=0)
    here = at.astimezone(ZoneInfo(ZONE))
    config = tiny_config(tmp_path_factory.mktemp("schedule"), "nightly", epochs=2)
    made = like_nightly(stack.prefect_url, "soon", f"{here.minute} {here.hour} * * *", config=str(config))
    return made, at


@pytest.fixture(scope="module")
def two_at_night(stack) -> str:
    """A deployment at two at night in India."""
    return like_nightly(stack.prefect_url, "two-at-night", "0 2 * * *", config="digits")


def like_nightly(prefect: str, name: str, cron: str, *, config: str) -> str:
    """Deploy what retrain-nightly is, at another time."""
    nightly = ask(prefect, f"deployments/{deployment_id(prefect, 'retrain/retrain-nightly')}")
    kept = {key: nightly[key] for key in KEPT}
    schedule = {"schedule": {"cron": cron, "timezone": ZONE}, "active": True}
    chosen = {"name": name, "parameters": {"config": config}, "schedules": [schedule]}
    return ask(prefect, "deployments/", kept | chosen)["id"]


def planned(prefect: str, deployment: str) -> list[datetime]:
    """Return when the runs of a deployment are to start that have not."""
    return [
        datetime.fromisoformat(run["expected_start_time"])
        for run in runs_of(prefect, deployment)
        if run["state_type"] == "SCHEDULED"
    ]


def wait_until(condition, what: str, *, seconds: float = 120):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.5)
    return pytest.fail(f"{what}: not within {seconds:g} s")


def test_two_at_night_in_india_is_half_past_eight_in_the_evening_in_utc(stack, two_at_night):
    times = wait_until(lambda: planned(stack.prefect_url, two_at_night), "planned runs")

    assert len(times) == 3
    assert {(at.astimezone(UTC).hour, at.astimezone(UTC).minute) for at in times} == {(20, 30)}
    assert times[1] - times[0] == timedelta(days=1)


def test_the_pages_show_the_schedule_with_its_time_zone_to_be_changed(browser, stack, two_at_night):
    wait_until(lambda: planned(stack.prefect_url, two_at_night), "planned runs")
    open_deployment(browser, stack.prefect_url, "retrain/two-at-night")
    browser.set_window_size(1280, 760)
    wait_for(browser, lambda: "At 02:00 AM" in page_text(browser), "the schedule")
    wait_for(browser, lambda: "Next Run" in page_text(browser), "the next run")
    keep_screenshot(browser, "prefect-schedule.png")

    wait_for(browser, lambda: click(browser, MENU), "the schedule's menu")
    press(browser, "Edit", "[role=menuitem]")
    wait_for(browser, lambda: ZONE.replace("/", " / ") in browser.execute_script(DIALOG), "the zone")
    keep_screenshot(browser, "prefect-schedule-edit.png")


def test_the_switch_in_the_pages_takes_the_planned_runs_away_and_brings_them_back(
    browser, stack, two_at_night
):
    wait_until(lambda: planned(stack.prefect_url, two_at_night), "planned runs")
    flip(browser, stack, to="false")
    wait_until(lambda: not planned(stack.prefect_url, two_at_night), "no planned runs")

    flip(browser, stack, to="true")
    again = wait_until(lambda: planned(stack.prefect_url, two_at_night), "planned runs once more")
    assert {(at.astimezone(UTC).hour, at.astimezone(UTC).minute) for at in again} == {(20, 30)}


def flip(browser, stack, *, to: str) -> None:
    """Turn the schedule's switch on its page."""
    open_deployment(browser, stack.prefect_url, "retrain/two-at-night")
    was = wait_for(browser, lambda: is_checked(browser), "the schedule's switch")
    assert was != to
    # What is clicked while the page draws itself anew is lost, and a person who sees that clicks again.
    wait_for(browser, lambda: turned(browser, to=to), "the switch turned")


def turned(browser, *, to: str, seconds: float = 8) -> bool:
    """Click the switch if it is not yet where it is to be; return whether it then is."""
    if is_checked(browser) not in (None, to):
        click(browser, SWITCH)
    end = time.monotonic() + seconds
    while is_checked(browser) != to and time.monotonic() < end:
        time.sleep(0.2)
    return is_checked(browser) == to


def click(browser, script: str) -> bool:
    """Click what the script finds, if it is there."""
    if found := browser.execute_script(script):
        found.click()
    return found is not None


def is_checked(browser) -> str | None:
    return browser.execute_script(f"{SWITCH}?.ariaChecked")


def test_a_schedule_starts_its_run_at_its_minute_and_the_next_run_has_nothing_to_do(browser, stack, soon):
    deployment, at = soon
    first, second, *_ = wait_until(
        lambda: len(found := runs_of(stack.prefect_url, deployment)) > 1 and found, "two planned runs"
    )
    assert datetime.fromisoformat(first["expected_start_time"]) == at
    assert datetime.fromisoformat(second["expected_start_time"]) == at + timedelta(days=1)

    ended = wait_until_ended(stack.prefect_url, first["id"])
    assert ended["state_name"] == "Completed", ended["state"]
    # A worker takes a run a little early, and lets it begin on time but for the last second.
    late = datetime.fromisoformat(ended["start_time"]) - at
    assert timedelta(seconds=-1) < late < timedelta(seconds=90)

    open_deployment(browser, stack.prefect_url, "retrain/soon")
    press(browser, "Run")
    press(browser, "Quick run", "[role=menuitem]")
    known = {first["id"]}
    (repeated,) = wait_until(lambda: started_now(stack.prefect_url, deployment, known), "a run by hand")
    ended = wait_until_ended(stack.prefect_url, repeated["id"])
    assert (ended["state_type"], ended["state_name"]) == ("COMPLETED", "Nothing to do")
    assert ended["total_run_time"] < 30

    open_run(browser, stack.prefect_url, repeated["id"], "Details")
    wait_for(
        browser,
        lambda: f"Nothing to do: run {first['name']}" in page_text(browser),
        "why there is nothing to do",
    )
    keep_screenshot(browser, "prefect-nothing-to-do.png")


def started_now(prefect: str, deployment: str, known: set[str]) -> list[dict]:
    """Return the runs that no schedule made."""
    return [
        run for run in runs_of(prefect, deployment) if not run["auto_scheduled"] and run["id"] not in known
    ]
