"""Give the listener its TLS contexts, renewed while it runs: TLS 1.3 only, keys never in a file.

A private key reaches OpenSSL through an anonymous file in memory (memfd) that is overwritten and
closed at once. Session tickets are off: every handshake is a full one (about 0.5 ms), and no
ticket key exists whose theft would open recorded sessions.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime

from transports.certificates import CertificateError, Identity, is_renewal_due

ALPN_HTTP1 = "http/1.1"
ALPN_HTTP2 = "h2"
TCP_PROTOCOLS = (ALPN_HTTP2, ALPN_HTTP1)
"""What is agreed on over TCP, best first; WebSocket clients name http/1.1 or nothing."""

NO_CHECK_TIME = ssl.VerifyFlags(0x200000)
"""OpenSSL's X509_V_FLAG_NO_CHECK_TIME, for which Python has no name."""

ContextChooser = Callable[[str | None], ssl.SSLContext]
"""Returns the context for one new connection, given the server name the client asks for."""


@contextmanager
def _memory_file(content: bytes) -> Iterator[str]:
    """Give a path to ``content`` that exists only in this process, wiped at the end."""
    descriptor = os.memfd_create("tls", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, content)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.pwrite(descriptor, bytes(len(content)), 0)
        os.close(descriptor)


def server_context(identity: Identity, protocols: Sequence[str] = TCP_PROTOCOLS) -> ssl.SSLContext:
    """Return a TLS 1.3 server context for an identity.

    Raises:
        CertificateError: OpenSSL does not take the key and chain.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.num_tickets = 0
    context.set_alpn_protocols(list(protocols))
    _load(context, identity)
    return context


def _load(context: ssl.SSLContext, identity: Identity) -> None:
    with _memory_file(identity.chain_pem + identity.key_pem) as path:
        try:
            context.load_cert_chain(path)
        except (ssl.SSLError, OSError):
            raise CertificateError("OpenSSL does not take the certificate and key") from None


def site_context(identity: Identity, ca_pem: bytes) -> ssl.SSLContext:
    """Return a server context for links between sites: HTTP/2, and no peer without a certificate.

    The certificate must be of the CA given. When it was valid is left to whoever knows the sites:
    a branch whose clock is wrong, or that was cut off for long, has to get in.

    Raises:
        CertificateError: OpenSSL does not take the key and chain.
    """
    context = server_context(identity, (ALPN_HTTP2,))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=ca_pem.decode("ascii"))
    context.verify_flags |= NO_CHECK_TIME
    return context


def site_client_context(identity: Identity, ca_pem: bytes) -> ssl.SSLContext:
    """Return the other end's context: it trusts the one CA, for whatever name and time.

    The CA makes certificates of servers for headquarters alone.

    Raises:
        CertificateError: OpenSSL does not take the key and chain.
    """
    context = client_context(ca_pem)
    context.check_hostname = False
    context.verify_flags |= NO_CHECK_TIME
    context.set_alpn_protocols([ALPN_HTTP2])
    _load(context, identity)
    return context


def client_context(ca_pem: bytes | None = None) -> ssl.SSLContext:
    """Return a TLS 1.3 client context that trusts one CA, or the system's CAs when None."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    if ca_pem is None:
        context.load_default_certs()
    else:
        context.load_verify_locations(cadata=ca_pem.decode("ascii"))
    return context


class LiveIdentity:
    """The identity that new handshakes present; connections that exist keep theirs.

    Args:
        identity: what to present first.
        renew: makes the next identity, given the time; None for an administrator's own files.
        beside: other identities by the server name that asks for them; they renew with this one.
    """

    def __init__(
        self,
        identity: Identity,
        renew: Callable[[datetime], Identity] | None = None,
        beside: Mapping[str, LiveIdentity] | None = None,
    ) -> None:
        self._renew = renew
        self._beside = dict(beside or {})
        self._watchers: list[Callable[[Identity], None]] = []
        self.identity = identity
        self.context = server_context(identity)

    def choose(self, server_name: str | None) -> ssl.SSLContext:
        """Return the context for a new connection, whatever name it asks for."""
        other = self._beside.get(server_name or "")
        return self.context if other is None else other.context

    def watch(self, watcher: Callable[[Identity], None]) -> None:
        """Call ``watcher`` with each identity that replaces this one (QUIC keeps its own copy)."""
        self._watchers.append(watcher)

    def replace(self, identity: Identity) -> None:
        """Present another identity from the next handshake on.

        Raises:
            CertificateError: it cannot be used; the present one stays.
        """
        self.context = server_context(identity)
        self.identity = identity
        for watcher in self._watchers:
            watcher(identity)

    def renew_if_due(self, now: datetime) -> bool:
        """Renew when a third of the life remains; tell whether that was done to this one."""
        for other in self._beside.values():
            other.renew_if_due(now)
        if self._renew is None or not is_renewal_due(self.identity.chain_pem, now):
            return False
        self.replace(self._renew(now))
        return True
