"""The garbage collector runs whatever finalizers hold at any moment, and no call of ours hangs over it.

What hangs while it holds Python's lock cannot be ended from within, so this file runs itself as a program.
"""

from __future__ import annotations

import faulthandler
import gc
import subprocess
import sys
from pathlib import Path
from typing import Any

from chio_fast import Enforcer, Policy
from tests.core.test_gate import admitted, assigned, message

ROUNDS = 50
HUNG = 60.0
"""Seconds after which the program ends itself with an error."""
POLICY = {
    "chio": "policy/v1",
    "identities": {"research-agents": {"capabilities": ["events:**", "tools:*"]}},
    "rules": [
        {
            "id": "stop",
            "effect": "deny",
            "identities": ["*"],
            "scopes": ["events:**"],
            "when": "event.headers['stop'] == 'now' || output.headers['stop'] == 'now'",
        }
    ],
}


def test_finalizers_may_look_at_everything_while_receipts_are_issued(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.core.test_collector", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr


def main(folder: Path) -> None:
    """Issue receipts of every kind while each allocation of a container runs a finalizer."""
    faulthandler.dump_traceback_later(HUNG, exit=True)
    at_hand: list[Any] = []
    with Enforcer(Policy.from_dict(POLICY), receipt_log=folder / "receipts.db", identity="research-agents") as enforcer:

        class Trash:
            """A cycle that looks around when it is collected, and leaves another one behind."""

            def __init__(self) -> None:
                self.itself = self

            def __del__(self) -> None:
                enforcer.stats()
                enforcer.log.seal()
                looked.extend(subject.guards_due for subject in at_hand)
                if not over:
                    Trash()

        over: list[bool] = []
        looked: list[Any] = []
        outlet = enforcer.gate.outlet("results", scope="events:produce:results", identity="research-agents")
        headers = [("stop", b"later"), ("other", None)]
        enforcer.tool("search", lambda: 1)
        partitions = assigned(enforcer, "tasks")
        gc.set_threshold(1)
        Trash()
        for offset in range(ROUNDS):
            [event] = admitted(enforcer, [message(offset, headers=headers)], partitions)
            at_hand.append(event)
            enforcer.issue([event])
            check = enforcer.gate.output(outlet, b"k", b"v", headers, event=event)
            at_hand.append(check)
            enforcer.gate.issue_checks([check])
            enforcer.gate.authorise(outlet, b"k", b"v", headers)
            enforcer.check("events:produce:results", output={"topic": "results", "headers": headers}, event=event)
            enforcer.gate.rollback_checks([check])
            at_hand.clear()
        enforcer.invoke("search", "tools:search")
        over.append(True)
        gc.set_threshold(700)
    print("done" if len(looked) > ROUNDS else "nothing was collected")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
