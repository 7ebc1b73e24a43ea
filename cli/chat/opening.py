"""Open a client session from a profile, and turn slowness into the right error."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio

import client
from cli.errors import CliError, language
from cli.places import profile_directory

if TYPE_CHECKING:
    from client.session import Session

CARRIERS: Final = ("auto", "quic", "websocket")


@dataclass(frozen=True, slots=True)
class Place:
    """Whose profile, and how to reach the server; ``timeout`` in seconds."""

    profile: Path
    server: str = ""
    pin: str = ""
    carrier: str = "auto"
    timeout: float = 10.0

    @classmethod
    def of(
        cls,
        who: str,
        profile: Path | None,
        data: Path,
        *,
        server: str = "",
        pin: str = "",
        carrier: str = "auto",
        timeout: float = 10.0,
    ) -> Place:
        """Find a person's profile; raises ``CliError`` when there is none on this machine."""
        directory = profile_directory(profile, who, data)
        if not (directory / "profile.json").is_file():
            hint = "strongroom chat --join LINK, or: strongroom login"
            raise CliError("cli.no_profile", f"{who or 'nobody'} is not signed in here", hint)
        return cls(directory, server, pin, carrier, timeout)


@asynccontextmanager
async def opened(place: Place, *, resume: bool = False) -> AsyncIterator[Session]:
    """Open a session whose first attempt to connect succeeds, or say why it did not.

    Raises ``Unreachable`` or ``Untrusted`` when that attempt fails, ``Refused`` when the server
    does not let this device in, ``CliError`` ("client.timeout") when there is no answer in time.
    """
    async with client.connect(
        place.server,
        pin=place.pin,
        profile=place.profile,
        carrier=place.carrier,
        resume=resume,
        language=language(),
        wait=False,
    ) as session:
        with in_time(place.timeout):
            await _first_answer(session)
        yield session


async def _first_answer(session: Session) -> None:
    event = await session.next_event()
    if isinstance(event, client.Offline):
        raise session.failure or client.Unreachable()


@contextmanager
def in_time(seconds: float) -> Iterator[None]:
    """Raise ``CliError`` ("client.timeout") when the block takes longer than so many seconds."""
    with trio.move_on_after(seconds) as scope:
        yield
    if scope.cancelled_caught:
        hint = "If a message was being sent, look whether it is there before you repeat it."
        raise CliError("client.timeout", "the server does not answer", hint, retryable=True)
