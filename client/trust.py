"""Decide which server to believe: by pin, by a given CA, or by the system's CAs.

With a **pin** (the hash of the CA's certificate, read out by an administrator or carried by an
invitation) the CA's certificate itself may come from anywhere: it is fetched from the server over
a connection that is not yet trusted, and used only if its hash is the pin. From then on it is the
one root of every connection, and the certificate shown must carry the name
``strongroom.internal``, which such a CA gives to appliances only; so the appliance may be reached
under any address. With a **CA** given as PEM, or with the **system's** CAs, the certificate must
carry the name or address that was typed, as on the web.
"""

from __future__ import annotations

import hashlib
import ssl
from dataclasses import dataclass

import trio
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from client.errors import Unreachable, Untrusted
from transports.wire.links import SERVER_NAME, Server, parse_pin

CA_PATH = "/v1/ca.pem"
MAX_ANSWER_BYTES = 64 * 1024
"""The longest HTTP answer taken from a server that is not trusted yet."""
FETCH_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Trust:
    """What a connection checks: the root certificates (None: the system's) and the name."""

    ca_pem: bytes | None
    server_name: str

    def context(self) -> ssl.SSLContext:
        """Return a TLS 1.3 client context that checks root and name."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        if self.ca_pem is None:
            context.load_default_certs()
        else:
            context.load_verify_locations(cadata=self.ca_pem.decode("ascii"))
        return context


def pinned_ca(pem: bytes, pin: str) -> bytes:
    """Return the certificate whose hash is ``pin``, as PEM; raises Untrusted when none is."""
    wanted = parse_pin(pin)
    try:
        certificates = x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise Untrusted from None
    for certificate in certificates:
        if hashlib.sha256(certificate.public_bytes(Encoding.DER)).digest() == wanted:
            return certificate.public_bytes(Encoding.PEM)
    raise Untrusted


async def establish(server: Server, *, pin: str = "", ca: bytes | None = None) -> Trust:
    """Find out whom to believe at ``server``.

    Args:
        server: where the appliance is reached.
        pin: the expected hash of the CA's certificate, if known.
        ca: the CA's certificate as PEM, if at hand; with a pin it must have that hash.

    Raises:
        Untrusted: the CA's certificate is not the one pinned.
        Unreachable: there is a pin but no certificate, and the server does not give it.
    """
    if not pin:
        return Trust(ca, server.host)
    pem = ca if ca is not None else await fetch_ca(server)
    return Trust(pinned_ca(pem, pin), SERVER_NAME)


async def fetch_ca(server: Server) -> bytes:
    """Return what the server calls its CA's certificate: not to be believed without a pin."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with trio.fail_after(FETCH_SECONDS):
            tcp = await trio.open_tcp_stream(server.host, server.port)
            async with trio.SSLStream(
                tcp, context, server_hostname=SERVER_NAME, https_compatible=True
            ) as stream:
                return _body(await _get(stream, server))
    except (OSError, trio.BrokenResourceError, trio.TooSlowError, ValueError):
        raise Unreachable from None


async def _get(stream: trio.SSLStream[trio.SocketStream], server: Server) -> bytes:
    request = (
        f"GET {CA_PATH} HTTP/1.1\r\nHost: {server.authority}\r\n"
        "Accept: application/x-pem-file\r\nConnection: close\r\n\r\n"
    )
    await stream.send_all(request.encode("ascii"))
    answer = bytearray()
    async for chunk in stream:
        answer += chunk
        if len(answer) > MAX_ANSWER_BYTES:
            raise ValueError("the answer is too long")
    return bytes(answer)


def _body(answer: bytes) -> bytes:
    """Return the certificates of an HTTP answer, however its body is framed."""
    head, _, body = answer.partition(b"\r\n\r\n")
    if head.split(b" ")[1:2] != [b"200"]:
        raise ValueError("the server has no certificate to give")
    start, end = body.find(b"-----BEGIN"), body.rfind(b"-----END CERTIFICATE-----")
    if start < 0 or end < start:
        raise ValueError("the answer holds no certificate")
    return body[start : end + len(b"-----END CERTIFICATE-----")] + b"\n"
