"""Found an organisation for a benchmark: people with tokens, conversations, stored messages."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from appliance import certificates
from appliance.config import FILE_NAME
from appliance.context import SITE, Actor, Outcome
from appliance.directory import codes
from appliance.directory.commands import CreatePerson, RenewToken
from appliance.limits import OPEN_MEMBERS
from appliance.site import Site, data_ports
from store.vault import NoWrap
from store.writer import Completion
from transports.wire import schema
from transports.wire.schema import Id

MAP_BYTES: Final = 16 << 30
BATCH: Final = 512
"""Commands in one commit while an organisation is founded."""

BODY: Final = schema.Body("text", "x" * 150)
"""What every message of every workload says: 150 bytes."""

SETTINGS: Final = """\
[limits]
sends_per_second = 10000.0
connections = 20000
connections_per_address = 20000
unauthenticated = 2000

[log]
level = "warning"
"""
"""The server's configuration: its defaults, but one address may do what a whole house would."""


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with one device; ``token`` in hex."""

    id: bytes
    device: bytes
    token: str = field(repr=False)

    @property
    def actor(self) -> Actor:
        """Who gives this person's commands."""
        return Actor(self.id, self.device)


class Founding:
    """An organisation that is being founded: commands run inline, many in one commit."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._done: list[Completion[Outcome]] = []
        site.attach(self._done.extend, self._failed)

    def run(self, commands: Iterable[tuple[Actor, Any]]) -> list[Any]:
        """Carry out commands in order; return their replies, raise the first refusal."""
        replies: list[Any] = []
        waiting = 0
        for actor, command in commands:
            self._site.writer.submit(actor, command, None)
            waiting += 1
            if waiting == BATCH:
                replies += self._commit()
                waiting = 0
        return replies + self._commit()

    def people(self, count: int, prefix: str = "p") -> list[Person]:
        """Create people with one device each."""
        return self.named([f"{prefix}{number:05}" for number in range(count)])

    def named(self, logins: Sequence[str]) -> list[Person]:
        """Create people with these login names and one device each."""
        self.run((SITE, CreatePerson(login, login)) for login in logins)
        tokens = [os.urandom(codes.TOKEN_BYTES) for _ in logins]
        granted = self.run(
            (SITE, RenewToken(login, codes.token_hash(token), name="bench"))
            for login, token in zip(logins, tokens, strict=True)
        )
        return [
            Person(each.person, each.device, token.hex())
            for each, token in zip(granted, tokens, strict=True)
        ]

    def direct(self, pairs: Iterable[tuple[Person, Person]]) -> list[Id]:
        """Open a direct conversation for each pair."""
        replies = self.run(
            (first.actor, schema.Open(1, "direct", (Id(second.id),))) for first, second in pairs
        )
        return [reply.conv for reply in replies]

    def groups(self, members: Iterable[Sequence[Person]]) -> list[Id]:
        """Open a group for each sequence of people; the first one owns it."""
        replies = self.run(
            (
                owner.actor,
                schema.Open(1, "group", tuple(Id(each.id) for each in others[:OPEN_MEMBERS])),
            )
            for owner, *others in members
        )
        return [reply.conv for reply in replies]

    def join(self, owner: Person, group: Id, people: Iterable[Person]) -> None:
        """Add people to a group one by one."""
        self.run((owner.actor, schema.Conv(1, group, "add", person=Id(each.id))) for each in people)

    def messages(self, author: Person, conversations: Iterable[Id], first: int = 1) -> None:
        """Store one message for each conversation given, numbered from ``first``."""
        self.run(
            (author.actor, schema.Send(1, first + index, BODY, conversation))
            for index, conversation in enumerate(conversations)
        )

    @property
    def ca_pem(self) -> str:
        """The certificate of the site's CA."""
        return certificates.ca_pem(self._site.core).decode("ascii")

    def _commit(self) -> list[Any]:
        while self._site.writer.run_pending():
            pass
        done = self._done.copy()
        self._done.clear()
        replies = []
        for completion in done:
            if completion.error is not None:
                raise completion.error
            assert completion.outcome is not None
            replies.append(completion.outcome.reply)
        return replies

    @staticmethod
    def _failed(error: BaseException) -> None:
        raise error


@contextmanager
def founding(directory: Path) -> Iterator[Founding]:
    """Found an organisation under ``directory``; it is closed cleanly at the end."""
    data = directory / "data"
    ports = data_ports(data, directory / "data-keys", MAP_BYTES)
    (data / FILE_NAME).write_text(SETTINGS, "utf-8")
    site = Site.create(ports, NoWrap(), name="Benchmark")
    try:
        yield Founding(site)
    finally:
        site.close()
