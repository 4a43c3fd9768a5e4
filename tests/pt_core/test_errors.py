from __future__ import annotations

import json

import pytest

from pt_core import errors
from pt_core.errors import MAX_DETAILS, IntegrityError, PtCoreError, StepFailed, error_from_dict

ALL = sorted(PtCoreError.__subclasses__(), key=lambda error: error.__name__)


def test_the_whole_tree_is_here() -> None:
    assert len(ALL) >= 10
    assert all(error.__module__ == errors.__name__ for error in ALL)


@pytest.mark.parametrize("error", ALL, ids=lambda error: error.__name__)
def test_every_error_crosses_json_as_itself(error: type[PtCoreError]) -> None:
    original = error("what, where", details=["one", "two"])
    again = error_from_dict(json.loads(json.dumps(original.to_dict())))
    assert type(again) is error
    assert (again.message, again.details, str(again)) == ("what, where", ("one", "two"), str(original))


def test_an_error_of_a_name_nobody_knows_is_a_failed_step() -> None:
    again = error_from_dict({"type": "Surprise", "message": "m", "details": ["d"]})
    assert type(again) is StepFailed
    assert again.details == ("d",)


@pytest.mark.parametrize("num_details", [0, 1, MAX_DETAILS, MAX_DETAILS + 1, 1000])
def test_a_message_shows_ten_details_and_counts_the_rest(num_details: int) -> None:
    error = IntegrityError("sentence", details=[f"detail {n}" for n in range(num_details)])
    lines = str(error).splitlines()
    assert lines[0] == "sentence"
    assert sum(line.startswith("  detail") for line in lines) == min(num_details, 10)
    assert (f"  ... and {num_details - 10} more" in lines) == (num_details > 10)
    assert len(error.details) == num_details


def test_exit_codes_are_those_of_the_manual() -> None:
    codes = {error.__name__: error.exit_code for error in ALL}
    assert {name for name, code in codes.items() if code == 2} == {
        "ConfigError",
        "DataError",
        "NotComparable",
        "PlanError",
    }
    assert {name for name, code in codes.items() if code == 3} == {"GateRefused"}
    assert {name for name, code in codes.items() if code == 4} == {"PromotionConflict"}
    assert set(codes.values()) == {1, 2, 3, 4}
