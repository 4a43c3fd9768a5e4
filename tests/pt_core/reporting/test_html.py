"""The page: complete, self-contained, escaped, and its files whole."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image
from run_results import make_run_result, started_from

from pt_core.decision.result import Link, RunResult
from pt_core.errors import IntegrityError
from pt_core.evaluation.transfer_table import TransferRow, TransferTable
from pt_core.reporting.html import render_report, write_report

PICTURES = ("confusion_matrix", "roc", "pr", "reliability")
VOID = {"meta", "link", "img", "br"}
LOADS = {"src", "srcset", "poster", "data", "background", "action", "formaction", "xlink:href"}


class Page(HTMLParser):
    """Collects the page's tags, texts and attributes, and checks that every tag is closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"style"} & set(self.open):
            self.text += data

    def figures(self) -> list[dict[str, str | None]]:
        """Return the images that are drawings; the others are samples."""
        found = [attributes for tag, attributes in self.tags if tag == "img"]
        return [attributes for attributes in found if "sample" not in attributes["alt"].lower()]


@pytest.fixture(scope="module")
def html(result: RunResult) -> str:
    return render_report(result)


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def test_the_outcome_is_the_first_heading_and_the_sentence_follows(page, result):
    first = page.text.split("Variants")[0]
    assert "Deploy onnx" in first
    assert result.sentence in " ".join(first.split())


def test_every_variant_is_there_with_its_numbers_and_its_reason(page, result):
    text = " ".join(page.text.split())
    for variant in result.variants:
        assert variant.name in text
        assert variant.verdict.reason in text
        if variant.evaluation:
            assert f"{variant.evaluation.accuracy.accuracy:.4f}" in text
        if variant.artifact:
            assert variant.artifact.digest in text
        if variant.problem:
            assert variant.problem in text


def test_the_page_shows_how_many_nodes_each_runtime_is_left_with(html):
    table = html.partition("Fusion and graph optimisation")[2].partition("</table>")[0]
    rows = [re.findall(r"<t[hd][^>]*>([^<]*)</t[hd]>", row) for row in table.split("<tr>")]
    assert ["onnx", "onnx 1.0, CPU", "-", "1", "-", "31", "12"] in rows
    assert ["torch", "torch 1.0, CPU", "-", "1", "-", "-", "-"] in rows


def test_the_page_says_how_to_get_the_same_run_again(page, result):
    environment = result.checkpoint.environment
    for fact in (
        result.reproduce,
        environment.git_commit,
        environment.cpu_model,
        "torch 2.13.0",
        result.dataset.fingerprint,
        result.checkpoint.digest,
    ):
        assert fact in page.text


def test_the_page_says_what_training_started_from_and_every_tensor_left_out(result):
    started = started_from()
    changes = {"warm_start": started, "num_frozen_parameters": 4321, "flops_per_sample": 123_456}
    changed = result.model_copy(update={"checkpoint": result.checkpoint.model_copy(update=changes)})
    shown = " ".join(render_report(changed).split())
    assert "4,321 frozen" in shown
    assert "123,456 floating-point operations for one sample" in shown
    assert started.sentence in shown
    assert all(f"Not loaded: {line}" in shown for line in started.report.problems)


def test_the_page_loads_nothing_from_anywhere(page):
    for tag, attributes in page.tags:
        assert tag not in {"script", "iframe", "object", "embed", "base"}
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in LOADS or (name == "href" and tag != "a"):
                assert value.startswith("data:"), (tag, name, value)


def test_the_style_imports_nothing_and_knows_the_dark(html):
    style = html.split("<style>")[1].split("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style
    assert "prefers-color-scheme: dark" in style


def test_every_image_is_well_formed_without_scripts_and_has_a_text(page, result):
    images = page.figures()
    evaluated = [variant for variant in result.variants if variant.evaluation]
    assert len(images) == 3 + len(PICTURES) * len(evaluated)
    for image in images:
        assert image["alt"]
        kind, _, content = image["src"].partition(";base64,")
        assert kind == "data:image/svg+xml"
        root = ElementTree.fromstring(base64.b64decode(content))
        assert root.tag.endswith("svg")
        for element in root.iter():
            assert not element.tag.endswith("script")
            for name, value in element.attrib.items():
                assert not (name.endswith("href") and not value.startswith("#"))


def test_hostile_names_are_shown_and_never_run(tmp_path):
    hostile = "<script>alert(1)</script>"
    labels = (hostile, '"><img src=x onerror=alert(2)>', "$x^$", "&amp;", *"456789")
    result = make_run_result(tmp_path, labels)
    result = result.model_copy(
        update={
            "pipeline": hostile,
            "winner_reason": hostile,
            "reproduce": "</code></pre><script>alert(3)</script>",
            "links": (Link(name=hostile, url="javascript:alert(4)"),),
        }
    )
    html = render_report(result)
    page = Page(html)
    assert "<script" not in html
    assert all(tag != "script" for tag, _ in page.tags)
    assert len(page.figures()) == 23
    assert all("onerror" not in attributes for _, attributes in page.tags)
    assert all(attributes.get("href") == "data:," for tag, attributes in page.tags if "href" in attributes)
    assert page.text.count(hostile) >= 3
    assert "$x^$" in page.text


def test_a_run_in_which_nothing_was_built_still_has_its_page(result):
    only = [variant for variant in result.variants if variant.state != "built"]
    refused = result.model_copy(update={"variants": tuple(only), "winner": None, "winner_reason": "none"})
    page = Page(render_report(refused))
    assert "Deploy nothing" in page.text
    assert "No variant was quantized." in page.text
    assert len(page.figures()) == 1  # training


def test_writing_leaves_the_page_and_every_picture_whole_and_nothing_else(result, tmp_path):
    path = write_report(result, tmp_path / "new" / "folder")
    assert path.name == "report.html"
    Page(path.read_text())
    names = {found.name for found in path.parent.iterdir()}
    evaluated = [variant.name for variant in result.variants if variant.evaluation]
    own = {f"{name}-{picture}.png" for name in evaluated for picture in PICTURES}
    of_the_run = {
        "accuracy_latency.png",
        "robustness_fgsm.png",
        "robustness_gaussian-noise.png",
        "training.png",
    }
    assert names == {"report.html"} | own | of_the_run
    for name in own | of_the_run:
        with Image.open(io.BytesIO((path.parent / name).read_bytes())) as image:
            image.load()
            assert min(image.size) > 200
            assert len(image.convert("RGB").getcolors(maxcolors=2**24)) > 10


def test_the_transfer_table_and_its_warnings_are_shown(result):
    table = TransferTable(
        epsilon=0.1,
        num_samples=64,
        num_queries=100,
        scored_on=("torch", "onnx"),
        clean=(0.99, 0.98),
        rows=(TransferRow(crafted_on="torch", attack="pgd", accuracy=(0.21, 0.34)),),
    )
    assert "Transfer of attacks" not in Page(render_report(result)).text
    warned = result.model_copy(update={"transfer": table, "warnings": ("torch <b>looks</b> stronger",)})
    page = Page(render_report(warned))
    assert "Transfer of attacks" in page.text
    assert "torch <b>looks</b> stronger" in page.text, "a name is text, never markup"
    for share in ("0.99", "0.98", "0.21", "0.34"):
        assert share in page.text
    assert "64 samples" in page.text


def test_a_damaged_evaluation_is_refused_and_no_page_is_written(tmp_path):
    result = make_run_result(tmp_path / "home")
    logits = Path(result.variants[0].evaluation.directory) / "logits.safetensors"
    content = bytearray(logits.read_bytes())
    content[-1] ^= 1
    logits.write_bytes(content)
    with pytest.raises(IntegrityError, match=r"logits\.safetensors"):
        write_report(result, tmp_path / "report")
    assert not (tmp_path / "report" / "report.html").exists()
