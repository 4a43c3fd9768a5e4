"""Champion against challenger: the same samples give an interval, anything less is said."""

from __future__ import annotations

import numpy as np
import pytest
from run_results import VARIANTS, make_evaluation, make_run_result

from pt_core.decision.assemble import flat_metrics
from pt_core.decision.challenge import between_runs, within_run
from pt_core.decision.drops import measure_drops
from pt_core.decision.result import ChampionResult
from pt_core.decision.tables import challenge_text, to_markdown
from pt_core.errors import NotComparable

NOISY = VARIANTS[5]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def result(home):
    return make_run_result(home)


@pytest.fixture(scope="module")
def later(result):
    """A run that chose the noisy variant."""
    return result.model_copy(update={"run_name": "later", "winner": "onnx-int8-dynamic"})


def champion_of(result, **changes):
    """Return the noisy variant as the champion that the run met."""
    noisy = next(v for v in result.variants if v.name == "onnx-int8-dynamic")
    found = ChampionResult(
        name="champion digits/3",
        model="digits",
        version="3",
        problem=None,
        artifact=noisy.artifact,
        evaluation=noisy.evaluation,
        efficiency=noisy.efficiency,
        metrics=flat_metrics(noisy),
    )
    return found.model_copy(update=changes)


def with_champion(result, champion):
    variants = tuple(
        v.model_copy(update={"drops": measure_drops(v, champion.measured)}) for v in result.variants
    )
    return result.model_copy(update={"champion": champion, "variants": variants})


def test_the_winner_of_a_run_meets_its_champion_on_the_same_samples(result):
    found = within_run(with_champion(result, champion_of(result)))
    right = {v.name: v.evaluation.accuracy.accuracy for v in result.variants if v.evaluation}
    gain = right["onnx"] - right["onnx-int8-dynamic"]
    assert gain > 0.01
    line = next(line for line in found.lines if line.metric == "accuracy/accuracy")
    assert line.difference == pytest.approx(gain)
    assert 0 < line.low < gain < line.high
    assert found.notes == ()
    assert found.sentence.startswith(f"onnx against champion digits/3: more accurate; accuracy {gain:+.4f} (")
    assert found.sentence.endswith("on the same 360 samples")
    speed = next(line for line in found.lines if line.metric == "efficiency/latency_ratio")
    assert (speed.champion, speed.challenger) == (0.34, 0.21)
    assert speed.low is None


def test_a_champion_that_could_not_be_measured_is_a_note_and_not_a_number(result):
    absent = champion_of(result, problem="its signature is not valid", evaluation=None, metrics={})
    found = within_run(with_champion(result, absent))
    assert found.accuracy_drop is None
    assert "accuracy cannot be compared; of the champion: its signature is not valid" in found.sentence
    assert all(line.difference is None for line in found.lines)


def test_without_a_champion_or_a_winner_there_is_nothing_to_compare(result, later):
    with pytest.raises(NotComparable, match="was compared with no champion; name two runs"):
        within_run(result)
    refused = result.model_copy(update={"winner": None})
    with pytest.raises(NotComparable, match="chose no variant"):
        between_runs(refused, later)


def test_the_winners_of_two_runs_are_paired_where_their_samples_are_the_same(result, later):
    worse, better = between_runs(result, later), between_runs(later, result)
    assert "less accurate" in worse.sentence
    assert "more accurate" in better.sentence
    assert worse.accuracy_drop.drop == pytest.approx(-better.accuracy_drop.drop)
    assert worse.challenger.variant == "onnx-int8-dynamic of later"
    assert "its own reference" in worse.notes[-1]
    assert "one and the same artifact" not in worse.sentence


def test_other_perturbations_do_not_hinder_the_clean_comparison(result, later, home):
    noisy = next(v for v in later.variants if v.name == later.winner)
    own = make_evaluation(home / "again", later.dataset, noisy.artifact, NOISY)
    other = noisy.model_copy(
        update={"evaluation": own.model_copy(update={"attacks_digest": "0" * 64, "dataset_digest": "1" * 64})}
    )
    moved = later.model_copy(update={"variants": (result.variants[0], other)})
    drop = between_runs(result, moved).accuracy_drop
    assert drop.drop == pytest.approx(between_runs(result, later).accuracy_drop.drop)
    assert np.isfinite([drop.low, drop.high]).all()


def test_other_samples_and_machines_are_said_and_no_interval_is_given(result, later):
    dataset = later.dataset.model_copy(update={"fingerprint": "e" * 64})
    environment = later.checkpoint.environment.model_copy(update={"cpu_model": "another"})
    checkpoint = later.checkpoint.model_copy(update={"environment": environment})
    found = between_runs(result, later.model_copy(update={"dataset": dataset, "checkpoint": checkpoint}))
    assert found.accuracy_drop is None
    assert "accuracy cannot be compared; the runs rest on different test samples" in found.sentence
    assert any("different machines" in note for note in found.notes)
    assert all(line.low is None for line in found.lines)


def test_an_evaluation_that_is_gone_is_a_note(result, later):
    noisy = next(v for v in later.variants if v.name == later.winner)
    lost = noisy.model_copy(
        update={"evaluation": noisy.evaluation.model_copy(update={"directory": "/nowhere/evaluation"})}
    )
    found = between_runs(result, later.model_copy(update={"variants": (result.variants[0], lost)}))
    assert found.accuracy_drop is None
    assert "cannot be read again" in found.notes[0]


def test_the_markdown_table_has_the_interval_beside_the_difference(result, later):
    text = to_markdown(challenge_text(between_runs(result, later)))
    (line,) = [line for line in text.splitlines() if "`accuracy/accuracy`" in line]
    assert line.count("|") == 5
    assert " to " in line
