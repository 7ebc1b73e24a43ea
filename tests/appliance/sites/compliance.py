"""An organisation whose officers decide about records: leases, runs and thieves at each site."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import nacl.signing
import trio
from sortedcontainers import SortedDict

from appliance.context import SITE
from appliance.directory.commands import SetRoles
from appliance.disposal.commands import (
    ApproveRequest,
    ListHolds,
    ListRuns,
    PlaceHold,
    ReleaseHold,
    RequestDestruction,
    RunDestruction,
    Selection,
    SetPolicy,
    SignRequest,
)
from appliance.disposal.replies import HoldItem, RunItem
from appliance.sites import lease
from appliance.sites.commands import GrantLease, RecordGrant
from appliance.sites.leaver import Leaver
from store import cursors
from store.engine.txn import Txn
from store.ids import OpId
from store.records import PartState, Record
from store.skeleton import OpClass
from store.tables import LOG
from sync.pieces import NUMBERED
from tests.appliance.disposal.harness import Hospital
from tests.appliance.disposal.thief import Thief
from tests.appliance.messaging.harness import House
from tests.appliance.sites.harness import OrganisationOf, Place
from transports.wire.schema import Id

POLICY = """
clock = "system"
cooling_off = "0"
[[rule]]
name = "chat"
class = "standard"
max = "30d"
recall = "destroy"
"""

HOMES = {"ann": 0, "dave": 0, "erin": 0, "bea": 1, "olaf": 1, "cat": 2, "otto": 2}
"""Where everybody is at home; dave and erin are officers of headquarters, olaf and otto of one
branch each."""

OFFICERS = ("dave", "erin", "olaf", "otto")


class Ward(Hospital, Place):
    """One site of the organisation, whose devices keep every byte ever written."""

    def __init__(self, seed: int) -> None:
        House.__init__(self, seed=seed, retain=True)
        self._keys: dict[str, nacl.signing.SigningKey] = {}
        self.service = self._service()
        self.anchor()

    def copy(self) -> Any:
        """Copy the devices as they are, keys and all: what a backup must never be."""
        return dict(self.medium.rows), [deepcopy(disk._files) for disk in self._disks]

    def restore(self, copy: Any) -> None:
        """Go on from a copy, told that it is one: under a new incarnation."""
        self.site.close()
        rows, files = copy
        self.medium.rows = SortedDict(rows)
        for disk, kept in zip(self._disks, files, strict=True):
            disk._files = deepcopy(kept)
        self.start()
        engine, core = self.site.ports.engine, self.core
        with engine.snapshot() as reader:
            txn = Txn(reader)
            core.log.renew(txn)
            core.succeed(txn, "restored", self.clock.wall_ms())
            core.log.before_commit(txn, self.clock.wall_ms())
            engine.batch(txn.writes, self.site.writer._token)

    def state(self, message: Id) -> PartState | None:
        """Return what there is of a message's body here; None when it was never heard of."""
        with self.reading() as reader:
            place = self.core.log.find(reader, OpId.unpack(bytes(message)))
            if place is None:
                return None
            return Record.unpack(reader.get(LOG.key(*place)) or b"").body_state

    def can_open(self, text: str) -> bool:
        """Tell whether somebody with every byte ever written here could read a text."""
        return text.encode() in Thief.of(self.medium, self.keys).everything()

    def bodies(self, conversation: bytes) -> int:
        """Return how many bodies of a conversation's messages are here in reach of anybody."""
        found = 0
        with self.reading() as reader:
            for key, value in reader.range(*LOG.span()):
                record = Record.unpack(value)
                if record.skeleton[1] != OpClass.MESSAGE:
                    continue
                if record.body_state is PartState.PRESENT:
                    op = self.core.log.read(reader, *LOG.columns(key))
                    found += op.conversation == conversation
        return found


class Authority(OrganisationOf[Ward]):
    """Headquarters and two branches; everybody knows of a policy, and has a lease."""

    def __init__(self, policy: str = POLICY) -> None:
        super().__init__(2, Ward)
        self.hub.do(SITE, SetPolicy(policy, 0, "as begun"))
        for login, home in HOMES.items():
            self.enrol(login, self.places[home])
            if login in OFFICERS:
                self.hub.do(SITE, SetRoles(login, ("member", "security_officer")))
        self.settle()
        for login, home in HOMES.items():
            self.places[home].give_key(login)
        self.settle()
        self.grant_all()

    # --- time and leases --------------------------------------------------------------------------

    def pass_days(self, days: float) -> None:
        for place in self.places:
            place.pass_days(days)

    def grant(self, branch: Ward) -> None:
        """Let a branch ask for its lease, and get it."""
        asked = lease.ask(branch.core.reading(), branch.core.sites.applied)
        granted = self.hub.do(SITE, RecordGrant(branch.node, asked))
        branch.do(SITE, GrantLease(granted))

    def grant_all(self) -> None:
        for branch in self.branches:
            self.grant(branch)

    # --- acts -------------------------------------------------------------------------------------

    def hold(self, place: Ward, officer: str, login: str) -> int:
        """Place a hold on what somebody wrote, at one site; return its number."""
        command = PlaceHold("case", Selection(persons=(login,)), "a letter")
        return int(place.officer(officer, command).hold)

    def release(self, number: int) -> None:
        for officer in ("dave", "erin"):
            self.hub.officer(officer, ReleaseHold(number, "closed"))

    def holds(self, place: Ward, officer: str) -> dict[int, HoldItem]:
        return {each.hold: each for each in place.officer(officer, ListHolds()).holds}

    def destroy(self, *logins: str, erase: bool = False, **fields: Any) -> RunItem:
        """Let two officers destroy what people wrote, at headquarters; return the run."""
        selection = Selection(persons=logins, **fields)
        asked = self.hub.officer("dave", RequestDestruction(selection, "art. 17", erase))
        self.hub.officer("dave", SignRequest(asked.request, asked.digest))
        self.hub.officer("erin", ApproveRequest(asked.request, asked.digest))
        self.hub.officer("dave", RunDestruction(asked.request))
        trio.run(self.hub.service.order, self.hub.core.disposal.orders.popleft())
        return self.run()

    def run(self) -> RunItem:
        """Return the newest run of headquarters."""
        item: RunItem = self.hub.officer("dave", ListRuns(1)).runs[0]
        return item

    def follow(self, place: Ward) -> None:
        """Let a site do what it owes to others: carry out orders, hear answers."""
        trio.run(place.service.follower.follow)

    def follow_all(self) -> None:
        """Let everything take its course, over lines that are whole."""
        self.settle()
        self.grant_all()
        for branch in self.branches:
            self.follow(branch)
        self.settle()
        self.follow(self.hub)

    def leave(self, branch: Ward) -> None:
        """Let a branch look which conversations have left it."""
        number = self.hub.core.log.number_of(branch.core.log.own)
        with self.hub.reading() as reader:
            known = [cursors.get(reader, number, lane) for lane in NUMBERED]
        leaver = Leaver(
            branch.core,
            branch.site.ports.engine,
            branch._execute,
            branch._blocking,
            lambda: min(known),
        )
        trio.run(leaver.look)
