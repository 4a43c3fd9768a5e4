"""What may be removed is never what an alias, a kept run or a promotion rests on: against an oracle of plain numbers."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flows.retention import ORPHAN_AGE_S, choose, marks_in, stored_bundles, stored_runs

NOW = 2_000_000_000.0
NUM_BUNDLES = 12


def digest(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def write_bundle(folder: Path, number: int, parents: list[int], *, age_s: float = 0.0) -> Path:
    path = folder / f"thing-{digest(number)[:12]}"
    path.mkdir(parents=True)
    (path / "manifest.json").write_text(json.dumps({"info": {"parents": [digest(one) for one in parents]}}))
    os.utime(path, (NOW - age_s, NOW - age_s))
    return path


def write_run(folder: Path, name: str, pipeline: str, started_at: str, uses: list[int]) -> None:
    (folder / name).mkdir(parents=True)
    named = [{"directory": f"/store/thing-{digest(one)[:12]}", "digest": digest(one)} for one in uses]
    told = {"pipeline": pipeline, "started_at": started_at, "mlflow_run_id": name, "variants": named}
    (folder / name / "run.json").write_text(json.dumps(told))


@st.composite
def homes(draw: st.DrawFn) -> dict[str, object]:
    numbers = st.integers(0, NUM_BUNDLES - 1)
    parents = [
        sorted(draw(st.sets(st.integers(0, number - 1), max_size=2))) if number else []
        for number in range(NUM_BUNDLES)
    ]
    num_runs = draw(st.integers(0, 7))
    runs = [
        (draw(st.sampled_from("ab")), sorted(draw(st.sets(numbers, max_size=3)))) for _ in range(num_runs)
    ]
    return {
        "parents": parents,
        "old": draw(st.sets(numbers)),
        "runs": runs,
        "held": draw(st.sets(st.integers(0, num_runs - 1))) if num_runs else set(),
        "aliased": draw(st.sets(numbers, max_size=2)),
        "keep_last": draw(st.integers(1, 4)),
    }


def expected(home: dict) -> tuple[set[int], set[int]]:
    """Return the runs and the bundles that go, from the numbers alone."""
    runs = home["runs"]
    staying = set(home["held"])
    for pipeline in "ab":
        own = [number for number, (name, _) in enumerate(runs) if name == pipeline]
        staying |= set(own[-home["keep_last"] :])
    needed = set(home["aliased"]) | {one for number in staying for one in runs[number][1]}
    # Parents have smaller numbers than what was made from them, so one pass from the top visits all.
    for number in reversed(range(NUM_BUNDLES)):
        if number in needed:
            needed |= set(home["parents"][number])
    going = set(range(len(runs))) - staying
    named_by_gone = {one for number in going for one in runs[number][1]}
    return going, {
        one
        for one in range(NUM_BUNDLES)
        if one not in needed and (one in named_by_gone or one in home["old"])
    }


def check_home(folder: Path, home: dict) -> None:
    store = folder / "store"
    for number in range(NUM_BUNDLES):
        write_bundle(
            store, number, home["parents"][number], age_s=ORPHAN_AGE_S + 60 if number in home["old"] else 0
        )
    for number, (pipeline, uses) in enumerate(home["runs"]):
        write_run(folder / "runs", f"run-{number}", pipeline, f"2026-01-{number + 1:02}T00:00:00+00:00", uses)
    choice = choose(
        stored_runs(folder / "runs"),
        stored_bundles(store),
        keep_last=home["keep_last"],
        held={f"run-{number}": "in use" for number in home["held"]},
        held_marks=marks_in(" ".join(digest(one) for one in home["aliased"])),
        now=NOW,
    )
    runs, bundles = expected(home)
    assert {run.name for run in choice.runs} == {f"run-{number}" for number in runs}
    assert {bundle.mark for bundle in choice.bundles} == {digest(number)[:12] for number in bundles}


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(home=homes())
def test_what_is_needed_stays_and_the_rest_goes(home: dict, tmp_path_factory: pytest.TempPathFactory) -> None:
    check_home(tmp_path_factory.mktemp("home"), home)


@pytest.mark.campaign
@settings(max_examples=3000, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(home=homes())
def test_what_is_needed_stays_in_thousands_of_homes(
    home: dict, tmp_path_factory: pytest.TempPathFactory
) -> None:
    check_home(tmp_path_factory.mktemp("home"), home)


def test_a_run_whose_result_cannot_be_read_stays_with_all_that_it_names(tmp_path: Path) -> None:
    write_bundle(tmp_path / "store", 1, [], age_s=ORPHAN_AGE_S + 60)
    write_bundle(tmp_path / "store", 2, [], age_s=ORPHAN_AGE_S + 60)
    torn = tmp_path / "runs" / "torn"
    torn.mkdir(parents=True)
    (torn / "run.json").write_text(f'{{"pipeline": "a", "checkpoint": "{digest(1)}", "vari')
    choice = choose(
        stored_runs(tmp_path / "runs"),
        stored_bundles(tmp_path / "store"),
        keep_last=1,
        held={},
        held_marks=frozenset(),
        now=NOW,
    )
    assert choice.runs == ()
    assert [bundle.mark for bundle in choice.bundles] == [digest(2)[:12]]
    assert choice.kept == {"torn": "its result cannot be read"}


def test_what_is_no_bundle_is_never_chosen(tmp_path: Path) -> None:
    store = tmp_path / "store"
    for name in (".staging-1-abc", "notes", f"thing-{digest(1)[:12]}.damaged-0a1b2c3d", "thing-XYZ"):
        (store / name).mkdir(parents=True)
    (store / f"file-{digest(2)[:12]}").write_text("")
    (store / f"link-{digest(3)[:12]}").symlink_to(tmp_path)
    assert stored_bundles(store) == ()
    assert stored_bundles(tmp_path / "none") == ()


def test_a_release_that_was_fetched_is_known_by_its_whole_digest(tmp_path: Path) -> None:
    (tmp_path / digest(4)).mkdir()
    (found,) = stored_bundles(tmp_path)
    assert found.mark == digest(4)[:12]


def test_digests_are_found_in_names_addresses_and_sentences() -> None:
    one, two, three = digest(1), digest(2), digest(3)
    text = f'{{"a":"/home/x/store/onnx-int8-{one[:12]}/","b":"{two}"}} see {three[:12]}, not {three[:11]}'
    commit = hashlib.sha1(b"a commit").hexdigest()
    assert marks_in(f"{text} at {commit} or {commit[:13]}") == {one[:12], two[:12], three[:12]}


class Moving(type(Path())):  # type: ignore[misc]
    """A folder whose content another removal moves away when it was found and before it is read."""

    def glob(self, pattern: str) -> Iterator[Path]:
        found = list(super().glob(pattern))
        shutil.rmtree(self)
        return iter(found)

    def is_symlink(self) -> bool:
        is_link = super().is_symlink()
        shutil.rmtree(self)
        return is_link


def test_what_another_removal_moves_away_meanwhile_is_no_longer_stored(tmp_path: Path) -> None:
    write_run(tmp_path / "runs", "old", "a", "2026-01-01", [1])
    write_bundle(tmp_path / "store", 1, [])
    assert len(stored_runs(tmp_path / "runs")) == len(stored_bundles(tmp_path / "store")) == 1
    assert stored_runs(Moving(tmp_path / "runs")) == ()
    assert stored_bundles(Moving(tmp_path / "store")) == ()
