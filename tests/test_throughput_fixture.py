"""The users' fixture: a fast right answer passes, a wrong one and a slow one fail with what to know."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "throughput"


@pytest.fixture
def run(pytester: pytest.Pytester):
    """Runs one test that calls the fixture with these arguments on the policy of the example."""

    def with_arguments(arguments: str) -> pytest.RunResult:
        pytester.makepyfile(
            f"""
            def test_policy(chio_throughput):
                measured = chio_throughput(
                    {str(EXAMPLE / "policy.yaml")!r},
                    [b'{{"amount": 1}}', {{"value": b'{{"amount": 5000}}', "key": b"k", "headers": [("h", b"v")]}}],
                    identity="refund-agents", scope="events:consume:refunds", {arguments}
                )
                assert measured.ratio > 0
            """
        )
        return pytester.runpytest_subprocess("-p", "no:cacheprovider")

    return with_arguments


def test_the_example_works_whatever_the_build(pytester: pytest.Pytester) -> None:
    """The bar of the example is that of a release build on a quiet machine; here it is lowered."""
    text = (EXAMPLE / "test_throughput.py").read_text()
    assert "at_least=1.0," in text
    pytester.makepyfile(text.replace("at_least=1.0,", "at_least=0.001,"))
    (pytester.path / "policy.yaml").write_text((EXAMPLE / "policy.yaml").read_text())
    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)


def test_a_policy_that_is_fast_enough_passes(run) -> None:
    run("denied=1, at_least=0.01").assert_outcomes(passed=1)


def test_a_policy_that_became_too_slow_fails_with_both_ratios(run) -> None:
    result = run("denied=1, at_least=1e6")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*events per second*times the reference of this machine; at least 1000000.00 times*"])


def test_a_wrong_answer_is_not_measured(run) -> None:
    result = run("denied=0")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*the policy denies 1 of the 2 sample events, not 0 as expected*"])
