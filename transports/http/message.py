"""Define requests and responses, the same for HTTP/1.1 and HTTP/2 (sans-IO)."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

from transports.carrier import Codec

Header = tuple[str, str]

SECURITY_HEADERS: tuple[Header, ...] = (
    ("cache-control", "no-store"),
    ("content-security-policy", "default-src 'none'; frame-ancestors 'none'; base-uri 'none'"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("permissions-policy", "camera=(), geolocation=(), microphone=()"),
    ("referrer-policy", "no-referrer"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
)
"""Sent with every response unless the response names the header itself. No HSTS: it would bind
every other service on the same host name, and this port speaks TLS only anyway."""


@dataclass(frozen=True, slots=True)
class Request:
    """One whole request; header names are in lower case, repeated headers stay apart."""

    method: str
    path: str
    """The path as sent, without the query, never decoded."""
    query: str
    headers: tuple[Header, ...]
    body: bytes
    peer: str
    """The client's address, for rate limits and audit."""
    version: str = "1.1"
    """``1.0``, ``1.1`` or ``2``."""

    def values(self, name: str) -> tuple[str, ...]:
        """Return each line of one header, in order."""
        return tuple(value for known, value in self.headers if known == name)


@dataclass(frozen=True, slots=True)
class Response:
    """What is answered; length, date and security headers are added when it is sent."""

    status: int
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"
    headers: tuple[Header, ...] = ()


@dataclass(frozen=True, slots=True)
class Switch:
    """The connection speaks WebSocket after ``head``, with this codec."""

    head: bytes
    codec: Codec


Responder = Callable[[Request], Response]
"""Answers a request at once; it must not raise for what a client sends."""
Upgrader = Callable[[Request], Switch | Response | None]
"""Judges HTTP/1.1 requests before the router: switch, refuse, or None for an ordinary request."""


def refuse(status: int, message: str, *headers: Header) -> Response:
    """Return an error as JSON: ``{"error": {"code": "http.404", "message": ...}}``."""
    error = {"error": {"code": f"http.{status}", "message": message}}
    return Response(status, json.dumps(error).encode() + b"\n", "application/json", headers)


def reason_phrase(status: int) -> str:
    """Return the standard phrase of a status."""
    return HTTPStatus(status).phrase


def final_headers(response: Response, date: str) -> list[Header]:
    """Return all headers to send, in lower case, the response's own before the defaults."""
    headers = [
        ("content-type", response.content_type),
        ("content-length", str(len(response.body))),
        *response.headers,
        ("date", date),
    ]
    named = {name for name, _ in headers}
    headers.extend(header for header in SECURITY_HEADERS if header[0] not in named)
    return headers
