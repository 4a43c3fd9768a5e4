"""Where answers differ: the right samples, counted whole and shown in part, with pictures or values."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from run_results import make_run_result

from pt_core.data.dataset import load_split
from pt_core.errors import IntegrityError
from pt_core.evaluation.pairs import CleanAnswers
from pt_core.reporting.disagreements import MAX_SHOWN, compare_answers, find_disagreements
from pt_core.reporting.html import render_report
from pt_core.reporting.page import render
from pt_core.reporting.thumbnails import MAX_SIDE, describe_row, thumbnail

SURE, UNSURE = 5.0, 1.0


def answers(classes, sureness=SURE):
    """Return the answers of one artifact to samples 100, 101 and so on, whose true class is 0."""
    logits = np.zeros((len(classes), 3), dtype=np.float32)
    logits[np.arange(len(classes)), classes] = sureness
    count = len(classes)
    return CleanAnswers(logits, np.zeros(count, dtype=np.int64), np.arange(100, 100 + count))


def compared(dataset, theirs, ours, sureness=SURE):
    return compare_answers(
        ("torch", answers(theirs)), ("onnx", answers(ours, sureness)), dataset=dataset, x=None, note="gone"
    )


def decoded(uri):
    kind, _, content = uri.partition(";base64,")
    return kind, Image.open(io.BytesIO(base64.b64decode(content)))


def test_lost_won_and_otherwise_wrong_samples_are_told_apart(result):
    #            same  lost won  both wrong, differently    both wrong, alike
    found = compared(result.dataset, [0, 0, 1, 1, 2], [0, 1, 0, 2, 2])
    assert (found.num_samples, found.num_lost, found.num_won, found.num_both_wrong) == (5, 1, 1, 1)
    assert [one.sample_id for one in found.shown] == [101, 102, 103]
    lost = found.shown[0]
    assert (lost.label, lost.reference_label, lost.variant_label) == ("0", "0", "1")
    assert (lost.reference_right, lost.variant_right) == (True, False)
    assert lost.variant_probability == pytest.approx(np.exp(5) / (np.exp(5) + 2))
    assert found.note == "gone"


def test_the_surest_mistakes_come_first(result):
    sureness = np.array([1.0, 3.0, 2.0], dtype=np.float32)
    found = compared(result.dataset, [0, 0, 0], [1, 1, 1], sureness)
    assert [one.sample_id for one in found.shown] == [101, 102, 100]


def test_no_more_than_a_few_are_shown_and_the_rest_is_counted(result):
    count = MAX_SHOWN + 30
    found = compared(result.dataset, [0] * count, [1] * count)
    assert (len(found.shown), found.num_left_out, found.num_different) == (MAX_SHOWN, 30, count)
    page = render("disagreements.html.j2", disagreements=(found,))
    assert page.count('class="sample"') == MAX_SHOWN
    assert "30 more are left out" in page


def test_artifacts_that_answer_alike_are_said_to(result):
    alike = compared(result.dataset, [0, 1], [0, 1])
    assert (alike.shown, alike.num_different, alike.note) == ((), 0, "")
    page = " ".join(render("disagreements.html.j2", disagreements=(alike,)).split())
    assert "onnx answers all 2 samples as torch does." in page


def test_the_samples_of_a_run_are_those_of_its_test_split(result):
    found = {one.variant: one for one in find_disagreements(result)}
    assert list(found) == ["torchscript", "exported", "onnx", "onnx-int8-dynamic"]
    noisy = found["onnx-int8-dynamic"]
    right = {v.name: round(v.evaluation.accuracy.accuracy * 360) for v in result.variants if v.evaluation}
    assert noisy.num_lost - noisy.num_won == right["torch"] - right["onnx-int8-dynamic"]
    assert found["onnx"].num_different == 0
    x = load_split(result.dataset, "test").x
    for one in noisy.shown:
        _, image = decoded(one.image)
        assert np.abs(np.asarray(image) / 255 - x[one.sample_id, 0]).max() < 0.003


def test_without_the_dataset_ids_are_shown_and_the_page_says_why_pictures_are_not(result):
    gone = result.dataset.model_copy(update={"directory": "/nowhere"})
    found = find_disagreements(result.model_copy(update={"dataset": gone}))[-1]
    assert found.shown
    assert {one.image for one in found.shown} == {None}
    assert found.note == "The samples cannot be shown: the dataset is no longer on disk."


def test_a_damaged_dataset_is_refused(tmp_path):
    result = make_run_result(tmp_path)
    path = Path(result.dataset.directory) / "test_x.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(IntegrityError, match=r"test_x\.npy"):
        find_disagreements(result)


def test_the_report_shows_ids_both_answers_and_pictures(result):
    noisy = find_disagreements(result)[-1]
    page = " ".join(render_report(result).split())
    for one in noisy.shown:
        assert f"sample {one.sample_id}<" in page
        assert one.image in page
        assert f"torch: {one.reference_label} ({one.reference_probability:.1%})" in page
        assert f"onnx-int8-dynamic: {one.variant_label} ({one.variant_probability:.1%})" in page


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB"), (4, "L")])
def test_a_picture_is_small_and_keeps_its_shape(channels, mode):
    x = np.random.default_rng(0).random((channels, 300, 200), dtype=np.float32)
    uri = thumbnail(x, (0.0, 1.0))
    kind, image = decoded(uri)
    assert kind == "data:image/jpeg"
    assert (image.mode, image.size) == (mode, (MAX_SIDE * 2 // 3, MAX_SIDE))
    assert len(uri) < 12_000


def test_values_are_drawn_over_their_legal_range_and_outside_it_at_its_ends():
    x = np.array([[[-1.0, 0.0], [1.0, 9.0]]], dtype=np.float32)
    _, image = decoded(thumbnail(x, (-1.0, 1.0)))
    assert np.asarray(image).tolist() == [[0, 128], [255, 255]]
    _, flat = decoded(thumbnail(np.zeros((1, 2, 2), dtype=np.float32), None))
    assert np.asarray(flat).max() == 0


def test_a_row_is_its_first_values_by_name():
    row = np.arange(10, dtype=np.float32)
    assert describe_row(row) == "0, 1, 2, 3, 4, 5, 6, 7 and 2 more"
    assert describe_row(row[:2], ("age", "income")) == "age 0, income 1"
