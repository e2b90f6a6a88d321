"""`ReceiptLog`: what was issued can be found, followed, verified and exported."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from chio_fast import Enforcer, Policy, ReceiptLog, Signer, TrustFile, VerifyError
from chio_fast.errors import (
    LogClaimedError,
    LogForeignError,
    LogKeyMismatchError,
    LogMissingError,
    LogOptionsError,
    LogQueryError,
    ReceiptNotFoundError,
    SigningKeyError,
)
from chio_fast.keys import rotate_key
from chio_fast.log import log_stats
from tests.core.conftest import IDENTITY

Make = Callable[..., Enforcer]


@pytest.fixture
def filled(enforcer: Enforcer) -> Enforcer:
    """An enforcer whose log holds 30 receipts in three batches."""
    for batch in range(3):
        for offset in range(5):
            value = b'{"secret": 1}' if offset == 4 else b"{}"
            event = {"topic": "tasks", "partition": batch, "offset": offset, "value": value}
            first = enforcer.check("events:consume:tasks", event=event, correlation=f"trace-{batch}")
            parents = [first.receipt_id or ""]
            enforcer.check("tools:search:web", tool="search", arguments={"amount": 900 + 50 * offset}, parents=parents)
        enforcer.seal()
    return enforcer


def test_a_query_gives_what_passes_every_filter_in_order(filled: Enforcer) -> None:
    log = filled.receipt_log
    assert len(list(log.query())) == 30
    assert [receipt.id for receipt in log.query(newest_first=True)] == [receipt.id for receipt in log.query()][::-1]
    assert len(list(log.query(limit=7))) == 7
    expected: list[tuple[dict[str, Any], int]] = [
        ({"verdict": "deny"}, 3),
        ({"verdict": "escalate", "kind": "invoke"}, 6),
        ({"scope": "events:*"}, 15),
        ({"topic": "tasks", "partition": 1, "offset": 3}, 1),
        ({"tool": "search"}, 15),
        ({"rule": "no-secrets"}, 3),
        ({"correlation": "trace-2"}, 5),
        ({"identity": "nobody"}, 0),
        ({"issuer": filled.log.issuer, "state": "recorded"}, 30),
        ({"policy_version": filled.policy.version, "since": 0, "until": 2**52}, 30),
        ({"verdict": None, "tool": None}, 30),
    ]
    for filters, count in expected:
        assert len(list(log.query(**filters))) == count, filters


def test_a_filter_that_means_nothing_is_refused(filled: Enforcer) -> None:
    log = filled.receipt_log
    with pytest.raises(LogQueryError, match="`maybe`"):
        list(log.query(verdict="maybe"))
    with pytest.raises(TypeError, match="`color`"):
        list(log.query(color="red"))
    with pytest.raises(LogQueryError, match="position"):
        log.page(after="here")


def test_pages_are_stable_while_writes_go_on(filled: Enforcer) -> None:
    log = filled.receipt_log
    before = [receipt.id for receipt in log.query()]
    page = log.page(limit=10)
    found = [receipt.id for receipt in page.receipts]
    while page.next is not None:
        filled.check("tools:search:web", arguments={}, durable=True)
        page = log.page(limit=10, after=page.next)
        found += [receipt.id for receipt in page.receipts]
    assert found[:30] == before
    assert len(set(found)) == len(found)


def test_a_receipt_is_found_by_its_id(filled: Enforcer) -> None:
    log = filled.receipt_log
    for receipt in log.query(limit=5):
        assert log.get(receipt.id) == receipt
    with pytest.raises(ReceiptNotFoundError, match="rcpt_0"):
        log.get("rcpt_00000000000000000000000000")
    with pytest.raises(LogQueryError, match="`nonsense`"):
        log.get("nonsense")


def test_a_chain_is_walked_both_ways(filled: Enforcer) -> None:
    log = filled.receipt_log
    cause = next(log.query(kind="consume"))
    forward = log.chain(cause.id, "forward")
    assert [node.receipt and node.receipt.kind for node in forward.receipts] == ["consume", "invoke"]
    backward = log.chain(forward.receipts[1].id)
    assert [node.id for node in backward.receipts] == [node.id for node in forward.receipts][::-1]
    assert forward.links == backward.links
    with pytest.raises(LogQueryError, match="`sideways`"):
        log.chain(cause.id, "sideways")  # type: ignore[arg-type]


def test_batches_are_listed_without_gaps(filled: Enforcer) -> None:
    batches = list(filled.receipt_log.batches())
    assert [batch.batch for batch in batches] == list(range(1, len(batches) + 1))
    assert sum(batch.count for batch in batches) == 30
    assert list(filled.receipt_log.batches(first=2)) == batches[1:]


def test_a_log_verifies_under_its_key_and_no_other(filled: Enforcer, tmp_path: Path) -> None:
    log = filled.receipt_log
    told: list[int] = []
    report = log.verify(TrustFile.of(filled.log.public_key, [filled.log.issuer]), progress=told.append)
    assert (report.receipts, report.found, told[-1]) == (30, 0, 30)
    stranger = Signer.generate(tmp_path / "stranger")
    with pytest.raises(VerifyError, match="does not verify") as caught:
        log.verify(TrustFile.of(stranger.public_key))
    assert caught.value.report is not None
    assert caught.value.report.found == len(caught.value.report.findings) > 0
    with pytest.raises(RuntimeError, match="stop"):
        log.verify(TrustFile.of(filled.log.public_key), progress=stop)


def stop(done: int) -> None:
    raise RuntimeError("stop")


def test_exports_hold_everything_that_a_verifier_needs(filled: Enforcer, tmp_path: Path) -> None:
    log = filled.receipt_log
    first = next(log.query())
    export = msgspec.json.decode(log.export(first.id))
    assert export["receipt"]["body"].startswith('{"')
    assert first.id in export["receipt"]["body"]
    written = log.export_log(tmp_path / "log.frames")
    assert written == len(list(log.batches()))
    assert (tmp_path / "log.frames").read_bytes() == b"".join(log.frame(batch.batch) for batch in log.batches())


def test_withheld_bodies_are_gone_and_the_log_still_verifies(filled: Enforcer) -> None:
    log = filled.receipt_log
    first = next(log.query())
    filled.close()
    assert log.withhold([first.id]) == 1
    with pytest.raises(ReceiptNotFoundError):
        log.get(first.id)
    report = log.verify(TrustFile.of(filled.log.public_key))
    assert (report.withheld, report.receipts) == (1, 29)


def test_a_derived_index_is_rebuilt(filled: Enforcer) -> None:
    log = filled.receipt_log
    before = list(log.query())
    log.rebuild_index()
    assert list(log.query()) == before


def test_reading_what_is_no_log_says_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(LogMissingError, match="no receipt log"):
        ReceiptLog.open(tmp_path / "nowhere.db").get("rcpt_00000000000000000000000000")
    (tmp_path / "text.db").write_text("hello" * 1000)
    with pytest.raises(LogForeignError, match="not a receipt log"):
        list(ReceiptLog.open(tmp_path / "text.db").batches())


def test_another_claim_of_the_same_name_is_refused(enforcers: Make, log_path: Path, unguarded: Policy) -> None:
    enforcers(issuer="the-one").check("tools:search:web", arguments={}, durable=True)
    child = os.fork()
    if child == 0:
        try:
            Enforcer(unguarded, receipt_log=log_path, issuer="the-one", identity=IDENTITY)
        except LogClaimedError:
            os._exit(0)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_options_that_contradict_each_other_are_refused(enforcers: Make) -> None:
    enforcers()
    with pytest.raises(LogOptionsError, match="durability"):
        enforcers(durability="relaxed")
    with pytest.raises(ValueError, match="`full` or `relaxed`"):
        enforcers(durability="maybe")
    with pytest.raises(ValueError, match="give 32"):
        enforcers(digest_key=b"short")


def test_another_key_is_refused_until_its_rotation_is_recorded(enforcers: Make, log_path: Path, tmp_path: Path) -> None:
    with enforcers(issuer="the-one") as enforcer:
        enforcer.check("tools:search:web", arguments={})
        trust = TrustFile.of(enforcer.log.public_key)
    other = Signer.generate(tmp_path / "other")
    with pytest.raises(LogKeyMismatchError, match="key rotate"):
        enforcers(issuer="the-one", signer=other)
    rotations, renewed = rotate_key(log_path, other, trust)
    assert [rotation.issuer for rotation in rotations] == [enforcer.log.issuer]
    assert renewed is not None
    assert [key.status for key in renewed.keys] == ["retired", "active"]
    with enforcers(issuer="the-one", signer=other) as rotated:
        rotated.check("tools:search:web", arguments={})
    assert ReceiptLog.open(log_path).verify(renewed).receipts == 2


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    Signer.generate(tmp_path / "key")
    (tmp_path / "key").chmod(0o644)
    with pytest.raises(SigningKeyError, match="chmod 600"):
        Signer.from_file(tmp_path / "key")
    with pytest.raises(SigningKeyError, match="exists already"):
        Signer.generate(tmp_path / "key")


def test_a_signer_does_not_show_its_secret(tmp_path: Path) -> None:
    signer = Signer.generate(tmp_path / "key")
    secret = (tmp_path / "key").read_text().strip()
    assert secret not in repr(signer)
    assert not [name for name in dir(signer) if "seed" in name or "secret" in name or "private" in name]
    assert (len(signer.public_key), len(signer.key_id)) == (32, 32)


def test_a_replaced_key_is_kept_beside_the_new_one(tmp_path: Path) -> None:
    former = Signer.generate(tmp_path / "key")
    present = Signer.replace(tmp_path / "key")
    assert Signer.from_file(tmp_path / "key").key_id == present.key_id != former.key_id
    assert Signer.from_file(tmp_path / f"key-retired-{former.key_id}").key_id == former.key_id


def test_a_trust_file_round_trips_and_refuses_nonsense(tmp_path: Path) -> None:
    signer = Signer.generate(tmp_path / "key")
    trust = TrustFile.of(signer.public_key, ["a", "b*"])
    trust.save(tmp_path / "trust.json")
    assert TrustFile.load(tmp_path / "trust.json").keys[0].issuers == ["a", "b*"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["key", "trust.json"]
    for text in (b"{}", b'{"v": 2, "keys": []}', b'{"v": 1, "keys": [], "more": 1}', b"nonsense"):
        with pytest.raises(SigningKeyError, match="trust file"):
            TrustFile.from_json(text)
    with pytest.raises(SigningKeyError, match="cannot be read"):
        TrustFile.load(tmp_path / "nowhere.json")


def test_an_open_log_counts(filled: Enforcer) -> None:
    stats = log_stats(filled.log)
    assert (stats.issued, stats.durable, stats.unsealed_bytes) == (30, 30, 0)
    assert stats.batches >= stats.appends > 0
    assert stats.bytes > 0
