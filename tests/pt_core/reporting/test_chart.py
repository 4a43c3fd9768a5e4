"""The interactive picture: values at the right places, everything reachable without a script, names never markup."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from pt_core.decision.compare import comparison_rows
from pt_core.decision.history import over_time
from pt_core.decision.result import ChampionResult
from pt_core.reporting.chart import Entry, Mark, linear, logarithmic, round_ticks, with_names
from pt_core.reporting.charts import history_charts, variants_chart
from pt_core.reporting.page import render


class Elements(HTMLParser):
    """Collects what can be pointed at: each button with what describes it, and the descriptions by id."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.buttons: list[str] = []
        self.tips: dict[str, str] = {}
        self.scripts = 0
        self._tip = ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.scripts += tag == "script" or any(name.startswith("on") for name in found)
        if tag == "button":
            self.buttons.append(found["aria-describedby"])
        if found.get("role") == "tooltip":
            self._tip = found["id"]
            self.tips[self._tip] = ""
        if tag in ("li", "h2"):
            self._tip = ""

    def handle_data(self, data):
        if self._tip:
            self.tips[self._tip] += f" {data.strip()}"


@pytest.fixture(scope="module")
def chart(result):
    found = variants_chart(result, comparison_rows(result))
    assert found is not None
    return found


def draw(result, chart):
    return render(
        "comparison.html.j2",
        title="t",
        subtitle="s",
        sentence="x",
        refused=False,
        groups=[],
        history=(),
        challenge=None,
        charts=(chart,),
        disagreements=(),
    )


def test_faster_stands_to_the_left_and_more_accurate_above(chart):
    at = {entry.name: entry.marks[0] for entry in chart.entries}
    assert set(at) == {"torch", "torchscript", "exported", "onnx", "onnx-int8-dynamic"}
    assert at["onnx"].x < at["onnx-int8-dynamic"].x < at["torchscript"].x < at["torch"].x
    assert at["onnx-int8-dynamic"].y > at["onnx"].y == at["torch"].y
    for mark in at.values():
        assert 0 <= mark.low <= mark.x <= mark.high <= 100
        assert 0 <= mark.y <= 100


def test_equal_ratios_are_equally_far_apart(chart):
    scale = {entry.name: entry.marks[0].x for entry in chart.entries}
    per_factor = (scale["torch"] - scale["onnx"]) / 1.5606477  # ln(1 / 0.21)
    assert scale["torch"] - scale["torchscript"] == pytest.approx(per_factor * 0.4780358)  # ln(1 / 0.62)


def test_the_area_of_a_sign_grows_with_the_bytes(chart):
    at = {entry.name: entry.marks[0].diameter for entry in chart.entries}
    assert at["onnx-int8-dynamic"] < at["torch"] < at["exported"] == 30


def test_a_dominated_variant_is_hollow_and_the_front_joins_the_others_that_passed(result):
    variants = tuple(
        v.model_copy(update={"dominated_by": "onnx"}) if v.name == "exported" else v for v in result.variants
    )
    found = variants_chart(
        *[placed := result.model_copy(update={"variants": variants}), comparison_rows(placed)]
    )
    hollow = [entry.name for entry in found.entries if entry.marks[0].is_hollow]
    assert hollow == ["exported"]
    (front,) = found.lines
    assert len(front.points) == 3
    assert list(front.points) == sorted(front.points)


def test_the_champion_stands_among_them_under_a_sign_of_its_own(result):
    onnx = next(v for v in result.variants if v.name == "onnx")
    champion = ChampionResult(
        name="champion digits/3",
        model="digits",
        version="3",
        problem=None,
        artifact=onnx.artifact,
        evaluation=onnx.evaluation,
        efficiency=onnx.efficiency,
    )
    crowned = result.model_copy(update={"champion": champion})
    found = variants_chart(crowned, comparison_rows(crowned))
    assert found.entries[-1].marks[0].kind == "champion"
    assert found.entries[-1].state == "champion"


def test_a_run_without_timings_has_no_picture(result):
    untimed = tuple(v.model_copy(update={"efficiency": None}) for v in result.variants)
    bare = result.model_copy(update={"variants": untimed})
    assert variants_chart(bare, comparison_rows(bare)) is None


def test_every_variant_is_a_button_whose_description_has_its_verdict_and_numbers(result, chart):
    page = Elements(draw(result, chart))
    assert page.scripts == 0
    assert page.buttons == list(page.tips)
    assert len(page.buttons) == 5
    (fails,) = [tip for tip in page.tips.values() if "onnx-int8-dynamic" in tip.split("·")[0]]
    words = " ".join(fails.split())
    for text in ("fail", "0.9694", "0.34 x (0.326 to 0.357)", "16.6 KiB", "observed 0.0194"):
        assert text in words


def test_a_name_is_text_and_never_markup(result):
    hostile = "<img src=x onerror=alert(1)>"
    first = result.variants[0].model_copy(update={"name": hostile})
    renamed = result.model_copy(
        update={"variants": (first, *result.variants[1:]), "reference": hostile, "winner": None}
    )
    html = draw(renamed, variants_chart(renamed, comparison_rows(renamed)))
    assert "<img" not in html
    assert "&lt;img src=x" in html


def test_a_line_over_time_breaks_where_the_samples_change(result):
    days = [
        result.model_copy(update={"run_name": f"r{day}", "started_at": f"2026-01-0{day}T00:00:00Z"})
        for day in (1, 2, 3, 4)
    ]
    moved = [
        run.model_copy(update={"dataset": run.dataset.model_copy(update={"fingerprint": "e" * 64})})
        for run in days[2:]
    ]
    accuracy, latency, size = history_charts(over_time([*days[:2], *moved]))
    own = [line for line in accuracy.lines if line.kind == "winner"]
    assert [len(line.points) for line in own] == [2, 2]
    assert [line.kind for line in accuracy.lines].count("break") == 1
    assert [note.text for note in accuracy.notes] == ["A", "B"]
    assert len(latency.entries) == len(size.entries) == 4
    (whole,) = [line for line in history_charts(over_time(days))[0].lines if line.kind == "winner"]
    assert len(whole.points) == 4
    assert history_charts(over_time(days))[0].notes == ()


def test_a_run_that_chose_nothing_can_be_pointed_at_and_joins_no_line(result):
    refused = result.model_copy(update={"winner": None, "run_name": "none", "started_at": "2026-12-01"})
    accuracy, *_ = history_charts(over_time([result, refused]))
    assert accuracy.entries[1].state == "refused"
    assert accuracy.entries[1].marks[0].kind == "fail"
    assert [line.kind for line in accuracy.lines] == ["reference"]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 1.0, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0.965, 0.993, [0.965, 0.97, 0.975, 0.98, 0.985, 0.99]),
        (0.0, 410.0, [0.0, 100.0, 200.0, 300.0, 400.0]),
        (0.5, 0.5, [0.5]),
    ],
)
def test_ticks_are_round_and_few(low, high, expected):
    assert round_ticks(low, high) == pytest.approx(expected)


def test_scales_run_from_0_to_100_percent():
    assert [linear(2, 4)(v) for v in (2, 3, 4)] == [0, 50, 100]
    assert [linear(4, 2)(v) for v in (2, 4)] == [100, 0]
    assert linear(3, 3)(3) == 50
    assert [logarithmic(0.1, 10)(v) for v in (0.1, 1, 10)] == pytest.approx([0, 50, 100])


def test_names_cover_neither_signs_nor_each_other():
    crowd = [
        Entry(f"variant-{n}", "pass", (Mark(50 + 0.1 * n, 50, "pass"),), (), is_chosen=n == 7)
        for n in range(8)
    ]
    placed = with_names(crowd)
    assert [entry.name for entry in placed] == [entry.name for entry in crowd]
    assert placed[7].side == "above", "the chosen one is placed first"
    sides = [entry.side for entry in placed if entry.side]
    assert sorted(sides) == sorted(set(sides))
    assert with_names([Entry("x" * 300, "pass", (Mark(50, 50, "pass"),), ())])[0].side is None


def test_ids_of_several_pictures_on_one_page_differ(result, chart):
    html = draw(result, chart) + draw(result, chart._replace(key="other"))
    ids = re.findall(r' id="([^"]+)"', html)
    assert len(ids) == len(set(ids)) == 10
