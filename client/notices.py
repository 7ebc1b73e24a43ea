"""Name what a session tells: to its shell, and to the application beside the server's events."""

from __future__ import annotations

from dataclasses import dataclass

from client.errors import ClientError
from transports.wire.schema import (
    Event,
    Gap,
    Ok,
    PresenceNotice,
    Site,
    TypingNotice,
    Welcome,
)


@dataclass(frozen=True, slots=True)
class Online:
    """The session is signed in, on this carrier; events continue where they stopped."""

    carrier: str


@dataclass(frozen=True, slots=True)
class Offline:
    """The connection is gone; the session comes back by itself."""

    retry_in_seconds: float


@dataclass(frozen=True, slots=True)
class Resynced:
    """The server's positions begin anew (it was restored): list the conversations again."""


@dataclass(frozen=True, slots=True)
class Unsent:
    """A queued message was refused for good; ``n`` is what ``queue`` returned."""

    n: int
    error: ClientError


ServerNotice = Event | Gap | TypingNotice | PresenceNotice | Site
AppEvent = ServerNotice | Online | Offline | Resynced | Unsent
"""What ``Session.events`` yields."""


@dataclass(frozen=True, slots=True)
class Welcomed:
    """Signed in."""

    welcome: Welcome
    is_resynced: bool


@dataclass(frozen=True, slots=True)
class Answered:
    """The request ``id`` was carried out."""

    id: int
    ok: Ok


@dataclass(frozen=True, slots=True)
class Failed:
    """The request ``id`` will not be carried out, or nobody knows."""

    id: int
    error: ClientError


@dataclass(frozen=True, slots=True)
class Hangup:
    """Drop this connection, and come back after ``after`` seconds at the earliest."""

    after: float = 0.0


@dataclass(frozen=True, slots=True)
class Ended:
    """The session is over: signing in again with the same credentials is of no use."""

    error: ClientError


Notice = ServerNotice | Welcomed | Answered | Failed | Hangup | Ended
"""What ``Core`` tells its shell."""
