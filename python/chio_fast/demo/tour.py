"""The tour of the demonstration: what it does, what came of it, and what to try next."""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING, Any

from chio_fast.cli.dlq import fields_of
from chio_fast.cli.output import to_json
from chio_fast.cli.receipt import show_chain
from chio_fast.cli.verify import independently, own_trust, show_summary
from chio_fast.demo import story
from chio_fast.demo.shop import ACT_ON_EVERY, Counts, Shop
from chio_fast.errors import ChioConfigError
from chio_fast.kafka import letters
from chio_fast.log import ReceiptLog

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from chio_fast.cli.output import Output

FILES = ("policy.yaml", "cases.yaml", "receipts.db", "denied.jsonl", "trust.json", "receipt.json")
TASKS_PER_ORDER = 0.02
EXAMPLES = 3


def run(output: Output, folder: Path, orders: int, conf: Mapping[str, Any] | None = None) -> bool:
    """Run the demonstration.

    Args:
        output: where it is told.
        folder: where the files go; what an earlier run left there is replaced.
        orders: how many orders flow.
        conf: settings of the client for a cluster of the user's; None for an embedded broker.

    Returns:
        Whether the log verified.

    Raises:
        ChioConfigError: the folder holds files that are not the demonstration's.
    """
    prepare(folder)
    output.heading("1. The policy")
    output.note(f"{folder / 'policy.yaml'}")
    output.line(story.POLICY)
    output.heading("2. The broker")
    with Shop(folder, conf) as shop:
        _tell_broker(output, shop)
        parts = _work(output, shop, orders)
        _tell_counts(output, parts)
        _tell_denials(output, shop, folder)
        last = shop.last_payment
        shop.enforcer.seal()
    log = ReceiptLog.open(folder / "receipts.db")
    if last is not None:
        _tell_chain(output, log, last, folder)
    verified = _tell_verification(output, log, folder)
    _tell_next(output, folder, last)
    return verified


def prepare(folder: Path) -> None:
    """Make the folder, without anything of an earlier run.

    Raises:
        ChioConfigError: it holds files that are not the demonstration's.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for entry in list(folder.iterdir()):
        if not entry.name.startswith(FILES):
            raise ChioConfigError(f"`{entry}` is not of the demonstration; write `--out` with an empty folder")
    for entry in list(folder.iterdir()):
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    (folder / "policy.yaml").write_text(story.POLICY)
    (folder / "cases.yaml").write_text(story.CASES)


def _tell_broker(output: Output, shop: Shop) -> None:
    if shop.cluster is None:
        output.line(f"Yours, at {shop.conf['bootstrap.servers']}. All topics and groups of this run begin with")
        output.line(f"`{shop.prefix}`; they stay, so that you can look at them.")
        return
    output.line("An embedded one: librdkafka's mock cluster, inside this process. It has topics, groups, headers and")
    output.line("commits; it has no transactions that isolate, no durability and no access control. Everything else")
    output.line("is real: the policy, the governed consumers, the dead letters, the receipts and their log.")


def _work(output: Output, shop: Shop, orders: int) -> dict[str, Counts]:
    tasks = max(20, round(orders * TASKS_PER_ORDER))
    output.heading("3. The stream")
    output.line(f"order-service     produces {orders:,} orders, with receipts; some large, embargoed or ambiguous")
    output.line(f"payment-agents    consume the orders, charge every {ACT_ON_EVERY}th allowed one, produce payments")
    output.line(f"research-agents   consume {tasks:,} tasks, search the web, produce findings")
    output.line("order-service     consumes the payments")
    with output.progress("producing orders", orders) as advance:
        shop.seed(orders, tasks, advance)
    with output.progress("payment-agents at work", orders) as advance:
        payments = shop.charge_orders(advance)
    with output.progress("research-agents at work", tasks) as advance:
        research = shop.research(advance)
    return {"payment-agents": payments, "research-agents": research, "order-service": shop.settle()}


def _tell_counts(output: Output, parts: dict[str, Counts]) -> None:
    output.heading("4. What was allowed and what was not")
    columns = ("agents", "consumed", "denied", "tool calls", "denied", "produced", "denied", "seconds")
    rows = [
        (
            name,
            f"{part.consumed:,}",
            f"{part.denied:,}",
            part.calls,
            part.calls_denied,
            part.produced,
            part.produced_denied,
            f"{part.seconds:.2f}",
        )
        for name, part in parts.items()
    ]
    output.table(columns, rows)
    part = parts["payment-agents"]
    output.line()
    output.line(f"{part.rate:,.0f} orders/s consumed, decided by their content, signed for and committed,", "bold")
    output.line(f"with {part.calls} tool calls on the way, each of which waited until its receipt was on the disk.")
    output.note("one short run, and producing not counted: `make bench` measures")


def _tell_denials(output: Output, shop: Shop, folder: Path) -> None:
    output.heading("5. The dead letters")
    stored = [one for one in letters.read(shop.conf, shop.dlq_topic) if one.letter is not None]
    with (folder / "denied.jsonl").open("w") as file:
        file.writelines(to_json(one.written()) + "\n" for one in stored)
    groups: dict[tuple[str, ...], int] = {}
    for one in stored:
        fields = fields_of(one)
        key = tuple(fields[name] for name in ("verdict", "identity", "reason"))
        groups[key] = groups.get(key, 0) + 1
    ranked = sorted(groups.items(), key=lambda item: -item[1])
    output.table(("count", "verdict", "identity", "reason"), ((f"{count:,}", *key) for key, count in ranked))
    log = shop.enforcer.receipt_log
    output.line()
    output.line("Tool calls and productions that were not allowed happened nowhere; their receipts say why:")
    shop.enforcer.seal()
    for kind in ("invoke", "produce"):
        for receipt in log.query(kind=kind, verdict="deny", limit=EXAMPLES, newest_first=True):
            what = receipt.target.tool or receipt.target.topic or receipt.scope
            output.line(f"  {receipt.id}  {kind} {what}: {receipt.reason}")


def _tell_chain(output: Output, log: ReceiptLog, receipt_id: str, folder: Path) -> None:
    root = log.chain(receipt_id, "backward").receipts[-1].id
    output.heading("6. What the order behind the last payment caused")
    output.note(f"chio-fast receipt chain {root} --direction forward --log {folder / 'receipts.db'}")
    show_chain(output, log.chain(root, "forward"))
    output.line("A link is verified if the log itself bears it out, asserted if only the receipt says so.")
    (folder / "receipt.json").write_bytes(log.export(receipt_id))


def _tell_verification(output: Output, log: ReceiptLog, folder: Path) -> bool:
    output.heading("7. The log, verified by code that shares nothing with the engine")
    trust = own_trust(output, log.location)
    trust.save(folder / "trust.json")
    total = sum(batch.count for batch in log.batches())
    started = time.monotonic()
    with output.progress("verifying", total) as advance:
        summary = independently(log, trust, advance)
    show_summary(output, summary)
    output.note(f"{summary.receipts:,} receipts in {time.monotonic() - started:.1f} s; the engine's own is far faster")
    return summary.verified


def _tell_next(output: Output, folder: Path, receipt_id: str | None) -> None:
    output.heading("Try next")
    log = folder / "receipts.db"
    _commands(
        output,
        (
            f"chio-fast receipt list --log {log} --verdict escalate --limit 5",
            f"chio-fast receipt chain {receipt_id} --direction backward --log {log}",
            f"chio-fast verify --log {log} --trust {folder / 'trust.json'}",
            f"chio-fast verify {folder / 'receipt.json'} --trust {folder / 'trust.json'}",
            f"chio-fast dlq group --file {folder / 'denied.jsonl'} --by rule,identity",
            f"chio-fast policy test {folder / 'policy.yaml'} {folder / 'cases.yaml'}",
            f"chio-fast policy explain {folder / 'policy.yaml'} payment-agents events:consume:orders "
            '--value \'{"amount": 1500, "country": "DE"}\'',
            "chio-fast enforce --example",
        ),
    )


def _commands(output: Output, commands: Iterable[str]) -> None:
    for command in commands:
        output.line(f"  {command}")
