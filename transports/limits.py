"""Name every bound of the TCP side: queues, sizes, counts and times, each with its unit."""

from __future__ import annotations

from dataclasses import dataclass

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of one pump; tests and the configuration replace single values."""

    # How many at once.
    connections: int = 16_384
    """Connections of all kinds, strangers included; newcomers beyond are closed at once."""
    strangers: int = 2_048
    """Connections not authenticated; beyond, the oldest of them is closed for the newcomer."""
    connections_per_address: int = 4_096
    """Connections of one address (IPv6: one /64), as behind a hospital's proxy."""
    strangers_per_address: int = 512
    """Connections of one address not authenticated; newcomers beyond are closed at once."""

    # Work per turn of the pump, so that other tasks run and no peer starves another.
    ready_per_turn: int = 512
    """Sockets served in one turn."""
    accepts_per_turn: int = 16
    """Connections accepted from one listener in one turn; no more than handshakes begin in it."""
    handshakes_per_turn: int = 16
    """TLS handshakes begun in one turn; each takes about half a millisecond."""
    read_bytes: int = 64 * KIB
    """Bytes read from one socket in one turn."""
    slice_bytes: int = 64 * KIB
    """Bytes encrypted at once: what waits for a slow reader twice, in clear and sealed, is this."""
    write_bytes: int = 256 * KIB
    """Bytes written to one socket in one turn."""

    # Queues and sizes of one connection.
    high_water_bytes: int = 256 * KIB
    """Queued output from which ``send`` answers False and nothing more is read from the peer."""
    low_water_bytes: int = 64 * KIB
    """Queued output below which the owner hears that there is room again."""
    queue_bytes: int = 2 * MIB
    """Queued output beyond which the connection is closed as too slow."""
    kernel_unsent_bytes: int = 128 * KIB
    """Bytes the system keeps for a peer before it says that the socket is full."""
    stranger_message_bytes: int = 16 * KIB
    """The longest message of a peer that has not authenticated."""
    message_bytes: int = 256 * KIB
    """The longest message of a known peer."""

    # Times, in seconds; carried out by a wheel that turns every ``tick_seconds``.
    tick_seconds: float = 0.25
    """How late a time below may be noticed."""
    handshake_seconds: float = 10.0
    """From accepting to the end of the TLS handshake."""
    first_request_seconds: float = 10.0
    """From the TLS handshake to the end of the first HTTP request."""
    http_idle_seconds: float = 15.0
    """From one HTTP response to the end of the next request; bytes alone do not extend it."""
    unauthenticated_seconds: float = 15.0
    """From the WebSocket handshake to ``authenticated``."""
    keepalive_seconds: float = 45.0
    """Silence after which the peer is pinged, until the owner sets another interval."""
    pong_seconds: float = 15.0
    """How long a ping may go unanswered."""
    close_seconds: float = 3.0
    """How long a farewell may take before the socket is just closed."""
    write_stall_seconds: float = 30.0
    """How long a peer may take nothing of what is queued for it."""
    accept_pause_seconds: float = 1.0
    """Pause of accepting after the system ran out of descriptors or memory."""

    # HTTP.
    request_head_bytes: int = 16 * KIB
    """The longest request line with headers."""
    request_body_bytes: int = 64 * KIB
    """The longest request body."""
    requests_per_read: int = 16
    """Pipelined HTTP/1.1 requests answered from one read; the connection ends after them."""
    requests_per_connection: int = 1_000
    """Requests of one HTTP connection; then it is closed in good order."""
    http2_streams: int = 32
    """Concurrent HTTP/2 streams of one connection."""
    http2_credit: int = 100
    """HTTP/2 control frames (resets, settings, pings, ...) a peer may send without a request."""
    http2_credit_per_request: int = 8
    """Control frames each completed request allows on top, up to ``http2_credit`` in all."""


TUNNEL_WINDOW_BYTES = MIB
"""Bytes of a stream between sites that may be on their way or wait for its reader."""

TUNNEL_CREDIT = 200
"""HTTP/2 control frames a site may send on such a stream without data."""

TUNNEL_CREDIT_PER_DATA = 4
"""Control frames that each frame of data, either way, allows on top, up to ``TUNNEL_CREDIT``."""
