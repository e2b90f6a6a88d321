"""Records that are stored as an LZ4 block: the independent decoder reads exactly what the specification says."""

import contextlib
import json
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chio_fast.verify import lz4
from chio_fast.verify.errors import MalformedError
from tests.receipts import test_agreement as agreement
from tests.receipts.vectors import load

LOGS = {case["name"]: case for case in load("logs.json")["cases"]}
# (literals, distance, length) of each match; a distance is taken modulo what is there.
SEQUENCES = st.lists(st.tuples(st.binary(min_size=1, max_size=40), st.integers(0, 2**16), st.integers(4, 600)))

engine = agreement.engine


def length(nibble: int) -> tuple[int, bytes]:
    """Give the part of a length that the token holds, and the bytes that follow."""
    if nibble < 15:
        return nibble, b""
    return 15, bytes([255]) * ((nibble - 15) // 255) + bytes([(nibble - 15) % 255])


def sequence(literals: bytes, match: tuple[int, int] | None) -> bytes:
    """Write one sequence."""
    upper, more = length(len(literals))
    if match is None:
        return bytes([upper << 4]) + more + literals
    lower, rest = length(match[1] - 4)
    return bytes([upper << 4 | lower]) + more + literals + match[0].to_bytes(2, "little") + rest


@given(SEQUENCES, st.binary(max_size=40), st.data())
def test_a_block_says_what_copying_byte_by_byte_gives(sequences, last, data):
    block, raw = b"", bytearray()
    for literals, distance, count in sequences:
        raw += literals
        reach = distance % min(len(raw), 0xFFFF) + 1
        block += sequence(literals, (reach, count))
        for _ in range(count):
            raw.append(raw[-reach])
    block += sequence(last, None)
    raw += last
    assert lz4.decompress(block, len(raw)) == raw
    for wrong in (len(raw) + 1, len(raw) - 1):
        if wrong >= 0:
            with pytest.raises(MalformedError):
                lz4.decompress(block, wrong)
    with pytest.raises(MalformedError):
        lz4.decompress(block[: data.draw(st.integers(0, len(block) - 1))], len(raw))


@given(st.binary(max_size=60), st.integers(0, 300))
def test_any_bytes_are_a_block_of_the_stated_length_or_refused(block, raw_len):
    with contextlib.suppress(MalformedError):
        assert len(lz4.decompress(block, raw_len)) == raw_len


@pytest.mark.parametrize("seed", range(4))
def test_both_verifiers_say_the_same_of_a_damaged_block(engine, seed):
    rng = Random(seed)
    case = LOGS["LZ4 blocks beside uncompressed records"]
    trust = json.dumps(case["trust"]).encode()
    frame = bytes.fromhex(case["frames"][1])
    stored = int.from_bytes(frame[16:20], "little")
    found = 0
    for _ in range(200):
        changed = bytearray(frame)
        for _ in range(rng.randint(1, 3)):
            changed[96 + rng.randrange(stored)] = rng.choice([0, 1, 15, 16, 240, 255, rng.randrange(256)])
        independent = agreement.independent_log(bytes(changed), trust, partial=True)
        assert agreement.engine_log(engine, bytes(changed), trust, partial=True) == independent
        found += bool(independent["findings"])
    assert found > 150
