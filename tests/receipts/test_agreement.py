"""The engine's verifier and the independent one say the same about everything, right or wrong.

Forged documents carry good signatures wherever that is drawn, so that what is compared is more than the signature check.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chio_fast.verify import TrustError, VerifyError, canonical, hashing, load_trust, verify_export, verify_log
from tests.receipts import forge
from tests.receipts.vectors import load

ROOT = Path(__file__).parents[2]
ROUNDS = settings(
    max_examples=int(os.environ.get("CHIO_AGREEMENT_ROUNDS", "1000")),
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


class Engine:
    """The engine's verifier, as a process that answers line by line."""

    def __init__(self) -> None:
        cargo = shutil.which("cargo")
        if cargo is None:
            pytest.fail("cargo is not installed: the engine's verifier is compared from an example of `chio-receipts`")
        build = [cargo, "build", "--quiet", "--locked", "-p", "chio-receipts", "--example", "verdicts"]
        subprocess.run([*build, "--message-format=short"], cwd=ROOT, check=True)
        target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
        self._process = subprocess.Popen(
            [target / "debug" / "examples" / "verdicts"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def ask(self, **question: Any) -> Any:
        """Ask one question; texts are bytes."""
        pipe, answers = self._process.stdin, self._process.stdout
        assert pipe is not None
        assert answers is not None
        spelled = {name: value.hex() if isinstance(value, bytes) else value for name, value in question.items()}
        pipe.write(json.dumps(spelled).encode() + b"\n")
        pipe.flush()
        return json.loads(answers.readline())

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    engine = Engine()
    yield engine
    engine.close()


def independent_export(export: bytes, trust: bytes) -> Any:
    try:
        loaded = load_trust(trust.decode("utf-8", "surrogateescape"))
    except TrustError:
        return "trust"
    try:
        verified = verify_export(export, loaded)
    except VerifyError as error:
        return error.fault
    return [verified.id, verified.issuer, verified.epoch, verified.seq, verified.checkpoint_hash.hex(), verified.state]


def engine_export(engine: Engine, export: bytes, trust: bytes) -> Any:
    answer = engine.ask(export=export, trust=trust)
    if "trust" in answer:
        return "trust"
    names = ("id", "issuer", "epoch", "seq", "checkpoint_hash", "state")
    return answer.get("fault") or [answer[name] for name in names]


def independent_log(log: bytes, trust: bytes, *, partial: bool) -> Any:
    try:
        loaded = load_trust(trust.decode("utf-8", "surrogateescape"))
    except TrustError:
        return "trust"
    report = verify_log(log, loaded, partial=partial)
    return {
        "findings": [[f.frame, f.fault, f.issuer, f.epoch, f.seq] for f in report.findings],
        "issuers": [[i.issuer, i.epoch, i.batches, i.running_count, i.head] for i in report.issuers],
        "frames": report.frames,
        "receipts": report.receipts,
        "outcomes": report.outcomes,
        "outcomes_elsewhere": report.outcomes_elsewhere,
        "withheld": report.withheld,
        "transactions": report.transactions,
        "unresolved": report.unresolved,
        "found": report.found,
    }


def engine_log(engine: Engine, log: bytes, trust: bytes, *, partial: bool) -> Any:
    answer = engine.ask(log=log, trust=trust, partial=partial)
    return "trust" if "trust" in answer else answer


def batch(draw: forge.Draw, issuer: str, members: dict[str, Any], records: list[dict[str, Any]]) -> dict[str, Any]:
    """Sign a batch of these records, each perhaps damaged; gives its parts."""
    bodies = [forge.render(draw, record) for record in records]
    leaves = [hashing.leaf(body) for body in bodies]
    key = draw(st.sampled_from([forge.KEYS[0], forge.KEYS[0], forge.KEYS[1]]))
    attestation = b""
    if draw(st.integers(0, 5)) == 0:
        attestation = draw(st.sampled_from([b"{}", b"1", b"[-0]", b"{ }", b"[1.0]", b"[1e3]", b"[1e-400]", b'{"a":-0.0}']))
        members = members | {"attestation": hashing.keyed(hashing.ATTESTATION, attestation).hex()}
    if draw(st.integers(0, 7)) == 0:
        members = members | {"mode": "transaction", "group": "g", "transactional_id": "t"}
    text = forge.render(draw, forge.checkpoint(issuer, key, leaves, **members))
    signer = forge.KEYS[2] if draw(st.integers(0, 15)) == 0 else key
    hidden = [None if draw(st.integers(0, 7)) == 0 else body for body in bodies]
    return {
        "bodies": hidden,
        "leaves": leaves,
        "checkpoint": text,
        "signature": forge.sign(signer, text),
        "attestation": attestation if draw(st.integers(0, 7)) else draw(st.sampled_from([b"", b"{}", b"x"])),
        "hash": hashing.keyed(hashing.CHECKPOINT, text),
    }


def proven(draw: forge.Draw, made: dict[str, Any], index: int) -> dict[str, Any]:
    """Give one record of a batch with its proof."""
    body = made["bodies"][index]
    wrong = draw(st.integers(0, 15))
    path = [node.hex() for node in forge.proof(made["leaves"], index)]
    item: dict[str, Any] = {
        "index": index if wrong else draw(st.sampled_from([0, 1, 2**32, 2**64 - 1, 2**64])),
        "proof": path if wrong != 1 else draw(st.sampled_from([[], path[1:], [*path, "00" * 32], path[::-1]])),
        "checkpoint": made["checkpoint"].decode("utf-8", "surrogateescape"),
        "signature": made["signature"].hex(),
    }
    if body is None:
        item["leaf"] = made["leaves"][index].hex()
    else:
        item["body"] = body.decode("utf-8", "surrogateescape")
    if made["attestation"]:
        item["attestation"] = made["attestation"].decode()
    return item


@st.composite
def exports(draw: forge.Draw) -> tuple[bytes, bytes]:
    issuer = draw(st.sampled_from(forge.ISSUERS))
    count = draw(st.integers(1, 5))
    first = draw(st.sampled_from([0, 3, 2**53 - 1]))
    place = {"first_seq": first, "running_count": first + count, "epoch": draw(st.sampled_from([0, 1]))}
    made = batch(draw, issuer, place, [forge.receipt(issuer, place["epoch"], first + n, n) for n in range(count)])
    document: dict[str, Any] = {"v": 1, "receipt": proven(draw, made, draw(st.integers(0, count - 1)))}
    heads = [(issuer, made["hash"])]
    if draw(st.booleans()):
        resolver = draw(st.sampled_from(forge.ISSUERS))
        told = batch(draw, resolver, {}, [forge.outcome(resolver, 0, 0, 0, made["hash"], issuer)])
        document["outcome"] = proven(draw, told, 0)
        heads.append((resolver, told["hash"]))
    return forge.document(draw, document), forge.trust(draw, heads)


@st.composite
def logs(draw: forge.Draw) -> tuple[bytes, bytes]:
    frames: list[bytes] = []
    heads: list[tuple[str, bytes]] = []
    chains: dict[str, list[Any]] = {}
    for _ in range(draw(st.integers(1, 6))):
        issuer = draw(st.sampled_from(forge.ISSUERS[:2]))
        # epoch, first_seq, running_count, previous, counter
        at = chains.setdefault(issuer, [0, 0, 0, bytes(32), 0])
        if draw(st.integers(0, 3)) == 0:
            at[0], at[1] = at[0] + draw(st.sampled_from([1, 1, 1, 2])), 0
        count = draw(st.integers(1, 3))
        records = [forge.receipt(issuer, at[0], at[1] + n, at[4] + n) for n in range(count)]
        if heads and draw(st.booleans()):
            of, resolved = draw(st.sampled_from(heads))
            records[-1] = forge.outcome(issuer, at[0], at[1] + count - 1, at[4] + count - 1, resolved, of)
        members: dict[str, Any] = {"epoch": at[0], "first_seq": at[1], "running_count": at[2] + count}
        members["previous"] = at[3].hex()
        if draw(st.integers(0, 9)) == 0:
            name = draw(st.sampled_from(sorted(members)))
            wrong = [head.hex() for _, head in heads] + ["00" * 32]
            members[name] = draw(st.sampled_from(wrong) if name == "previous" else st.integers(0, 20))
        made = batch(draw, issuer, members, records)
        extra, packed = made["attestation"], draw(st.booleans())
        frames.append(forge.frame(made["bodies"], made["leaves"], made["signature"], made["checkpoint"], extra, packed=packed))
        heads.append((issuer, made["hash"]))
        if draw(st.integers(0, 9)):
            chains[issuer] = [at[0], at[1] + count, at[2] + count, made["hash"], at[4] + count]
    how = draw(st.integers(0, 9))
    at_frame = draw(st.integers(0, len(frames) - 1))
    if how == 0:
        del frames[at_frame]
    elif how == 1:
        frames.insert(draw(st.integers(0, len(frames))), frames[at_frame])
    elif how == 2:
        frames = draw(st.permutations(frames))
    return damage_bytes(draw, b"".join(frames)), forge.trust(draw, heads)


def damage_bytes(draw: forge.Draw, data: bytes) -> bytes:
    """Change bytes of a log, one time in three."""
    how = draw(st.integers(0, 8))
    at = draw(st.integers(0, max(0, len(data) - 1)))
    if how == 0:
        return data[:at] + bytes([draw(st.integers(0, 255))]) + data[at + 1 :]
    if how == 1:
        return data[:at]
    if how == 2:
        # A length of the first header.
        field = draw(st.integers(1, 7)) * 4
        return data[:field] + draw(st.integers(0, 2**32 - 1)).to_bytes(4, "little") + data[field + 4 :]
    return data


@ROUNDS
@given(exports())
def test_both_verifiers_agree_on_forged_exports(engine, forged):
    export, trust = forged
    assert engine_export(engine, export, trust) == independent_export(export, trust)


@ROUNDS
@given(logs(), st.booleans())
def test_both_verifiers_agree_on_forged_logs(engine, forged, partial):
    log, trust = forged
    assert engine_log(engine, log, trust, partial=partial) == independent_log(log, trust, partial=partial)


@ROUNDS
@given(st.data())
def test_both_verifiers_agree_on_damaged_vectors(engine, data):
    case = data.draw(st.sampled_from(LOGS))
    trust = json.dumps(case["trust"]).encode()
    frames = [bytes.fromhex(frame) for frame in case["frames"]]
    log = damage_bytes(data.draw, b"".join(frames))
    assert engine_log(engine, log, trust, partial=False) == independent_log(log, trust, partial=False)
    export = forge.document(data.draw, data.draw(st.sampled_from(EXPORTS["cases"]))["export"])
    trusted = json.dumps(EXPORTS["trust"]).encode()
    assert engine_export(engine, export, trusted) == independent_export(export, trusted)


LOGS = load("logs.json")["cases"]
EXPORTS = load("exports.json")


def good_export() -> dict[str, Any]:
    return dict(EXPORTS["cases"][0]["export"])


def test_documents_are_objects_not_lists_of_their_values(engine):
    # A reader that maps members to places of a list would take these.
    export = good_export()
    trust = json.dumps(EXPORTS["trust"]).encode()
    item = export["receipt"]
    names = ("body", "leaf", "index", "proof", "checkpoint", "signature", "attestation")
    listed = [1, export["receipt"], None]
    inner = {"v": 1, "receipt": [item.get(name) for name in names]}
    for document in (listed, inner):
        text = json.dumps(document).encode()
        assert engine_export(engine, text, trust) == independent_export(text, trust) == "document"
    key = EXPORTS["trust"]["keys"][0]
    for file in (
        [1, [key]],
        {"v": 1, "keys": [[key["public_key"], key["key_id"], key["issuers"], None, None, "active", []]]},
        {"v": 1, "keys": [key | {"last_checkpoints": [["worker@5f2d8a3c", "00" * 32]]}]},
    ):
        text = json.dumps(file).encode()
        good = json.dumps(export).encode()
        assert engine_export(engine, good, text) == independent_export(good, text) == "trust"


@pytest.mark.parametrize("cut", [1, 4, 5])
def test_a_zlib_stream_without_its_end_is_no_frame(engine, cut):
    body = canonical.dumps(forge.receipt("w", 0, 0, 0))
    leaves = [hashing.leaf(body)]
    text = canonical.dumps(forge.checkpoint("w", forge.KEYS[0], leaves))
    whole = forge.frame([body], leaves, forge.sign(forge.KEYS[0], text), text, b"", packed=True)
    total, stored = (int.from_bytes(whole[at : at + 4], "little") for at in (8, 16))
    fields = (total - cut).to_bytes(4, "little") + whole[12:16] + (stored - cut).to_bytes(4, "little")
    short = whole[:8] + fields + whole[20 : 96 + stored - cut] + whole[96 + stored :]
    public = bytes(forge.KEYS[0].verify_key).hex()
    trust = json.dumps({"v": 1, "keys": [{"public_key": public, "issuers": ["*"], "status": "active"}]}).encode()
    assert independent_log(whole, trust, partial=False)["findings"] == []
    assert [found[1] for found in independent_log(short, trust, partial=False)["findings"]] == ["frame"]
    for log in (whole, short):
        assert engine_log(engine, log, trust, partial=False) == independent_log(log, trust, partial=False)


@pytest.mark.parametrize("spelling", ["-0", "0.0", "0e0", "00", "+0"])
def test_an_integer_has_one_spelling_in_documents(engine, spelling):
    trust = json.dumps(EXPORTS["trust"]).encode()
    text = json.dumps(good_export()).replace('"index": 0', f'"index": {spelling}').encode()
    assert spelling.encode() in text
    assert engine_export(engine, text, trust) == independent_export(text, trust) == "document"
