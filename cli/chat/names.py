"""Know what people and conversations are called, for one session."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from client import Conversation, Refused
from transports.wire.schema import Id

if TYPE_CHECKING:
    from client.session import Session

DUTY_PREFIX = "duty:"


class Names:
    """Logins by person, and a name for each conversation; loaded when first needed."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._logins: dict[bytes, str] = {}
        self._conversations: dict[bytes, Conversation] = {}

    async def refresh(self) -> None:
        """Ask the server for people and conversations again."""
        self._logins = {bytes(each.person): each.login for each in await self._session.people()}
        found = await self._session.conversations()
        self._conversations = {bytes(each.id): each for each in found}

    @property
    def conversations(self) -> list[Conversation]:
        """The conversations as last listed, newest activity first."""

        def newest(conversation: Conversation) -> str:
            return conversation.item.key if conversation.item is not None else ""

        return sorted(self._conversations.values(), key=newest, reverse=True)

    @property
    def me(self) -> bytes:
        """Who one is."""
        return bytes(self._session.person)

    def login(self, person: bytes) -> str:
        """Return a person's login name, or the beginning of the id for somebody unknown."""
        return self._logins.get(bytes(person), bytes(person).hex()[:8])

    def knows(self, people: Iterable[bytes]) -> bool:
        """Tell whether every one of these people has a name here."""
        return all(bytes(person) in self._logins for person in people)

    def knows_conversation(self, conversation: bytes) -> bool:
        """Tell whether a conversation has been listed."""
        return bytes(conversation) in self._conversations

    def label(self, conversation: bytes) -> str:
        """Return a group's title, or the login of the other one in a direct conversation."""
        known = self._conversations.get(bytes(conversation))
        if known is None or known.item is None:
            return bytes(conversation).hex()[:8]
        if known.item.kind != "direct":
            return known.item.title
        others = [each.person for each in known.item.members if bytes(each.person) != self.me]
        return self.login(others[0]) if others else "yourself"

    def conversation(self, conversation: bytes) -> Conversation | None:
        """Return a conversation as listed."""
        return self._conversations.get(bytes(conversation))

    def direct_with(self, login: str) -> Conversation | None:
        """Return the direct conversation with a login, if it is there already."""
        return next(
            (
                each
                for each in self._conversations.values()
                if each.item is not None
                and each.item.kind == "direct"
                and self.label(each.id) == login
            ),
            None,
        )

    def group(self, title: str) -> Conversation | None:
        """Return the one group of that title, or whose id in hex this is.

        Raises ``Refused`` ("conversation.unknown") when several have the title: use the id.
        """
        found = [
            each
            for each in self._conversations.values()
            if each.id.hex() == title
            or (each.item is not None and each.item.kind == "group" and each.item.title == title)
        ]
        if len(found) > 1:
            raise Refused("conversation.unknown")
        return found[0] if found else None

    def is_login(self, text: str) -> bool:
        """Tell whether somebody has this login name."""
        return text in self._logins.values()

    async def existing(self, name: str) -> Conversation | None:
        """Return the conversation that a login, title or id names, without opening a new one.

        None when the person exists and there is no conversation yet. Raises ``Refused``
        ("person.unknown") when nobody and no group is called so.
        """
        await self.refresh()
        found = self.direct_with(name) or self.group(name)
        if found is None and not self.is_login(name):
            raise Refused("person.unknown")
        return found

    async def open(self, name: str) -> Conversation | str:
        """Return the conversation with a login or of a title, opening a direct one if needed.

        A duty (``duty:NAME``) is returned as it is. Raises as ``existing``.
        """
        if name.startswith(DUTY_PREFIX):
            return name
        found = await self.existing(name)
        if found is not None:
            return found
        opened = await self._session.open_direct(name)
        await self.refresh()
        return opened

    def ids(self, logins: Iterable[str]) -> list[Id]:
        """Return the ids of logins; raises ``Refused`` ("person.unknown")."""
        by_login = {login: person for person, login in self._logins.items()}
        try:
            return [Id(by_login[login]) for login in logins]
        except KeyError:
            raise Refused("person.unknown") from None
