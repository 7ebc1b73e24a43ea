"""An archive behind its administration: requests as the command line sends them."""

from __future__ import annotations

import json
from typing import Any, cast

import trio

from appliance.administration import Administration, Host
from appliance.context import Actor
from appliance.directory.requests import canonical_json, canonical_request
from appliance.site import Site
from tests.appliance.evidence.archive import NAMES, Archive

Answer = dict[str, Any]


class ArchiveHost:
    """What administration needs of an appliance for signed requests."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    @property
    def site(self) -> Site:
        """The opened store; another one after a restart."""
        return self._archive.site

    @property
    def gateway(self) -> ArchiveHost:
        """Where people sign in; here nobody does."""
        return self

    def sessions(self) -> list[Any]:
        return []

    async def execute(self, actor: Actor, command: Any) -> Any:
        return self._archive.do(actor, command)


class Desk:
    """Signs and asks, as the command line does."""

    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        self.administration = Administration(cast("Host", ArchiveHost(archive)), lambda: None)

    def ask(self, login: str, command: Any) -> Answer:
        """Return the whole answer to a signed command."""
        return trio.run(self._ask, login, command)

    async def _ask(self, login: str, command: Any) -> Answer:
        given = (await self.administration.answer(0, {"command": "challenge"}))["ok"]
        name, text = NAMES[type(command)], canonical_json(command)
        person = self.archive.people[login]
        node, challenge = bytes.fromhex(given["node"]), bytes.fromhex(given["challenge"])
        data = canonical_request(node, challenge, person, name, text)
        request = {
            "command": name,
            "arguments": json.loads(text),
            "person": person.hex(),
            "challenge": given["challenge"],
            "signature": self.archive.keys[login].sign(data).signature.hex(),
        }
        answer: Answer = await self.administration.answer(0, request)
        json.dumps(answer)
        return answer
