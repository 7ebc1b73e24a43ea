"""Headquarters and branches without a line: pieces are carried by hand, in any order."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from copy import deepcopy
from functools import partial
from random import Random
from typing import Any, Generic, TypeVar

import nacl.signing

from appliance.context import SITE
from appliance.directory.commands import CreatePerson
from appliance.messaging import receipts, targets, timeline
from appliance.operations import (
    SPECS,
    BodyStruct,
    Kind,
    PersonHome,
    SecretSlot,
    SiteApproved,
    SiteHeadquarters,
    SiteInvited,
    SiteJoined,
    SiteSecret,
    encode,
)
from appliance.site import Site
from appliance.sites import lineage
from appliance.sites.comparing import Comparing
from appliance.sites.link_commands import NoteHistory, TakePiece
from appliance.sites.replica import BranchReplica, HeadquartersReplica
from appliance.sites.scope import Scope
from appliance.sites.settling import Follow
from appliance.sites.suspects import suspects
from appliance.sites.turn import AgainError
from store import hlc
from store.disk import MemoryDisk
from store.engine.memory import Medium
from store.engine.txn import Txn
from store.ids import SITE_STREAM, OpId, Stream, StreamKind
from store.oplog import Draft
from store.records import PartState
from store.skeleton import Skeleton
from store.vault import NoWrap
from sync import columns
from sync.pieces import NUMBERED, Lane, Piece
from tests.appliance.messaging.harness import House, _raise
from tests.appliance.sites import invariants

BUDGET_BYTES = 64 * 1024


State = tuple[Medium, tuple[MemoryDisk, MemoryDisk]]
"""What the devices of a machine hold: engine, data and keys."""


class Place(House):
    """One site of an organisation; people sign in where they are at home."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed=seed)

    @property
    def core(self) -> Any:
        return self.site.core

    @property
    def node(self) -> bytes:
        return bytes(self.core.log.node)

    def append(self, kind: Kind, body: BodyStruct, stream: Stream = SITE_STREAM) -> None:
        """Append an operation that no command of this harness makes."""
        append(self.site, kind, body, stream)

    async def execute(self, actor: Any, command: Any) -> Any:
        """Decide and commit a command, as the link asks for it."""
        return self.do(actor, command)

    def crash(self, dice: Random, *, lose_newest_meta: bool = False) -> None:
        """Cut the power, and start again on what the devices have kept."""
        self.medium.crash(dice, lose_newest_meta=lose_newest_meta)
        for disk in self._disks:
            disk.crash(dice)
        self._open()

    def restart(self) -> None:
        """Stop in good order, and start again."""
        self.site.close()
        self._open()

    def kept(self) -> State:
        """Return a copy of everything that the machine's devices hold now."""
        return self.medium.copied(), deepcopy(self._disks)

    def set_back(self, state: State) -> None:
        """Go on from an earlier state of all devices, as after the rollback of a machine."""
        self.site.close()
        self.medium, self._disks = state[0].copied(), deepcopy(state[1])
        self._open()

    def _open(self) -> None:
        self.site = Site.open(self._ports(), NoWrap())
        self.site.attach(self._deliver, _raise)

    def meet(self) -> None:
        """Know everybody by login name who is known here now."""
        for person in self.core.directory.people():
            if person.login:
                self.people[person.login] = person.id
                self.heard.setdefault(person.id, [])


P = TypeVar("P", bound=Place)


class OrganisationOf(Generic[P]):
    """Headquarters and some branches; ``settle`` carries everything everywhere."""

    def __init__(self, branches: int, make: Callable[[int], P]) -> None:
        self.hub = make(100)
        self.branches = [make(101 + number) for number in range(branches)]
        for number, branch in enumerate(self.branches, start=1):
            enrol(self.hub.site, branch.site, number)

    def close(self) -> None:
        for place in self.places:
            place.close()

    @property
    def places(self) -> list[P]:
        return [self.hub, *self.branches]

    def enrol(self, login: str, home: P) -> None:
        """Make a person known at headquarters who is at home at a site."""
        self.hub.do(SITE, CreatePerson(login, login.title()))
        person = self.hub.core.directory.resolve(login).id
        if home is not self.hub:
            self.hub.append(
                Kind.PERSON_HOME, PersonHome(home.node), Stream(StreamKind.PERSON, person)
            )

    # --- carrying ---------------------------------------------------------------------------------

    def replicas(self, branch: P) -> tuple[BranchReplica, HeadquartersReplica]:
        """Return what sends to headquarters, and what sends to the branch, as a link begins."""

        async def execute(actor: Any, command: Any) -> Any:
            raise AssertionError("pieces are carried by hand")

        up = BranchReplica(branch.core, branch.site.ports.engine, execute, self.hub.node)
        down = HeadquartersReplica(self.hub.core, self.hub.site.ports.engine, execute, branch.node)
        try:
            up.begin(down.standing())
        except AgainError:  # an earlier incarnation is sent first
            up.begin(down.standing())
        down.begin(up.standing())
        return up, down

    def carry(
        self, branch: P, lane: Lane, *, is_up: bool, budget_bytes: int = BUDGET_BYTES
    ) -> bool:
        """Carry one piece of a lane; tell whether there was one."""
        up, down = self.replicas(branch)
        if not is_up and up.standing().origin != branch.core.log.own:
            return False  # nothing is taken until the present incarnation is sent
        source, sink = (up, down) if is_up else (down, up)
        receiver = self.hub if is_up else branch
        told = sink.standing()
        after = told.cursors[lane] if told.peer == source.standing().origin else 0
        piece = source.read(lane, after, budget_bytes)
        if piece is None:
            return False
        receiver.do(SITE, sink.taking(on_the_line(piece)))
        return True

    def reconcile(self, branch: P) -> None:
        """Compare a branch's logs with headquarters' as the first links do, and settle them."""
        hub, core = self.hub, branch.core
        headquarters = hub.core.log.own
        asked: list[bytes] = []
        comparing = Comparing(
            core, branch.site.ports.engine, branch.execute, lambda _, body: asked.append(body)
        )
        down = HeadquartersReplica(hub.core, hub.site.ports.engine, hub.execute, branch.node)
        up = BranchReplica(core, branch.site.ports.engine, branch.execute, hub.node)
        down.begin(up.standing())
        if comparing.is_new(headquarters):
            branch.do(SITE, Follow(headquarters))
        comparing.begin(down.standing().peer)
        while asked:
            with hub.site.ports.engine.snapshot() as reader:
                told = lineage.answer(hub.core, reader, branch.node, asked.pop()).pack()
            command = comparing.told(told)
            if command is None:
                continue
            settled = told_at_once(comparing.settle(command))
            if settled.must_reopen:
                branch.restart()
                self.reconcile(branch)
                return

    def recollect(self, branch: P) -> bool:
        """Ask for the history that a branch owes itself; tell whether there was any."""
        up, down = self.replicas(branch)

        owed = up.owed()
        for stream, before in owed:
            is_end = False
            while not is_end:
                chapter = down.history(stream, before, 5, BUDGET_BYTES)
                assert chapter is not None
                own = self.hub.core.log.own
                branch.do(SITE, TakePiece(self.hub.node, own, on_the_line(chapter.piece)))
                before, is_end = chapter.before, chapter.is_end
                branch.do(SITE, NoteHistory(stream, before, is_end))
        return bool(owed)

    def settle(self, dice: Random | None = None) -> None:
        """Carry pieces until nothing moves any more."""
        for branch in self.branches:
            self.reconcile(branch)
        ways = [(b, lane, up) for b in self.branches for lane in NUMBERED for up in (True, False)]
        moved = True
        while moved:
            moved = False
            if dice is not None:
                dice.shuffle(ways)
            for branch, lane, is_up in ways:
                while self.carry(branch, lane, is_up=is_up):
                    moved = True
            for branch in self.branches:
                moved |= self.recollect(branch)
        for place in self.places:
            place.meet()

    # --- comparing --------------------------------------------------------------------------------

    def compare(self) -> None:
        """Prove that each branch shows of its scope what headquarters shows."""
        for branch in self.branches:
            compare(self.hub.site, branch.site)

    def check(self) -> None:
        """Prove that every site agrees with itself."""
        for place in self.places:
            place.check()


class Organisation(OrganisationOf[Place]):
    """An organisation of plain sites."""

    def __init__(self, branches: int = 2) -> None:
        super().__init__(branches, Place)


def prove(organisation: Organisation) -> None:
    """Prove that nothing is lost, and that all sites agree with each other and themselves."""
    organisation.compare()
    organisation.check()
    for place in organisation.places:
        invariants.views_follow_the_log(place.site)
        invariants.nothing_is_there_twice(place.site)
    for branch in organisation.branches:
        invariants.nothing_is_lost(organisation.hub.site, branch.site)
        with branch.reading() as reader:
            assert suspects(reader) == []


def told_at_once(asking: Coroutine[Any, Any, Any]) -> Any:
    """Return the reply of something that waits for nothing."""
    try:
        asking.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waits")


def on_the_line(piece: Piece) -> Piece:
    """Return a piece as it arrives: what its encoding does not carry is lost."""
    return columns.decode(b"".join(columns.encode(piece)))


def append(site: Site, kind: Kind, body: BodyStruct, stream: Stream = SITE_STREAM) -> None:
    """Append an operation in a transaction of its own; nothing else may be writing."""
    engine = site.ports.engine
    with engine.snapshot() as reader:
        txn = Txn(reader)
        spec = SPECS[kind]
        draft = Draft(kind, spec.op_class, stream, spec.retention_class, body=encode(body))
        now_ms = site.ports.clock.wall_ms()
        site.core.append(txn, draft, body, now_ms)
        site.core.log.before_commit(txn, now_ms)
        engine.batch(txn.writes, site.writer._token)


def public_key(site: Site) -> bytes:
    """Return the key with which a site signs."""
    seed = site.core.secrets[SecretSlot.SIGNING_SEED]
    return bytes(nacl.signing.SigningKey(seed).verify_key)


def enrol(hub: Site, branch: Site, number: int) -> None:
    """Make a site a branch of headquarters, as inviting, joining and approving do."""
    name, node = f"branch-{number}", branch.core.log.node
    append(hub, Kind.SITE_INVITED, SiteInvited(number, name, bytes(32), 0))
    append(hub, Kind.SITE_JOINED, SiteJoined(number, node, public_key(branch)))
    append(hub, Kind.SITE_APPROVED, SiteApproved(number, node))
    headquarters = hub.core.log.node
    joined = SiteHeadquarters(
        headquarters, public_key(hub), ("hub:443",), b"", "House", number, name
    )
    secret = SiteSecret(SecretSlot.TENANT, hub.core.secrets[SecretSlot.TENANT])
    append(branch, Kind.SITE_HEADQUARTERS, joined)
    append(branch, Kind.SITE_SECRET, secret)


def view(site: Site) -> dict[str, Any]:
    """Return everything replicated that a site shows, without what is local to it."""
    core: Any = site.core
    with site.ports.engine.snapshot() as reader:
        return {
            "people": {
                person.id: (
                    person.login,
                    person.name,
                    person.unit,
                    person.roles,
                    person.state,
                    person.home,
                )
                for person in core.directory.people()
            },
            "conversations": {
                name: _conversation(core, reader, core.conversations.get(name))
                for name in core.conversations.ids()
            },
            "duties": {
                duty.id: (duty.name, duty.title, duty.holder, duty.chain, duty.step_seconds)
                for duty in core.conversations.duties()
            },
            "policy": core.disposal.policies.number,
            "holds": {
                number: (hold.body.name, bool(hold.released))
                for number, hold in core.disposal.holds.items()
            },
        }


def compare(hub: Site, branch: Site) -> None:
    """Prove that a branch shows of its scope what headquarters shows.

    But for what was destroyed at one of the two, which a hold may have kept at the other.
    """
    core = hub.core
    scope = Scope(branch.core.log.node, core.conversations, core.sites.node_of_person)
    theirs, ours = view(branch), view(hub)

    def is_in_scope(name: bytes) -> bool:
        known = core.conversations.get(name)
        return known is not None and any(map(scope.is_home, known.members))

    for side in (theirs, ours):
        shown = side["conversations"]
        side["conversations"] = {name: shown[name] for name in shown if is_in_scope(name)}
    gone = _gone(hub) | _gone(branch)
    for side in (theirs, ours):
        for each in side["conversations"].values():
            each["timeline"] = [entry for entry in each["timeline"] if entry[1] not in gone]
    assert theirs == ours


def _gone(site: Site) -> set[OpId]:
    """Return what is destroyed at a site, or hidden there."""
    core: Any = site.core
    with site.ports.engine.snapshot() as reader:
        return {
            Skeleton.unpack(record.skeleton).id
            for number in core.log.origins
            for _seq, record in core.log.records(reader, number)
            if record.body_state in (PartState.DESTROYED, PartState.ESCROWED)
        }


def _conversation(core: Any, reader: Any, known: Any) -> dict[str, Any]:
    read = partial(core.log.read, reader)
    shown = []
    for entry in timeline.entries(reader, known.pseudonym, [(0, hlc.LIMIT)], 0, hlc.LIMIT):
        op = read(entry.origin, entry.id.seq)
        now = targets.standing(reader, read, op)
        shown.append((entry.key, entry.id, op.body, now.edit, now.recalled, now.reactions))
    return {
        "kind": known.kind,
        "title": known.title,
        "class": known.retention_class,
        "created": known.created.id,
        "archived": known.archived,
        "members": {each.person: (each.role, each.intervals) for each in known.members.values()},
        "timeline": shown,
        "read": {
            each.person: receipts.get(reader, known.pseudonym, each.pseudonym).read_key
            for each in known.members.values()
        },
    }
