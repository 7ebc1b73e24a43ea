"""Knocking finds a server that answers, and says what is wrong with one that does not."""

from __future__ import annotations

import socket
from contextlib import suppress
from datetime import UTC, datetime

import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.system.cli_program import free_port
from tests.transports.test_tls import leaf
from transports import probe
from transports.certificates import Identity
from transports.http import pages
from transports.http.plain import _converse
from transports.http.router import Router
from transports.tls import server_context


def identity() -> Identity:
    return leaf(["localhost"], datetime.now(UTC))


def der(known: Identity) -> bytes:
    return x509.load_pem_x509_certificates(known.chain_pem)[0].public_bytes(Encoding.DER)


async def asked(routes: bool, expected: bytes, shown: Identity) -> str:
    """Knock at a TLS server with or without ``/livez``."""
    router = Router({"/livez": {"GET": pages.live}} if routes else {})
    port = free_port()
    listeners = await trio.open_ssl_over_tcp_listeners(
        port, server_context(shown, ["http/1.1"]), host="127.0.0.1", https_compatible=True
    )

    async def handle(stream: trio.SSLStream[trio.SocketStream]) -> None:
        with suppress(trio.BrokenResourceError):
            await _converse(stream, router)  # type: ignore[arg-type]

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, handle, listeners)
        found = await probe.tcp("127.0.0.1", port, expected)
        nursery.cancel_scope.cancel()
    return found


def test_over_tcp_certificate_and_answer_are_looked_at() -> None:
    ours, other = identity(), leaf(["localhost"], datetime.now(UTC), serial=b"o" * 16)
    assert trio.run(asked, True, der(ours), ours) == ""
    assert trio.run(asked, True, der(other), ours) == "another certificate is presented"
    assert trio.run(asked, False, der(ours), ours) == "no answer to /livez"


def test_where_nobody_listens_there_is_no_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert trio.run(probe.tcp, "127.0.0.1", port, b"") == "no answer"
    assert trio.run(probe.quic, "127.0.0.1", port) == "no answer"


def test_over_udp_anything_but_quic_is_told() -> None:
    async def main() -> str:
        with trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as echo:
            await echo.bind(("127.0.0.1", 0))

            async def reply() -> None:
                data, sender = await echo.recvfrom(2_000)
                await echo.sendto(data, sender)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(reply)
                return await probe.quic(*echo.getsockname())

    assert trio.run(main) == "no QUIC server answers"


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("0.0.0.0:8443", ("127.0.0.1", 8443)),
        ("[::]:1", ("::1", 1)),
        ("[fd00::1]:1", ("fd00::1", 1)),
        ("10.0.0.5:99", ("10.0.0.5", 99)),
    ],
)
def test_any_address_is_knocked_at_on_this_machine(address: str, expected: tuple[str, int]) -> None:
    assert probe.target(address) == expected
