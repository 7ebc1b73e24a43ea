"""Let branches in at headquarters: certificates on the appliance's port become lines of links."""

from __future__ import annotations

import logging
import re
import ssl
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import trio

from sync.errors import LostError, StoppedError
from sync.limits import CONNECTIONS_PER_SITE
from sync.reception import Reception
from transports.certificates import Identity
from transports.channel import Channel
from transports.http.tunnel_session import TunnelSession
from transports.tls import ContextChooser, LiveIdentity, site_context

logger = logging.getLogger("strongroom.link")

PATH = "/site/v1/link"
_SITE_NAME = re.compile(r"site\.[0-9a-f]{32}")
_OK, _FORBIDDEN, _NOT_FOUND, _NOT_ALLOWED, _TOO_MANY, _STOPPING = 200, 403, 404, 405, 429, 503

Authorise = Callable[[bytes], bytes | None]
"""Returns the node whose certificate (DER) this is, None for one that may not connect now."""


class Door:
    """Where the links of branches come in.

    Args:
        identity: the server's identity under the internal CA, which branches pin.
        ca_pem: the CA that made the branches' certificates.
        reception: runs the links.
        authorise: judges certificates; those asked about are of the CA, whatever their time.
    """

    def __init__(
        self, identity: LiveIdentity, ca_pem: bytes, reception: Reception, authorise: Authorise
    ) -> None:
        self._ca_pem = ca_pem
        self._reception = reception
        self._authorise = authorise
        self._is_closed = False
        self._nursery: trio.Nursery | None = None
        self._connections: Counter[bytes] = Counter()
        self._context = site_context(identity.identity, ca_pem)
        identity.watch(self._replace)

    async def run(self) -> None:
        """Run links until cancelled; before and after, branches are turned away."""
        try:
            async with trio.open_nursery() as self._nursery:
                await trio.sleep_forever()
        finally:
            self._nursery = None

    def close(self) -> None:
        """Take leave of all branches, and turn newcomers away: headquarters is stopping."""
        self._is_closed = True
        self._reception.stop(StoppedError())

    def beside(self, other: ContextChooser) -> ContextChooser:
        """Return what chooses our context for names of sites and ``other``'s for all else."""

        def choose(server_name: str | None) -> ssl.SSLContext:
            is_site = server_name is not None and _SITE_NAME.fullmatch(server_name)
            return self._context if is_site else other(server_name)

        return choose

    def certified(self, channel: Channel, certificate: bytes) -> TunnelSession:
        """Welcome a peer whose certificate is of the CA; who may not connect is told so."""
        node = self._authorise(certificate)
        return TunnelSession(
            channel,
            lambda method, path: self._answer(node, method, path),
            lambda session: self._open(node, session),
        )

    def _replace(self, identity: Identity) -> None:
        self._context = site_context(identity, self._ca_pem)

    def _answer(self, node: bytes | None, method: str, path: str) -> int:
        if path != PATH:
            return _NOT_FOUND
        if method != "POST":
            return _NOT_ALLOWED
        if node is None:
            return _FORBIDDEN
        if self._is_closed or self._nursery is None:
            return _STOPPING
        return _TOO_MANY if self._connections[node] >= CONNECTIONS_PER_SITE else _OK

    def _open(self, node: bytes | None, session: TunnelSession) -> None:
        assert node is not None, "the answer was 200"
        assert self._nursery is not None, "the answer was 200"
        self._nursery.start_soon(self._serve, node, session)

    async def _serve(self, node: bytes, session: TunnelSession) -> None:
        try:
            with self._counted(node):
                await self._reception.serve(node, TunnelLine(session))
        except Exception as error:  # noqa: BLE001 - one branch's failure is its own
            logger.error("link.serve_failed", extra={"error": type(error).__name__})
            session.close()

    @contextmanager
    def _counted(self, node: bytes) -> Iterator[None]:
        self._connections[node] += 1
        try:
            yield
        finally:
            self._connections[node] -= 1
            if not self._connections[node]:
                del self._connections[node]


class TunnelLine:
    """A tunnel of the pump as a line."""

    def __init__(self, session: TunnelSession) -> None:
        self._session = session

    async def receive(self) -> bytes:
        """Return what arrived next, empty at the end."""
        return await self._session.receive_some()

    async def send(self, data: bytes) -> None:
        """Send; raises ``LostError`` when it is over."""
        if not await self._session.send_all(data):
            raise LostError("the connection ended")

    async def aclose(self) -> None:
        """End it; what was sent still leaves."""
        self._session.close()
        await trio.lowlevel.checkpoint()
