"""Knock on our own port as a stranger would, over TCP and over UDP."""

from __future__ import annotations

import os
import socket
import ssl
from typing import Final

import trio

PROBE_SECONDS: Final = 5.0
"""How long an answer may take."""

ANSWER_BYTES: Final = 4_096

_INITIAL_BYTES: Final = 1_200
"""Smallest datagram that a QUIC server answers (RFC 9000, section 14.1)."""

_UNKNOWN_VERSION: Final = bytes.fromhex("1a2a3a4a")
"""A version that exists to be answered with those that are spoken (RFC 9000, section 15)."""

_CID_BYTES: Final = 8
_REQUEST: Final = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def target(address: str) -> tuple[str, int]:
    """Return where to knock for ``HOST:PORT`` as listened on: "any" is asked on this machine."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), int(port)  # noqa: S104


async def tcp(host: str, port: int, leaf: bytes) -> str:
    """Ask ``/livez`` over TLS; return what is wrong, or "".

    ``leaf`` is the DER of the certificate that must be presented.
    """
    # Whose certificate it is is compared below, byte by byte: no authority is needed for that.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with trio.fail_after(PROBE_SECONDS):
            plain = await trio.open_tcp_stream(host, port)
            async with trio.SSLStream(plain, context, https_compatible=True) as stream:
                await stream.do_handshake()
                if stream.getpeercert(binary_form=True) != leaf:
                    return "another certificate is presented"
                await stream.send_all(_REQUEST)
                answer = await stream.receive_some(ANSWER_BYTES)
    except (OSError, trio.BrokenResourceError, trio.TooSlowError):
        return "no answer"
    return "" if answer.startswith(b"HTTP/1.1 200 ") else "no answer to /livez"


async def quic(host: str, port: int) -> str:
    """Ask which versions of QUIC are spoken; return what is wrong, or ""."""
    own, theirs = os.urandom(_CID_BYTES), os.urandom(_CID_BYTES)
    lengths = bytes((_CID_BYTES,))
    head = b"\xc0" + _UNKNOWN_VERSION + lengths + theirs + lengths + own
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    expected = b"\x00\x00\x00\x00" + lengths + own
    with trio.socket.socket(family, socket.SOCK_DGRAM) as sock:
        try:
            with trio.fail_after(PROBE_SECONDS):
                await sock.connect((host, port))
                await sock.send(head.ljust(_INITIAL_BYTES, b"\x00"))
                answer = await sock.recv(ANSWER_BYTES)
        except (OSError, trio.TooSlowError):
            return "no answer"
    return "" if answer[1 : 1 + len(expected)] == expected else "no QUIC server answers"
