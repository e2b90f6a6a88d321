"""`PolicyWatcher`: a changed file is taken over, a bad one is not."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from chio_fast import ChioConfigError, Enforcer, Policy, PolicyError, PolicyWatcher
from tests.core.conftest import DOCUMENT

OTHER = '{"chio": "policy/v1", "identities": {"a": {"capabilities": ["tools:a"]}}}'


@pytest.fixture
def path(tmp_path: Path, unguarded: Policy) -> Path:
    """A policy file."""
    path = tmp_path / "policy.json"
    path.write_text(unguarded.canonical)
    return path


def test_a_change_is_seen_although_the_time_stamp_is_the_same(path: Path) -> None:
    watcher = PolicyWatcher(path)
    stamp = path.stat().st_mtime_ns
    path.write_text(OTHER)
    os.utime(path, ns=(stamp, stamp))
    assert watcher.look()
    assert watcher.policy.version == Policy.from_json(OTHER).version
    assert not watcher.look()
    assert (watcher.reloads, watcher.failures) == (1, 0)


def test_a_bad_file_is_told_once_and_counted_and_the_former_policy_stays(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    watcher = PolicyWatcher(path)
    former = watcher.policy.version
    for content in (b"nonsense", None):
        if content is None:
            path.unlink()
        else:
            path.write_bytes(content)
        assert [watcher.look() for _ in range(3)] == [False, False, False]
    assert (watcher.policy.version, watcher.failures) == (former, 2)
    assert len([record for record in caplog.records if record.levelname == "ERROR"]) == 2
    assert watcher.last_error is not None
    path.write_text(OTHER)
    assert watcher.look()
    assert watcher.last_error is None


def test_an_enforcer_follows_the_file(enforcers: Callable[..., Enforcer], path: Path) -> None:
    enforcer = enforcers(path, watch=0.02)
    former = enforcer.policy.version
    for content, expected in ((OTHER, Policy.from_json(OTHER).version), (DOCUMENT, None), (OTHER + " ", None)):
        path.write_text(content)
        deadline = time.monotonic() + 10
        while enforcer.policy.version != (expected or enforcer.policy.version):
            assert time.monotonic() < deadline
            time.sleep(0.005)
    assert enforcer.policy.version == Policy.from_json(OTHER).version != former


def test_a_watched_policy_that_names_an_unknown_guard_is_refused(
    enforcers: Callable[..., Enforcer], path: Path, policy: Policy
) -> None:
    watcher = PolicyWatcher(path, interval=3600)
    enforcer = enforcers(watcher)
    former = enforcer.policy.version
    path.write_text(policy.canonical)
    assert not watcher.look()
    assert (enforcer.policy.version, enforcer.stats().reload_failures) == (former, 1)
    assert watcher.last_error is not None
    assert "`watch`" in watcher.last_error


def test_what_cannot_be_watched_is_refused(
    enforcers: Callable[..., Enforcer], path: Path, tmp_path: Path, unguarded: Policy
) -> None:
    with pytest.raises(ChioConfigError, match="policy file"):
        enforcers(unguarded, watch=True)
    with pytest.raises(ChioConfigError, match="interval"):
        PolicyWatcher(path, interval=0)
    with pytest.raises(PolicyError, match="cannot be read"):
        PolicyWatcher(tmp_path / "nowhere.yaml")
    watcher = PolicyWatcher(path)
    enforcers(watcher)
    with pytest.raises(ChioConfigError, match="its own"):
        enforcers(watcher)
