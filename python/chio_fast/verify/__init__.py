"""The independent verifier of receipts and receipt logs.

It shares no code with the engine: ``blake3``, ``pynacl`` and the standard library are all it uses, and it imports
nothing else of ``chio_fast``, so that an auditor can read it, copy it and run it alone. What it accepts is specified in
``docs/receipt-format.md``; the vectors in ``tests/vectors`` hold it and the engine's own verifier to each other.

    python -m chio_fast.verify FILE --trust trust.json [--json] [--partial] [--anchors FILE]

FILE is the export of one receipt (JSON) or a log (frames). Exit codes: 0 verified, 1 invalid, 2 usage or unreadable
file, 3 authentic but outcome unknown.

| room | holds |
|---|---|
| ``canonical`` | strict JSON and RFC 8785 |
| ``hashing`` | keyed hashes, the tree, Ed25519 |
| ``records`` | the schema of bodies and checkpoints |
| ``trust`` | the trust file, and what a key may sign |
| ``frames`` | the container |
| ``export``, ``log`` | verifying one receipt, verifying a log |
| ``anchors`` | checkpoints kept outside a log, to which it has to lead |
"""

from chio_fast.verify.anchors import Anchor, AnchorCheck, read_anchor
from chio_fast.verify.errors import MalformedError, VerifyError
from chio_fast.verify.export import Verified, verify_export
from chio_fast.verify.log import Finding, IssuerReport, LogVerifier, Report, verify_log
from chio_fast.verify.trust import Trust, TrustError, load_trust

__all__ = [
    "Anchor",
    "AnchorCheck",
    "Finding",
    "IssuerReport",
    "LogVerifier",
    "MalformedError",
    "Report",
    "Trust",
    "TrustError",
    "Verified",
    "VerifyError",
    "load_trust",
    "read_anchor",
    "verify_export",
    "verify_log",
]
