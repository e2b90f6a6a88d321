"""`Enforcer`: every decision leaves a receipt, and nothing that is not allowed happens."""

from __future__ import annotations

import asyncio
import functools
import multiprocessing
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from chio_fast import (
    CheckRequest,
    ChioConfigError,
    ChioDenied,
    ChioError,
    Enforcer,
    Policy,
    PolicyError,
    ReceiptLog,
    Signer,
    TrustFile,
)
from chio_fast.errors import LogClosedError, LogForkedError
from tests.core.conftest import DOCUMENT, IDENTITY

Make = Callable[..., Enforcer]


def receipts(enforcer: Enforcer) -> list[Any]:
    enforcer.seal()
    return list(enforcer.receipt_log.query())


def test_a_check_leaves_a_receipt_that_says_what_was_decided(enforcer: Enforcer) -> None:
    event = {"topic": "tasks", "partition": 3, "offset": 7, "timestamp": 5, "key": "k", "value": b'{"a": 1}'}
    decision = enforcer.check("events:consume:tasks", event=event)
    [receipt] = receipts(enforcer)
    assert decision.receipt_id == receipt.id
    assert (receipt.kind, receipt.identity, receipt.scope) == ("consume", IDENTITY, "events:consume:tasks")
    assert (receipt.verdict, receipt.rule, receipt.reason) == (decision.verdict, decision.rule, decision.reason)
    assert (receipt.target.topic, receipt.target.partition, receipt.target.offset) == ("tasks", 3, 7)
    assert (receipt.time, receipt.batch.policy_version) == (decision.timestamp, decision.policy_version)
    assert (receipt.request, receipt.attempt) == ("chio-kafka-tasks-3-7", 1)
    assert receipt.digest is not None


def test_a_denial_leaves_one_too(enforcer: Enforcer) -> None:
    decision = enforcer.check("events:consume:tasks", event={"topic": "tasks", "value": b'{"secret": 1}'})
    [receipt] = receipts(enforcer)
    assert (decision.verdict, decision.rule) == ("deny", "no-secrets")
    assert (receipt.verdict, receipt.rule, receipt.reason) == ("deny", "no-secrets", "secrets do not travel")


def test_the_boundary_follows_from_what_is_given(enforcer: Enforcer) -> None:
    enforcer.check("events:produce:results", output={"topic": "results", "value": b"{}"})
    enforcer.check("tools:search:web", arguments={})
    enforcer.check("tools:search:web", tool="search", arguments={})
    enforcer.check("events:consume:tasks")
    found = receipts(enforcer)
    assert [receipt.kind for receipt in found] == ["produce", "invoke", "invoke", "consume"]
    assert [(receipt.target.topic, receipt.target.tool) for receipt in found] == [
        ("results", None),
        (None, "tools:search:web"),
        (None, "search"),
        (None, None),
    ]


def test_parents_are_the_inbound_header_and_what_is_given(enforcer: Enforcer) -> None:
    first = enforcer.check("tools:search:web", arguments={}).receipt_id
    assert first is not None
    headers = [("X-Chio-Receipt", first.encode()), ("X-Chio-Receipt", b"forged"), ("x-other", b"1")]
    enforcer.check("events:consume:tasks", event={"topic": "tasks", "headers": headers}, correlation="trace-1")
    enforcer.check("tools:search:web", arguments={}, parents=[first, "no id", first])
    _, consumed, called = receipts(enforcer)
    assert (consumed.parents, consumed.parents_rejected, consumed.correlation) == ((first,), 1, "trace-1")
    assert (called.parents, called.parents_rejected) == ((first,), 1)


def test_a_batch_of_checks_is_answered_in_order(enforcer: Enforcer) -> None:
    requests = [
        CheckRequest(scope="tools:search:web", arguments={"amount": amount}, identity=identity)
        for amount in (1, 5000)
        for identity in (IDENTITY, "somebody")
    ]
    decisions = enforcer.check_batch(requests)
    assert [decision.verdict for decision in decisions] == ["allow", "deny", "escalate", "escalate"]
    assert [receipt.id for receipt in receipts(enforcer)] == [decision.receipt_id for decision in decisions]


def test_a_durable_check_returns_when_the_receipt_is_on_the_disk(enforcer: Enforcer) -> None:
    decision = enforcer.check("tools:search:web", arguments={}, durable=True)
    assert enforcer.receipt_log.get(decision.receipt_id).id == decision.receipt_id  # type: ignore[arg-type]


def test_a_tool_runs_after_its_receipt_is_durable_and_its_result_is_a_second_one(enforcer: Enforcer) -> None:
    seen: list[Any] = []

    @enforcer.tool("search")
    def search(query: str) -> dict[str, Any]:
        seen.extend(enforcer.receipt_log.query())
        return {"hits": [query]}

    assert enforcer.invoke("search", "tools:search:web", {"query": "a"}) == {"hits": ["a"]}
    [before] = seen
    called, effect = receipts(enforcer)
    assert before == called
    assert (called.kind, called.verdict, called.target.tool) == ("invoke", "allow", "search")
    assert (effect.kind, effect.parents, effect.error) == ("effect", (called.id,), None)
    assert effect.digest is not None
    assert effect.duration_ms is not None


def test_a_tool_that_is_not_allowed_does_not_run(enforcer: Enforcer) -> None:
    ran = []
    enforcer.tool("search", lambda **arguments: ran.append(arguments))
    with pytest.raises(ChioDenied, match="amounts over 1000") as caught:
        enforcer.invoke("search", "tools:search:web", {"amount": 5000})
    assert not ran
    assert caught.value.decision.verdict == "escalate"
    [receipt] = receipts(enforcer)
    assert caught.value.decision.receipt_id == receipt.id


def test_a_tool_that_fails_leaves_its_error(enforcer: Enforcer) -> None:
    def fail() -> None:
        raise LookupError("nothing found")

    enforcer.tool("fail", fail)
    with pytest.raises(LookupError, match="nothing found"):
        enforcer.invoke("fail", "tools:search:web")
    _, effect = receipts(enforcer)
    assert (effect.kind, effect.error, effect.digest) == ("effect", "LookupError", None)


class Detached(dict[str, Any]):
    """A result that is read when it is looked at, and cannot be any longer."""

    def values(self) -> Any:
        raise LookupError("the session has ended")


def nested(depth: int) -> Any:
    return functools.reduce(lambda inner, _: [inner], range(depth), None)


NO_JSON: dict[str, Any] = {
    "an object": object(),
    "too deep for a receipt": nested(65),
    "too deep for Python": nested(900),
    "one name twice": {1: "a", "1": "b"},
    "a number without end": 10**2000,
    "text that is no JSON": msgspec.Raw(b"nothing"),
    "a dictionary that fails": Detached(name=None),
}


@pytest.mark.parametrize("result", NO_JSON.values(), ids=NO_JSON.keys())
def test_a_result_that_is_no_json_has_no_digest_and_the_call_a_receipt(enforcer: Enforcer, result: Any) -> None:
    enforcer.tool("thing", lambda: result)
    assert enforcer.invoke("thing", "tools:search:web") is result
    _, effect = receipts(enforcer)
    assert (effect.kind, effect.error, effect.digest) == ("effect", None, None)


async def test_async_and_sync_tools_run_under_ainvoke_and_do_not_block_the_loop(enforcer: Enforcer) -> None:
    turned = asyncio.Event()

    async def waits(query: str) -> str:
        await turned.wait()
        return query

    enforcer.tool("waits", waits)
    enforcer.tool("plain", lambda query: (threading.current_thread() is threading.main_thread(), query))
    calls = [asyncio.create_task(enforcer.ainvoke("waits", "tools:search:web", {"query": str(i)})) for i in range(20)]
    assert await enforcer.ainvoke("plain", "tools:search:web", {"query": "x"}) == (False, "x")
    turned.set()
    assert await asyncio.gather(*calls) == [str(i) for i in range(20)]
    with pytest.raises(ChioDenied):
        await enforcer.ainvoke("plain", "tools:search:web", {"amount": 5000})
    kinds = [receipt.kind for receipt in receipts(enforcer)]
    assert (kinds.count("invoke"), kinds.count("effect")) == (22, 21)


def test_an_async_tool_is_not_run_by_invoke(enforcer: Enforcer) -> None:
    async def tool() -> None: ...

    enforcer.tool("tool", tool)
    with pytest.raises(ChioConfigError, match="ainvoke"):
        enforcer.invoke("tool", "tools:search:web")
    assert receipts(enforcer) == []


def test_an_unknown_or_doubled_tool_is_refused(enforcer: Enforcer) -> None:
    enforcer.tool("search", print)
    with pytest.raises(ChioConfigError, match="`search`"):
        enforcer.invoke("find", "tools:search:web")
    with pytest.raises(ChioConfigError, match="registered already"):
        enforcer.tool("search", repr)


def test_without_a_policy_construction_says_what_to_do(log_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CHIO_POLICY", raising=False)
    with pytest.raises(ChioConfigError, match="CHIO_POLICY"):
        Enforcer(receipt_log=log_path)
    assert not log_path.exists()


def test_without_an_identity_a_check_says_what_to_do(enforcers: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CHIO_IDENTITY", raising=False)
    enforcer = enforcers(identity=None)
    with pytest.raises(ChioConfigError, match="CHIO_IDENTITY"):
        enforcer.check("tools:search:web", arguments={})
    assert enforcer.check("tools:search:web", identity=IDENTITY, arguments={})


def test_the_environment_gives_what_is_not_given(
    tmp_path: Path, unguarded: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "policy.json").write_text(unguarded.canonical)
    signer = Signer.generate(tmp_path / "key")
    monkeypatch.setenv("CHIO_POLICY", str(tmp_path / "policy.json"))
    monkeypatch.setenv("CHIO_RECEIPT_LOG", str(tmp_path / "elsewhere.db"))
    monkeypatch.setenv("CHIO_SIGNING_KEY", str(tmp_path / "key"))
    monkeypatch.setenv("CHIO_IDENTITY", IDENTITY)
    with Enforcer() as enforcer:
        assert enforcer.check("tools:search:web", arguments={}, durable=True)
        assert enforcer.policy.version == unguarded.version
        assert (enforcer.log.path, enforcer.log.public_key) == (tmp_path / "elsewhere.db", signer.public_key)


def test_a_new_log_without_a_key_gets_one_and_one_line_says_where(
    enforcers: Make, log_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    enforcers()
    key = log_path.with_name("receipts.db-key")
    assert key.stat().st_mode & 0o777 == 0o600
    assert len([record for record in caplog.records if str(key) in record.getMessage()]) == 1


def test_a_reload_decides_by_the_new_policy_and_a_batch_has_one_version(
    enforcers: Make, tmp_path: Path, unguarded: Policy
) -> None:
    path = tmp_path / "policy.json"
    path.write_text(unguarded.canonical)
    enforcer = enforcers(path)
    assert enforcer.check("tools:search:web", arguments={})
    path.write_text('{"chio": "policy/v1", "identities": {"a": {"capabilities": ["tools:a"]}}}')
    version = enforcer.reload()
    assert version == enforcer.policy.version != unguarded.version
    assert not enforcer.check("tools:search:web", arguments={})
    before, after = receipts(enforcer)
    assert (before.batch.policy_version, after.batch.policy_version) == (unguarded.version, version)
    assert enforcer.stats().reloads == 1


@pytest.mark.parametrize("content", ["no policy", DOCUMENT])
def test_a_bad_new_policy_is_refused_and_the_former_one_stays(
    enforcers: Make, tmp_path: Path, unguarded: Policy, content: str
) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(unguarded.canonical)
    enforcer = enforcers(path)
    path.write_text(content)
    with pytest.raises(ChioError, match="policy"):
        enforcer.reload()
    assert enforcer.policy.version == unguarded.version
    assert enforcer.check("tools:search:web", arguments={})
    assert (enforcer.stats().reloads, enforcer.stats().reload_failures) == (0, 1)


def test_a_policy_object_of_no_file_cannot_be_read_again(enforcer: Enforcer, unguarded: Policy) -> None:
    with pytest.raises(ChioConfigError, match=r"reload\(policy\)"):
        enforcer.reload()
    assert enforcer.reload(unguarded) == unguarded.version


def test_a_policy_error_is_raised_at_construction(tmp_path: Path, log_path: Path) -> None:
    with pytest.raises(PolicyError, match="cannot be read"):
        Enforcer(tmp_path / "nowhere.yaml", receipt_log=log_path)
    assert not log_path.exists()


def test_stats_count_by_verdict(enforcer: Enforcer) -> None:
    for scope, arguments in (("tools:search:web", {}), ("tools:search:web", {"amount": 2000}), ("tools:other", {})):
        enforcer.check(scope, arguments=arguments)
    enforcer.check("events:consume:later", event={"topic": "later"})
    enforcer.seal()
    stats = enforcer.stats()
    assert (stats.allowed, stats.escalated, stats.denied, stats.delayed) == (1, 1, 1, 1)
    assert (stats.receipts_issued, stats.receipts_durable) == (4, 4)


def test_a_closed_enforcer_refuses_and_closes_twice(enforcers: Make) -> None:
    enforcer = enforcers()
    enforcer.close()
    enforcer.close()
    with pytest.raises(LogClosedError):
        enforcer.check("tools:search:web", arguments={})


def test_closing_makes_everything_durable(enforcers: Make, log_path: Path) -> None:
    with enforcers() as enforcer:
        ids = [enforcer.check("tools:search:web", arguments={}).receipt_id for _ in range(1000)]
        trust = TrustFile.of(enforcer.log.public_key)
    log = ReceiptLog.open(log_path)
    assert [receipt.id for receipt in log.query()] == ids
    assert log.verify(trust).receipts == 1000


def test_many_threads_share_one_enforcer(enforcer: Enforcer) -> None:
    def work() -> None:
        for _ in range(100):
            assert enforcer.check("tools:search:web", arguments={"amount": 1})

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ids = [receipt.id for receipt in receipts(enforcer)]
    assert len(set(ids)) == 800
    assert ids == sorted(ids)


def test_enforcers_of_one_process_share_one_issuer(enforcers: Make) -> None:
    first, second = enforcers(), enforcers(identity="other")
    assert (first.log.issuer, first.log.epoch) == (second.log.issuer, second.log.epoch)
    first.close()
    assert second.check("tools:search:web", identity=IDENTITY, arguments={}, durable=True)


def test_processes_of_one_configuration_share_a_log_by_slots(enforcers: Make, log_path: Path) -> None:
    enforcer = enforcers()
    context = multiprocessing.get_context("spawn")
    with context.Pool(2) as pool:
        issuers = pool.map(issue_in_another_process, [str(log_path)] * 2, chunksize=1)
    enforcer.check("tools:search:web", arguments={})
    assert len({enforcer.log.issuer, *issuers}) == 3
    report = enforcer.receipt_log.verify(TrustFile.of(enforcer.log.public_key))
    assert sorted(issuer.issuer for issuer in report.issuers) == sorted(issuers)


_barrier_directory = "barrier"


def issue_in_another_process(path: str) -> str:
    """Issues one receipt, and stays until the other process has its slot too."""
    from chio_fast import Enforcer, Policy

    policy = Policy.from_dict({"chio": "policy/v1", "identities": {"a": {"capabilities": ["x:y"]}}})
    with Enforcer(policy, receipt_log=path, identity=IDENTITY) as enforcer:
        enforcer.check("x:y", durable=True)
        meeting = Path(path).with_name(_barrier_directory)
        meeting.mkdir(exist_ok=True)
        (meeting / str(os.getpid())).touch()
        while len(list(meeting.iterdir())) < 2:
            threading.Event().wait(0.01)
        return enforcer.log.issuer


def test_a_forked_child_is_refused_and_may_open_its_own(enforcers: Make) -> None:
    enforcer = enforcers()
    enforcer.check("tools:search:web", arguments={}, durable=True)
    child = os.fork()
    if child == 0:
        os._exit(fork_child(enforcer))
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert enforcer.check("tools:search:web", arguments={}, durable=True)
    found = receipts(enforcer)
    assert len({receipt.batch.issuer for receipt in found}) == 2
    assert len(found) == 3


def fork_child(enforcer: Enforcer) -> int:
    try:
        enforcer.check("tools:search:web", arguments={})
    except LogForkedError:
        pass
    else:
        return 1
    with Enforcer(enforcer.policy, receipt_log=enforcer.receipt_log, identity=IDENTITY) as own:
        return 0 if own.check("tools:search:web", arguments={}, durable=True) else 2
