"""Runs over time: one row a run, and a note wherever numbers do not hang on the same thing as before."""

from __future__ import annotations

import pytest

from pt_core.decision.history import over_time
from pt_core.decision.tables import history_text, to_csv, to_markdown
from pt_core.errors import NotComparable


def at(result, day, *, fingerprint=None, machine=None, pipeline=None):
    """Return the run as if it had started on a day of January, on other samples or another machine."""
    dataset = result.dataset.model_copy(update={"fingerprint": fingerprint or result.dataset.fingerprint})
    environment = result.checkpoint.environment.model_copy(update={"cpu_model": machine or "cpu"})
    return result.model_copy(
        update={
            "started_at": f"2026-01-{day:02d}T00:00:00Z",
            "dataset": dataset,
            "checkpoint": result.checkpoint.model_copy(update={"environment": environment}),
            "pipeline": pipeline or result.pipeline,
        }
    )


@pytest.fixture
def runs(run, variant):
    """Three runs, given in the wrong order; the last rests on other samples and chose nothing."""
    torch, onnx = variant("torch"), variant("onnx", accuracy=0.97, ratio=0.5, size=512, steps=("onnx",))
    return [
        at(run(torch, onnx, name="second", winner="onnx"), 2),
        at(run(torch, name="third"), 3, fingerprint="e" * 64),
        at(run(torch, name="first", winner="torch"), 1),
    ]


def test_runs_stand_in_the_order_of_their_start_with_the_winner_s_numbers(runs):
    first, second, third = over_time(runs)
    assert [row.run for row in (first, second, third)] == ["first", "second", "third"]
    assert (second.winner, second.accuracy, second.reference_accuracy) == ("onnx", 0.97, 0.98)
    assert (second.latency_ratio, second.size_bytes, second.reference_size_bytes) == (0.5, 512, 1000)
    assert (second.num_passed, second.num_variants) == (2, 2)
    assert (third.winner, third.accuracy, third.latency_ratio, third.size_bytes) == (None,) * 4
    assert third.reference_accuracy == 0.98


def test_other_samples_are_said_and_equal_ones_share_a_letter_even_after_others(runs):
    back = at(runs[0].model_copy(update={"run_name": "fourth"}), 4)
    rows = over_time([*runs, back])
    assert [row.samples for row in rows] == ["A", "A", "B", "A"]
    assert [bool(row.note) for row in rows] == [False, False, True, True]
    assert rows[2].note == "other test samples (1 of A, now 1 of B): accuracy is not comparable"


def test_another_split_of_the_same_data_is_other_samples(runs):
    dataset = runs[0].dataset
    splits = tuple(split.model_copy(update={"ids_sha256": "other"}) for split in dataset.splits)
    other = runs[0].model_copy(update={"dataset": dataset.model_copy(update={"splits": splits})})
    assert [row.samples for row in over_time([runs[2], other])] == ["A", "B"]


def test_another_machine_is_said_since_speed_hangs_on_it(runs):
    moved = at(runs[0], 5, machine="a faster one")
    assert over_time([runs[2], moved])[1].note == (
        "another machine (cpu, now a faster one): speed is not comparable"
    )


def test_runs_of_two_pipelines_have_no_history(runs):
    with pytest.raises(NotComparable, match="runs of 2 pipelines") as caught:
        over_time([runs[0], at(runs[1], 3, pipeline="other")])
    assert caught.value.details == ("second: pipeline p", "third: pipeline other")


def test_more_than_26_sets_of_samples_keep_letters_of_their_own(run, variant):
    runs = [
        at(run(variant("torch"), name=f"r{day:02d}"), day, fingerprint=f"{day:064d}") for day in range(1, 29)
    ]
    letters = [row.samples for row in over_time(runs)]
    assert len(set(letters)) == 28
    assert letters[25:] == ["Z", "A1", "B1"]


def test_the_tables_have_a_line_a_run(runs):
    rows = over_time(runs)
    lines = to_markdown(history_text(rows)).splitlines()
    assert len(lines) == 2 + 3
    assert "| 0.50 (0.49 to 0.51) |" in lines[3]
    assert "| none | - | 0.9800 |" in lines[4]
    header, *data = to_csv(rows).splitlines()
    assert header.startswith("run,started_at,winner,")
    assert len(data) == 3
    assert to_csv(()) == ""
