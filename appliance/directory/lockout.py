"""Lock out who guesses: one account from one address, and addresses that guess widely.

An attempt counts when it begins, and is taken back when it succeeds: attempts that run at
the same time cannot slip past the limit, and one that is abandoned stays counted. The fifth
failure of an (account, address) pair locks the pair, the fiftieth from an address within a
quarter of an hour locks the address, each for a quarter of an hour. Accounts that do not
exist count the same. Device tokens, and the local socket, never come here.

Memory is bounded: beyond ``TALLIES`` the least recently counted pair or address is
forgotten, those that are locked last of all; ``forgotten`` says how often that happened.
IPv6 addresses count by their /64 network. Only hashes of accounts are kept.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from hashlib import sha256
from ipaddress import IPv6Address, ip_address
from typing import Generic, TypeVar

from appliance.directory.limits import (
    ADDRESS_WINDOW_SECONDS,
    FAILURES_PER_ADDRESS,
    FAILURES_PER_PAIR,
    IPV6_PREFIX_BITS,
    LOCK_SECONDS,
    PAIR_WINDOW_SECONDS,
    TALLIES,
)
from appliance.directory.names import login_key
from transports.wire.errors import Refusal

K = TypeVar("K")


class Attempt:
    """One attempt that is under way; hand it to ``Lockout.succeeded`` if it succeeds."""

    __slots__ = ("account", "address", "at")

    def __init__(self, account: tuple[bytes, str], address: str, at: float) -> None:
        self.account = account
        self.address = address
        self.at = at


class Lockout:
    """Count failed logins; ``now`` is in seconds that never go back."""

    def __init__(self, capacity: int = TALLIES) -> None:
        self._pairs: _Tallies[tuple[bytes, str]] = _Tallies(
            FAILURES_PER_PAIR, PAIR_WINDOW_SECONDS, capacity
        )
        self._addresses: _Tallies[str] = _Tallies(
            FAILURES_PER_ADDRESS, ADDRESS_WINDOW_SECONDS, capacity
        )

    def begin(self, account: str, address: str, now: float) -> Attempt:
        """Count an attempt before its password is looked at.

        Raises ``Refusal`` ("auth.locked", ``after`` seconds), which counts nothing.
        """
        network = address_key(address)
        pair = (_account_key(account), network)
        wait = max(self._pairs.locked_for(pair, now), self._addresses.locked_for(network, now))
        if wait > 0:
            raise Refusal("auth.locked", after=wait)
        self._pairs.count(pair, now)
        self._addresses.count(network, now)
        return Attempt(pair, network, now)

    def succeeded(self, attempt: Attempt, now: float) -> None:
        """Take an attempt back: the pair is clean again, the address has one failure less."""
        self._pairs.clear(attempt.account)
        self._addresses.take_back(attempt.address, attempt.at, now)

    def unlock(self, account: str) -> int:
        """Forget an account's failures, from every address; return how many pairs were locked.

        O(pairs). Addresses stay locked: they may be guessing at others.
        """
        key = _account_key(account)
        return self._pairs.clear_if(lambda pair: pair[0] == key)

    @property
    def forgotten(self) -> int:
        """How many tallies had to go because memory is bounded (a metric)."""
        return self._pairs.forgotten + self._addresses.forgotten


class _Tallies(Generic[K]):
    """Failures within a window by key, and the keys that are locked, oldest first."""

    def __init__(self, limit: int, window: float, capacity: int) -> None:
        self._limit = limit
        self._window = window
        self._capacity = capacity
        self._times: OrderedDict[K, deque[float]] = OrderedDict()
        self._locked: OrderedDict[K, tuple[float, deque[float]]] = OrderedDict()
        self.forgotten = 0

    def locked_for(self, key: K, now: float) -> float:
        """Return for how many seconds the key is still locked; 0 when it is not."""
        while self._locked and next(iter(self._locked.values()))[0] <= now:
            self._locked.popitem(last=False)
        locked = self._locked.get(key)
        return 0.0 if locked is None else locked[0] - now

    def count(self, key: K, now: float) -> None:
        """Count one failure of a key that is not locked."""
        times = self._times.pop(key, None) or deque()
        while times and times[0] <= now - self._window:
            times.popleft()
        times.append(now)
        if len(times) >= self._limit:
            self._locked[key] = (now + LOCK_SECONDS, times)
        else:
            self._times[key] = times
        self._make_room()

    def clear(self, key: K) -> None:
        """Forget the key's failures and its lock."""
        self._times.pop(key, None)
        self._locked.pop(key, None)

    def clear_if(self, chosen: Callable[[K], bool]) -> int:
        """Forget every key that is chosen; return how many of them were locked."""
        locked = [key for key in self._locked if chosen(key)]
        for key in [*locked, *(key for key in self._times if chosen(key))]:
            self.clear(key)
        return len(locked)

    def take_back(self, key: K, at: float, now: float) -> None:
        """Take one failure back; a key that was locked by it is locked no more."""
        locked = self._locked.get(key)
        times = self._times.get(key) if locked is None else locked[1]
        if times is None or at not in times:
            return
        times.remove(at)
        if locked is not None and locked[0] > now:
            del self._locked[key]
            self._times[key] = times

    def _make_room(self) -> None:
        """Forget the oldest open key, or the oldest lock rather than what was just counted."""
        while len(self._times) + len(self._locked) > self._capacity:
            (self._times if len(self._times) > 1 else self._locked).popitem(last=False)
            self.forgotten += 1


def address_key(address: str) -> str:
    """Return the network an address counts as; what is no address counts as itself."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return sha256(address.encode("utf-8", "replace")).hexdigest()
    if isinstance(parsed, IPv6Address):
        mapped = parsed.ipv4_mapped
        if mapped is not None:
            return str(mapped)
        network = int(parsed) >> (128 - IPV6_PREFIX_BITS)
        return f"{network:x}/{IPV6_PREFIX_BITS}"
    return str(parsed)


def _account_key(account: str) -> bytes:
    return sha256(login_key(account).encode("utf-8", "replace")).digest()[:16]
