"""Ask an HTTP proxy for a connection to headquarters (RFC 9110, section 9.3.6)."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import h11
import trio

from sync.errors import InterceptedError, LostError, ProxyError
from sync.limits import PROXY_CREDENTIALS_BYTES, PROXY_HEAD_BYTES

_PORT = 3128
_NEEDS_CREDENTIALS = 407


@dataclass(frozen=True, slots=True)
class Proxy:
    """Where the proxy is. ``credentials`` returns ``NAME:PASSWORD``, read anew each time."""

    host: str
    port: int
    credentials: Callable[[], bytes] | None = field(default=None, repr=False)


def parse(url: str, credentials: Callable[[], bytes] | None = None) -> Proxy:
    """Return the proxy at ``http://HOST[:PORT]``; credentials never stand in the address.

    Raises:
        ValueError: it is no such address.
    """
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname or parts.path not in {"", "/"}:
        raise ValueError("a proxy is http://HOST[:PORT]")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("a proxy's name and password stand in a file, not in its address")
    return Proxy(parts.hostname, parts.port or _PORT, credentials)


def credentials_in(path: Path) -> Callable[[], bytes]:
    """Return what reads ``NAME:PASSWORD`` from a file, each time anew."""

    def read() -> bytes:
        try:
            with path.open("rb") as file:
                found = file.read(PROXY_CREDENTIALS_BYTES + 1).strip()
        except OSError:
            raise ProxyError("the file with its credentials cannot be read") from None
        if len(found) > PROXY_CREDENTIALS_BYTES or b":" not in found or b"\n" in found:
            raise ProxyError("the file with its credentials is not NAME:PASSWORD")
        return found

    return read


async def pass_through(stream: trio.abc.Stream, proxy: Proxy, host: str, port: int) -> None:
    """Let the proxy connect an open stream to it with ``host`` and ``port``.

    Raises:
        ProxyError: it refuses.
        InterceptedError: it answers in headquarters' place.
        LostError: it ends the connection.
    """
    authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    headers = [("host", authority)]
    if proxy.credentials is not None:
        headers.append(("proxy-authorization", _basic(proxy.credentials)))
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=PROXY_HEAD_BYTES)
    request = connection.send(h11.Request(method="CONNECT", target=authority, headers=headers))
    assert request is not None, "a request has bytes"
    try:
        await stream.send_all(request)
        status = await _status(stream, connection)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        raise LostError("the proxy ended the connection") from None
    except (h11.ProtocolError, ValueError):
        raise ProxyError("it does not speak HTTP") from None
    if status == _NEEDS_CREDENTIALS:
        raise ProxyError("it wants a name and a password, or others")
    if not 200 <= status < 300:
        raise ProxyError(f"it answers {status}")
    if connection.trailing_data[0]:
        raise InterceptedError("it speaks before we do, as headquarters never does")


def _basic(credentials: Callable[[], bytes]) -> str:
    try:
        found = credentials().strip()
    except OSError:
        raise ProxyError("its credentials cannot be read") from None
    return f"Basic {base64.b64encode(found).decode('ascii')}"


async def _status(stream: trio.abc.Stream, connection: h11.Connection) -> int:
    """Return the status of the final answer; headquarters says nothing before we do."""
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Response):
            return event.status_code
        if event is h11.NEED_DATA:
            data = await stream.receive_some(PROXY_HEAD_BYTES)
            connection.receive_data(bytes(data))
            if not data:
                raise LostError("the proxy ended the connection")
