"""Carry a session over WebSocket, on trio-websocket."""

from __future__ import annotations

import ssl
from contextlib import suppress

import trio
from trio_websocket import (
    ConnectionClosed,
    HandshakeError,
    WebSocketConnection,
    wrap_client_stream,
)

from client.carriers import MAX_PAYLOAD_BYTES, Carrier, Opener
from client.errors import CarrierLost, Unreachable, Untrusted
from client.trust import Trust
from transports.wire.codec import SUBPROTOCOLS, Codec
from transports.wire.links import Server

PATH = "/v1/session"
CLOSE_SECONDS = 2.0
"""How long the closing handshake may take before the line is just dropped."""


class WebSocketCarrier:
    """One WebSocket connection to a server."""

    name = "websocket"

    def __init__(
        self, stream: trio.SSLStream[trio.SocketStream], socket: WebSocketConnection, codec: Codec
    ) -> None:
        self._stream = stream
        self._socket = socket
        self._codec = codec

    @property
    def codec(self) -> Codec:
        """Return the codec of the subprotocol agreed on."""
        return self._codec

    async def receive(self) -> bytes:
        """Return the next payload; raises CarrierLost when the connection has ended."""
        try:
            message = await self._socket.get_message()
        except ConnectionClosed as closed:
            raise CarrierLost(closed.reason.code if closed.reason else 0) from None
        return message.encode() if isinstance(message, str) else message

    async def send(self, payload: bytes) -> None:
        """Send one payload, waiting while the line is full; raises CarrierLost."""
        message = payload.decode() if self._codec.name == "json" else payload
        try:
            await self._socket.send_message(message)
        except (ConnectionClosed, trio.BrokenResourceError, trio.ClosedResourceError):
            raise CarrierLost from None

    async def send_datagram(self, payload: bytes) -> None:
        """Send as ``send``: WebSocket has no datagrams."""
        await self.send(payload)

    async def migrate(self) -> bool:
        """Return False: TCP cannot change its address; the session resumes on a new connection."""
        return False

    async def aclose(self) -> None:
        """Say goodbye and end."""
        with trio.move_on_after(CLOSE_SECONDS), suppress(trio.BrokenResourceError):
            await self._socket.aclose()
        with trio.CancelScope(shield=True):
            await trio.aclose_forcefully(self._stream)


def opener(server: Server, trust: Trust, subprotocol: str = "strongroom.v1.msgpack") -> Opener:
    """Return what opens a WebSocket to ``server``."""

    async def open_carrier(nursery: trio.Nursery) -> Carrier:
        stream = await _open_tls(server, trust)
        try:
            socket = await wrap_client_stream(
                nursery,
                stream,
                server.authority,
                PATH,
                subprotocols=[subprotocol],
                max_message_size=MAX_PAYLOAD_BYTES,
            )
            if socket.subprotocol != subprotocol:
                raise Unreachable
        except HandshakeError:
            await trio.aclose_forcefully(stream)
            raise Unreachable from None
        except BaseException:
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(stream)
            raise
        return WebSocketCarrier(stream, socket, SUBPROTOCOLS[subprotocol])

    return open_carrier


async def _open_tls(server: Server, trust: Trust) -> trio.SSLStream[trio.SocketStream]:
    try:
        tcp = await trio.open_tcp_stream(server.host, server.port)
    except OSError:
        raise Unreachable from None
    stream = trio.SSLStream(
        tcp, trust.context(), server_hostname=trust.server_name, https_compatible=True
    )
    try:
        await stream.do_handshake()
    except trio.BrokenResourceError as error:
        await trio.aclose_forcefully(stream)
        if isinstance(error.__cause__, ssl.SSLCertVerificationError):
            raise Untrusted from None
        raise Unreachable from None
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return stream
