"""The extension: converts, calls the Rust crates, maps their errors onto `chio_fast.errors`."""

import os
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias, final

from confluent_kafka import Consumer, KafkaError, Message, Producer

from chio_fast.decision import Decision, Explanation, GuardRun, Kind
from chio_fast.kafka.assignment import Assigned
from chio_fast.kafka.calls import EventCalls
from chio_fast.kafka.dispatcher import Dispatcher
from chio_fast.kafka.failures import Failure
from chio_fast.kafka.handler_context import Boundaries, Tools
from chio_fast.kafka.trouble import Trouble
from chio_fast.message import EventLike, Headers, MessageLike, OutputHeaders

__all__ = [
    "FINISHED",
    "RUNNING",
    "WAITING",
    "Backlog",
    "Check",
    "Event",
    "Exits",
    "Gate",
    "HandlerContext",
    "Hatch",
    "Inlet",
    "Lanes",
    "Log",
    "Outlet",
    "Partition",
    "Policy",
    "Reader",
    "Refused",
    "Run",
    "Runs",
    "Sender",
    "SignedCheckpoint",
    "Signer",
    "Stretch",
    "Work",
    "by_partition",
    "check_trust",
    "group_metadata",
    "headers_of",
    "import_frames",
    "is_cooperative",
    "read_by_both_roads",
    "rotate_key",
    "show_location",
    "slow_road_reason",
    "verify_export",
    "withhold",
]

StrPath: TypeAlias = str | os.PathLike[str]
Outcome: TypeAlias = Literal["committed", "rolled_back", "unknown"]

@final
class Policy:
    """An immutable compiled policy.

    `decide` and its relatives take the request as keywords. `event` is the inbound event, at all three boundaries;
    `tool` and `arguments` belong to `invoke`, `output` to `produce`. `now` is Unix time in ms, by default the clock's.
    """

    @staticmethod
    def from_file(path: StrPath) -> Policy:
        """Compile a YAML file, or a JSON one if its name ends in `.json`.

        Raises:
            PolicyError: the file cannot be read or is not a policy.
        """

    @staticmethod
    def from_yaml(text: str, *, source: str = "<yaml>") -> Policy: ...
    @staticmethod
    def from_json(text: str, *, source: str = "<json>") -> Policy: ...
    @staticmethod
    def from_dict(document: Mapping[str, Any], *, source: str = "<dict>") -> Policy: ...
    @property
    def version(self) -> str:
        """BLAKE3 hash of the canonical form, hexadecimal."""

    @property
    def canonical(self) -> str:
        """The canonical document, JSON."""

    @property
    def source(self) -> str:
        """Where the text came from; a file's path, or a word in angle brackets."""

    @property
    def guards(self) -> tuple[str, ...]:
        """Names of the guards that rules ask for."""

    def decide(
        self,
        identity: str,
        scope: str,
        *,
        kind: Kind = "consume",
        event: EventLike | None = None,
        tool: str | None = None,
        arguments: Any = None,
        output: EventLike | None = None,
        now: int | None = None,
    ) -> Decision:
        """Decide by the rules alone: no guard runs, no receipt is issued.

        Raises:
            TypeError: `event` or `output` is neither a message nor a dictionary of the documented form.
            ValueError: `kind` is no boundary, or `arguments` cannot be written as JSON.
        """

    def has_scope(
        self,
        identity: str,
        scope: str,
        *,
        kind: Kind = "consume",
        event: EventLike | None = None,
        tool: str | None = None,
        arguments: Any = None,
        output: EventLike | None = None,
        now: int | None = None,
    ) -> bool:
        """Say whether the rules alone allow it."""

    def explain(
        self,
        identity: str,
        scope: str,
        *,
        kind: Kind = "consume",
        event: EventLike | None = None,
        tool: str | None = None,
        arguments: Any = None,
        output: EventLike | None = None,
        now: int | None = None,
    ) -> Explanation:
        """Tell every rule that matched, what its condition gave, and which one decided."""

@final
class Signer:
    """A signing key; the secret part never comes out of it."""

    @staticmethod
    def from_file(path: StrPath) -> Signer:
        """Read a key file, which nobody but its owner may be able to read.

        Raises:
            SigningKeyError: it is missing, malformed, or readable by others.
        """

    @staticmethod
    def from_env(name: str = "CHIO_SIGNING_KEY") -> Signer:
        """Read a key from an environment variable: the 64 hexadecimal digits of its seed."""

    @staticmethod
    def generate(path: StrPath) -> Signer:
        """Create a key file of mode 0600; an existing file is refused."""

    @staticmethod
    def replace(path: StrPath) -> Signer:
        """Put a new key in the place of the one at `path`, which is kept beside it under its key id."""

    @property
    def public_key(self) -> bytes:
        """The 32 bytes of the Ed25519 public key."""

    @property
    def key_id(self) -> str:
        """First 16 bytes of BLAKE3(public key), hexadecimal."""

@final
class Log:
    """The issuing side of a receipt log: this process's claim, epoch and sealer thread."""

    @staticmethod
    def open(
        location: StrPath,
        *,
        issuer: str | None = None,
        identity: str | None = None,
        signer: Signer | None = None,
        durability: Literal["full", "relaxed"] = "full",
        digest_key: bytes | None = None,
        linger_ms: int | None = None,
        max_batch: int | None = None,
        max_unsealed_bytes: int | None = None,
    ) -> Log: ...
    @property
    def path(self) -> Path | None:
        """The file, where it is one."""

    @property
    def location(self) -> str:
        """The path, or the URL without its password."""

    @property
    def issuer(self) -> str:
        """Configured name, `@`, the log's id."""

    @property
    def epoch(self) -> int: ...
    @property
    def public_key(self) -> bytes: ...
    @property
    def created_key(self) -> Path | None:
        """Path of the key file that this call created, else None."""

    @property
    def issued(self) -> int:
        """Ordinal of the last receipt issued."""

    @property
    def durable(self) -> int:
        """Ordinal up to which receipts are durable."""

    def seal(self) -> int:
        """Ask for a seal of what was issued; returns the ordinal to wait for."""

    def wait_durable(self, ordinal: int, timeout: float | None = None) -> bool:
        """Wait (seconds, None: without end) until the ordinal is durable; False if the time ran out first.

        Raises:
            LogError: sealing failed, and why.
        """

    def attempts(self, ordinals: Sequence[int]) -> list[int | None]:
        """Give the `attempt` of recently sealed receipts; None where it is not remembered any longer."""

    def checkpoint(self, ordinal: int) -> SignedCheckpoint:
        """Give the checkpoint of the transaction's batch that holds the receipt with this ordinal.

        Raises:
            ReceiptNotFoundError: it is not durable yet, is no transaction's, or is none of the last 1,024.
        """

    def head(self) -> SignedCheckpoint | None:
        """Give the issuer's newest durable checkpoint, of whatever epoch; None before its first.

        Raises:
            LogError: the log is closed, or was opened before a fork.
        """

    def close(self) -> None:
        """Seal, wait until it is durable, give the claim back; further calls raise."""

    def stats(self) -> bytes:
        """Counters as JSON, see `chio_fast.log.LogStats`."""

@final
class SignedCheckpoint:
    """The signed header of a batch, as it is shown outside the log."""

    @property
    def hash(self) -> str:
        """BLAKE3 hash of the text, hexadecimal; names the batch."""

    @property
    def text(self) -> str:
        """Canonical JSON."""

    @property
    def signature(self) -> str:
        """Ed25519 signature, hexadecimal."""

    @property
    def batch(self) -> int:
        """Position of the batch in the log."""

@final
class Reader:
    """Reads a receipt log, also while others write; what it finds is JSON, see `chio_fast.log`."""

    @staticmethod
    def open(location: StrPath) -> Reader: ...
    @property
    def log_id(self) -> str: ...
    def get(self, receipt_id: str) -> bytes: ...
    def query(self, filters: Mapping[str, Any], *, newest_first: bool, after: str | None, limit: int) -> bytes: ...
    def chain(self, receipt_id: str, direction: str, limit: int) -> bytes: ...
    def batches(self, first: int, limit: int) -> bytes: ...
    def state(self, batch: int) -> str: ...
    def prepared(self) -> bytes: ...
    def frame(self, batch: int) -> bytes: ...
    def export(self, receipt_id: str) -> bytes: ...
    def export_stream(self, path: StrPath, *, first: int = 1, last: int | None = None) -> int: ...
    def verify(self, trust: bytes, progress: Callable[[int], None] | None = None) -> bytes: ...
    def highest_offset(self, partition: Partition) -> int | None:
        """Give the highest offset of the partition, as this consumer sees it, that any consume receipt names."""

    def consumed(self, partition: Partition, first: int, last: int) -> bytes:
        """Give the consume receipts of the partition, as this consumer sees it, at offsets `first` to `last`; JSON."""

    def rebuild_index(self) -> None: ...

def import_frames(log: StrPath, file: StrPath, trust: bytes) -> bytes:
    """Append the frames that another log exported; gives JSON, see `chio_fast.records.Imported`."""

def show_location(location: StrPath) -> str:
    """Give what messages call the log at a location: the path, or the URL without its password."""

def rotate_key(log: StrPath, signer: Signer, trust: bytes | None = None) -> bytes: ...
def check_trust(trust: bytes) -> bytes: ...
def withhold(log: StrPath, ids: Sequence[str]) -> int: ...
def verify_export(export: bytes, trust: bytes) -> bytes:
    """Verify an exported receipt; JSON with what is known of it, or with `fault` and `detail`."""

def by_partition(events: list[Event]) -> list[tuple[str, int, list[Event]]]:
    """Take a list of events apart where the partition changes: topic, number, and the events that are together."""

def headers_of(message: MessageLike) -> Headers | None:
    """Read the headers of a message; a name that is not UTF-8 has U+FFFD for what is none.

    Raises:
        ValueError: there is such a name, and the client is of a version that does not let it be read, or it was asked
            before, by `message.headers()`.
    """

def group_metadata(consumer: Consumer) -> bytes | None:
    """Give what the group knows a consumer by, as `consumer_group_metadata` does, without Python's lock.

    Raises:
        RuntimeError, TypeError: as of `Inlet`.
    """

def is_cooperative(consumer: Consumer) -> bool | None:
    """Say whether a consumer's group changes assignments step by step (KIP-429, KIP-848); None while it is in none.

    Raises:
        RuntimeError, TypeError: as of `Inlet`.
    """

def slow_road_reason() -> str | None:
    """Say why messages of the imported client are read by its accessors and not where their fields lie; None if not."""

def read_by_both_roads(message: Message) -> tuple[tuple[Any, ...] | None, tuple[Any, ...]]:
    """Read a message by the fast road, None if it is closed, and by the accessors.

    Each reading is (is error, topic, partition, offset, key, value, timestamp, headers).
    """

@final
class Gate:
    """The native half of an `Enforcer`: the current policy, and the way into the log."""

    def __new__(
        cls,
        log: Log,
        policy: Policy,
        *,
        guards: Sequence[str] = ...,
        correlation_headers: Sequence[str] | None = None,
    ) -> Gate:
        """Join a log and a policy.

        Args:
            log: where receipts go.
            policy: by which it decides.
            guards: names of those that run for every decision.
            correlation_headers: headers of consumed events that carry the correlation text, the preferred one first;
                by default `traceparent` and `X-Correlation-Id`.
        """

    @property
    def policy(self) -> Policy: ...
    @property
    def log(self) -> Log: ...
    def set_policy(self, policy: Policy) -> None:
        """Decide by this policy from now on; a batch holds decisions of one version, so this seals."""

    def partition(
        self,
        topic: str,
        number: int,
        *,
        scope: str,
        identity: str,
        cluster: str | None = None,
        topic_id: str | None = None,
        group: str | None = None,
        stamp: int = 0,
    ) -> Partition:
        """Resolve what all events of a partition share. Make one per assignment."""

    def admit(
        self, messages: Sequence[Message] | Inlet, partitions: Mapping[tuple[str, int], Partition]
    ) -> tuple[list[Event], list[Message], list[Message]]:
        """Decide a list of messages, or what was taken out of an inlet, without receipts yet.

        Returns:
            Events in the order given, each with its partition's stamp of now; messages that carry an error (also end of
            partition); and strays, undecided: their partition is not in `partitions`, or their offset is below its
            `admitted` (the topic was created anew).
        """

    def issue(
        self, events: Sequence[Event], *, before_action: bool = False
    ) -> tuple[list[Event], list[Event], list[Event]]:
        """Give receipts to events that are handed out now, all under one lock, in the order given.

        `before_action` says in them that they are durable before the events are handed out, which is up to the caller.

        Decisions of an older policy, or past their validity, are made again first. Events whose stamp is not their
        partition's any longer are left out. Events that already have a receipt keep it.

        Returns:
            Allowed events, denied ones, and those with guards that are due and have not run. If there are any of the
            last kind, no receipt was issued at all: run the guards, then call again. A list whose events are all
            allowed is itself the list of the allowed ones.

        Raises:
            LogError: sealing failed, or the log is closed or was opened before a fork.
        """

    def take(self, events: Sequence[Event]) -> tuple[list[Event], list[Event], list[Event]]:
        """Hand out events of a transaction: like `issue`, but they get ids only, and their receipts follow.

        From then on `chio_receipt_id` is set and `ordinal` is not. Nothing of it is in the log until `attest` or
        `attempt`. Events that are taken already keep their id.

        Raises:
            LogError: the log has failed, is closed, or was opened before a fork.
        """

    def attest(
        self,
        events: Sequence[Event],
        checks: Sequence[Check],
        *,
        group: str,
        transactional_id: str,
        attestation: bytes,
    ) -> list[int]:
        """Issue the receipts of a transaction, as batches in state `prepared` that are sealed at once.

        There is one batch per policy version under which they were decided, usually one: first the consume receipts of
        `events`, by their ids, then the receipts of `checks`, which get their ids now. All batches become durable
        together or not at all.

        Args:
            events: taken ones, allowed and denied, in any order.
            checks: decided ones without receipts, such as outputs.
            group: the consumer group.
            transactional_id: that of the producer.
            attestation: what the transaction is about to do: a JSON object in canonical form (RFC 8785).

        Returns:
            The last ordinal of each batch: wait for the largest, and ask `Log.checkpoint` for each.

        Raises:
            ValueError: `attestation` is not canonical, or a name is empty.
            ChioError: an event is not taken, something has its receipt already, or guards of a check have not run.
            LogError: as for `issue`. Nothing was issued then.
        """

    def attest_stretches(
        self, stretches: Sequence[Stretch], *, group: str, transactional_id: str, attestation: bytes
    ) -> list[int]:
        """Do what `attest` does for the events of stretches and what their handlers produced."""

    def attempt(self, events: Sequence[Event]) -> int | None:
        """Issue the receipts of taken events that no transaction will hold, in batches of mode `attempt`.

        The events may be taken again and get new ids then. Events that are not taken, or have their receipts, are left
        alone.

        Returns:
            The last ordinal; None if there was nothing to issue.

        Raises:
            LogError: as for `issue`.
        """

    def attempt_now(self, events: Sequence[Event]) -> list[int]:
        """Count the attempts at taken events before their handlers run, by one more receipt for each.

        They are of mode `attempt`, with evidence `before_action`: once they are durable, a handler that ends the
        process was counted. `Log.attempts` tells the numbers; the receipts that `attest` or `attempt` issue later for
        the same events carry the same ones.

        Returns:
            Their ordinals, in the order of `events`.

        Raises:
            ChioError: an event is not taken, or has its receipt already.
            LogError: as for `issue`.
        """

    def outcomes(self, resolved: Sequence[tuple[str, str, Outcome, Mapping[str, Any], str | None]]) -> int:
        """Record what became of transactions' batches; sealed with what comes next, or when somebody waits for it.

        Args:
            resolved: for each batch the hash of its checkpoint (hexadecimal), its issuer, the outcome, where Kafka
                shows it (`cluster`, `topic`, `partition`, `offset`, `from`, `until`), and the outcome recorded before
                if Kafka contradicts it.

        Returns:
            The ordinal to wait for. If another outcome was recorded meanwhile and is not named as contradicted, or a
            batch is not in this log, the wait raises `LogStateError` (code `state`): nothing of what was issued
            together with it is durable, and the log takes nothing more until this process opens it again.

        Raises:
            ValueError: an entry is malformed.
            LogError: as for `issue`.
        """

    def rollback(self, events: Sequence[Event]) -> None:
        """Issue `rollback` receipts for events that have a receipt and are not handed out after all.

        Events that were only taken have none, and nothing is issued for them.
        """

    def request(
        self,
        identity: str,
        scope: str,
        *,
        kind: Kind = "consume",
        event: EventLike | None = None,
        tool: str | None = None,
        arguments: bytes | None = None,
        output: EventLike | None = None,
        parents: Sequence[str] = ...,
        correlation: str | None = None,
    ) -> Check:
        """Decide one request, without a receipt yet; `arguments` is JSON text."""

    def outlet(
        self,
        topic: str,
        *,
        scope: str,
        identity: str,
        cluster: str | None = None,
        topic_id: str | None = None,
        closed: str | None = None,
        carries_trace: bool = False,
    ) -> Outlet:
        """Resolve what all events produced to one topic share. Make one per topic and identity, and keep it.

        `closed` says why nothing may be produced to it: everything is denied then, by rule `guard:outlet`, whatever the
        policy says. With `carries_trace`, outputs get the header `traceparent` of the event being handled (W3C Trace
        Context), unless they have one.
        """

    def output(
        self,
        outlet: Outlet,
        key: bytes | str | None,
        value: bytes | str | None,
        headers: OutputHeaders | None,
        partition: int = ...,
        timestamp: int = 0,
        event: Event | None = None,
        parents: Iterable[str] | None = None,
        correlation: str | None = None,
    ) -> Check:
        """Decide one event to be produced, without a receipt yet.

        Args:
            outlet: where to.
            key: its key.
            value: its value.
            headers: its headers; those that name receipt and scope are left out, because `Check.headers` adds its own.
            partition: number of the partition; -1 for the partitioner's choice.
            timestamp: Unix ms; 0 for now.
            event: the event being handled: conditions see it, its receipt is a parent.
            parents: ids of other receipts that led to this.
            correlation: text that joins what belongs together; by default that of the headers, else the event's.

        Raises:
            TypeError: key, value or headers are of another type than a client takes.
        """

    def authorise(
        self,
        outlet: Outlet,
        key: bytes | str | None,
        value: bytes | str | None,
        headers: OutputHeaders | None,
        partition: int = ...,
        timestamp: int = 0,
        event: Event | None = None,
        parents: Iterable[str] | None = None,
        correlation: str | None = None,
    ) -> Check:
        """Do what `output` does and issue the receipt at once, unless guards have to run first.

        Raises:
            LogError: the receipt cannot be issued.
        """

    def issue_checks(self, checks: Sequence[Check]) -> list[Check]:
        """Give receipts to checks, as `issue` does to events.

        Returns:
            Those with guards that are due and have not run; if there are any, no receipt was issued at all.
        """

    def rollback_checks(self, checks: Sequence[Check]) -> None:
        """Issue `rollback` receipts for checks that have a receipt and were not acted upon after all."""

    def counts(self) -> dict[str, int]:
        """Receipts by verdict, and `redecided`: decisions that were made again before their receipt."""

    def effect(
        self,
        check: Check,
        *,
        result: bytes | None,
        error: str | None,
        duration_ms: int,
        reason: str = "",
        stands_for: Sequence[str] = ...,
    ) -> str:
        """Issue the receipt of what became of an allowed tool call: digest of the JSON `result`, or an error.

        `reason` says what else there is to say; `stands_for` are ids of further receipts that it names as parents.
        """

@final
class Partition:
    """What all events of one assigned partition share."""

    stamp: int
    """Assignment epoch; raise it on each assign, revoke, lost and seek."""

    admitted: int
    """Offset after the last event that `admit` took, -1 before the first; a seek sets it back to -1."""

    position: int
    """Offset after the last event that `issue` gave a receipt, -1 before the first; `issue` sets it, a seek may too."""

    handed: int
    """Offset after the last *allowed* event that `issue` gave a receipt, -1 before the first; likewise."""

    @property
    def topic(self) -> str: ...
    @property
    def number(self) -> int: ...
    @property
    def scope(self) -> str: ...
    @property
    def identity(self) -> str: ...

@final
class Outlet:
    """What all events produced to one topic share."""

    @property
    def topic(self) -> str: ...
    @property
    def scope(self) -> str: ...
    @property
    def identity(self) -> str: ...

@final
class Backlog:
    """A governed producer's messages between their receipts and the client.

    Those without callbacks are handed to the client natively, without Python's lock, if that road is open.

    Args:
        gate: decides, and issues the receipts.
        producer: the client.
        identity: who produces, whatever is being handled; None for the identity of the event.
        fallback: who produces where neither says so; None for nobody.
        largest: bytes of key and value that the client takes at most; None for any number.
        max_messages: messages that wait at most.
        max_bytes: bytes of keys and values that wait at most.
        heard: somebody hears of every message, so all of them are given to the client in Python.
    """

    max_messages: int

    def __new__(
        cls,
        gate: Gate,
        producer: Producer,
        *,
        identity: str | None,
        fallback: str | None,
        largest: int | None,
        max_messages: int,
        max_bytes: int,
        heard: bool = False,
    ) -> Self: ...
    @property
    def slow_road_reason(self) -> str | None:
        """Why all messages are given to the client in Python; None if only those with callbacks are."""

    @property
    def sent(self) -> int:
        """Messages handed to the client natively; their receipts were durable by then."""

    @property
    def is_full(self) -> bool:
        """Whether nothing more may be put now."""

    def __len__(self) -> int:
        """How many messages wait, those in the flusher's hands included."""

    def know(self, outlet: Outlet) -> None:
        """Let `produce` use an outlet."""

    def produce(
        self,
        topic: str,
        value: bytes | str | None,
        key: bytes | str | None,
        partition: int,
        headers: OutputHeaders | None,
        timestamp: int,
        parents: Iterable[str],
        correlation: str | None,
    ) -> bool:
        """Decide on a message without callback, issue its receipt and put it, if that is all it takes.

        Returns:
            False if not, and then nothing was done: guards are due, it is not allowed, there is no room, its outlet is
            not known, an argument is malformed or can be read only once, or the native road is closed.

        Raises:
            LogError: the receipt cannot be issued.
        """

    def put(self, parcels: Sequence[tuple[Check, Callable[..., Any] | None]], size: int) -> bool:
        """Put outputs that have their receipts, with `on_delivery`; `size` in bytes. False after `shut`."""

    def forward(self) -> list[tuple[Check, Callable[..., Any] | None]] | Refused | None:
        """Take what waits, wait until it is durable and hand it to the client, until there is something else to do.

        For one thread, the flusher. It takes Python's lock when it returns.

        Returns:
            Messages for the client's `produce`, or one that the client refuses, which count until `passed`; None once
            the backlog is closed.

        Raises:
            LogError: what was taken does not become durable; it was not sent.
        """

    def passed(self, number: int) -> None:
        """Count messages no longer: they were handed to the client, or given up."""

    def await_poll(self) -> bool:
        """Wait until somebody has polled the full client, for a little while; say whether the backlog is closed."""

    def polled(self) -> None:
        """Tell the flusher that the client may have room."""

    def await_move(self, timeout: float) -> None:
        """Wait until the flusher has got somewhere, at most `timeout` seconds."""

    def shut(self, is_closing: bool) -> None:
        """Let nothing more be put and, if it is closing, nothing more be sent."""

    def drain(self) -> tuple[list[tuple[Check, Callable[..., Any] | None]], list[Refused]]:
        """Take out what was not sent, which counts until `passed`; for the flusher."""

    def take_back(self, refused: Sequence[Refused]) -> None:
        """Issue `rollback` receipts for messages that were not sent.

        Raises:
            LogError: receipts cannot be issued.
        """

@final
class Refused:
    """A message without callback that was not sent."""

    @property
    def topic(self) -> str: ...
    @property
    def receipt_id(self) -> str: ...
    @property
    def code(self) -> int:
        """Why the client does not take it; 0 if it was not asked."""

    @property
    def reason(self) -> str | None:
        """The same in words."""

@final
class Exits:
    """What the handlers of a processor share: where they may produce to.

    Args:
        gate: decides.
        outlets: one per topic, each with the bytes that key and value may have together; None for any number.
        boundaries: are asked where there is more to do or to say: there is no outlet for the topic, the value is
            neither bytes nor None, the key neither bytes, str nor None, they are too large, the event's partition was
            revoked, lost or sought, a guard has to run, or the output is not allowed.
        done: what `HandlerContext.produce` gives when all is done.
    """

    def __new__(
        cls, gate: Gate, outlets: Sequence[tuple[Outlet, int | None]], boundaries: Boundaries, done: Awaitable[None]
    ) -> Self: ...

WAITING: int
"""State of a work whose handler has not begun."""
RUNNING: int
"""State of a work whose handler runs."""
FINISHED: int
"""State of a work that its handler is done with."""

@final
class Work:
    """One event that is being handled.

    Written by the worker that runs its handler; from `FINISHED` on it is read by the transaction thread alone. There is
    one for every event, and Python's garbage collector, which would look at thousands of them again and again, does not
    see it: a run lets go of its works when it ends.

    Args:
        event: the event.
        run: the run that it is part of.
        key: of the events that are handled in order; None for all of the partition.
    """

    denied: bool
    """Whether the event was denied, so that no handler sees it and its output is a DLQ record."""
    state: int
    """See the constants."""
    is_suspect: bool
    """Whether its handler may have ended the process before, so that it waits for its turn."""
    attempts: int
    """How often its handler has failed, as far as this process knows."""
    tried: int
    """How often it was counted before this process took it."""
    form: int
    """How much of the event its DLQ or error record holds, a `Form`."""
    failure: Failure | None
    """Why it goes to the error topic instead of having outputs."""

    def __new__(cls, event: Event, run: Run, key: bytes | str | None = None) -> Self: ...
    @property
    def event(self) -> Event: ...
    @property
    def run(self) -> Run: ...
    @property
    def lane(self) -> int | None:
        """Hash of the key whose events are handled in order."""

    @property
    def place(self) -> tuple[str, int, int]:
        """Topic, partition and offset."""

    @property
    def outputs(self) -> tuple[Check, ...]:
        """What the handler produced, as it was decided; the receipts follow when the work is attested."""

    @property
    def is_plain(self) -> bool:
        """Whether its handler may begin without another look: it is no suspect, has not failed, and its run goes on."""

    def is_running(self, attempt: int) -> bool:
        """Whether the attempt of this number is not over."""

    def keep(self, output: Check) -> None:
        """Add an output."""

    def drop_outputs(self) -> None:
        """Forget them."""

    def finish(self) -> Work | None:
        """Note that a handler is done with its event; give the work that comes next in the lane."""

@final
class Run:
    """What was taken of one partition since it was assigned or last sought, and is not committed.

    Args:
        held: its assignment.
        handler: what handles its events.
        next_offset: where it begins, `NOTHING` if that is not known.
        is_async: whether the handler is awaited.
        unproven: how many of the next events may be those that ended the process before.
        generation: the group's, when the partition was assigned.
    """

    unproven: int

    def __new__(
        cls,
        held: Assigned,
        handler: Callable[..., Any],
        next_offset: int,
        *,
        is_async: bool,
        unproven: int,
        generation: int,
    ) -> Self: ...
    def __len__(self) -> int: ...
    @property
    def key(self) -> tuple[str, int]:
        """Topic and number of the partition."""

    @property
    def held(self) -> Assigned: ...
    @property
    def handler(self) -> Callable[..., Any]: ...
    @property
    def is_async(self) -> bool: ...
    @property
    def generation(self) -> int: ...
    @property
    def alive(self) -> bool:
        """False once nothing of it may be committed any more."""

    @property
    def works(self) -> list[Work]:
        """In the order of their offsets, without those that were picked."""

    def works_for(self, events: list[Event], by_key: bool) -> list[Work]:
        """Make works of events that were taken, which are in order by key or by partition."""

    def add(self, works: list[Work]) -> list[Work]:
        """Append works, in order; give those that no other work of their lane comes before."""

    def not_begun(self) -> list[Work]:
        """Give the works whose handlers have not begun, in order."""

@final
class Stretch:
    """The part of a run that one transaction covers: offsets from `first` up to, and not including, `next`."""

    def __new__(cls, run: Run, works: list[Work], first: int, end: int) -> Self: ...
    def __len__(self) -> int: ...
    @property
    def run(self) -> Run: ...
    @property
    def first(self) -> int: ...
    @property
    def next(self) -> int: ...
    @property
    def works(self) -> list[Work]: ...
    @property
    def letters(self) -> list[Work]:
        """The works whose records go to the DLQ or to the error topic."""

    @property
    def partition_key(self) -> bytes | None: ...

@final
class Runs:
    """The runs of one track, and how many events are in them.

    Args:
        batch_size: finished events that a transaction need not wait longer for.
        max_batch_s: seconds after which those that are finished are committed, however few they are.
    """

    def __new__(cls, batch_size: int, max_batch_s: float) -> Self: ...
    def __len__(self) -> int: ...
    @property
    def taken(self) -> int:
        """Events that were taken and are not committed."""

    @property
    def unfinished(self) -> int:
        """Those of them whose handlers are not done with them."""

    @property
    def is_settled(self) -> bool:
        """Whether nothing can be committed, now or once the running transaction has ended."""

    @property
    def is_due(self) -> bool:
        """Whether there is something to commit."""

    @property
    def is_awaited(self) -> bool:
        """Whether somebody waits for that."""

    def get(self, key: tuple[str, int]) -> Run | None:
        """Give the run of a partition, or None if it is not held."""

    def begin(self, run: Run) -> None:
        """Begin a run; that of the same partition before it must have ended."""

    def begins_at(self, offsets: dict[tuple[str, int], int]) -> None:
        """Note up to where runs were committed before they began, unless they are beyond that already."""

    def end(self, keys: Sequence[tuple[str, int]]) -> list[Work]:
        """End the runs of `keys`; give the works whose handler has begun and that are in no transaction."""

    def pick(self, limit: int) -> list[Stretch] | None:
        """Wait until there is something to commit; give it, or None once `stop` was called."""

    def pick_ahead(self, limit: int) -> list[Stretch] | None:
        """Give what the next transaction will commit if it is a full one; never waits."""

    def committed(self, stretches: Sequence[Stretch]) -> None:
        """Let go of what was committed."""

    def hurry(self, *, awaited: bool) -> None:
        """Commit what is finished at once, however few they are, until nobody awaits it any more."""

    def stop(self) -> None:
        """Let `pick` give None from now on."""

    def stalled(self) -> dict[Run, Work]:
        """Give the runs whose first work is unfinished, each with that work."""

@final
class HandlerContext:
    """What a handler gets beside its event.

    Args:
        work: what is handled.
        exits: where may be produced.
    """

    made: EventCalls | None
    """The tool calls that were made."""

    def __new__(cls, work: Work, exits: Exits) -> Self: ...
    @property
    def event(self) -> Event:
        """The event that is handled."""

    @property
    def work(self) -> Work: ...
    @property
    def attempt(self) -> int:
        """Number of the attempt that this belongs to, from 0."""

    @property
    def calls(self) -> tuple[str, ...]:
        """Receipts of the calls of the enforcer's own tools that the handler has made, the latest ones."""

    def note_call(self, receipt_id: str) -> None:
        """Remember the receipt of a tool call that was allowed."""

    @property
    def chio(self) -> Tools:
        """The tools of the processor's enforcer, called on behalf of this event."""

    @property
    def receipt(self) -> str:
        """Id of the consume receipt, which becomes visible in the log with the transaction."""

    @property
    def trace(self) -> bytes | None:
        """The event's `traceparent` header, which outputs carry on, or None."""

    def produce(
        self,
        topic: str,
        value: object = None,
        key: bytes | str | None = None,
        *,
        headers: OutputHeaders | None = None,
        partition: int = -1,
        timestamp: int = 0,
    ) -> Awaitable[None]:
        """Produce an event in the transaction that commits the one being handled; decided at once.

        It may be awaited, in async handlers, or not, in sync ones.

        Args:
            topic: one of the topics of `produce_scope_map`.
            value: bytes, a string or None are written as they are, everything else as JSON.
            key: its key.
            headers: its headers; receipt id, scope and trace are added.
            partition: -1 for the partitioner's choice.
            timestamp: Unix ms; 0 for now.

        Raises:
            ChioDenied: it is not allowed, or the topic has no scope; nothing is produced, the receipt says so.
            ChioRevoked: the event's partition was revoked, lost or sought; the event is handled again elsewhere.
            ChioError: the handler has returned or failed before.
            ChioDeliveryError: the event is larger than the cluster takes.
        """

    def end(self) -> None:
        """Compare the tool calls with those of earlier attempts, now that the handler has returned.

        Raises:
            ChioCallDiverged: the handler has not repeated a call.
        """

@final
class Lanes:
    """Runs sync handlers, one event of a lane after the other.

    Args:
        exits: where they may produce.
        turn_to: sets what is handled, from a tuple.
        dispatcher: decides about works that were tried before, and about handlers that fail.
    """

    def __new__(
        cls, exits: Exits, turn_to: Callable[[tuple[HandlerContext, ...]], object], dispatcher: Dispatcher
    ) -> Self: ...
    @property
    def handled(self) -> int:
        """How many events were handled, or put off."""

    def run(self, work: Work) -> int:
        """Handle a work and those that follow in its lane; give how many they were."""

@final
class Check:
    """One request with its decision."""

    @property
    def is_allowed(self) -> bool:
        """Whether rules and the guards that ran so far allow it."""

    @property
    def guards_due(self) -> tuple[str, ...]:
        """Guards that have to run before a receipt can be issued."""

    @property
    def decision(self) -> Decision: ...
    @property
    def receipt_id(self) -> str | None: ...
    @property
    def ordinal(self) -> int | None: ...
    @property
    def identity(self) -> str: ...
    @property
    def scope(self) -> str: ...
    @property
    def kind(self) -> Kind: ...
    @property
    def event(self) -> EventLike | None: ...
    @property
    def output(self) -> EventLike | None: ...
    @property
    def headers(self) -> list[tuple[str, bytes | str | None]] | None:
        """Headers with which an output is sent, those of its receipt included once there is one; None for others."""

    def send(self, produce: Callable[..., None], on_delivery: Callable[..., Any] | None) -> None:
        """Hand an output that has its receipt to `produce` of a confluent Producer.

        Raises:
            ValueError: it is no output, or has no receipt.
            Exception: whatever `produce` raises.
        """

    @property
    def tool(self) -> str | None: ...
    @property
    def arguments(self) -> bytes | None: ...
    def guards_ran(self, runs: Sequence[GuardRun]) -> None:
        """Record what the due guards said; a due guard that is missing here stays due."""

    def has_scope(self, scope: str) -> bool:
        """Say whether the rules alone allow this identity another scope for the same request."""

@final
class Hatch:
    """Hands out the events that are ready one at a time, with their receipts, as long as that is all it takes.

    Args:
        gate: decides, and gives receipts.
        trouble: its attribute `waiting` says that the next hand-out has something to do before.
        ready: the events.
    """

    is_shut: bool
    """Whether nothing is handed out here."""

    def __new__(cls, gate: Gate, trouble: Trouble, ready: deque[Event]) -> Self: ...
    def open_for(self, seconds: float) -> None:
        """Hand out for so long from now; nothing before the first call.

        Raises:
            ValueError: `seconds` is negative or no number.
        """

    @property
    def is_over(self) -> bool:
        """Whether that time is over."""

    @property
    def handed_out(self) -> int:
        """How many events were handed out here."""

    def next(self) -> Event | None:
        """Take the next event out of `ready` and give it its receipt, as `Gate.issue` does.

        Returns:
            The event; None, and nothing was done, if there is none, if this is shut or its time is over, if there is
            trouble, if the event is void, not allowed, to be decided again, or has guards due, and if the log has no
            room or has failed. `Gate.issue` tells which.
        """

@final
class Inlet:
    """Messages of a confluent Consumer, taken from the client's library without its Python objects.

    The queues of partitions lead in here; everything that calls back stays with the client, which has to be entered for
    it. What comes in while nothing waits here ends the client's running call. For one thread at a time, but for
    `wake`. It has to be closed before the client is, which would wait without end for what has come in.

    Args:
        consumer: a Consumer of exactly the client's own type.

    Raises:
        RuntimeError: the client is none whose memory is known, is closed, or belongs to no group, as the message says.
        TypeError: it is of another type.
    """

    def __new__(cls, consumer: Consumer) -> Self: ...
    def lead_in(self, topic: str, partition: int) -> None:
        """Lead a partition in, before the client assigns it; it stays led in whenever it is assigned again."""

    def wake(self) -> None:
        """End the client's running call, or the next one; for every thread.

        Raises:
            RuntimeError: this or the client was closed.
        """

    @property
    def has_news(self) -> bool:
        """Whether something waits; what it is may turn out to be void."""

    def take(self, most: int) -> tuple[int, int]:
        """Take up to `most` messages, for `Gate.admit`; give their number, and the bytes of their values. Never waits.

        Raises:
            RuntimeError: this or the client was closed.
        """

    def close(self) -> None:
        """Take nothing any more; what was taken and not admitted is dropped."""

@final
class Sender:
    """Hands outputs to a confluent Producer without its `produce`: the fast road.

    No delivery callback hears of these records: `flush` says that none is on its way any more, and in a transaction the
    commit fails if one was not delivered. It keeps the producer.

    Args:
        producer: a confluent Producer that nobody closes while `hand` runs.

    Raises:
        Exception: the road is closed, for the reason that it gives: the client's memory is known for one version of its
            own classes alone; or the producer was closed.
    """

    def __new__(cls, producer: Producer) -> Self: ...
    def hand(self, outputs: Sequence[Check]) -> tuple[int, int]:
        """Hand outputs that have their receipts to the producer, in order, until it refuses one.

        Returns:
            How many it took; and the code of the `KafkaError` with which it refused the next one, 0 if it took all.

        Raises:
            ValueError: something is no output, or has no receipt. Nothing was handed over then.
            RuntimeError: the producer was closed.
        """

    def hand_stretches(self, stretches: Sequence[Stretch], first: int) -> tuple[int, int]:
        """Do what `hand` does with what the handlers of stretches produced, from the output at place `first` on."""

    def begin(self) -> bool:
        """Begin a transaction, without Python's lock; False if the producer does not, and its own method says why.

        Raises:
            RuntimeError: the producer was closed.
        """

@final
class Event:
    """A decided message: the whole surface of a confluent_kafka Message, and its decision."""

    @property
    def raw(self) -> Message:
        """The client's own message; where messages come past its objects, one that is made of this event."""

    @property
    def chio_receipt_id(self) -> str | None:
        """Id of the receipt; None until the event is handed out, and from `attempt` until it is taken again."""

    @property
    def chio_decision(self) -> Decision:
        """What was decided about this event."""

    @property
    def identity(self) -> str: ...
    @property
    def scope(self) -> str: ...
    @property
    def kind(self) -> Literal["consume"]: ...
    @property
    def request(self) -> str:
        """Name of the request: `chio-kafka-{topic}-{partition}-{offset}`."""

    @property
    def trace(self) -> bytes | None:
        """The `traceparent` header (W3C Trace Context); None if there is none."""

    @property
    def partition_key(self) -> bytes | None:
        """Key of the partition for this identity and group; None where they are not known."""

    @property
    def request_key(self) -> bytes | None:
        """Key of the request: of the partition key and the offset."""

    @property
    def digest(self) -> bytes:
        """BLAKE3 of key and value as they were admitted, without headers."""

    @property
    def stamp(self) -> int:
        """Stamp of the partition when the event was admitted."""

    @property
    def is_current(self) -> bool:
        """Whether the stamp is still the partition's."""

    @property
    def ordinal(self) -> int | None:
        """Ordinal of the receipt; None until it is issued."""

    @property
    def floor(self) -> int:
        """`Partition.handed` just before this event was issued: from there to here nothing was handed out."""

    @property
    def guards_due(self) -> tuple[str, ...]:
        """Guards that have to run before the event can be handed out."""

    def guards_ran(self, runs: Sequence[GuardRun]) -> None:
        """Record what the due guards said; a due guard that is missing here stays due."""

    def recall(
        self, receipt_id: str, *, verdict: str | None = None, rule: str | None = None, reason: str | None = None
    ) -> None:
        """Name an earlier receipt as the first parent of this event's receipt, before it gets one.

        Args:
            receipt_id: the earlier receipt.
            verdict: its verdict, if it stands whatever rules and guards say now; with `rule`, the rule that decided.
            rule: see `verdict`.
            reason: what the receipt says in place of a rule's reason.

        Raises:
            LogQueryError: the id is malformed.
            ValueError: there is no such verdict.
        """

    def admitted(self) -> tuple[str, Any, Any, Headers | None]:
        """Give topic, key, value and headers as the message came, whatever was set since.

        Raises:
            ValueError: the headers were unreadable.
        """

    def dead_letter(
        self, *, attempt: int | None, value: bool, rest: bool
    ) -> tuple[bytes | None, bytes, list[tuple[str, bytes | None]]] | None:
        """Give key, value and headers of the DLQ record in JSON mode, as `envelope.json_record` describes them.

        Args:
            attempt: how often the event has been decided on, where known.
            value: whether to keep the value.
            rest: whether to keep key and headers.

        Returns:
            None if something of the original is not UTF-8, or was set anew by the application: ask the envelope.
        """

    def has_scope(self, scope: str) -> bool:
        """Say whether the rules alone allow this identity another scope for this event."""

    def __enter__(self) -> Self:
        """Make this the current event: checks and tool calls inside see it and name its receipt as parent."""

    def __exit__(self, *exc: object) -> None: ...
    def topic(self) -> str: ...
    def partition(self) -> int: ...
    def offset(self) -> int: ...
    def key(self) -> Any: ...
    def value(self) -> Any: ...
    def timestamp(self) -> tuple[int, int]: ...
    def headers(self) -> Headers | None:
        """The headers; a name that is not UTF-8 has U+FFFD for what is none, as in conditions."""

    def error(self) -> KafkaError | None: ...
    def latency(self) -> float | None: ...
    def leader_epoch(self) -> int | None: ...
    def delivery_count(self) -> int | None: ...
    def deserialized_key(self) -> Any: ...
    def deserialized_value(self) -> Any: ...
    def set_headers(self, headers: Any) -> None: ...
    def set_key(self, key: Any) -> None: ...
    def set_value(self, value: Any) -> None: ...
    def set_topic(self, topic: str) -> None: ...
    def set_error(self, error: KafkaError | None) -> None: ...
    def __len__(self) -> int: ...
