"""A PostgreSQL server of one's own for tests, from the binaries of this machine."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Self

INSTALLED = Path("/usr/lib/postgresql")
PASSWORD = "se-cret"
START_SECONDS = 60.0


class PostgresUnavailableError(Exception):
    """There is no server on this machine."""


class PostgresServer:
    """A running server with a data directory of its own; the schema of a URL makes logs apart."""

    def __init__(self) -> None:
        self._bin = _binaries()
        # Not below pytest's own folders, which the server's user may not enter.
        self.folder = Path(tempfile.mkdtemp(prefix="chio-postgres-"))
        self.port = _free_port()
        words = self.folder / "password"
        words.write_text(PASSWORD)
        for path in (self.folder, words):
            if os.geteuid() == 0:
                shutil.chown(path, _server_user())
        init = ["--username=chio", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", f"--pwfile={words}"]
        subprocess.run(
            [self._bin / "initdb", *init, "--pgdata", self.folder / "data"], check=True, capture_output=True, **_user()
        )
        self.start()

    def start(self) -> None:
        """Starts the server and waits until it answers; also after `kill`."""
        deadline = time.monotonic() + START_SECONDS
        self._process = self._serve()
        while not self._answers():
            assert time.monotonic() < deadline, "the server does not start"
            # The others of a killed server may hold its memory for a moment, and a new one does not wait.
            if self._process.poll() is not None:
                self._process = self._serve()
            time.sleep(0.02)

    def _serve(self) -> subprocess.Popen[bytes]:
        place: list[str | Path] = ["-D", self.folder / "data", "-p", str(self.port), "-h", "127.0.0.1", "-k", ""]
        command: list[str | Path] = [self._bin / "postgres", *place, "-c", "log_min_messages=fatal"]
        return subprocess.Popen(command, stderr=subprocess.DEVNULL, **_user())

    def _answers(self) -> bool:
        ask: list[str | Path] = [self._bin / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(ask, check=False).returncode == 0

    def url(self, log: str) -> str:
        """The URL of the log with this name."""
        return f"postgresql://chio:{PASSWORD}@127.0.0.1:{self.port}/postgres?schema={log}"

    def serve_tls(self, certificate: Path, key: Path) -> None:
        """Speaks TLS, with this certificate, with every session that begins from now on."""
        for name, source in (("cert", certificate), ("key", key)):
            file = self.folder / f"tls-{name}"
            shutil.copyfile(source, file)
            file.chmod(0o600)
            if os.geteuid() == 0:
                shutil.chown(file, _server_user())
            self._sql(f"ALTER SYSTEM SET ssl_{name}_file = '{file}'")
        self._switch_tls("on")

    def end_tls(self) -> None:
        """Speaks no TLS from now on, as at first."""
        self._switch_tls("off")

    def _switch_tls(self, state: str) -> None:
        self._sql(f"ALTER SYSTEM SET ssl = {state}")
        self._sql("SELECT pg_reload_conf()")
        deadline = time.monotonic() + START_SECONDS
        while self._sql("SHOW ssl") != state:
            assert time.monotonic() < deadline, f"the server does not turn TLS {state}"

    def _sql(self, text: str) -> str:
        place: list[str | Path] = ["-h", "127.0.0.1", "-p", str(self.port), "-U", "chio", "postgres"]
        ask = [self._bin / "psql", "-XAtqc", text, *place]
        env = {**os.environ, "PGPASSWORD": PASSWORD}
        return subprocess.run(ask, check=True, capture_output=True, text=True, env=env).stdout.strip()

    def kill(self) -> None:
        """Kills the server's first process with SIGKILL; its others notice and end."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """Ends the server and removes its folder."""
        self._process.send_signal(signal.SIGINT)
        self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _binaries() -> Path:
    versions = sorted(INSTALLED.glob("*/bin/initdb"), reverse=True)
    found = versions[0] if versions else shutil.which("initdb")
    if found is None:
        raise PostgresUnavailableError(
            f"no PostgreSQL server in PATH or {INSTALLED} (Debian: `apt-get install postgresql`)"
        )
    return Path(found).parent


def _server_user() -> str:
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _user() -> dict[str, Any]:
    """The server refuses to be run by root, who runs it as somebody else."""
    if os.geteuid() != 0:
        return {"cwd": "/"}
    entry = pwd.getpwnam(_server_user())
    return {"cwd": "/", "user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
