"""Files of policy test cases: what they hold, and running them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from chio_fast.cli.requests import WrittenRequest
from chio_fast.errors import ChioConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from chio_fast._native import Policy
    from chio_fast.decision import Decision


class Expectation(msgspec.Struct, forbid_unknown_fields=True):
    """What a case expects; what is not given is not compared.

    Attributes:
        errors: codes of the conditions that err.
        guards: names of the guards that are due.
    """

    verdict: str
    rule: str | None = None
    errors: list[str] | None = None
    guards: list[str] | None = None


class PolicyCase(WrittenRequest, forbid_unknown_fields=True, kw_only=True):
    """One request with the decision that it must get."""

    name: str
    expect: str | Expectation


class CaseFile(msgspec.Struct, forbid_unknown_fields=True):
    """A file of cases."""

    cases: list[PolicyCase]


class CaseResult(msgspec.Struct, frozen=True):
    """What became of one case; `problem` is empty if it passed."""

    file: str
    name: str
    passed: bool
    verdict: str
    rule: str
    reason: str
    problem: str

    @property
    def word(self) -> str:
        """`pass` or `fail`."""
        return "pass" if self.passed else "fail"


def run_cases(file: Path, policy: Policy) -> list[CaseResult]:
    """Run one file of cases, YAML or JSON.

    Raises:
        ChioConfigError: the file is malformed or holds no case.
    """
    return [_run(str(file), case, policy) for case in load_cases(file).cases]


def load_cases(file: Path) -> CaseFile:
    """Read and validate a file of cases.

    Raises:
        ChioConfigError: it is malformed or empty.
    """
    try:
        content = msgspec.yaml.decode(file.read_bytes(), type=CaseFile)
    except msgspec.DecodeError as error:
        raise ChioConfigError(f"`{file}`: {error}; see `chio-fast policy test --help` for the form") from None
    if not content.cases:
        raise ChioConfigError(f"`{file}` holds no case; a file without cases would pass whatever the policy says")
    return content


def _run(file: str, case: PolicyCase, policy: Policy) -> CaseResult:
    expected = case.expect if isinstance(case.expect, Expectation) else Expectation(case.expect)
    if expected.verdict not in ("allow", "deny", "escalate", "delay"):
        raise ChioConfigError(
            f"`{file}`: case `{case.name}` expects `{expected.verdict}`; write allow, deny, escalate or delay"
        )
    decision = policy.decide(case.identity, case.scope, **case.keywords())
    problem = "; ".join(_problems(expected, decision))
    return CaseResult(file, case.name, not problem, decision.verdict, decision.rule, decision.reason, problem)


def _problems(expected: Expectation, decision: Decision) -> list[str]:
    comparisons: list[tuple[str, Any, Any]] = [
        ("verdict", expected.verdict, decision.verdict),
        ("rule", expected.rule, decision.rule),
        ("errors", _sorted(expected.errors), sorted(error.code for error in decision.errors)),
        ("guards", _sorted(expected.guards), sorted(decision.guards)),
    ]
    return [
        f"{name}: expected {want}, got {got or 'none'}" for name, want, got in comparisons if want not in (None, got)
    ]


def _sorted(names: list[str] | None) -> list[str] | None:
    return None if names is None else sorted(names)
