"""Serve the administration socket: a unix socket that knows who is at the other end.

One request is one line of JSON, one reply is one line of JSON; a connection may ask many, one
after the other. The kernel tells the peer's uid, and only root and the service's own user are
let in. What a command means is decided elsewhere.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import msgspec
import trio

REQUEST_BYTES: Final = 1 << 20
"""Longest request line, in bytes."""

CONNECTIONS: Final = 64
"""Connections served at once; others wait in the listen queue."""

IDLE_SECONDS: Final = 60.0
"""Silence after which a connection is closed, in seconds."""

_CREDENTIALS = struct.Struct("3i")

Serve = Callable[[int, dict[str, Any]], Awaitable[dict[str, Any]]]
"""Answer one request: the peer's uid and the request in, the reply out; must not raise."""


class SocketInUseError(Exception):
    """A server is already listening on the socket's path."""


def peer_uid(sock: trio.socket.SocketType) -> int:
    """Return the uid of the process at the other end of a connected unix socket."""
    data = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _pid, uid, _gid = _CREDENTIALS.unpack(data)
    return int(uid)


def bind(path: Path) -> socket.socket:
    """Bind and listen, replacing a stale socket file.

    Raises ``SocketInUseError`` when somebody answers on it, ``OSError`` when the directory
    cannot be written.
    """
    _remove_stale(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        mask = os.umask(0o177)
        try:
            listener.bind(str(path))
        finally:
            os.umask(mask)
        listener.listen(CONNECTIONS)
    except BaseException:
        listener.close()
        raise
    return listener


def _remove_stale(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except FileNotFoundError:
            return
        except OSError:
            path.unlink(missing_ok=True)
            return
    raise SocketInUseError(path.name)


async def serve(listener: socket.socket, answer: Serve) -> None:
    """Accept and serve for ever; cancel to stop. The socket file is not removed."""
    limiter = trio.CapacityLimiter(CONNECTIONS)
    allowed = frozenset({0, os.geteuid()})
    stream_listener = trio.SocketListener(trio.socket.from_stdlib_socket(listener))

    async def handle(stream: trio.SocketStream) -> None:
        async with limiter, stream:
            uid = peer_uid(stream.socket)
            if uid in allowed:
                await _converse(stream, uid, answer)

    await trio.serve_listeners(handle, [stream_listener])


async def _converse(stream: trio.SocketStream, uid: int, answer: Serve) -> None:
    buffer = bytearray()
    try:
        while (line := await _read_line(stream, buffer)) is not None:
            reply = await _reply(uid, line, answer)
            await stream.send_all(msgspec.json.encode(reply) + b"\n")
    except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):
        return


async def _read_line(stream: trio.SocketStream, buffer: bytearray) -> bytes | None:
    """Return one line without its end, or None at the end of input or beyond the limit."""
    while (end := buffer.find(b"\n")) < 0:
        if len(buffer) > REQUEST_BYTES:
            return None
        with trio.fail_after(IDLE_SECONDS):
            chunk = await stream.receive_some(65536)
        if not chunk:
            return None
        buffer += chunk
    line = bytes(buffer[:end])
    del buffer[: end + 1]
    return line


async def _reply(uid: int, line: bytes, answer: Serve) -> dict[str, Any]:
    try:
        request = msgspec.json.decode(line, type=dict[str, Any])
    except (msgspec.DecodeError, ValueError, RecursionError):
        return {"error": {"code": "request.invalid"}}
    return await answer(uid, request)
