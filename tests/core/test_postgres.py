"""A receipt log in PostgreSQL: opened by URL wherever a path will do, shared by processes, verified twice."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from chio_fast import Enforcer, Policy, ReceiptLog, Signer, TrustFile, verify
from chio_fast.errors import LogClaimedError, LogMissingError, LogOptionsError, LogServerError, LogUnavailableError
from chio_fast.location import LogLocation
from tests.postgres import PASSWORD

if TYPE_CHECKING:
    from tests.postgres import PostgresServer

POLICY = Policy.from_dict(
    {"chio": "policy/v1", "identities": {"agents": {"capabilities": ["events:consume:tasks", "events:produce:tasks"]}}}
)

WORKER = """
    import sys
    from chio_fast import Enforcer, Policy, Signer

    url, key, issuer = sys.argv[1:]
    capabilities = {"agents": {"capabilities": ["events:consume:tasks"]}}
    policy = Policy.from_dict({"chio": "policy/v1", "identities": capabilities})
    with Enforcer(policy, receipt_log=url, signer=Signer.from_file(key), identity="agents", issuer=issuer) as enforcer:
        print("ready", flush=True)
        for number, line in enumerate(sys.stdin):
            event = {"topic": "tasks", "partition": 0, "offset": number, "value": b"{}"}
            decision = enforcer.check("events:consume:tasks", event=event, durable=True)
            print(decision.receipt_id, flush=True)
"""

FORKING = """
    import os, sys
    from chio_fast import Enforcer, Policy, Signer
    from chio_fast.errors import LogForkedError

    url, key = sys.argv[1:]
    capabilities = {"agents": {"capabilities": ["events:consume:tasks"]}}
    policy = Policy.from_dict({"chio": "policy/v1", "identities": capabilities})
    enforcer = Enforcer(policy, receipt_log=url, signer=Signer.from_file(key), identity="agents", issuer="parent")
    enforcer.check("events:consume:tasks", durable=True)
    list(enforcer.receipt_log.query())
    child = os.fork()
    if child == 0:
        try:
            enforcer.check("events:consume:tasks")
        except LogForkedError:
            # Another session of the child's own; the parent's stays the parent's.
            print(f"child {os.getpid()} read {len(list(enforcer.receipt_log.query()))}", flush=True)
            sys.stdin.readline()
        os._exit(0)
    enforcer.check("events:consume:tasks", durable=True)
    print("parent", flush=True)
    sys.stdin.read()
"""


class Member:
    """A process that issues into a log, one durable receipt when asked."""

    def __init__(self, url: str, key: Path, issuer: str) -> None:
        command = [sys.executable, "-c", textwrap.dedent(WORKER), url, str(key), issuer]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._hear() == "ready"

    def _hear(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def issue(self) -> str:
        """Issues a receipt and gives its id once it is durable."""
        assert self.process.stdin
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self._hear()

    def kill(self) -> None:
        """Kills the process."""
        self.process.kill()
        self.process.communicate()

    def close(self) -> None:
        """Lets the process end."""
        self.process.communicate()
        assert self.process.returncode == 0


@pytest.fixture
def key(tmp_path: Path) -> Path:
    Signer.generate(tmp_path / "signing.key")
    return tmp_path / "signing.key"


def enforcer(url: str, key: Path, **options: str) -> Enforcer:
    return Enforcer(POLICY, receipt_log=url, signer=Signer.from_file(key), identity="agents", **options)


def verified(log: ReceiptLog, key: Path, tmp_path: Path) -> int:
    """Verifies a log by the engine and by the independent verifier; gives its receipts."""
    trust = TrustFile.of(Signer.from_file(key).public_key)
    report = log.verify(trust)
    log.export_log(tmp_path / "frames")
    independent = verify.LogVerifier(verify.load_trust(trust.to_json()))
    independent.feed_stream((tmp_path / "frames").read_bytes())
    told = independent.finish()
    assert (told.ok, told.receipts, len(told.issuers)) == (True, report.receipts, len(report.issuers))
    return report.receipts


def test_processes_share_a_log_and_a_killed_one_goes_on_in_its_next_epoch(
    postgres: PostgresServer, key: Path, tmp_path: Path
) -> None:
    url, log = postgres.url("shared"), ReceiptLog.open(postgres.url("shared"))
    a, b = Member(url, key, "a"), Member(url, key, "b")
    acknowledged = [member.issue() for _ in range(5) for member in (a, b)]
    with pytest.raises(LogClaimedError, match=f"process {a.process.pid} on"):
        enforcer(url, key, issuer="a")
    a.kill()
    acknowledged += [b.issue() for _ in range(5)]
    again = Member(url, key, "a")
    acknowledged.append(again.issue())
    assert {receipt.id for receipt in log.query()} == set(acknowledged)
    assert log.get(acknowledged[-1]).batch.epoch == 1
    # Both counted the attempts at offset 0 that they and others made before.
    assert sorted(receipt.attempt or 0 for receipt in log.query(offset=0)) == [1, 2, 3]
    again.close()
    b.close()
    assert verified(log, key, tmp_path) == len(acknowledged)


def test_a_killed_server_is_waited_for_and_has_lost_nothing(
    postgres: PostgresServer, key: Path, tmp_path: Path
) -> None:
    log = ReceiptLog.open(postgres.url("crash"))
    member = Member(postgres.url("crash"), key, "a")
    acknowledged = [member.issue() for _ in range(3)]
    postgres.kill()
    postgres.start()
    acknowledged += [member.issue() for _ in range(3)]
    member.close()
    assert [receipt.id for receipt in log.query()] == acknowledged
    assert verified(log, key, tmp_path) == 6


def test_urls_come_from_arguments_and_environment_and_never_show_their_password(
    postgres: PostgresServer, key: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    url = postgres.url("settings")
    monkeypatch.setenv("CHIO_RECEIPT_LOG", url)
    monkeypatch.setenv("CHIO_SIGNING_KEY", str(key))
    with Enforcer(POLICY, identity="agents") as opened:
        opened.check("events:consume:tasks")
        shown = [str(opened.receipt_log.location), repr(opened.receipt_log), repr(opened.log), opened.log.location]
        assert opened.receipt_log.path is None
    monkeypatch.delenv("CHIO_SIGNING_KEY")
    with pytest.raises(LogOptionsError, match="give it as `signer=` or in CHIO_SIGNING_KEY") as refused:
        Enforcer(POLICY, identity="agents")
    with pytest.raises(LogMissingError) as missing:
        list(ReceiptLog.open(postgres.url("nowhere")).query())
    with pytest.raises(LogServerError, match="does not speak TLS") as tls:
        list(ReceiptLog.open(url + "&sslmode=require").query())
    with pytest.raises(LogOptionsError, match="give it as text") as folded:
        ReceiptLog.open(Path(url))
    with pytest.raises(LogUnavailableError) as away:
        list(ReceiptLog.open(url.replace(str(postgres.port), "1")).query())
    shown += [str(error.value) for error in (refused, missing, tls, folded, away)]
    assert not any(PASSWORD in text for text in [*shown, caplog.text])
    assert LogLocation.of(url) == url


def test_the_command_line_takes_a_url_wherever_it_takes_a_path(
    postgres: PostgresServer, key: Path, tmp_path: Path
) -> None:
    url, trust = postgres.url("command"), tmp_path / "trust.json"
    TrustFile.of(Signer.from_file(key).public_key).save(trust)
    with enforcer(url, key) as opened:
        receipt = opened.check("events:consume:tasks", durable=True).receipt_id

    def run(*arguments: str) -> str:
        command = [sys.executable, "-m", "chio_fast.cli", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert PASSWORD not in done.stdout + done.stderr
        return done.stdout

    assert json.loads(run("receipt", "show", str(receipt), "--log", url, "--json"))["id"] == receipt
    assert json.loads(run("verify", "--log", url, "--trust", str(trust), "--json"))["verified"]
    frames, copy = tmp_path / "frames", tmp_path / "copy.db"
    run("receipt", "export", "--all", "--log", url, "--out", str(frames))
    told = json.loads(run("receipt", "import", str(frames), "--into", str(copy), "--trust", str(trust), "--json"))
    assert (sum(told["issuers"].values()), told["records"], told["duplicates"]) == (1, 1, 0)
    back = json.loads(run("receipt", "import", str(frames), "--into", url, "--trust", str(trust), "--json"))
    assert (back["issuers"], back["duplicates"]) == ({}, 1)


def test_a_chain_over_hosts_is_verified_once_their_logs_are_merged(postgres: PostgresServer, tmp_path: Path) -> None:
    """One host produced an event, another consumed it: each log by itself only asserts the link."""
    value = b'{"task": 1}'
    with Enforcer(POLICY, receipt_log=tmp_path / "producer.db", identity="agents") as producer:
        sent = producer.check("events:produce:tasks", kind="produce", output={"topic": "tasks", "value": value})
        trust = TrustFile.of(producer.log.public_key)
    with Enforcer(POLICY, receipt_log=tmp_path / "consumer.db", identity="agents") as consumer:
        event = {"topic": "tasks", "partition": 0, "offset": 0, "value": value}
        got = consumer.check("events:consume:tasks", event=event, parents=[sent.receipt_id or ""])
        trust.keys += TrustFile.of(consumer.log.public_key).keys
        consumer.seal()
        apart = consumer.receipt_log.chain(got.receipt_id or "")
        assert [link.kind for link in apart.links] == ["asserted"]
    for host in ("producer", "consumer"):
        ReceiptLog.open(tmp_path / f"{host}.db").export_log(tmp_path / host)
    for number, order in enumerate((("producer", "consumer"), ("consumer", "producer"))):
        for place in (tmp_path / f"all-{number}.db", postgres.url(f"merged_{number}")):
            merged = ReceiptLog.open(place)
            for host in order:
                assert merged.import_frames(tmp_path / host, trust).records == 1
            for direction, start in (("backward", got), ("forward", sent)):
                chain = merged.chain(start.receipt_id or "", direction)  # type: ignore[arg-type]
                assert [link.kind for link in chain.links] == ["verified"]
            assert merged.verify(trust).receipts == 2


def test_a_forked_child_neither_uses_nor_keeps_what_is_its_parents(postgres: PostgresServer, key: Path) -> None:
    url = postgres.url("forked")
    command = [sys.executable, "-c", textwrap.dedent(FORKING), url, str(key)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdin
        assert parent.stdout
        heard = sorted(parent.stdout.readline().split()[0] for _ in range(2))
        assert heard == ["child", "parent"]
        with pytest.raises(LogClaimedError, match=f"process {parent.pid} on"):
            enforcer(url, key, issuer="parent")
        parent.kill()
        parent.wait()
        # The child lives on, and the claim does not.
        deadline = time.monotonic() + 10
        while True:
            try:
                enforcer(url, key, issuer="parent").close()
                break
            except LogClaimedError:
                assert time.monotonic() < deadline, "the child keeps its parent's claim"
                time.sleep(0.02)
        parent.stdin.close()
    assert len(list(ReceiptLog.open(url).query())) == 2
