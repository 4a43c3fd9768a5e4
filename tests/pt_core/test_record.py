from __future__ import annotations

import hashlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, JsonValue, ValidationError

from pt_core.record import Record


class Point(Record):
    x: float
    """How far right."""
    labels: tuple[str, ...] = ()
    more: dict[str, JsonValue] = Field(default_factory=dict)


def test_equal_records_have_equal_bytes_whatever_the_order_they_were_written_in() -> None:
    first = Point(x=1, labels=("a",), more={"b": 1, "a": [None, True]})
    second = Point.from_json('{"more": {"a": [null, true], "b": 1}, "labels": ["a"], "x": 1.0}')
    assert first == second
    assert first.to_json() == second.to_json() == '{"labels":["a"],"more":{"a":[null,true],"b":1},"x":1.0}'


def test_the_content_digest_is_the_sha256_of_the_canonical_json() -> None:
    expected = hashlib.sha256(b'{"labels":[],"more":{},"x":0.5}').hexdigest()
    assert Point(x=0.5).content_digest() == expected


def test_a_typo_is_refused_with_its_name() -> None:
    with pytest.raises(ValidationError, match="lables"):
        Point.from_json('{"x": 1, "lables": []}')


def test_a_record_does_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Point(x=1).x = 2


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_undefined_is_none_and_never_nan(value: float) -> None:
    with pytest.raises(ValidationError, match="finite"):
        Point(x=value)
    with pytest.raises(ValueError, match=r"finite|JSON"):
        Point(x=1, more={"a": value}).to_json()


def test_the_docstring_of_a_field_is_its_help_text() -> None:
    assert Point.model_fields["x"].description == "How far right."


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.floats(allow_nan=False, allow_infinity=False),
    st.lists(st.text(), max_size=4),
    st.dictionaries(st.text(), json_values, max_size=4),
)
def test_json_keeps_every_record(x: float, labels: list[str], more: dict[str, JsonValue]) -> None:
    record = Point(x=x, labels=tuple(labels), more=more)
    again = Point.from_json(record.to_json())
    assert again == record
    assert again.to_json() == record.to_json()


def test_a_field_called_keys_is_refused_because_dict_would_call_it() -> None:
    with pytest.raises(TypeError, match=r"Ring\.keys"):
        type("Ring", (Record,), {"__annotations__": {"keys": str}})
