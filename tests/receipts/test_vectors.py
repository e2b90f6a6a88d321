"""The independent verifier gives what the test vectors say; the engine's verifier is held to the same files."""

import dataclasses
import json

import pytest
from blake3 import blake3

from chio_fast.verify import VerifyError, canonical, hashing, load_trust, records, verify_export, verify_log
from chio_fast.verify.errors import MalformedError
from tests.receipts.vectors import load, named

EXPORTS = load("exports.json")
FAULTS = load("faults.json")
LOGS = load("logs.json")


@pytest.mark.parametrize("case", **named(EXPORTS["cases"]))
def test_good_exports_verify_with_their_state(case):
    trust = load_trust(json.dumps(case.get("trust", EXPORTS["trust"])))
    verified = verify_export(json.dumps(case["export"]), trust)
    assert (verified.state, verified.id, verified.seq, verified.issuer) == (
        case["state"],
        case["id"],
        case["seq"],
        case["issuer"],
    )


@pytest.mark.parametrize("case", **named(FAULTS["cases"]))
def test_bad_exports_are_refused_for_the_stated_fault(case):
    with pytest.raises(VerifyError) as raised:
        verify_export(json.dumps(case["export"]), load_trust(json.dumps(FAULTS["trust"])))
    assert raised.value.fault == case["fault"], raised.value.detail


@pytest.mark.parametrize("case", **named(LOGS["cases"]))
def test_logs_have_the_stated_findings_and_counts(case):
    report = verify_log(bytes.fromhex("".join(case["frames"])), load_trust(json.dumps(case["trust"])))
    assert [[finding.frame, finding.fault] for finding in report.findings] == case["findings"]
    counts = dataclasses.asdict(report)
    assert {name: counts[name] for name in case["report"]} == case["report"]
    assert report.ok == (not case["findings"])


@pytest.mark.parametrize("case", **named(load("signatures.json")["cases"]))
def test_signature_edge_cases(case):
    public_key, digest, signature = (
        bytes.fromhex(case[name]) for name in ("public_key", "checkpoint_hash", "signature")
    )
    assert hashing.signature_holds(public_key, digest, signature) == case["valid"]


def test_ids_have_one_spelling():
    vectors = load("ids.json")
    for case in vectors["valid"]:
        value = records.receipt_id(case["id"])
        assert value == int(case["hex"], 16)
        assert (value >> 80, value >> 48 & 0xFFFF_FFFF, value & (1 << 48) - 1) == (
            case["ms"],
            case["tag"],
            case["counter"],
        )
    for text in vectors["invalid"]:
        with pytest.raises(MalformedError):
            records.receipt_id(text)
    for case in vectors["tags"]:
        assert hashing.id_tag(case["issuer"], case["epoch"]) == case["tag"]


def test_trees_have_the_shape_of_rfc_6962():
    for case in load("trees.json")["cases"]:
        leaves = [hashing.leaf(str(i).encode()) for i in range(case["count"])]
        assert hashing.root(leaves).hex() == case["root"]
        proof = [bytes.fromhex(sibling) for sibling in case["proof"]]
        index, count = case["index"], case["count"]
        assert hashing.root_of_proof(leaves[index], index, count, proof) == hashing.root(leaves)
        assert hashing.root_of_proof(leaves[index], index, count, [*proof, bytes(32)]) is None
        assert not proof or hashing.root_of_proof(leaves[index], index, count, proof[:-1]) is None


def test_partition_and_request_keys():
    vectors = load("keys.json")
    for case in vectors["requests"]:
        names = ("cluster", "topic_id", "group", "identity", "topic")
        pieces = [case[name].encode() for name in names] + [case["partition"].to_bytes(4, "little", signed=True)]
        partition_key = hashing.parts(hashing.PARTITION, pieces)[:16]
        assert partition_key.hex() == case["partition_key"]
        request = hashing.parts(hashing.REQUEST, [partition_key, case["offset"].to_bytes(8, "little", signed=True)])
        assert request[:16].hex() == case["request_key"]
    assert hashing.key_id(bytes.fromhex(vectors["key_id"]["public_key"])).hex() == vectors["key_id"]["key_id"]


def test_digests_follow_from_their_specification():
    def sized(data: bytes) -> bytes:
        return len(data).to_bytes(8, "little") + data

    def optional(text: str | None) -> bytes:
        return b"\0" if text is None else b"\1" + sized(bytes.fromhex(text))

    def digest(encoded: bytes, key: str | None) -> str:
        padded = encoded + bytes(-len(encoded) % 64)
        return blake3(padded, key=bytes.fromhex(key)).hexdigest() if key else blake3(padded).hexdigest()

    vectors = load("digests.json")
    for case in vectors["events"]:
        encoded = b"\1" + optional(case["key"]) + len(case["headers"]).to_bytes(4, "little")
        for name, value in case["headers"]:
            encoded += sized(name.encode()) + optional(value)
        assert digest(encoded + optional(case["value"]), case["digest_key"]) == case["digest"]
    for case in vectors["arguments"]:
        text = canonical.dumps(canonical.loads(case["json"]))
        assert digest(b"\2" + sized(text), None) == case["digest"]
    assert hashing.keyed(hashing.DIGEST_KEY, bytes([5] * 32))[:16].hex() == vectors["digest_key_id"]
