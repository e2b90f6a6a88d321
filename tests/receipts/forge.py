"""Makes receipts, exports, logs and trust files that are signed, and wrong in every way that one can think of."""

import copy
import json
import zlib
from random import Random
from typing import Any

from nacl.signing import SigningKey

from chio_fast.verify import canonical, hashing

KEYS = [SigningKey(bytes([seed]) * 32) for seed in (1, 2, 3)]
ISSUERS = ["worker@5f2d8a3c", "other@5f2d8a3c", "worker@", "w"]
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"

HEX = ["ab" * 32, "AB" * 32, "ab" * 16, "0" * 64, "", "g" * 64]
TEXTS = [
    *("", "a", 'quote"', "back\\slash", "\n", "\x7f", "\u2028", "ü", "😀"),
    *("x" * 1024, "x" * 1025, "ü" * 512, "ü" * 513),
]
NUMBERS = [0, 1, -1, 2**31 - 1, 2**31, 2**53 - 1, 2**53, 2**64 - 1, 2**64, 1.0, 0.5, 1e300, -0.0]
SPELLED = ["01", "1e3", "-1", "9" * 30, *map(str, (0, 1, 2**53 - 1, 2**53, 2**64 - 1, 2**64))]
WORDS = [
    *("allow", "deny", "escalate", "delay", "error", "timeout", "Allow", "consume", "invoke", "produce", "override"),
    *("effect", "rollback", "outcome", "committed", "rolled_back", "unknown", "recorded", "transaction", "attempt"),
    *("full", "relaxed", "before_commit", "before_action"),
]
ODD: list[Any] = [*TEXTS, *NUMBERS, *SPELLED, *WORDS, *HEX, None, True, [], {}, [[]]]
NAMES = [
    *(
        "v",
        "id",
        "seq",
        "time",
        "kind",
        "scope",
        "verdict",
        "target",
        "tool",
        "topic",
        "partition",
        "offset",
        "request",
    ),
    *("batch", "outcome", "issuer", "group", "mode", "transactional_id", "attestation", "digest_key", "shown", "error"),
    *("errors", "errors_omitted", "guards", "guards_omitted", "parents", "parents_rejected", "rollback", "evidence"),
    *("duration_ms", "contradicts", "correlation", "x", ""),
]


def rarely(rng: Random, one_in: int) -> bool:
    """Be true once in so many times."""
    return rng.randrange(one_in) == 0


def spell_id(ms: int, tag: int, counter: int) -> str:
    """Spell a receipt id."""
    number = ms << 80 | tag << 48 | counter
    return "rcpt_" + "".join(_ALPHABET[number >> shift & 31] for shift in range(125, -1, -5))


def integer(number: int) -> int | str:
    """Spell an integer as records do."""
    return number if number <= canonical.MAX_SAFE else str(number)


def receipt(issuer: str, epoch: int, seq: int, counter: int) -> dict[str, Any]:
    """Give the members of a receipt."""
    return {
        "id": spell_id(1_790_000_000_000, hashing.id_tag(issuer, epoch), counter),
        "identity": "agents",
        "kind": "consume",
        "request": "chio-kafka-orders-3-7",
        "scope": "events:consume:orders",
        "seq": integer(seq),
        "target": {"offset": 7, "partition": 3, "topic": "orders"},
        "time": 1_790_000_000_000,
        "v": 1,
        "verdict": "allow",
    }


def outcome(issuer: str, epoch: int, seq: int, counter: int, batch: bytes, of: str) -> dict[str, Any]:
    """Give the members of an outcome record."""
    return {
        "batch": batch.hex(),
        "id": spell_id(1_790_000_000_000, hashing.id_tag(issuer, epoch), counter),
        "issuer": of,
        "kind": "outcome",
        "outcome": "committed",
        "seq": integer(seq),
        "time": 1_790_000_000_000,
        "v": 1,
    }


def checkpoint(issuer: str, key: SigningKey, leaves: list[bytes], **members: Any) -> dict[str, Any]:
    """Give the members of a checkpoint over these leaves."""
    return {
        "count": len(leaves),
        "durability": "full",
        "epoch": 0,
        "first_seq": 0,
        "issuer": issuer,
        "key_id": hashing.key_id(bytes(key.verify_key)).hex(),
        "mode": "recorded",
        "policy_version": "07" * 32,
        "previous": "00" * 32,
        "root": hashing.root(leaves).hex(),
        "running_count": len(leaves),
        "time": 1_790_000_000_000,
        "v": 1,
    } | members


def sign(key: SigningKey, text: bytes) -> bytes:
    """Sign a checkpoint."""
    return key.sign(hashing.SIGNATURE_PREFIX + hashing.keyed(hashing.CHECKPOINT, text)).signature


def proof(leaves: list[bytes], index: int) -> list[bytes]:
    """Give the audit path (RFC 6962, section 2.1.1)."""
    if len(leaves) == 1:
        return []
    split = 1 << ((len(leaves) - 1).bit_length() - 1)
    if index < split:
        return [*proof(leaves[:split], index), hashing.root(leaves[split:])]
    return [*proof(leaves[split:], index - split), hashing.root(leaves[:split])]


def frame(
    bodies: list[bytes | None], leaves: list[bytes], signature: bytes, text: bytes, extra: bytes, *, packed: bool
) -> bytes:
    """Give a batch as bytes; a body of None is withheld."""
    table = b"".join((1 << 31 if body is None else len(body)).to_bytes(4, "little") for body in bodies)
    pairs = zip(bodies, leaves, strict=True)
    padded = [leaf if body is None else body + b" " * (-len(body) % 64) for body, leaf in pairs]
    records = table + b"".join(padded)
    stored = zlib.compress(records) if packed else records
    lengths = [len(stored), len(records), len(text), len(extra)]
    fields = [packed, 96 + len(stored) + len(text) + len(extra), len(bodies), *lengths]
    return b"CHF1" + b"".join(int(n).to_bytes(4, "little") for n in fields) + signature + stored + text + extra


def damage_members(rng: Random, value: Any) -> Any:
    """Change a few members anywhere in a JSON value."""
    value = json.loads(json.dumps(value))
    for _ in range(rng.randint(0, 2)):
        places = [value] if isinstance(value, dict) else []
        places += [inner for inner in (value.values() if places else []) if isinstance(inner, dict)]
        if not places:
            break
        place = rng.choice(places)
        how = rng.randint(0, 3)
        if how == 0 and place:
            del place[rng.choice(sorted(place))]
        elif how == 1 and place:
            place[rng.choice(sorted(place))] = copy.deepcopy(rng.choice(ODD))
        else:
            place[rng.choice(NAMES)] = copy.deepcopy(rng.choice(ODD))
    return value


def damage_text(rng: Random, text: bytes) -> bytes:
    """Spell a JSON text otherwise, or change some of its bytes."""
    how = rng.randint(0, 11)
    at = rng.randint(0, len(text))
    if how == 0:
        stray = rng.choice([b" ", b"\n", b",", b"}", b'"', b"\\", b"\xff", b"\0", b"0", b"-"])
        return text[:at] + stray + text[at:]
    if how == 1:
        return text[:at] + text[at + 1 :]
    if how == 2 and at < len(text):
        return text[:at] + bytes([text[at] ^ 1 << rng.randint(0, 7)]) + text[at + 1 :]
    if how == 3:
        return json.dumps(json.loads(text), ensure_ascii=rng.choice([False, True])).encode()
    if how == 4:
        return b"\xef\xbb\xbf" + text
    if how == 5 and text.startswith(b"{"):
        return b'{"v":1,' + text[1:]
    return text


def render(rng: Random, members: dict[str, Any]) -> bytes:
    """Spell members, mostly in canonical form, mostly undamaged."""
    if not rarely(rng, 6):
        return canonical.dumps(members)
    return damage_text(rng, canonical.dumps(damage_members(rng, members)))


def document(rng: Random, value: Any) -> bytes:
    """Spell a document that need not be canonical, mostly undamaged."""
    if rarely(rng, 25):
        value = damage_members(rng, value)
    text = json.dumps(value).encode()
    return damage_text(rng, text) if rarely(rng, 25) else text


# Most keys may sign for everybody, so that what follows is reached.
PATTERNS = [["*"]] * 9 + [["worker@*"], ["worker@5f2d8a3c"], ["w", "other@*"], []]


def trust(rng: Random, heads: list[tuple[str, bytes]]) -> bytes:
    """Spell a trust file; ``heads`` are (issuer, checkpoint hash) that it may know."""
    keys = []
    for key in KEYS[: rng.choice([3, 3, 3, 3, 2, 1])]:
        item: dict[str, Any] = {
            "public_key": bytes(key.verify_key).hex(),
            "issuers": rng.choice(PATTERNS),
            "status": rng.choice(["active", "active", "active", "retired", "compromised"]),
        }
        for name in ("not_before", "not_after"):
            if rarely(rng, 8):
                item[name] = rng.choice([0, 1_789_999_999_999, 1_790_000_000_000, 1_790_000_000_001, None])
        if item["status"] == "retired":
            item["not_after"] = 1_790_000_000_000
        if rarely(rng, 3) and heads:
            known = dict(rng.sample(heads, min(len(heads), rng.randint(1, 2))))
            item["last_checkpoints"] = [{"issuer": issuer, "hash": head.hex()} for issuer, head in known.items()]
        keys.append(item)
    return document(rng, {"v": 1, "keys": keys})
