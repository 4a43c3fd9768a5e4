"""What a person sees of a page in a browser: wait until it is there, read it, keep a picture of it."""

from __future__ import annotations

import contextlib
import html
import os
import time
from pathlib import Path

import pytest

WAIT_S = 40

ROWS = """
const rows = {};
for (const cell of document.querySelectorAll('.ag-row .ag-cell')) {
  const number = cell.closest('.ag-row').getAttribute('row-index');
  (rows[number] ??= {})[cell.getAttribute('col-id')] = cell.innerText.trim();
}
return Object.values(rows);
"""


def open_page(browser, url: str, *, width: int, height: int) -> None:
    """Open a link in a fresh page, without the assistant's panel that MLflow opens on the first visit."""
    browser.set_window_size(width, height)
    browser.get("about:blank")
    browser.get(url)
    close = "[data-component-id='mlflow.assistant.chat_panel.close']"
    wait_for(browser, lambda: len(page_text(browser)) > 40, "a page")
    browser.execute_script(f'document.querySelector("{close}")?.click()')


def page_text(browser) -> str:
    """Return all that is written on the page."""
    return browser.execute_script("return document.body?.innerText ?? ''")


def wait_for(browser, condition, what: str, *, seconds: float = WAIT_S):
    """Return the first true value of the condition; what a page draws anew while it is read is not there yet."""
    from selenium.common.exceptions import StaleElementReferenceException

    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(StaleElementReferenceException):
            if value := condition():
                return value
        time.sleep(0.2)
    keep_screenshot(browser, "missing.png")
    return pytest.fail(
        f"{what} did not appear at {browser.current_url}; the page says:\n{page_text(browser)[:3000]}"
    )


def keep_screenshot(browser, name: str) -> None:
    """Keep a picture of the page for the documentation, where the environment names a folder for it."""
    if folder := os.environ.get("PT_PIPELINE_SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        time.sleep(0.5)  # the last transition
        browser.save_screenshot(str(Path(folder) / name))


def accuracies(browser) -> list[tuple[str, float]]:
    """Return what MLflow's Models tab shows: the name and the accuracy of each model, sorted."""
    found = []
    for row in browser.execute_script(ROWS):
        cell = next(
            (text for column, text in row.items() if '"accuracy/accuracy"' in html.unescape(column)), ""
        )
        if cell and row.get("name"):
            name = row["name"].split()[-1]  # the words before are the colour's
            found.append((name, float(cell)))
    return sorted(found)
