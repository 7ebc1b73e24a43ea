"""Found headquarters and branches in this process: people at home there, who are in groups."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any, Final

import nacl.signing

from appliance.context import SITE, Actor
from appliance.directory.commands import CreatePerson
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
from appliance.site import Ports, Site
from appliance.sites.link_commands import Taken, TakePiece
from appliance.sites.replica import BranchReplica, HeadquartersReplica
from benchmarks.organisation import Founding
from benchmarks.pieces import text
from store.engine.txn import Txn
from store.ids import SITE_STREAM, Stream, StreamKind
from store.oplog import Draft
from store.vault import NoWrap
from sync import columns
from sync.limits import PIECE_BYTES
from sync.pieces import NUMBERED, Piece
from transports.wire import schema
from transports.wire.schema import Id

MEMBERS: Final = 4
"""People in a group."""


class Branch:
    """A branch with its people, and where it stands with headquarters."""

    def __init__(self, site: Site, number: int) -> None:
        self.site = site
        self.number = number
        self.node = site.core.log.node
        self.founding = Founding(site)
        self.groups: list[tuple[Id, list[Actor]]] = []
        self._counters: dict[bytes, int] = {}
        self._random = Random(number)

    def open_groups(self, people: list[bytes], count: int) -> None:
        """Let the people open groups among themselves."""
        actors = [Actor(each, each[:15] + b"\1") for each in people]
        members = [
            [actors[(first + more) % len(actors)] for more in range(MEMBERS)]
            for first in range(count)
        ]
        opened = self.founding.run(
            (owner, schema.Open(1, "group", tuple(Id(each.person) for each in others), title="g"))
            for owner, *others in members
        )
        self.groups = [(reply.conv, each) for reply, each in zip(opened, members, strict=True)]

    def talk(self, count: int) -> None:
        """Let so many messages be sent, in groups and by members that are drawn."""
        self.founding.run(self._messages(count))

    def _messages(self, count: int) -> Iterator[tuple[Actor, Any]]:
        for _ in range(count):
            group, members = self._random.choice(self.groups)
            author = self._random.choice(members)
            number = self._counters.get(author.person, 0) + 1
            self._counters[author.person] = number
            body = schema.Body("text", text(self._random))
            yield author, schema.Send(1, number, body, conv=group)


def append(site: Site, kind: Kind, body: BodyStruct, stream: Stream = SITE_STREAM) -> None:
    """Append an operation in a transaction of its own; nothing else may be writing."""
    engine = site.ports.engine
    with engine.snapshot() as reader:
        txn, spec, now_ms = Txn(reader), SPECS[kind], site.ports.clock.wall_ms()
        draft = Draft(kind, spec.op_class, stream, spec.retention_class, body=encode(body))
        site.core.append(txn, draft, body, now_ms)
        site.core.log.before_commit(txn, now_ms)
        engine.batch(txn.writes, site.token)


def enrol(hub: Site, ports: Ports, number: int) -> Branch:
    """Make a new site a branch of headquarters, as inviting, joining and approving do."""
    site = Site.create(ports, NoWrap(), name="House")
    branch, name = Branch(site, number), f"branch-{number}"
    append(hub, Kind.SITE_INVITED, SiteInvited(number, name, bytes(32), 0))
    append(hub, Kind.SITE_JOINED, SiteJoined(number, branch.node, _public_key(site)))
    append(hub, Kind.SITE_APPROVED, SiteApproved(number, branch.node))
    headquarters = hub.core.log.node, _public_key(hub), ("hub:443",), b"", "House"
    append(site, Kind.SITE_HEADQUARTERS, SiteHeadquarters(*headquarters, number, name))
    secret = SiteSecret(SecretSlot.TENANT, hub.core.secrets[SecretSlot.TENANT])
    append(site, Kind.SITE_SECRET, secret)
    return branch


def settle_in(founding: Founding, hub: Site, branch: Branch, count: int) -> list[bytes]:
    """Make people who are at home at a branch, known at headquarters; return their ids."""
    logins = [f"b{branch.number}p{each}" for each in range(count)]
    founding.run((SITE, CreatePerson(login, login)) for login in logins)
    found = [hub.core.directory.resolve(login) for login in logins]
    people = [person.id for person in found if person is not None]
    for person in people:
        append(hub, Kind.PERSON_HOME, PersonHome(branch.node), Stream(StreamKind.PERSON, person))
    return people


# --- carrying by hand -----------------------------------------------------------------------------


class Carrier:
    """Carries pieces between headquarters and one branch, in the form that the line has."""

    def __init__(self, hub: Site, hub_founding: Founding, branch: Branch) -> None:
        self._hub = hub_founding
        self._branch = branch
        self._origin = hub.core.log.own
        self.up = BranchReplica(
            branch.site.core, branch.site.ports.engine, _never, hub.core.log.node
        )
        self.down = HeadquartersReplica(hub.core, hub.ports.engine, _never, branch.node)
        self.up.begin(self.down.standing())
        self.down.begin(self.up.standing())
        standing = self.down.standing()
        self._up = dict(zip(NUMBERED, standing.cursors, strict=True))
        self._down = dict(zip(NUMBERED, self.up.standing().cursors, strict=True))

    def sent(self) -> Iterator[bytes]:
        """Yield what the branch sends, piece by piece."""
        for lane in NUMBERED:
            while (piece := self.up.read(lane, self._up[lane], PIECE_BYTES)) is not None:
                self._up[lane] = piece.upto
                yield b"".join(columns.encode(piece))

    def take(self, data: bytes) -> Piece:
        """Let headquarters take what was sent."""
        piece = columns.decode(data)
        command = TakePiece(self._branch.node, self._branch.site.core.log.own, piece)
        (taken,) = self._hub.run([(SITE, command)])
        assert isinstance(taken, Taken)
        return piece

    def bring(self) -> None:
        """Let the branch take all that headquarters has for it."""
        hub_node = self._origin.node
        for lane in NUMBERED:
            while (piece := self.down.read(lane, self._down[lane], PIECE_BYTES)) is not None:
                self._down[lane] = piece.upto
                command = TakePiece(hub_node, self._origin, piece)
                self._branch.founding.run([(SITE, command)])


def _public_key(site: Site) -> bytes:
    seed = site.core.secrets[SecretSlot.SIGNING_SEED]
    return bytes(nacl.signing.SigningKey(seed).verify_key)


async def _never(actor: Actor, command: Any) -> Any:
    raise AssertionError("pieces are carried by hand")
