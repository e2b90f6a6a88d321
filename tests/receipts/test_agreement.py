"""The engine's verifier and the independent one say the same about everything, right or wrong.

Most forged documents carry good signatures, so that more is compared than the check of signatures.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from chio_fast.verify import TrustError, VerifyError, canonical, hashing, load_trust, verify_export, verify_log
from tests.receipts import forge
from tests.receipts.vectors import load

ROOT = Path(__file__).parents[2]
# Each seed makes some hundreds of documents; a long run takes more seeds.
ROUNDS = int(os.environ.get("CHIO_AGREEMENT_SEEDS", "4"))


LOGS = load("logs.json")["cases"]
EXPORTS = load("exports.json")
ATTESTATIONS = [b"{}", b"1", b"[-0]", b"{ }", b"[1.0]", b"[1e3]", b"[1e-400]", b'{"a":-0.0}']


class Engine:
    """The engine's verifier, as a process that answers line by line."""

    def __init__(self) -> None:
        cargo = shutil.which("cargo")
        if cargo is None:
            pytest.fail("cargo is not installed: the engine's verifier is compared from an example of `chio-receipts`")
        # The whole workspace with the features of `make test-rust`: what that has built serves here too.
        build = [cargo, "build", "--quiet", "--locked", "--features", "chio-store/postgres", "--example", "verdicts"]
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


def batch(rng: Random, issuer: str, members: dict[str, Any], records: list[dict[str, Any]]) -> dict[str, Any]:
    """Sign a batch of these records, each perhaps damaged; gives its parts."""
    bodies = [forge.render(rng, record) for record in records]
    leaves = [hashing.leaf(body) for body in bodies]
    key = rng.choice([forge.KEYS[0], forge.KEYS[0], forge.KEYS[1]])
    attestation = b""
    if forge.rarely(rng, 6):
        attestation = rng.choice(ATTESTATIONS)
        members = members | {"attestation": hashing.keyed(hashing.ATTESTATION, attestation).hex()}
    if forge.rarely(rng, 3):
        members = members | {"mode": "transaction", "group": "g", "transactional_id": "t"}
    elif forge.rarely(rng, 3):
        members = members | {"mode": "attempt"}
    text = forge.render(rng, forge.checkpoint(issuer, key, leaves, **members))
    signer = forge.KEYS[2] if forge.rarely(rng, 20) else key
    hidden = [None if forge.rarely(rng, 8) else body for body in bodies]
    return {
        "bodies": hidden,
        "leaves": leaves,
        "checkpoint": text,
        "signature": forge.sign(signer, text),
        "attestation": rng.choice([b"", b"{}", b"x"]) if forge.rarely(rng, 12) else attestation,
        "hash": hashing.keyed(hashing.CHECKPOINT, text),
    }


def proven(rng: Random, made: dict[str, Any], index: int) -> dict[str, Any]:
    """Give one record of a batch with its proof."""
    body = made["bodies"][index]
    wrong = rng.randint(-15, 15)
    path = [node.hex() for node in forge.proof(made["leaves"], index)]
    item: dict[str, Any] = {
        "index": index if wrong else rng.choice([0, 1, 2**32, 2**64 - 1, 2**64]),
        "proof": path if wrong != 1 else rng.choice([[], path[1:], [*path, "00" * 32], path[::-1]]),
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


def exports(rng: Random) -> tuple[bytes, bytes]:
    issuer = rng.choice(forge.ISSUERS)
    count = rng.randint(1, 5)
    first = rng.choice([0, 3, 2**53 - 1])
    epoch = rng.choice([0, 1])
    place = {
        "first_seq": forge.integer(first),
        "running_count": forge.integer(first + count),
        "epoch": epoch,
    }
    made = batch(rng, issuer, place, [forge.receipt(issuer, epoch, first + n, n) for n in range(count)])
    document: dict[str, Any] = {"v": 1, "receipt": proven(rng, made, rng.randint(0, count - 1))}
    heads = [(issuer, made["hash"])]
    if rng.choice([False, True]):
        resolver = rng.choice(forge.ISSUERS)
        told = batch(rng, resolver, {}, [forge.outcome(resolver, 0, 0, 0, made["hash"], issuer)])
        document["outcome"] = proven(rng, told, 0)
        heads.append((resolver, told["hash"]))
    return forge.document(rng, document), forge.trust(rng, heads)


def logs(rng: Random) -> tuple[bytes, bytes]:
    frames: list[bytes] = []
    heads: list[tuple[str, bytes]] = []
    chains: dict[str, list[Any]] = {}
    for _ in range(rng.randint(1, 6)):
        issuer = rng.choice(forge.ISSUERS[:2])
        # epoch, first_seq, running_count, previous, counter
        at = chains.setdefault(issuer, [0, 0, 0, bytes(32), 0])
        if forge.rarely(rng, 3) and at[2]:
            at[0], at[1] = at[0] + rng.choice([1, 1, 1, 2]), 0
        count = rng.randint(1, 3)
        given = range(at[4], at[4] + count)
        if forge.rarely(rng, 3):
            # Ids that were given before or will be; most often in ascending order, as within a batch they must be.
            late = rng.sample(range(at[4] + 9), count)
            given = sorted(late) if rng.randint(0, 5) else late
        records = [forge.receipt(issuer, at[0], at[1] + n, counter) for n, counter in enumerate(given)]
        if heads and rng.choice([False, True]):
            of, resolved = rng.choice(heads)
            records[-1] = forge.outcome(issuer, at[0], at[1] + count - 1, given[-1], resolved, of)
        members: dict[str, Any] = {"epoch": at[0], "first_seq": at[1], "running_count": at[2] + count}
        members["previous"] = at[3].hex()
        if forge.rarely(rng, 15):
            name = rng.choice(sorted(members))
            wrong = [head.hex() for _, head in heads] + ["00" * 32]
            members[name] = rng.choice(wrong) if name == "previous" else rng.randint(0, 20)
        made = batch(rng, issuer, members, records)
        extra, packed = made["attestation"], rng.choice([False, True])
        frames.append(
            forge.frame(made["bodies"], made["leaves"], made["signature"], made["checkpoint"], extra, packed=packed)
        )
        heads.append((issuer, made["hash"]))
        if not forge.rarely(rng, 15):
            chains[issuer] = [at[0], at[1] + count, at[2] + count, made["hash"], at[4] + count]
    how = rng.randint(0, 15)
    at_frame = rng.randint(0, len(frames) - 1)
    if how == 5:
        del frames[at_frame]
    elif how == 6:
        frames.insert(rng.randint(0, len(frames)), frames[at_frame])
    elif how == 7:
        frames = rng.sample(frames, len(frames))
    return damage_bytes(rng, b"".join(frames)), forge.trust(rng, heads)


def damage_bytes(rng: Random, data: bytes) -> bytes:
    """Change bytes of a log, one time in five or so."""
    how = rng.randint(-8, 7)
    at = rng.randint(0, max(0, len(data) - 1))
    if how == 0:
        return data[:at] + bytes([rng.randint(0, 255)]) + data[at + 1 :]
    if how == 1:
        return data[:at]
    if how == 2:
        # A length of the first header.
        field = rng.randint(1, 7) * 4
        return data[:field] + rng.randint(0, 2**32 - 1).to_bytes(4, "little") + data[field + 4 :]
    return data


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_both_verifiers_agree_on_forged_exports(engine, seed):
    rng = Random(seed)
    for _ in range(500):
        export, trust = exports(rng)
        assert engine_export(engine, export, trust) == independent_export(export, trust), (export, trust)


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_both_verifiers_agree_on_forged_logs(engine, seed):
    rng = Random(seed)
    for _ in range(200):
        log, trust = logs(rng)
        for partial in (False, True):
            expected = independent_log(log, trust, partial=partial)
            assert engine_log(engine, log, trust, partial=partial) == expected, (log.hex(), trust)


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_both_verifiers_agree_on_damaged_vectors(engine, seed):
    rng = Random(seed)
    trusted = json.dumps(EXPORTS["trust"]).encode()
    for _ in range(200):
        case = rng.choice(LOGS)
        trust = json.dumps(case["trust"]).encode()
        log = damage_bytes(rng, bytes.fromhex("".join(case["frames"])))
        expected = independent_log(log, trust, partial=False)
        assert engine_log(engine, log, trust, partial=False) == expected, (case["name"], log.hex())
        export = forge.document(rng, rng.choice(EXPORTS["cases"])["export"])
        assert engine_export(engine, export, trusted) == independent_export(export, trusted), export


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
