"""The strict reader of the reference accepts RFC 8259 with unique names and bounded numbers, and nothing else."""

from __future__ import annotations

import json
from random import Random

import pytest

from tests.policy import generate_json, strict_json
from tests.policy.generate import arbitrary_json, json_text, mutated

ACCEPTED = (
    b"null",
    b" [1, 2] \n",
    b'"\\ud83d\\ude00"',
    b"18446744073709551615",
    b"-9223372036854775808",
    b"-0",
    b"1e3",
    b"[" * 64 + b"]" * 64,
    b'{"a": {"a": 1}}',
)
REFUSED = (
    b"",
    b" ",
    b"NaN",
    b"-Infinity",
    b"1e999",
    b"18446744073709551616",
    b"-9223372036854775809",
    b"9" * 5000,
    b"01",
    b"1.",
    b".5",
    b"+1",
    b"[1,]",
    b'{"a": 1,}',
    b"{} {}",
    b"[1] x",
    b"'a'",
    b'"\t"',
    b'"\\x41"',
    b'"\\ud800"',
    b'"\xed\xa0\x80"',
    b'"\xc0\x80"',
    b"\xef\xbb\xbf1",
    b'{"a": 1, "a": 1}',
    b'{"a": 1, "\\u0061": 1}',
    b'[{"b": {"a": 1, "a": 1}}]',
    b"[" * 65 + b"]" * 65,
    b"[" * 100_000,
)


@pytest.mark.parametrize("text", ACCEPTED)
def test_accepts_and_agrees_with_the_standard_library(text: bytes) -> None:
    assert strict_json.parse(text) == json.loads(text)


@pytest.mark.parametrize("text", REFUSED)
def test_refuses(text: bytes) -> None:
    with pytest.raises(strict_json.StrictJsonError):
        strict_json.parse(text)


def test_is_never_more_lenient_than_the_standard_library() -> None:
    random = Random(11)
    accepted = 0
    for _ in range(20_000):
        text = mutated(random, json_text(random, arbitrary_json(random)))
        try:
            value = strict_json.parse(text)
        except strict_json.StrictJsonError:
            continue
        accepted += 1
        assert json.loads(text) == value
    assert accepted > 1000


def test_the_generated_texts_are_of_both_kinds() -> None:
    texts = [request.event.value for _, batch in generate_json.take(5, 1000) for request in batch if request.event]
    refused = 0
    for text in texts:
        try:
            strict_json.parse(text or b"")
        except strict_json.StrictJsonError:
            refused += 1
    assert 200 < refused < 800
