"""Officers in the lives of a federation: they hold, release and order, and a recall destroys.

What is destroyed is looked for as somebody would who has every byte that was ever written to a
site's devices, so also every backup of them, and its present root.
"""

from __future__ import annotations

from typing import Any

import nacl.signing

from appliance.context import SITE, Actor
from appliance.directory.commands import SetKey, SetRoles
from appliance.directory.requests import canonical_json, canonical_request
from appliance.disposal.commands import (
    NAMES,
    ApproveRequest,
    PlaceHold,
    ReleaseHold,
    RequestDestruction,
    RunDestruction,
    Selection,
    SetPolicy,
    SignRequest,
)
from appliance.disposal.prepare import PREPARED, prepare
from appliance.operations import Signed
from store.engine.memory import Medium
from tests.appliance.sites import endings
from tests.appliance.sites.compliance import POLICY
from tests.appliance.sites.federation import ACTS, Federation
from transports.wire.errors import Refusal

OFFICERS = {"dave": 0, "erin": 0, "olaf": 1, "otto": 2}
"""Where the officers are at home."""


class Governed(Federation):
    """A federation with a policy, officers at each site, and devices that forget nothing."""

    def __init__(self, seed: int, branches: int, people: dict[str, int]) -> None:
        super().__init__(seed, branches, people | OFFICERS)
        self._keys: dict[str, nacl.signing.SigningKey] = {}
        self.carried_out = 0

    def new_medium(self) -> Medium:
        return Medium(retain=True)

    async def appoint(self) -> None:
        """Set the policy, and give the officers their role and keys, each at home."""
        hub = self.houses[0]
        await hub.do(SITE, SetPolicy(POLICY, 0, "as begun"))
        for login in OFFICERS:
            await hub.do(SITE, SetRoles(login, ("member", "security_officer")))
        await self.settle()
        for login, home in OFFICERS.items():
            key = self._keys[login] = nacl.signing.SigningKey(self.dice.randbytes(32))
            await self.houses[home].do(SITE, SetKey(bytes(key.verify_key), login))
        await self.settle()

    async def officer(self, login: str, command: Any) -> Any:
        """Let an officer sign and ask at home; None when the site refuses."""
        house = self.houses[OFFICERS[login]]
        core = house.site.core
        person = core.directory.resolve(login)
        assert person is not None
        name, challenge = NAMES[type(command)], self.dice.randbytes(16)
        data = canonical_request(core.log.node, challenge, person.id, name, canonical_json(command))
        signature = self._keys[login].sign(data).signature
        if type(command) in PREPARED:
            with house.site.ports.engine.snapshot() as reader:
                command = prepare(core, reader, command)
        try:
            return await house.do(Actor(person.id, b"", Signed(data, bytes(signature))), command)
        except Refusal:
            return None

    # --- what happens -----------------------------------------------------------------------------

    async def _hold(self) -> None:
        selection = Selection(persons=(self.someone(),))
        await self.officer(self.dice.choice(sorted(OFFICERS)), PlaceHold("case", selection, "x"))

    async def _release(self) -> None:
        active = [hold.body.hold for hold in self.houses[0].site.core.disposal.active_holds()]
        if active:
            hold = self.dice.choice(active)
            for login in ("dave", "erin"):
                await self.officer(login, ReleaseHold(hold, "closed"))

    async def _order(self) -> None:
        """Let two officers have destroyed what somebody wrote until now."""
        command = RequestDestruction(Selection(persons=(self.someone(),)), "art. 17")
        asked = await self.officer("dave", command)
        if asked is None:
            return
        await self.officer("dave", SignRequest(asked.request, asked.digest))
        await self.officer("erin", ApproveRequest(asked.request, asked.digest))
        begun = await self.officer("dave", RunDestruction(asked.request))
        self.carried_out += begun is not None and not begun.outgrown

    @property
    def acts(self) -> tuple[tuple[Any, int], ...]:
        own = ((Governed._hold, 1), (Governed._release, 1), (Governed._order, 1))
        return (*ACTS, *own)

    # --- settling ---------------------------------------------------------------------------------

    def verify(self) -> None:
        super().verify()
        sites = [house.site for house in self.houses]
        authors = self.authors()
        endings.orders_are_carried_out(sites)
        endings.what_headquarters_lacks_was_destroyed_where_it_was_made(sites, authors)
        for house in self.houses:
            endings.what_is_destroyed_opens_nowhere(house.world)
            endings.nothing_is_destroyed_against_a_hold(house.site, authors)
        for site in sites[1:]:
            endings.nothing_is_destroyed_without_a_lease(site)

    def authors(self) -> dict[bytes, bytes]:
        """Return who wrote each message that was acknowledged, by its id."""
        hub = self.houses[0].site.core
        found = {}
        for (login, _conv), names in self.sent.items():
            person = hub.directory.resolve(login)
            assert person is not None
            found.update(dict.fromkeys(names, person.id))
        return found
