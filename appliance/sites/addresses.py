"""Tell the other site over the link where this one is reached by now, and take what it tells.

    note            body (canonical msgpack array)
    "site.address"  text "strongroom/address/1", array of addresses (HOST:PORT), bytes: SHA-256 of
                    the certificate of the CA that people pin, or empty

Each side tells as a link comes up. Of a branch the first address is kept, for invitations of its
people; a branch tries those that headquarters tells after those that worked. An address is never
believed: whoever answers there has to prove who they are.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

from appliance.certificates import ca_fingerprint
from appliance.config import Config
from appliance.context import SITE, Actor
from appliance.core import Core
from appliance.sites.commands import MeetHeadquarters, MoveSite
from appliance.sites.enrolment import CA_BYTES
from appliance.sites.limits import ADDRESS_CHARACTERS, ADDRESSES
from appliance.sites.linking import Links
from store import canonical
from store.errors import FormatError, StoreError
from transports.wire.errors import StrongroomError
from transports.wire.links import LinkError, parse_pin, parse_server

logger = logging.getLogger("strongroom.sites")

NOTE: Final = "site.address"
"""The kind of the note."""

_LABEL: Final = "strongroom/address/1"


def write(addresses: tuple[str, ...], ca: bytes) -> bytes:
    """Return the body of a note."""
    return canonical.encode((_LABEL, addresses, ca))


def read(body: bytes) -> tuple[tuple[str, ...], bytes]:
    """Return addresses and CA of a note; raises ``FormatError``."""
    match canonical.decode(body):
        case [str(label), list(told), bytes(ca)] if label == _LABEL and len(ca) in (0, CA_BYTES):
            if len(told) <= ADDRESSES:
                return tuple(map(_address, told)), ca
    raise FormatError("no addresses of a site")


def _address(text: Any) -> str:
    if isinstance(text, str) and len(text) <= ADDRESS_CHARACTERS:
        try:
            return parse_server(text).authority
        except LinkError:
            pass
    raise FormatError("no address of a site")


class Addresses:
    """Belongs to the trio thread.

    Args:
        core: the site's state.
        links: what carries the notes.
        execute: decides and commits a command.
        spawn: runs a task of the appliance.
        own: where this site is reached, as far as the configuration tells.
        config: the configuration in force.
    """

    def __init__(
        self,
        core: Core,
        links: Links,
        execute: Callable[[Actor, Any], Awaitable[Any]],
        spawn: Callable[[Callable[[], Awaitable[None]]], None],
        own: Callable[[], tuple[str, ...]],
        config: Callable[[], Config],
    ) -> None:
        self._core = core
        self._links = links
        self._execute = execute
        self._spawn = spawn
        self._own = own
        self._config = config
        links.notes[NOTE] = self._told
        links.greetings.append(self._tell)

    def _tell(self, node: bytes) -> None:
        """Tell a peer whose link came up; a site that knows no name of its own tells nothing."""
        addresses = self._own()
        if addresses:
            is_internal = not self._config().tls.certificate
            ca = parse_pin(ca_fingerprint(self._core)) if is_internal else b""
            self._links.note(node, NOTE, write(addresses, ca))

    def _told(self, node: bytes, body: bytes) -> None:
        addresses, ca = read(body)
        if not addresses:
            return
        is_branch = self._core.sites.is_branch
        command = MeetHeadquarters(addresses) if is_branch else MoveSite(node, addresses[0], ca)

        async def take() -> None:
            try:
                await self._execute(SITE, command)
            except (StrongroomError, StoreError) as error:
                logger.error("site.not_moved", extra={"error": error.code})

        self._spawn(take)
