"""Decide who may connect: counts by address, and proof of address by a stateless retry."""

from __future__ import annotations

from collections import Counter

from transports.bounds import address_group
from transports.quic.limits import QuicLimits


def plain_host(host: str) -> str:
    """Return an address as people write it: IPv4 out of IPv6's mapping, and without a zone."""
    host = host.partition("%")[0]
    return host[7:] if host.startswith("::ffff:") and "." in host else host


class Admission:
    """Count connections, in all and by address; every ``enter`` is matched by one ``leave``."""

    def __init__(self, limits: QuicLimits) -> None:
        self.limits = limits
        self.connections = 0
        self.strangers = 0
        self.handshakes = 0
        self._by_address: Counter[str] = Counter()
        self._strangers_by_address: Counter[str] = Counter()

    def is_open(self, host: str) -> bool:
        """Whether one more connection from this address is acceptable now."""
        key, limits = address_group(host), self.limits
        return (
            self.connections < limits.connections
            and self.strangers < limits.strangers
            and self._by_address[key] < limits.connections_per_address
            and self._strangers_by_address[key] < limits.strangers_per_address
        )

    def wants_proof(self) -> bool:
        """Whether newcomers must prove their address before a handshake is begun."""
        return self.handshakes >= self.limits.retry_from

    def enter(self, host: str) -> None:
        """Count a new connection: a stranger in its handshake."""
        key = address_group(host)
        self.connections += 1
        self.strangers += 1
        self.handshakes += 1
        self._by_address[key] += 1
        self._strangers_by_address[key] += 1

    def handshake_ended(self) -> None:
        """Count one handshake less."""
        self.handshakes -= 1

    def promote(self, host: str) -> None:
        """Count a connection among the known."""
        self.strangers -= 1
        self._take(self._strangers_by_address, address_group(host))

    def leave(self, host: str, *, was_known: bool) -> None:
        """Count a connection no more."""
        if not was_known:
            self.promote(host)
        self.connections -= 1
        self._take(self._by_address, address_group(host))

    @staticmethod
    def _take(counter: Counter[str], key: str) -> None:
        counter[key] -= 1
        if counter[key] <= 0:
            del counter[key]
