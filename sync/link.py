"""Link a branch to headquarters over real lines: TCP, perhaps a proxy, mutual TLS 1.3, HTTP/2."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import trio

from sync.bandwidth import Bandwidth, SlowLine
from sync.door import PATH
from sync.driver import Line, Site, keep_linked
from sync.errors import InterceptedError, LinkError, LostError, StoppedError, StrangerError
from sync.limits import CONNECT_SECONDS
from sync.proxy import Proxy, pass_through
from transports.certificates import CertificateError, Identity
from transports.http.tunnel import Tunnel
from transports.tls import ALPN_HTTP2, site_client_context

_READ_BYTES = 64 * 1024
_REFUSALS: dict[int, tuple[type[LinkError], str]] = {
    403: (StrangerError, "headquarters does not let this site in"),
    503: (StoppedError, "headquarters is stopping"),
    429: (LostError, "headquarters still has too many connections of this site"),
}
_BROKEN = (trio.BrokenResourceError, trio.ClosedResourceError, ssl.SSLError, OSError)


@dataclass(frozen=True, slots=True)
class Headquarters:
    """How a branch reaches headquarters.

    ``addresses`` are tried in turn. ``identity`` is the branch's own, for ``server_name``
    (``site.`` and its node in hex); ``ca_pem`` made headquarters' certificate.
    """

    node: bytes
    addresses: Sequence[tuple[str, int]]
    identity: Identity = field(repr=False)
    ca_pem: bytes
    server_name: str
    proxy: Proxy | None = None


async def run_link(
    site: Site,
    headquarters: Callable[[], Headquarters],
    *,
    bytes_per_second: float | None = None,
) -> None:
    """Keep a branch linked to headquarters, until cancelled.

    Args:
        site: the branch.
        headquarters: asked anew for each connection: addresses and certificates change.
        bytes_per_second: the most that the link sends, and the most that it takes.
    """
    up, down = (Bandwidth(bytes_per_second or 1.0) for _ in range(2))

    async def dial(channel: int) -> Line:
        del channel
        line = await connect(headquarters())
        return line if bytes_per_second is None else SlowLine(line, up, down)

    await keep_linked(site, headquarters().node, dial)


async def connect(headquarters: Headquarters) -> Line:
    """Open one line to headquarters.

    Raises:
        LinkError: at no address was there a headquarters that let us in; the last reason.
    """
    error: LinkError = LostError("no address is known")
    for host, port in headquarters.addresses:
        try:
            with trio.fail_after(CONNECT_SECONDS):
                return await _connect(headquarters, host, port)
        except trio.TooSlowError:
            error = LostError("no answer in time")
        except LinkError as reason:
            error = reason
    raise error


async def _connect(headquarters: Headquarters, host: str, port: int) -> Line:
    context = _context(headquarters)
    raw = await _open(headquarters.proxy, host, port)
    name = headquarters.server_name
    stream = trio.SSLStream(raw, context, server_hostname=name, https_compatible=True)
    line = TlsLine(stream, Tunnel.request(headquarters.server_name, PATH))
    try:
        if headquarters.proxy is not None:
            await pass_through(raw, headquarters.proxy, host, port)
        await _handshake(stream)
        await line.open()
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return line


def _context(headquarters: Headquarters) -> ssl.SSLContext:
    try:
        return site_client_context(headquarters.identity, headquarters.ca_pem)
    except (CertificateError, ssl.SSLError, ValueError):
        raise LinkError("this site's own certificate cannot be used") from None


async def _open(proxy: Proxy | None, host: str, port: int) -> trio.SocketStream:
    target = (host, port) if proxy is None else (proxy.host, proxy.port)
    try:
        return await trio.open_tcp_stream(*target)
    except OSError:
        raise LostError("nobody answers at the address") from None


async def _handshake(stream: trio.SSLStream[trio.SocketStream]) -> None:
    try:
        await stream.do_handshake()
    except trio.BrokenResourceError as error:
        if isinstance(error.__cause__, ssl.SSLCertVerificationError):
            raise InterceptedError("its certificate is not of headquarters' authority") from None
        is_answer = isinstance(error.__cause__, ssl.SSLError)
        if is_answer and not isinstance(error.__cause__, ssl.SSLEOFError):
            raise InterceptedError("it does not speak TLS as headquarters does") from None
        raise LostError("the connection ended in the handshake") from None
    if stream.selected_alpn_protocol() != ALPN_HTTP2:
        raise InterceptedError("it does not speak HTTP/2")


class TlsLine:
    """The branch's end of a tunnel over TLS."""

    def __init__(self, stream: trio.SSLStream[trio.SocketStream], tunnel: Tunnel) -> None:
        self._stream = stream
        self._tunnel = tunnel
        self._sending = trio.Lock()
        self._changes = trio.Event()
        self._is_alerted = False

    async def open(self) -> None:
        """Wait until headquarters has let us in; raises ``LinkError`` when it does not."""
        await self._flush()
        while not self._tunnel.is_open:
            if self._tunnel.status:
                raise _refusal(self._tunnel.status)
            if self._is_alerted:
                raise StrangerError("headquarters did not take the certificate")
            if self._tunnel.is_over:
                raise LostError("the connection ended before an answer")
            await self._read()

    async def receive(self) -> bytes:
        """Return what arrived next, empty at the end; raises ``LostError`` when it broke."""
        while True:
            data = self._tunnel.take()
            if data:
                await self._flush()
                return data
            if self._tunnel.is_over:
                return b""
            await self._read()

    async def send(self, data: bytes) -> None:
        """Return once there is room for more; raises ``LostError`` when it broke."""
        self._tunnel.write(data)
        await self._flush()
        while self._tunnel.unsent_bytes and not self._tunnel.is_over:
            await self._changes.wait()
        if self._tunnel.is_over:
            raise LostError("the connection ended")

    async def aclose(self) -> None:
        """End it; what was sent still leaves."""
        self._tunnel.end()
        try:
            await self._flush()
        except LostError:
            pass
        finally:
            await trio.aclose_forcefully(self._stream)

    async def _read(self) -> None:
        try:
            data = await self._stream.receive_some(_READ_BYTES)
        except _BROKEN as error:
            self._is_alerted = isinstance(error.__cause__, ssl.SSLError)
            data = b""
        self._tunnel.receive(bytes(data))
        changes, self._changes = self._changes, trio.Event()
        changes.set()
        if not self._tunnel.is_over:
            await self._flush()

    async def _flush(self) -> None:
        async with self._sending:
            output = self._tunnel.output()
            if output:
                try:
                    await self._stream.send_all(output)
                except _BROKEN:
                    self._tunnel.receive(b"")
                    raise LostError("the connection broke") from None


def _refusal(status: int) -> LinkError:
    kind, detail = _REFUSALS.get(status, (InterceptedError, f"it answers {status}"))
    return kind(detail)
