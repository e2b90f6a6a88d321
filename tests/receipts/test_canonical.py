"""Canonical JSON is that of RFC 8785, and what is no strict JSON is refused."""

import json
import math
import string

import pytest
import rfc8785
from hypothesis import example, given
from hypothesis import strategies as st

from chio_fast.verify import canonical
from chio_fast.verify.errors import MalformedError
from tests.receipts.vectors import load

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
SAFE = st.integers(-(2**53) + 1, 2**53 - 1)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | SAFE | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXTS, inner, max_size=5),
    max_leaves=20,
)


@given(VALUES)
def test_forms_are_those_of_another_implementation(value):
    assert canonical.dumps(value) == rfc8785.dumps(value)


@given(NUMBERS)
@example(-0.0)
@example(1e21)
@example(1e-7)
@example(5e-324)
@example(9007199254740994.0)
def test_doubles_are_those_of_another_implementation(number):
    assert canonical.dumps(number) == rfc8785.dumps(number)


@given(VALUES)
def test_reading_a_form_gives_its_value(value):
    form = canonical.dumps(value)
    assert canonical.dumps(canonical.loads(form)) == form
    assert canonical.loads(form) == json.loads(form)


@given(st.text(string.printable) | st.binary())
def test_what_is_read_is_json_for_the_standard_library_too(text):
    try:
        value = canonical.loads(text)
    except MalformedError:
        return
    assert json.loads(text) == value


def test_engine_forms_are_those_of_another_implementation():
    vectors = load("jcs.json")
    for case in vectors["valid"]:
        assert rfc8785.dumps(json.loads(case["input"])).decode() == case["canonical"]
        assert canonical.dumps(canonical.loads(case["input"])).decode() == case["canonical"]


def test_integers_beyond_a_double_are_written_in_full():
    for case in load("jcs.json")["integers_beyond_double"]:
        assert canonical.dumps(canonical.loads(case["input"])).decode() == case["canonical"] == case["input"]


@pytest.mark.parametrize("text", load("jcs.json")["invalid"])
def test_texts_without_a_form_are_refused(text):
    with pytest.raises(MalformedError):
        canonical.loads(text)


@pytest.mark.parametrize(
    "text",
    [
        b"\xff",
        b'"\xed\xa0\x80"',
        b"\xef\xbb\xbf1",
        b"-Infinity",
        b"[" * 65 + b"]" * 65,
        b"[" * 100_000,
        b"1" * 1025,
        b'{"a":{"b":1,"b":1}}',
    ],
)
def test_hostile_texts_are_refused(text):
    with pytest.raises(MalformedError):
        canonical.loads(text)


def test_nesting_of_64_is_read():
    assert canonical.dumps(canonical.loads("[" * 64 + "]" * 64)) == b"[" * 64 + b"]" * 64


def test_nan_has_no_form():
    with pytest.raises(ValueError, match="NaN"):
        canonical.dumps(math.nan)
