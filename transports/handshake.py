"""Judge a WebSocket upgrade request, the server's side of RFC 6455, section 4.2 (sans-IO)."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Collection
from urllib.parse import urlsplit

from transports.carrier import Codec
from transports.http.message import Request, Response, Switch, refuse

SESSION_PATH = "/v1/session"
SUBPROTOCOLS = {"strongroom.v1.json": Codec.JSON, "strongroom.v1.msgpack": Codec.MSGPACK}
_VERSION = "13"
_KEY_BYTES = 16
_KEY_SUFFIX = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""The constant of RFC 6455, section 1.3."""


def is_upgrade(request: Request) -> bool:
    """Tell whether the request asks for the WebSocket protocol."""
    return "websocket" in _tokens(request, "upgrade")


def accept_key(key: str) -> str:
    """Return the Sec-WebSocket-Accept value that belongs to a Sec-WebSocket-Key."""
    digest = hashlib.sha1(key.encode("ascii") + _KEY_SUFFIX, usedforsecurity=False).digest()
    return base64.b64encode(digest).decode("ascii")


def answer_upgrade(
    request: Request, *, allowed_origins: Collection[str] = ()
) -> Switch | Response | None:
    """Decide on a request that may be an upgrade.

    Args:
        request: a whole request.
        allowed_origins: origins (``https://host[:port]``) served besides the request's own host.

    Returns:
        ``Switch`` when the connection speaks WebSocket from here on, a ``Response`` that refuses
        (400, 403, 404 or 426), or None when the request is not an upgrade.
    """
    if not is_upgrade(request):
        if request.path == SESSION_PATH and request.method == "GET":
            return refuse(426, "this path speaks WebSocket", ("upgrade", "websocket"))
        return None
    return _refusal(request, allowed_origins) or _switch(request)


def _refusal(request: Request, allowed_origins: Collection[str]) -> Response | None:
    if request.path != SESSION_PATH:
        return refuse(404, "no WebSocket here")
    if request.method != "GET" or request.version != "1.1" or request.body:
        return refuse(400, "an upgrade is a GET of HTTP/1.1 without a body")
    if "upgrade" not in _tokens(request, "connection"):
        return refuse(400, "Connection: Upgrade is missing")
    if request.values("sec-websocket-version") != (_VERSION,):
        version = ("sec-websocket-version", _VERSION)
        return refuse(426, "WebSocket version 13 only", ("upgrade", "websocket"), version)
    if not _is_key(request.values("sec-websocket-key")):
        return refuse(400, "Sec-WebSocket-Key is not one key of 16 bytes")
    if not _is_origin_allowed(request, allowed_origins):
        return refuse(403, "this origin is not served")
    if _subprotocol(request) is None:
        return refuse(400, "subprotocol strongroom.v1.json or strongroom.v1.msgpack is required")
    return None


def _switch(request: Request) -> Switch:
    subprotocol = _subprotocol(request)
    if subprotocol is None:
        raise ValueError("the request names no known subprotocol")
    (key,) = request.values("sec-websocket-key")
    head = (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept_key(key)}\r\n"
        f"Sec-WebSocket-Protocol: {subprotocol}\r\n\r\n"
    )
    return Switch(head.encode("ascii"), SUBPROTOCOLS[subprotocol])


def _tokens(request: Request, name: str) -> list[str]:
    """Return a header's comma-separated tokens, in lower case, over all its lines."""
    return [token.strip().lower() for line in request.values(name) for token in line.split(",")]


def _subprotocol(request: Request) -> str | None:
    """Return the first known subprotocol in the client's order."""
    offered = (
        token.strip()
        for line in request.values("sec-websocket-protocol")
        for token in line.split(",")
    )
    return next((name for name in offered if name in SUBPROTOCOLS), None)


def _is_key(values: tuple[str, ...]) -> bool:
    if len(values) != 1:
        return False
    try:
        return len(base64.b64decode(values[0], validate=True)) == _KEY_BYTES
    except (binascii.Error, ValueError):
        return False


def _is_origin_allowed(request: Request, allowed_origins: Collection[str]) -> bool:
    """Only browsers send Origin; theirs must be the host they connect to, or a configured one."""
    origins = request.values("origin")
    if not origins:
        return True
    if len(origins) != 1:
        return False
    own = tuple(f"https://{host}" for host in request.values("host"))
    wanted = _normal_origin(origins[0])
    return wanted is not None and wanted in {_normal_origin(o) for o in (*own, *allowed_origins)}


def _normal_origin(origin: str) -> tuple[str, str, int] | None:
    """Return (scheme, host, port) in lower case, or None for ``null`` and what is no origin."""
    try:
        parts = urlsplit(origin.strip())
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        return None
    return parts.scheme, parts.hostname, port or (443 if parts.scheme == "https" else 80)
