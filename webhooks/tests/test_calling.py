"""One call, to a real server: what goes out, and what of the answer is kept."""

import asyncio
import gzip
import logging
import socket
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from webhooks import calling
from webhooks.calling import Caller, Outcome
from webhooks.tests.partner import Answer, Partner


def called(url: str) -> Outcome:
    caller = Caller(2)
    try:
        return asyncio.run(caller.call(url, {"webhook-id": "x"}, b"{}"))
    finally:
        caller.close()


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
def test_a_proxy_of_the_environment_is_not_asked(partner: Partner, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert called(partner.url).is_delivered


def test_an_answer_is_not_unpacked(partner: Partner) -> None:
    packed = gzip.compress(bytes(10_000_000))
    partner.answer = lambda request: Answer(headers={"Content-Encoding": "gzip"}, body=packed)
    outcome = called(partner.url)
    assert outcome.status == 200
    assert len(outcome.answer) <= calling.MOST_KEPT
    assert partner.received[0].headers["accept-encoding"] == "identity"


def test_the_addresses_of_partners_are_not_written_down(partner: Partner, caplog: pytest.LogCaptureFixture) -> None:
    """Some have a password in them."""
    caplog.set_level(logging.DEBUG)
    assert called(f"{partner.url}?token=hunter2").is_delivered
    assert partner.received[0].path == "/hook?token=hunter2"
    assert "hunter2" not in caplog.text


def test_whatever_goes_wrong_can_be_stored(partner: Partner, monkeypatch: pytest.MonkeyPatch) -> None:
    def look_up(url: object) -> list[str]:
        raise OSError("a\0b\udc80" + "x" * 1_000)

    monkeypatch.setattr(calling, "look_up", look_up)
    error = called(partner.url).error
    assert (error[:13], len(error)) == ("OSError: a\ufffdb?", calling.MOST_KEPT)


def certificate(folder: Path, name: str) -> Path:
    """Its own authority: a certificate for this name, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    plain = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = folder / f"{name}.pem"
    path.write_bytes(made.public_bytes(pem) + plain)
    return path


@pytest.fixture
def secured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Partner]]:
    """Makes a server with a certificate for this name, which is trusted. Every name means 127.0.0.1."""
    servers: list[Partner] = []

    def make(name: str) -> Partner:
        trusted = certificate(tmp_path, name)
        monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
        servers.append(Partner(trusted))
        servers[-1].start()
        return servers[-1]

    def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
        return [(0, 0, 0, "", ("127.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    yield make
    for server in servers:
        server.stop()


def test_the_certificate_is_for_the_name_though_the_way_leads_by_the_address(secured: Callable[[str], Partner]) -> None:
    partner = secured("partner.example")
    outcome = called(f"https://partner.example:{partner.port}/")
    assert outcome.is_delivered, outcome
    assert partner.received[0].headers["host"] == f"partner.example:{partner.port}"


def test_a_certificate_for_another_name_is_refused(secured: Callable[[str], Partner]) -> None:
    partner = secured("other.example")
    outcome = called(f"https://partner.example:{partner.port}/")
    assert outcome.status is None
    assert "certificate" in outcome.error.lower()
    assert partner.received == []
