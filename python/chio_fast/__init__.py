"""In-process policy enforcement with signed receipts for agents that live on Kafka.

Names are loaded when first used, so that `import chio_fast` imports neither confluent_kafka nor the extension.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chio_fast._native import Event, Policy, Signer
    from chio_fast.checks import CheckRequest, EnforcerStats
    from chio_fast.decision import Allow, Decision, Deny, Explanation, GuardRun, RuleError
    from chio_fast.enforcer import Enforcer
    from chio_fast.errors import (
        ChioCallDiverged,
        ChioCallUnknown,
        ChioConfigError,
        ChioDeadLetterError,
        ChioDenied,
        ChioError,
        ChioRevoked,
        GuardError,
        LogError,
        PolicyError,
        SigningKeyError,
        VerifyError,
    )
    from chio_fast.guards import Guard, GuardContext
    from chio_fast.kafka import (
        AsyncChioConsumer,
        AsyncChioProducer,
        ChioConsumerMiddleware,
        ChioDeadLetterProducer,
        ChioProducerMiddleware,
        ChioTransactionalProcessor,
    )
    from chio_fast.keys import TrustFile
    from chio_fast.log import ReceiptLog
    from chio_fast.policy import PolicyWatcher
    from chio_fast.records import Receipt

__all__ = [
    "Allow",
    "AsyncChioConsumer",
    "AsyncChioProducer",
    "CheckRequest",
    "ChioCallDiverged",
    "ChioCallUnknown",
    "ChioConfigError",
    "ChioConsumerMiddleware",
    "ChioDeadLetterError",
    "ChioDeadLetterProducer",
    "ChioDenied",
    "ChioError",
    "ChioProducerMiddleware",
    "ChioRevoked",
    "ChioTransactionalProcessor",
    "Decision",
    "Deny",
    "Enforcer",
    "EnforcerStats",
    "Event",
    "Explanation",
    "Guard",
    "GuardContext",
    "GuardError",
    "GuardRun",
    "LogError",
    "Policy",
    "PolicyError",
    "PolicyWatcher",
    "Receipt",
    "ReceiptLog",
    "RuleError",
    "Signer",
    "SigningKeyError",
    "TrustFile",
    "VerifyError",
]

_HOMES = {
    "_native": ("Event", "Policy", "Signer"),
    "checks": ("CheckRequest", "EnforcerStats"),
    "decision": ("Allow", "Decision", "Deny", "Explanation", "GuardRun", "RuleError"),
    "enforcer": ("Enforcer",),
    "errors": (
        "ChioCallDiverged",
        "ChioCallUnknown",
        "ChioConfigError",
        "ChioDeadLetterError",
        "ChioDenied",
        "ChioError",
        "ChioRevoked",
        "GuardError",
        "LogError",
        "PolicyError",
        "SigningKeyError",
        "VerifyError",
    ),
    "guards": ("Guard", "GuardContext"),
    "kafka": (
        "AsyncChioConsumer",
        "AsyncChioProducer",
        "ChioConsumerMiddleware",
        "ChioDeadLetterProducer",
        "ChioProducerMiddleware",
        "ChioTransactionalProcessor",
    ),
    "keys": ("TrustFile",),
    "log": ("ReceiptLog",),
    "policy": ("PolicyWatcher",),
    "records": ("Receipt",),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module `chio_fast` has no attribute `{name}`")
    value = getattr(importlib.import_module(f"chio_fast.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
