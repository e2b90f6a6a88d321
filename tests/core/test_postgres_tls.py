"""A receipt log in PostgreSQL over TLS: the server is who the URL says, or the log is not opened."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from chio_fast import Enforcer, Policy, ReceiptLog, Signer
from chio_fast.errors import LogMissingError, LogOptionsError, LogServerError
from tests.postgres import PASSWORD

if TYPE_CHECKING:
    from tests.postgres import PostgresServer

POLICY = Policy.from_dict({"chio": "policy/v1", "identities": {"agents": {"capabilities": ["tools:search"]}}})


def openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


class Authority:
    """A certificate authority in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self.certificate, self._key = folder / "root.pem", folder / "root.key"
        self._make("/CN=root", self.certificate, self._key)

    def _make(self, subject: str, certificate: Path, key: Path, *options: str | Path) -> None:
        new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
        openssl("req", "-x509", *new, "-subj", subject, "-out", certificate, "-keyout", key, *options)

    def sign(self, host: str) -> tuple[Path, Path]:
        """A certificate for a host, and its key."""
        certificate, key = self._folder / f"{host}.pem", self._folder / f"{host}.key"
        extensions = ["-addext", f"subjectAltName=DNS:{host}", "-addext", "basicConstraints=critical,CA:FALSE"]
        self._make(f"/CN={host}", certificate, key, *extensions, "-CA", self.certificate, "-CAkey", self._key)
        return certificate, key


@pytest.fixture
def authority(postgres: PostgresServer, tmp_path: Path) -> Iterator[Authority]:
    """The authority of the server's certificate, which is for `localhost`."""
    authority = Authority(tmp_path / "authority")
    postgres.serve_tls(*authority.sign("localhost"))
    yield authority
    postgres.end_tls()


def test_a_log_is_written_and_read_over_tls(postgres: PostgresServer, authority: Authority, tmp_path: Path) -> None:
    signer = Signer.generate(tmp_path / "signing.key")
    url = postgres.url("tls").replace("@127.0.0.1", "@localhost")
    verified = f"{url}&sslmode=verify-full&sslrootcert={authority.certificate}"
    with Enforcer(POLICY, receipt_log=verified, signer=signer, identity="agents") as enforcer:
        receipt = enforcer.check("tools:search", tool="search", durable=True).receipt_id
    for parameters in (f"&sslmode=verify-full&sslrootcert={authority.certificate}", "&sslmode=require", ""):
        assert [found.id for found in ReceiptLog.open(url + parameters).query()] == [receipt]


def test_a_certificate_that_is_not_checked_may_be_one_of_the_manual(postgres: PostgresServer, tmp_path: Path) -> None:
    """As in "Creating Certificates" of PostgreSQL's manual, whose certificates no longer pass a check."""
    root, root_key = tmp_path / "root.crt", tmp_path / "root.key"
    certificate, key, request = (tmp_path / f"server.{kind}" for kind in ("crt", "key", "csr"))
    new = ["-new", "-nodes", "-subj", "/CN=localhost"]
    openssl("req", *new, "-x509", "-days", "2", "-out", root, "-keyout", root_key)
    openssl("req", *new, "-out", request, "-keyout", key)
    signing = ["-CA", root, "-CAkey", root_key, "-CAcreateserial"]
    openssl("x509", "-req", "-in", request, "-days", "2", *signing, "-out", certificate)
    postgres.serve_tls(certificate, key)
    try:
        url = postgres.url("nowhere").replace("@127.0.0.1", "@localhost")
        with pytest.raises(LogMissingError):
            list(ReceiptLog.open(f"{url}&sslmode=require&channel_binding=require").query())
        with pytest.raises(LogServerError, match=r"have an authority issue one|have it issued for this one"):
            list(ReceiptLog.open(f"{url}&sslmode=verify-full&sslrootcert={root}").query())
    finally:
        postgres.end_tls()


def test_a_server_that_is_not_who_the_url_says_gets_no_receipts(
    postgres: PostgresServer, authority: Authority, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path / "stranger")
    url = postgres.url("tls")
    for host, root, told in (
        ("127.0.0.1", authority, "not for `127.0.0.1`: write a host that it is for"),
        ("localhost", stranger, "signed by no authority in .*: write `sslrootcert=`"),
    ):
        place = url.replace("@127.0.0.1", f"@{host}")
        with pytest.raises(LogServerError, match=told) as refused:
            list(ReceiptLog.open(f"{place}&sslmode=verify-full&sslrootcert={root.certificate}").query())
        assert PASSWORD not in str(refused.value)
    with pytest.raises(LogOptionsError, match=r"`/no/root\.pem` cannot be read") as missing:
        list(ReceiptLog.open(f"{url}&sslmode=verify-full&sslrootcert=/no/root.pem").query())
    assert PASSWORD not in str(missing.value)
