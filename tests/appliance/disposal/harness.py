"""A house with officers, a policy and a clock that can be moved: runs are driven by hand."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import nacl.signing
import trio

from appliance import check
from appliance.context import SITE, Actor
from appliance.directory.commands import SetKey, SetRoles
from appliance.directory.requests import CHALLENGE_BYTES, canonical_json, canonical_request
from appliance.disposal.commands import NAMES, KeepLedger, ReadClock, SetPolicy
from appliance.disposal.prepare import PREPARED, prepare
from appliance.disposal.service import Disposal
from appliance.evidence import decide as evidence
from appliance.operations import Signed
from appliance.site import Site
from store.disk import MemoryDisk
from store.engine.contract import Engine
from store.vault import NoWrap
from tests.appliance.messaging.harness import House, _raise
from transports.wire import schema
from transports.wire.schema import Id

DAY_MS = 86_400_000
OFFICERS = ("dave", "erin")
AUDITOR = "frank"


class Hospital(House):
    """People who chat, officers who decide, and time that passes day by day."""

    def __init__(
        self,
        *logins: str,
        policy: str = "",
        make_engine: Callable[[], Engine] | None = None,
        retain: bool = False,
    ) -> None:
        people = (*logins, *OFFICERS, AUDITOR)
        super().__init__(*people, make_engine=make_engine, retain=retain)
        self._keys: dict[str, nacl.signing.SigningKey] = {}
        for login in self.people:
            self.give_key(login)
        for login in OFFICERS:
            self.do(SITE, SetRoles(login, ("member", "security_officer")))
        self.do(SITE, SetRoles(AUDITOR, ("member", "auditor")))
        if policy:
            self.do(SITE, SetPolicy(policy, 0, "as begun"))
        self.service = self._service()
        self.anchor()

    @property
    def core(self) -> Any:
        return self.site.core

    def _service(self) -> Disposal:
        return Disposal(
            self.site.core,
            self.site.ports.engine,
            self._execute,
            self._blocking,
            self._followed,
            lambda: self.clock.monotonic_ns() / 1e9,
        )

    async def _execute(self, actor: Actor, command: Any) -> Any:
        return self.do(actor, command)

    async def _blocking(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return function(*arguments)

    async def _followed(self, generation: int) -> tuple[tuple[str, int], ...]:
        del generation
        return ()

    def reopen(self) -> None:
        super().reopen()
        self.service = self._service()

    @property
    def devices(self) -> tuple[Any, ...]:
        """The simulated devices: medium, data disk, key disk."""
        return (self.medium, *self._disks)

    @property
    def keys(self) -> MemoryDisk:
        """The simulated key directory."""
        return self._disks[1]

    def crash(self, dice: Random, *, lose_newest_meta: bool = False) -> None:
        """Cut the power and start again on what the devices have kept."""
        self.medium.crash(dice, lose_newest_meta=lose_newest_meta)
        for disk in self._disks:
            disk.crash(dice)
        self.start()

    def start(self) -> None:
        """Open the site on what the devices have."""
        self.site = Site.open(self._ports(), NoWrap())
        self.site.attach(self._deliver, _raise)
        self.service = self._service()

    def problems(self) -> list[str]:
        """Return what ``check`` finds: the log, the ledger, and every view rebuilt."""
        with self.reading() as reader:
            return [f"{each.id}: {each.evidence}" for each in check.check(self.core, reader)]

    # --- signing --------------------------------------------------------------------------------

    def give_key(self, login: str) -> None:
        key = nacl.signing.SigningKey(self._entropy.bytes(32))
        self._keys[login] = key
        self.do(SITE, SetKey(bytes(key.verify_key), login))

    def officer(self, login: str, command: Any) -> Any:
        """Let an officer sign and send a command, as over the administration socket."""
        name = NAMES.get(type(command)) or _EVIDENCE[type(command)]
        person = self.people[login]
        challenge = self._entropy.bytes(CHALLENGE_BYTES)
        node = self.site.core.log.node
        data = canonical_request(node, challenge, person, name, canonical_json(command))
        signature = self._keys[login].sign(data).signature
        actor = Actor(person, b"", Signed(data, bytes(signature)))
        if type(command) in PREPARED:
            with self.site.ports.engine.snapshot() as reader:
                command = prepare(self.site.core, reader, command)
        return self.do(actor, command)

    # --- time -----------------------------------------------------------------------------------

    def anchor(self) -> None:
        """Take a reading of the clock, with an anchor, and see to the ledger."""
        self.do(SITE, ReadClock(anchor=True))
        self.do(SITE, KeepLedger())

    def pass_days(self, days: float) -> None:
        """Let time pass, with an anchor at its beginning and at the end of each day."""
        self.anchor()
        left = int(days * DAY_MS)
        while left > 0:
            step = min(left, DAY_MS)
            self.clock.advance(step)
            self.anchor()
            left -= step

    def expire(self) -> int:
        """Carry out what an expiry run finds; return how many records it destroyed."""
        done = trio.run(self.service.expire)
        return sum(progress.destroyed for progress in done)

    def serve(self) -> None:
        """Let the service look at everything once."""
        trio.run(self.service.tick)

    # --- chatting -------------------------------------------------------------------------------

    def send(self, login: str, conv: Id, text: str, **fields: Any) -> Id:
        """Send a message; return its id."""
        reply = self.say(login, conv, text, **fields)
        assert reply.msg is not None
        return reply.msg

    def recall(self, login: str, message: Id) -> None:
        self.by(login, schema.Recall(1, self.number(login), message))

    def edit(self, login: str, message: Id, text: str) -> None:
        self.by(login, schema.Edit(1, self.number(login), message, schema.Body("text", text)))

    def react(self, login: str, message: Id, emoji: str) -> None:
        self.by(login, schema.React(1, self.number(login), message, emoji))


_EVIDENCE = {kind: name for name, kind in evidence.REQUESTS.items()}
