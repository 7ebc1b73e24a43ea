"""Keep the list of live sessions, and say when each must end.

A sign-in lasts as long as ``appliance.directory.policy`` says. Idle means that the person
gave no command: keep-alive and acknowledgements do not count. Idleness belongs to the device
and goes on while it is not connected; when it has lasted too long, the sessions end and the
token must be revoked, so that coming back later does not help. Nothing here is stored: after
a restart ``watch`` starts each device's idle time anew.

Times are seconds of a clock that never goes back; ``since_ms`` is Unix time, for showing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from heapq import heappop, heappush
from typing import Final, TypeVar

from appliance.directory.limits import SESSIONS, SESSIONS_PER_PERSON
from appliance.directory.model import Device
from appliance.directory.policy import Lifetimes
from transports.wire import schema
from transports.wire.errors import Refusal

T = TypeVar("T")

PASSIVE: Final = (
    schema.Got,
    schema.Hello,
    schema.Mode,
    schema.Ping,
    schema.Presence,
    schema.Resume,
    schema.Wiped,
)
"""Frames that clients send by themselves: they do not keep a session from being idle."""


class Reason(StrEnum):
    """Why a sign-in ended."""

    IDLE = "idle"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Session:
    """A live session; ``id`` is the gateway's number for it."""

    id: int
    person: bytes
    device: bytes
    carrier: str = ""
    address: str = field(default="", repr=False)
    since_ms: int = 0


@dataclass(frozen=True, slots=True)
class Ended:
    """A device's sign-in that is over: end these sessions, and revoke the device's token."""

    person: bytes
    device: bytes
    sessions: tuple[int, ...]
    reason: Reason


class _Watched:
    """A device's sign-in: when it was last used, and its limits."""

    __slots__ = ("device", "expires", "idle", "last", "person", "queued", "sessions", "token")

    def __init__(self, person: bytes, device: bytes) -> None:
        self.person = person
        self.device = device
        self.last = 0.0
        self.idle: float | None = None
        self.expires = 0.0
        self.queued: float | None = None
        self.token = b""
        self.sessions: set[int] = set()

    def due(self) -> float:
        """Return when the sign-in ends if nothing more happens."""
        return self.expires if self.idle is None else min(self.expires, self.last + self.idle)


class Sessions:
    """The live sessions of this site, by person and device."""

    def __init__(self, lifetimes: Lifetimes | None = None) -> None:
        self.lifetimes = lifetimes or Lifetimes()
        self._sessions: dict[int, Session] = {}
        self._by_person: dict[bytes, set[int]] = {}
        self._devices: dict[bytes, _Watched] = {}
        self._devices_of: dict[bytes, set[bytes]] = {}
        # For each device one entry, at its due time or before: commands only ever move that
        # time on, so `expire` looks again, and a command costs no more than a note of the time.
        self._due: list[tuple[float, bytes]] = []

    def __len__(self) -> int:
        return len(self._sessions)

    # --- a session's life -----------------------------------------------------------------------

    def watch(self, person: bytes, device: Device, now: float, wall_ms: int) -> None:
        """Start a device's sign-in; ``wall_ms`` (Unix) tells what is left of its token.

        Called at start for every device with a live token; ``open`` does it for new tokens.
        """
        watched = self._devices.get(device.id)
        if watched is None:
            watched = self._devices[device.id] = _Watched(person, device.id)
            self._devices_of.setdefault(person, set()).add(device.id)
        idle_ms = self.lifetimes.of(device.method, shared=device.shared).idle_ms
        watched.idle = None if idle_ms is None else idle_ms / 1000
        watched.expires = now + (device.expires_ms - wall_ms) / 1000
        watched.last = now
        watched.token = device.token_hash
        self._schedule(watched)

    def open(self, session: Session, device: Device, now: float, wall_ms: int) -> None:
        """Begin a session of a device whose token was accepted.

        Raises ``Refusal``: "auth.expired" when the device was idle for too long or its time
        is over, "rate.limited" when the person has ``SESSIONS_PER_PERSON`` of them, and
        "server.overloaded" beyond ``SESSIONS``.
        """
        if len(self._by_person.get(session.person, ())) >= SESSIONS_PER_PERSON:
            raise Refusal("rate.limited")
        if len(self._sessions) >= SESSIONS:
            raise Refusal("server.overloaded")
        known = self._devices.get(device.id)
        if known is None or known.token != device.token_hash:
            self.watch(session.person, device, now, wall_ms)
        watched = self._devices[device.id]
        if watched.due() <= now:
            raise Refusal("auth.expired")
        watched.last = now
        watched.sessions.add(session.id)
        self._sessions[session.id] = session
        self._by_person.setdefault(session.person, set()).add(session.id)

    def touch(self, session: int, now: float) -> None:
        """Note a command of the person's own (see ``PASSIVE``); O(1).

        Sessions that are unknown or whose time is over are ignored.
        """
        known = self._sessions.get(session)
        watched = None if known is None else self._devices[known.device]
        if watched is not None and now < watched.due():
            watched.last = now

    def close(self, session: int) -> None:
        """Forget a session that ended; its device's idle time goes on. Idempotent."""
        known = self._sessions.pop(session, None)
        if known is None:
            return
        _discard(self._by_person, known.person, session)
        self._devices[known.device].sessions.discard(session)

    # --- what must end ----------------------------------------------------------------------------

    def expire(self, now: float) -> list[Ended]:
        """Drop and return the sign-ins whose time is over; O(log devices) for each."""
        ended = []
        while self._due and self._due[0][0] <= now:
            at, device = heappop(self._due)
            watched = self._devices.get(device)
            if watched is None or watched.queued != at:
                continue
            watched.queued = None
            if watched.due() > now:
                self._schedule(watched)
                continue
            reason = Reason.EXPIRED if watched.expires <= now else Reason.IDLE
            ended.append(Ended(watched.person, device, self.revoke(device), reason))
        return ended

    def next_due(self) -> float | None:
        """Return when ``expire`` should be called next, or None when nothing can expire."""
        return self._due[0][0] if self._due else None

    def revoke(self, device: bytes) -> tuple[int, ...]:
        """Drop a device's sign-in and return its sessions, which must end now."""
        watched = self._devices.get(device)
        if watched is None:
            return ()
        sessions = tuple(sorted(watched.sessions))
        for session in sessions:
            self.close(session)
        del self._devices[device]
        _discard(self._devices_of, watched.person, device)
        return sessions

    def keep_only(self, person: bytes, live: Iterable[bytes] = ()) -> tuple[int, ...]:
        """Drop a person's sign-ins on all devices but ``live``; return the sessions to end.

        Called after each operation about a person, it makes every revocation effective.
        """
        gone = sorted(self._devices_of.get(person, set()).difference(live))
        return tuple(sorted(session for device in gone for session in self.revoke(device)))

    def _schedule(self, watched: _Watched) -> None:
        due = watched.due()
        if watched.queued is None or due < watched.queued:
            watched.queued = due
            heappush(self._due, (due, watched.device))

    # --- showing ----------------------------------------------------------------------------------

    def idle_seconds(self, session: int, now: float) -> float:
        """Return for how long a session's device has given no command; 0 for unknown ones."""
        known = self._sessions.get(session)
        return 0.0 if known is None else now - self._devices[known.device].last

    def of_person(self, person: bytes) -> list[Session]:
        """Return a person's live sessions, oldest first."""
        return [self._sessions[each] for each in sorted(self._by_person.get(person, ()))]

    def everybody(self) -> list[Session]:
        """Return every live session, oldest first."""
        return [self._sessions[each] for each in sorted(self._sessions)]


def _discard(index: dict[bytes, set[T]], key: bytes, value: T) -> None:
    """Take a value out of a set in an index, and drop the set with its last value."""
    values = index[key]
    values.discard(value)
    if not values:
        del index[key]
