"""The pictures: what they draw, on which numbers, and that they hide nothing."""

from __future__ import annotations

import io

import numpy as np
import pytest
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text
from PIL import Image
from safetensors.numpy import load_file
from sklearn.metrics import average_precision_score, roc_auc_score

from pt_core.decision import pareto
from pt_core.decision.config import SelectionConfig
from pt_core.decision.result import RunResult, VariantResult
from pt_core.evaluation.report import RobustnessPoint
from pt_core.reporting.accuracy_latency import accuracy_latency
from pt_core.reporting.curves import MACRO_AVERAGE, load_curves
from pt_core.reporting.figure import INK, to_bytes, variant_style
from pt_core.reporting.plots import (
    confusion_matrix,
    precision_recall,
    run_figures,
    training,
    variant_pictures,
)
from pt_core.reporting.robustness import robustness, robustness_figures


@pytest.fixture
def worst(result: RunResult) -> VariantResult:
    return next(variant for variant in result.variants if variant.name == "onnx-int8-dynamic")


def test_every_variant_has_the_same_pictures_and_they_decode(result, worst):
    first = variant_pictures(result.variants[0])
    expected = ["confusion_matrix.png", "roc.png", "pr.png", "reliability.png"]
    assert list(first) == list(variant_pictures(worst)) == expected
    for content in first.values():
        with Image.open(io.BytesIO(content)) as image:
            image.load()
            assert image.format == "PNG"


def test_a_variant_that_was_not_evaluated_has_no_pictures(result):
    skipped = next(variant for variant in result.variants if variant.state == "skipped")
    assert variant_pictures(skipped) == {}


def test_the_confusion_matrix_writes_every_count_in_its_cell(worst):
    figure = confusion_matrix(worst.name, worst.evaluation)
    axes = figure.axes[0]
    counts = np.array(worst.evaluation.accuracy.confusion_matrix)
    drawn = np.zeros_like(counts)
    for note in (child for child in axes.get_children() if isinstance(child, Annotation)):
        x, y = note.xy
        drawn[int(y), int(x)] = int(note.get_text())
    np.testing.assert_array_equal(drawn, counts)


def test_the_means_of_the_curves_have_the_areas_of_the_report(worst):
    labels = worst.artifact.labels
    found = load_curves(worst.evaluation, labels)
    tensors = load_file(f"{worst.evaluation.directory}/logits.safetensors")
    wide = np.exp(tensors["logits"].astype(np.float64))
    scores = wide / wide.sum(axis=1, keepdims=True)
    one_hot = np.eye(len(labels))[tensors["targets"]]
    assert found.roc[0].label == found.precision_recall[0].label == MACRO_AVERAGE
    assert found.roc[0].area == pytest.approx(roc_auc_score(one_hot, scores, average="macro"), abs=1e-9)
    expected = average_precision_score(one_hot, scores, average="macro")
    assert found.precision_recall[0].area == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("family", ["roc", "precision_recall"])
def test_the_area_below_the_mean_line_is_the_area_written_beside_it(worst, family):
    line = getattr(load_curves(worst.evaluation, worst.artifact.labels), family)[0]
    assert abs(np.trapezoid(line.y, line.x)) == pytest.approx(line.area, abs=3e-3)


def test_the_mean_precision_at_full_recall_is_the_one_counted_by_hand(worst):
    line = load_curves(worst.evaluation, worst.artifact.labels).precision_recall[0]
    tensors = load_file(f"{worst.evaluation.directory}/logits.safetensors")
    wide = np.exp(tensors["logits"].astype(np.float64))
    scores = wide / wide.sum(axis=1, keepdims=True)
    counted = []
    for number in range(len(worst.artifact.labels)):
        of_class = tensors["targets"] == number
        taken = scores[:, number] >= scores[of_class, number].min()
        counted.append(of_class.sum() / taken.sum())
    at_full_recall = line.y[np.argmax(line.x)]
    assert line.x.max() == 1
    assert at_full_recall == pytest.approx(np.mean(counted), abs=1e-12)


def test_poor_curves_have_no_enlarged_corner(worst):
    found = load_curves(worst.evaluation, worst.artifact.labels)
    assert len(precision_recall("good", found).axes[0].child_axes) == 1
    poor = found._replace(precision_recall=tuple(c._replace(area=0.5) for c in found.precision_recall))
    assert precision_recall("poor", poor).axes[0].child_axes == []


def test_a_variant_has_one_style_in_every_picture_and_no_two_share_it(result):
    styles = {variant.name: variant_style(result, variant.name) for variant in result.variants}
    assert len(set(styles.values())) == len(result.variants)
    assert styles[result.reference][0] == INK
    for attack in ("fgsm", "gaussian-noise"):
        for line in robustness(result, attack).axes[0].lines:
            assert (line.get_color(), line.get_marker()) == styles[line.get_label()][:2]


def test_robustness_lines_start_at_the_clean_accuracy_and_rise_in_strength(result, worst):
    lines = {line.get_label(): line for line in robustness(result, "fgsm").axes[0].lines}
    line = lines[worst.name]
    assert list(line.get_xdata()) == [0.0, 0.02, 0.05, 0.1, 0.2]
    expected = [worst.metrics[f"robustness/fgsm_{strength:g}"] for strength in (0.02, 0.05, 0.1, 0.2)]
    assert list(line.get_ydata()) == [worst.evaluation.accuracy.accuracy, *expected]
    assert set(lines) == {variant.name for variant in result.variants if variant.evaluation}


def with_points(result, *points):
    """Give every evaluated variant more points of robustness."""
    return result.model_copy(
        update={
            "variants": tuple(
                v.model_copy(
                    update={
                        "evaluation": v.evaluation.model_copy(
                            update={"robustness": (*v.evaluation.robustness, *points)}
                        )
                    }
                )
                if v.evaluation
                else v
                for v in result.variants
            )
        }
    )


def point(attack, strength, accuracy=0.5):
    return RobustnessPoint(attack=attack, strength=strength, accuracy=accuracy, num_samples=10)


def test_each_attack_has_a_picture_and_corruptions_of_one_severity_share_one(result):
    few = with_points(
        result, point("pgd", 0.1), point("square", 0.1), point("blur", 3), point("jpeg", 3, 0.25)
    )
    figures = robustness_figures(few)
    assert list(figures) == ["fgsm", "pgd", "square", "gaussian-noise", "corruptions"]
    axes = figures["corruptions"].axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["blur", "JPEG"]
    evaluated = [variant.name for variant in result.variants if variant.evaluation]
    assert [line.get_label() for line in axes.lines] == evaluated
    assert all(list(line.get_ydata()) == [0.5, 0.25] for line in axes.lines)
    assert len({line.get_xdata()[0] for line in axes.lines}) == len(evaluated), "none hides another"
    many = with_points(result, point("blur", 1), point("blur", 3))
    assert list(robustness_figures(many)) == ["fgsm", "gaussian-noise", "blur"]


def test_the_training_curves_hold_every_epoch(result):
    figure = training(result)
    for axes, measure in zip(figure.axes, ("loss", "accuracy"), strict=True):
        line = next(line for line in axes.lines if line.get_label() == "validation")
        expected = [getattr(epoch, f"validation_{measure}") for epoch in result.checkpoint.history]
        assert list(line.get_ydata()) == expected


def test_the_floor_is_the_strictest_accuracy_that_any_rule_asks_for_and_is_in_view(result):
    axes = accuracy_latency(result).axes[0]
    reference = result.variants[0].evaluation.accuracy.accuracy
    floor = next(line for line in axes.lines if line.get_linestyle() == "--")
    assert floor.get_ydata()[0] == pytest.approx(max(0.95, reference - 0.01))
    low, high = axes.get_ylim()
    assert low < floor.get_ydata()[0] < high


def crowded(result: RunResult, count: int) -> RunResult:
    """Return a run whose variants all have nearly the same accuracy and latency."""
    base = next(variant for variant in result.variants if variant.name == "onnx")
    variants = [
        base.model_copy(
            update={
                "name": f"variant-{number}",
                "efficiency": base.efficiency.model_copy(update={"latency_ratio": 0.2 + 0.01 * number}),
            }
        )
        for number in range(count)
    ]
    return result.model_copy(update={"variants": (result.variants[0], *variants)})


def name_boxes(figure: Figure) -> dict[str, object]:
    to_bytes(figure, "png")
    notes = [n for n in figure.axes[0].findobj(Annotation) if n.get_text() and "floor" not in n.get_text()]
    return {note.get_text(): Text.get_window_extent(note) for note in notes}


@pytest.mark.parametrize("count", [1, 7])
def test_names_in_the_accuracy_latency_picture_do_not_cover_each_other(result, count):
    boxes = list(name_boxes(accuracy_latency(crowded(result, count))).values())
    assert len(boxes) == count + 1
    for place, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[place + 1 :])


def test_a_picture_with_nothing_to_draw_is_left_out(result):
    bare = [variant for variant in result.variants if variant.state != "built"]
    assert set(run_figures(result.model_copy(update={"variants": tuple(bare)}))) == {"training"}


def test_a_class_may_have_any_name(result, worst):
    accuracy = worst.evaluation.accuracy
    names = ("$x^$", "</text><script>", "日本語", *(m.label for m in accuracy.per_class[3:]))
    per_class = tuple(
        metrics.model_copy(update={"label": name})
        for metrics, name in zip(accuracy.per_class, names, strict=True)
    )
    evaluation = worst.evaluation.model_copy(
        update={"accuracy": accuracy.model_copy(update={"per_class": per_class})}
    )
    svg = to_bytes(confusion_matrix("x", evaluation), "svg")
    assert b"<script" not in svg


def test_the_same_figure_gives_the_same_bytes(result):
    one, other = (to_bytes(accuracy_latency(result), "svg") for _ in range(2))
    assert one == other


def test_the_pareto_front_is_a_line_and_what_is_dominated_is_hollow(result):
    placed = pareto.place(result.variants, SelectionConfig())
    axes = accuracy_latency(result.model_copy(update={"variants": placed})).axes[0]
    front = sorted((v.efficiency.latency_ratio, v.metrics["accuracy/accuracy"]) for v in placed if v.on_front)
    assert len(front) > 1
    (line,) = [line for line in axes.lines if line.get_linestyle() == "-."]
    np.testing.assert_allclose(np.column_stack(line.get_data()), front)
    hollow = {
        float(points.get_offsets()[0, 0])
        for points in axes.collections
        if isinstance(points, PathCollection) and not len(points.get_facecolor())
    }
    assert hollow == {v.efficiency.latency_ratio for v in placed if v.dominated_by}
    assert hollow


def test_a_drop_from_the_champion_is_no_floor_of_the_picture(result):
    variant = result.variants[0]
    check = variant.verdict.checks[1].model_copy(update={"limit": 0.0, "against": "champion"})
    verdict = variant.verdict.model_copy(update={"checks": (check,)})
    alone = result.model_copy(update={"variants": (variant.model_copy(update={"verdict": verdict}),)})
    texts = [text.get_text() for text in accuracy_latency(alone).findobj(Text)]
    assert not any("floor" in text for text in texts)
