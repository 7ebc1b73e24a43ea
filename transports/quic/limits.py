"""Name every bound of the QUIC side: queues, sizes, counts and times, each with its unit."""

from __future__ import annotations

from dataclasses import dataclass

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, slots=True)
class QuicLimits:
    """The bounds of one endpoint; tests and the configuration replace single values."""

    # How many at once.
    connections: int = 16_384
    """Connections of all kinds; the first packets of newcomers beyond are ignored."""
    strangers: int = 2_048
    """Connections not authenticated; the first packets of newcomers beyond are ignored."""
    connections_per_address: int = 4_096
    """Connections of one address (IPv6: one /64)."""
    strangers_per_address: int = 512
    """Connections of one address (IPv6: one /64) that are not authenticated."""
    retry_from: int = 64
    """Unfinished handshakes from which each newcomer must prove its address first; 0: always."""

    # Work per turn, so that other tasks run and no peer starves another.
    datagrams_per_turn: int = 256
    """Datagrams read from one socket in one turn."""
    datagram_bytes: int = 16 * KIB
    """The longest datagram read; what is longer arrives cut and fails authentication."""
    socket_buffer_bytes: int = 4 * MIB
    """Bytes of the system's buffers asked for, each way."""

    # Queues and sizes of one connection.
    high_water_bytes: int = 256 * KIB
    """Queued output from which ``send`` answers False and the peer gets no further credit."""
    low_water_bytes: int = 64 * KIB
    """Queued output below which the owner hears that there is room again."""
    queue_bytes: int = 2 * MIB
    """Queued output beyond which the connection is closed as too slow."""
    flight_bytes: int = 256 * KIB
    """Output handed to the QUIC engine and not yet acknowledged by the peer."""
    window_bytes: int = 64 * KIB
    """Flow-control credit: what a peer may send ahead of the first byte that is missing."""
    receive_ranges: int = 256
    """Holes in a peer's byte stream beyond which the connection is closed."""
    stranger_message_bytes: int = 16 * KIB
    """The longest message of a peer that has not authenticated."""
    message_bytes: int = 256 * KIB
    """The longest message of a known peer."""
    datagram_payload_bytes: int = 1_100
    """The longest payload sent as a datagram; longer ones go by the stream."""
    datagrams_waiting: int = 32
    """Outgoing datagrams held back by congestion; further ones are dropped."""

    # Times, in seconds.
    handshake_seconds: float = 10.0
    """From the first packet to the end of the handshake."""
    unauthenticated_seconds: float = 15.0
    """From the handshake to ``authenticated``."""
    keepalive_seconds: float = 45.0
    """Silence after which the peer is pinged, until the owner sets another interval."""
    pong_seconds: float = 15.0
    """How long a ping may go unanswered."""
    idle_seconds: float = 3_600.0
    """The transport's own idle timeout, a backstop: keep-alive ends silent peers long before."""
    close_seconds: float = 3.0
    """How long queued output may take to be acknowledged before the farewell is sent anyway."""
    write_stall_seconds: float = 30.0
    """How long a peer may acknowledge nothing of what waits for it."""
    acknowledge_seconds: float = 0.008
    """How long an acknowledgement waits for data to travel with."""
    acknowledge_datagrams: int = 8
    """Datagrams after which an acknowledgement waits no longer."""
