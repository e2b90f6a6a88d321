"""Kafka as jars: where they are, how they get there, and what is missing on a machine that cannot run them.

The jars come from Maven Central through `pom.xml` and land in `.kafka/lib`, once per version of that file.
A class-data archive beside them makes every later start of a broker about a second shorter.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".kafka"
POM = Path(__file__).with_name("pom.xml")

LOGGING = """<?xml version="1.0" encoding="UTF-8"?>
<Configuration status="ERROR">
  <Appenders>
    <Console name="out" target="SYSTEM_OUT"><PatternLayout pattern="%d %p %c{1} %m%n"/></Console>
  </Appenders>
  <Loggers><Root level="WARN"><AppenderRef ref="out"/></Root></Loggers>
</Configuration>
"""


class BrokerUnavailableError(Exception):
    """This machine cannot run the broker; the message says what is missing and how to get it."""


def missing_tools() -> str | None:
    """Names the tools that are missing and how to get them, or None when the broker can run here."""
    java, maven = shutil.which("java"), shutil.which("mvn")
    if java and (maven or _is_prepared()):
        return None
    missing = [
        name for name, found in (("`java` (a JDK or JRE, 17 or newer)", java), ("`mvn` (Maven)", maven)) if not found
    ]
    return (
        f"the real Kafka broker needs {' and '.join(missing)}; "
        "on Debian and Ubuntu: `apt-get install default-jdk-headless maven`, on macOS: `brew install openjdk maven`"
    )


def java_command(*arguments: str) -> list[str]:
    """The start of every command line that runs a class of Kafka."""
    return [
        shutil.which("java") or "java",
        *arguments,
        f"-Dlog4j2.configurationFile={FOLDER / 'log4j2.xml'}",
        "-cp",
        f"{FOLDER / 'lib'}{os.sep}*",
    ]


def class_data_archive() -> Path:
    """Where the class-data archive of a broker lies, if there is one."""
    return FOLDER / "broker.jsa"


def prepare() -> None:
    """Brings the jars into `.kafka/`, unless they are there; safe to call from several processes at once.

    Raises:
        BrokerUnavailableError: Java or Maven is missing, or Maven could not bring the jars.
    """
    reason = missing_tools()
    if reason:
        raise BrokerUnavailableError(reason)
    FOLDER.mkdir(exist_ok=True)
    with (FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _is_prepared():
            _copy_jars()


def _pom_hash() -> str:
    return hashlib.sha256(POM.read_bytes()).hexdigest()


def _stamp() -> Path:
    return FOLDER / "prepared"


def _is_prepared() -> bool:
    return _stamp().is_file() and _stamp().read_text() == _pom_hash()


def _copy_jars() -> None:
    library = FOLDER / "lib"
    shutil.rmtree(library, ignore_errors=True)
    class_data_archive().unlink(missing_ok=True)
    command = ["mvn", "-B", "-q", "-f", str(POM), "dependency:copy-dependencies", f"-DoutputDirectory={library}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BrokerUnavailableError(
            f"maven could not bring the jars of the broker: {done.stdout[-2000:]}{done.stderr[-2000:]}"
        )
    (FOLDER / "log4j2.xml").write_text(LOGGING)
    _stamp().write_text(_pom_hash())
