"""Count connections per address and in all, and choose who must go when there are too many."""

from __future__ import annotations

import ipaddress
from collections import Counter

from transports.channel import Channel
from transports.limits import Limits

_IPV6_PREFIX_BITS = 64
"""One customer's share of IPv6 addresses counts as one address."""


def address_group(peer: str) -> str:
    """Return what counts as one address: an IPv4 address, or an IPv6 /64."""
    try:
        address = ipaddress.ip_address(peer.partition("%")[0])
    except ValueError:
        return peer
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, _IPV6_PREFIX_BITS), strict=False))


class Bounds:
    """Who is connected. A stranger is a connection whose peer has not authenticated."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._groups: dict[Channel, str] = {}
        self._per_group: Counter[str] = Counter()
        self._strangers: dict[Channel, None] = {}
        self._strangers_per_group: Counter[str] = Counter()

    @property
    def connections(self) -> int:
        """How many connections there are."""
        return len(self._groups)

    @property
    def strangers(self) -> int:
        """How many of them are strangers."""
        return len(self._strangers)

    def has_place(self, peer: str) -> bool:
        """Tell whether one more connection of this address may come in."""
        group = address_group(peer)
        return (
            len(self._groups) < self.limits.connections
            and self._per_group[group] < self.limits.connections_per_address
            and self._strangers_per_group[group] < self.limits.strangers_per_address
        )

    def surplus(self) -> Channel | None:
        """Return the oldest stranger when there are too many, to be closed."""
        if len(self._strangers) <= self.limits.strangers:
            return None
        return next(iter(self._strangers))

    def add(self, channel: Channel) -> None:
        """Count a newcomer, a stranger at first."""
        group = address_group(channel.peer)
        self._groups[channel] = group
        self._per_group[group] += 1
        self._strangers[channel] = None
        self._strangers_per_group[group] += 1

    def admit(self, channel: Channel) -> None:
        """The peer is known; no effect the second time."""
        if channel not in self._strangers:
            return
        del self._strangers[channel]
        _decrement(self._strangers_per_group, self._groups[channel])

    def remove(self, channel: Channel) -> None:
        """The connection is gone; no effect the second time."""
        self.admit(channel)
        group = self._groups.pop(channel, None)
        if group is not None:
            _decrement(self._per_group, group)


def _decrement(counter: Counter[str], group: str) -> None:
    counter[group] -= 1
    if not counter[group]:
        del counter[group]
