"""Whatever is changed in an export or a log, the independent verifier notices."""

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chio_fast.verify import VerifyError, load_trust, verify_export, verify_log
from tests.receipts.vectors import load, named

EXPORTS = load("exports.json")
# Every export is flipped by the engine's verifier; here one of each form, to keep the time within bounds.
FORMS = ("place 0 of 1", "place 2 of 4", "outcome committed", "withheld body")
CASES = [case for case in EXPORTS["cases"] if case["name"] in FORMS]
GOOD_LOG = load("logs.json")["cases"][0]


def flips_of_text(text: str) -> Iterator[str]:
    data = bytearray(text.encode())
    for bit in range(len(data) * 8):
        data[bit // 8] ^= 1 << bit % 8
        # What is no UTF-8 any more stands in the document as a lone surrogate, which is no text either.
        yield data.decode(errors="surrogateescape")
        data[bit // 8] ^= 1 << bit % 8


def flips_of_hex(text: str) -> Iterator[str]:
    number = int(text, 16)
    return (f"{number ^ 1 << bit:0{len(text)}x}" for bit in range(len(text) * 4))


def flips(proven: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for name in ("body", "checkpoint"):
        for flipped in flips_of_text(proven.get(name, "")):
            yield proven | {name: flipped}
    for name in ("leaf", "signature"):
        if name in proven:
            for flipped in flips_of_hex(proven[name]):
                yield proven | {name: flipped}
    for place, sibling in enumerate(proven["proof"]):
        for flipped in flips_of_hex(sibling):
            yield proven | {"proof": [*proven["proof"][:place], flipped, *proven["proof"][place + 1 :]]}


@pytest.mark.parametrize("case", **named(CASES))
def test_every_single_bit_flip_of_an_export_is_refused(case):
    trust = load_trust(json.dumps(EXPORTS["trust"]))
    export = case["export"]
    changed = [export | {"receipt": flipped} for flipped in flips(export["receipt"])]
    if "outcome" in export:
        changed += [export | {"outcome": flipped} for flipped in flips(export["outcome"])]
    assert len(changed) > 2000
    for document in changed:
        with pytest.raises(VerifyError):
            verify_export(json.dumps(document), trust)


def test_all_forms_of_exports_are_flipped():
    assert {case["name"] for case in CASES} == set(FORMS)


def test_every_flipped_byte_of_a_log_is_found():
    trust = load_trust(json.dumps(GOOD_LOG["trust"]))
    frame = bytes.fromhex(GOOD_LOG["frames"][0])
    for at in range(len(frame)):
        changed = frame[:at] + bytes([frame[at] ^ 1 << at % 8]) + frame[at + 1 :]
        assert not verify_log(changed, trust).ok, at


def test_members_that_are_missing_from_an_export_are_refused():
    trust = load_trust(json.dumps(EXPORTS["trust"]))
    export = CASES[0]["export"]
    for name in export["receipt"]:
        document = copy.deepcopy(export)
        del document["receipt"][name]
        with pytest.raises(VerifyError) as raised:
            verify_export(json.dumps(document), trust)
        assert raised.value.fault == "document"


@given(st.binary(max_size=300) | st.binary(max_size=300).map(lambda tail: b"CHF1" + tail))
def test_any_bytes_are_a_finding_never_a_crash(data):
    trust = load_trust(json.dumps(GOOD_LOG["trust"]))
    assert verify_log(data, trust).ok == (not data)
    with pytest.raises(VerifyError):
        verify_export(data, trust)


@given(st.data())
def test_a_good_log_with_changed_bytes_never_crashes_the_verifier(data):
    trust = load_trust(json.dumps(GOOD_LOG["trust"]))
    stream = bytearray(bytes.fromhex("".join(GOOD_LOG["frames"])))
    for at in data.draw(st.lists(st.integers(0, len(stream) - 1), min_size=1, max_size=4)):
        stream[at] = data.draw(st.integers(0, 255))
    verify_log(bytes(stream), trust)
