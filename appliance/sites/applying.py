"""Apply to headquarters, at a branch: connect, trust only the pinned CA, send, read the answer.

The CA signs for appliances only, so what it signed is believed whatever this machine's clock
says of the certificate's time: a branch whose clock is wrong must still get in. Nothing is at
stake but the answer, and what is in the answer is checked by itself.
"""

from __future__ import annotations

import json
import ssl
from typing import TYPE_CHECKING, Final, NamedTuple

import h11
import trio
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding
from nacl.signing import SigningKey

from appliance.certificates import INTERNAL_NAME
from appliance.config import ListenSection
from appliance.operations import SecretSlot, SiteHeadquarters
from appliance.sites import enrolment
from appliance.sites.commands import AdoptHeadquarters
from appliance.sites.desk import CA_PATH, MEDIA_TYPE, PATH
from appliance.sites.limits import ADDRESSES, ANSWER_BYTES, APPLY_SECONDS
from transports.certificates import client_identity
from transports.tls import client_context
from transports.wire.errors import CATALOGUE, Refusal
from transports.wire.links import LinkError, Server, parse_server

if TYPE_CHECKING:
    from appliance.core import Core

_READ_BYTES: Final = 16_384

_NO_CHECK_TIME: Final = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME of OpenSSL, which Python has no name for."""


class _Answer(NamedTuple):
    status: int
    body: bytes


async def apply(
    core: Core, invitation: enrolment.Invitation, address: str = "", ca_hash: bytes = b""
) -> AdoptHeadquarters:
    """Send the application of an invitation; return what makes this site a branch.

    ``address`` (HOST:PORT) and ``ca_hash`` (SHA-256, or empty) tell how its people reach it.

    Raises ``Refusal``: "site.waiting" until it is approved, "site.token", "site.revoked",
    "site.unreachable", "site.untrusted" when the CA there is not the pinned one.
    """
    ca = await fetch_ca(invitation.server, invitation.pin)
    key = SigningKey(core.secrets[SecretSlot.SIGNING_SEED])
    application = enrolment.Application(
        invitation.pin, bytes(key.verify_key), invitation.token, address, ca_hash
    )
    return await _send(invitation.server, ca, application, key)


async def renew(core: Core, headquarters: SiteHeadquarters) -> AdoptHeadquarters:
    """Ask for a new certificate at each known address until one answers; raises as ``apply``.

    The key alone is the proof, so this works also long after the certificate has expired.
    """
    key = SigningKey(core.secrets[SecretSlot.SIGNING_SEED])
    pin = enrolment.pin_of(headquarters.ca)
    application = enrolment.Application(pin, bytes(key.verify_key))
    failure = Refusal("site.unreachable")
    for address in headquarters.addresses:
        try:
            server = parse_server(address)
            return await _send(server, headquarters.ca, application, key)
        except LinkError:
            continue
        except Refusal as refusal:
            if refusal.code != "site.unreachable":
                failure = refusal
    raise failure


async def fetch_ca(server: Server, pin: bytes) -> bytes:
    """Return the certificate (DER) whose pin this is; where it comes from does not matter.

    Raises ``Refusal``: "site.unreachable" or "site.untrusted".
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    answer = await _exchange(server, context, "GET", CA_PATH)
    try:
        ca = x509.load_pem_x509_certificate(answer.body).public_bytes(Encoding.DER)
    except ValueError:
        raise Refusal("site.untrusted") from None
    if enrolment.pin_of(ca) != pin:
        raise Refusal("site.untrusted")
    return ca


async def _send(
    server: Server, ca: bytes, application: enrolment.Application, key: SigningKey
) -> AdoptHeadquarters:
    root = x509.load_der_x509_certificate(ca)
    context = client_context(root.public_bytes(Encoding.PEM))
    context.verify_flags |= _NO_CHECK_TIME
    data = enrolment.write_application(application, key)
    answer = await _exchange(server, context, "POST", PATH, data)
    if answer.status != 200:
        raise Refusal(_code(answer.body))
    admission = enrolment.read_admission(answer.body)
    _check_certificate(root, admission.certificate, key)
    addresses = dict.fromkeys((server.authority, *admission.addresses))
    return AdoptHeadquarters(
        admission.node,
        admission.public_key,
        tuple(addresses)[:ADDRESSES],
        ca,
        admission.organisation,
        admission.site,
        admission.name,
        admission.certificate,
        enrolment.open_sealed(key, admission.sealed_secret),
    )


def _check_certificate(root: x509.Certificate, certificate: bytes, key: SigningKey) -> None:
    """Raise ``Refusal`` ("site.untrusted") unless the CA made this certificate for this key."""
    try:
        issued = x509.load_der_x509_certificate(certificate)
        issued.verify_directly_issued_by(root)
        client_identity(bytes(key), issued)
    except (ValueError, TypeError, InvalidSignature):
        raise Refusal("site.untrusted") from None


def own_addresses(listen: ListenSection, bound: tuple[str, ...]) -> tuple[str, ...]:
    """Return where branches reach this headquarters, as HOST:PORT: the names that clients use."""
    if not listen.names:
        return ()
    port = next((int(each.rpartition(":")[2]) for each in bound), listen.port)
    return tuple(Server(name, port).authority for name in listen.names[:ADDRESSES])


def _code(body: bytes) -> str:
    """Return the catalogue's code in a refusal; anything else there is no headquarters' answer."""
    try:
        code = json.loads(body)["error"]["code"]
    except (ValueError, KeyError, TypeError):
        return "site.untrusted"
    return code if isinstance(code, str) and code in CATALOGUE else "site.untrusted"


async def _exchange(
    server: Server, context: ssl.SSLContext, method: str, path: str, body: bytes = b""
) -> _Answer:
    """Do one HTTP request on a connection of its own."""
    try:
        with trio.fail_after(APPLY_SECONDS):
            tcp = await trio.open_tcp_stream(server.host, server.port)
            async with trio.SSLStream(
                tcp, context, server_hostname=INTERNAL_NAME, https_compatible=True
            ) as stream:
                return await _request(stream, server, method, path, body)
    except trio.BrokenResourceError as error:
        untrusted = isinstance(error.__cause__, ssl.SSLCertVerificationError)
        raise Refusal("site.untrusted" if untrusted else "site.unreachable") from None
    except (OSError, trio.TooSlowError, h11.RemoteProtocolError):
        raise Refusal("site.unreachable") from None


async def _request(
    stream: trio.SSLStream[trio.SocketStream],
    server: Server,
    method: str,
    path: str,
    body: bytes,
) -> _Answer:
    connection = h11.Connection(h11.CLIENT)
    headers = [
        ("host", server.authority),
        ("connection", "close"),
        ("content-type", MEDIA_TYPE),
        ("content-length", str(len(body))),
    ]
    sent = connection.send(h11.Request(method=method, target=path, headers=headers))
    sent = (sent or b"") + (connection.send(h11.Data(data=body)) or b"")
    await stream.send_all(sent + (connection.send(h11.EndOfMessage()) or b""))
    status, found = 0, bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(bytes(await stream.receive_some(_READ_BYTES)))
        elif isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, h11.Data):
            found += event.data
            if len(found) > ANSWER_BYTES:
                raise h11.RemoteProtocolError("the answer is too long")
        elif isinstance(event, h11.EndOfMessage):
            return _Answer(status, bytes(found))
        elif isinstance(event, h11.ConnectionClosed):
            raise h11.RemoteProtocolError("the connection has ended")
