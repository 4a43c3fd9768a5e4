"""The pages in a real browser, from a file: no width is exceeded, and every number is reached by mouse and by keyboard."""

from __future__ import annotations

import chromium
import pytest

from pt_core.decision.challenge import between_runs
from pt_core.decision.history import over_time
from pt_core.reporting.comparison import challenge_page, history_page, variants_page
from pt_core.reporting.disagreements import find_disagreements

pytestmark = [pytest.mark.browser, chromium.NEEDED]

SHOWN = "return [...document.querySelectorAll('.tip')].filter(t => t.offsetParent || t.getClientRects().length).map(t => t.innerText)"
WIDTHS = "return [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
LIGHTNESS = """
const [r, g, b] = getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number);
return (r + g + b) / 3;
"""


@pytest.fixture(scope="module")
def pages(result, tmp_path_factory):
    """Every page of compare, written as files; the variants' one is drawn by what the report draws it by."""
    folder = tmp_path_factory.mktemp("pages")
    later = result.model_copy(
        update={"run_name": "later", "winner": "onnx-int8-dynamic", "started_at": "2026-12-01T00:00:00Z"}
    )
    texts = {
        "variants": variants_page([result]),
        "time": history_page(over_time([result, later]), pipeline="digits"),
        "champion": challenge_page(between_runs(result, later), find_disagreements(result)[-1]),
    }
    for name, text in texts.items():
        (folder / f"{name}.html").write_text(text)
    return {name: (folder / f"{name}.html").as_uri() for name in texts}


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium.running(tmp_path_factory.mktemp("chromium")) as driver:
        yield driver


def look(browser, url, *, width, scheme="light"):
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    browser.get(url)


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("name", ["variants", "time", "champion"])
def test_no_page_is_wider_than_the_screen(browser, pages, name, width):
    look(browser, pages[name], width=width)
    assert browser.execute_script(WIDTHS) == [width, width]
    tables = browser.execute_script(
        "return [...document.querySelectorAll('.scroll')].map(s => [s.scrollWidth, s.clientWidth])"
    )
    assert all(inner <= outer for inner, outer in tables), tables


def test_a_page_is_dark_where_the_reader_s_are(browser, pages):
    look(browser, pages["variants"], width=1280, scheme="dark")
    assert browser.execute_script(LIGHTNESS) < 40
    look(browser, pages["variants"], width=1280)
    assert browser.execute_script(LIGHTNESS) > 240


@pytest.mark.parametrize("width", [390, 1280])
def test_pointing_at_a_sign_shows_its_numbers_inside_the_page(browser, pages, width):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By

    look(browser, pages["variants"], width=width)
    assert browser.execute_script(SHOWN) == []
    marks = browser.find_elements(By.CSS_SELECTOR, ".mark.fail")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", marks[0])
    ActionChains(browser).move_to_element(marks[0]).perform()
    (text,) = browser.execute_script(SHOWN)
    for word in ("onnx-int8-dynamic", "fail", "0.9694", "0.34 x (0.326 to 0.357)", "16.6 KiB"):
        assert word in text
    assert browser.execute_script(WIDTHS) == [width, width]


def test_numbers_of_the_slowest_variant_stand_inside_the_page_too(browser, pages):
    look(browser, pages["variants"], width=800)
    browser.execute_script("document.querySelectorAll('.frame button')[0].focus()")
    ends = browser.execute_script(
        "const box = document.querySelector('.frame li:focus-within .tip').getBoundingClientRect();"
        "return [box.left, box.right]"
    )
    assert 0 < ends[0] < ends[1] <= 800
    assert browser.execute_script(WIDTHS) == [800, 800]


def test_the_tab_key_goes_from_variant_to_variant(browser, pages, result):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    look(browser, pages["variants"], width=1280)
    names = []
    for _ in range(5):
        ActionChains(browser).send_keys(Keys.TAB).perform()
        (text,) = browser.execute_script(SHOWN)
        names.append(text.split(" ")[0])
    assert names == [variant.name for variant in result.variants if variant.efficiency]
