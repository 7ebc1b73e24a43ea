"""QUIC carriers: many connections on few UDP sockets, driven by one trio task."""

from transports.quic.endpoint import QuicEndpoint
from transports.quic.limits import QuicLimits

__all__ = ["QuicEndpoint", "QuicLimits"]
