"""Found headquarters and branches on disk that know each other and their people; and serve them.

They are founded in this process, without a line: invited, joined and approved, and what each has
to know of the others is carried from store to store. Then each is served by a process of its own,
as an operator would.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NoReturn

import nacl.signing
import trio

from appliance import certificates
from appliance.config import FILE_NAME
from appliance.context import SITE
from appliance.operations import (
    SPECS,
    BodyStruct,
    Kind,
    PersonHome,
    SecretSlot,
    SiteApproved,
    SiteInvited,
    encode,
)
from appliance.site import Site, data_ports
from appliance.sites.commands import AdoptHeadquarters, JoinSite
from appliance.sites.enrolment import token_hash
from appliance.sites.limits import TOKEN_BYTES
from appliance.sites.link_commands import NoteHistory, TakePiece
from appliance.sites.replica import BranchReplica, HeadquartersReplica
from benchmarks.network import NET, PORT, Station
from benchmarks.organisation import Founding, Person
from cli.admin import AdminSocket
from cli.errors import CliError
from store.clocks import SystemClock
from store.engine.txn import Txn
from store.ids import SITE_STREAM, Stream, StreamKind
from store.oplog import Draft
from store.ports import Clock
from store.vault import NoWrap
from sync import columns
from sync.pieces import NUMBERED, Lane
from transports.wire.schema import Id

PIECE_BYTES: Final = 64 * 1024
CHAPTER_OPS: Final = 500
DAY_MS: Final = 86_400_000
START_SECONDS: Final = 60.0
STOP_SECONDS: Final = 60.0
POLL_SECONDS: Final = 0.05
PROGRAM: Final = "from cli.main import main; main()"

SETTINGS: Final = f"""\
[listen]
host = "0.0.0.0"
port = {PORT}

[limits]
sends_per_second = 1000.0

[log]
level = "info"
"""
"""Of each site."""


@dataclass
class House:
    """A site: its directories, its people, and the process that serves it now."""

    folder: Path
    map_bytes: int
    people: dict[str, Person] = field(default_factory=dict)
    ca_pem: str = ""
    process: subprocess.Popen[bytes] | None = None
    starts: int = 0

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.folder / "data"

    def open(self, clock: Clock | None = None) -> Site:
        """Open its store while it is not served."""
        return Site.open(self.ports(clock), NoWrap())

    def ports(self, clock: Clock | None = None) -> Any:
        """Return the ports of its directories, with another clock than the system's if given."""
        ports = data_ports(self.data, self.folder / "data-keys", self.map_bytes)
        ports.clock = clock or SystemClock()
        return ports

    # --- the process ------------------------------------------------------------------------------

    def start(self, station: Station) -> None:
        """Serve it in a namespace; ``ready`` tells when it does."""
        self.starts += 1
        program = [sys.executable, "-c", PROGRAM, "serve", "--data", str(self.data)]
        with (self.folder / f"{self.starts}.log").open("wb") as log:
            self.process = subprocess.Popen(
                station.command(*program),
                cwd=Path(__file__).resolve().parents[1],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    async def ready(self) -> None:
        """Return once it answers; raises ``RuntimeError`` with its output when it has ended."""
        with trio.fail_after(START_SECONDS):
            while not await self._answers():  # noqa: ASYNC110 - another process has the answer
                await trio.sleep(POLL_SECONDS)

    async def _answers(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise RuntimeError((self.folder / f"{self.starts}.log").read_text(errors="replace"))
        try:
            await self.status()
        except CliError:
            return False
        return True

    async def status(self) -> dict[str, Any]:
        """Return what ``strongroom site status`` tells; raises ``CliError`` while it is down."""

        def ask() -> dict[str, Any]:
            with AdminSocket(self.data) as admin:
                return admin.ask("site.status")

        return await trio.to_thread.run_sync(ask)

    async def until(self, name: str, value: object) -> None:
        """Return once its status tells this."""
        while (await self.status())[name] != value:  # noqa: ASYNC110 - another process tells
            await trio.sleep(POLL_SECONDS)

    def kill(self) -> None:
        """End the process as a crash would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(STOP_SECONDS)
            self.process = None

    async def stop(self) -> int:
        """Ask the process to stop in good order; return its status."""
        assert self.process is not None
        self.process.terminate()
        status = await trio.to_thread.run_sync(self.process.wait, STOP_SECONDS)
        self.process = None
        return status


@dataclass
class Federation:
    """Headquarters, which is the first of the houses, and its branches."""

    houses: list[House]
    people: dict[str, Person]
    homes: dict[str, int]
    groups: dict[str, Id]

    def kill(self) -> None:
        """End all processes."""
        for house in self.houses:
            house.kill()


def found(
    directory: Path,
    branches: int,
    homes: Mapping[str, int],
    groups: Mapping[str, Sequence[str]],
    *,
    clock: Clock | None = None,
    map_bytes: int = 256 << 20,
) -> Federation:
    """Found an organisation.

    Args:
        directory: where the sites' folders are made.
        branches: how many there are beside headquarters.
        homes: login name -> where somebody is at home, 0 is headquarters.
        groups: name -> who is in that conversation; the first one owns it.
        clock: the time of the founding, the system's if not given.
        map_bytes: the most that a store may take.
    """
    houses = [House(directory / f"site{number}", map_bytes) for number in range(branches + 1)]
    sites = []
    for number, house in enumerate(houses):
        house.folder.mkdir(parents=True)
        sites.append(Site.create(house.ports(clock), NoWrap(), name=f"Site {number}"))
        (house.data / FILE_NAME).write_text(SETTINGS, "utf-8")
    foundings = [_Foundation(site) for site in sites]
    hub = foundings[0]
    for number, branch in enumerate(foundings[1:], start=1):
        _enrol(hub, branch, number)
    people = dict(zip(homes, hub.named(list(homes)), strict=True))
    for login, home in homes.items():
        if home:
            body = PersonHome(sites[home].core.log.node)
            hub.append(Kind.PERSON_HOME, body, Stream(StreamKind.PERSON, people[login].id))
    opened = hub.groups([[people[login] for login in each] for each in groups.values()])
    for branch in foundings[1:]:
        _acquaint(hub, branch)
    for house, founding in zip(houses, foundings, strict=True):
        house.ca_pem = founding.ca_pem
        founding.site.close()
    for login, home in homes.items():
        houses[home].people[login] = people[login]
    return Federation(houses, people, dict(homes), dict(zip(groups, opened, strict=True)))


class _Foundation(Founding):
    """A founding that can also append what no command of its own makes."""

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self.site = site

    def do(self, command: Any) -> Any:
        """Have the site itself do something."""
        (reply,) = self.run([(SITE, command)])
        return reply

    def append(self, kind: Kind, body: BodyStruct, stream: Stream = SITE_STREAM) -> None:
        """Append an operation that takes a person's signature otherwise."""
        site = self.site
        with site.ports.engine.snapshot() as reader:
            txn, spec = Txn(reader), SPECS[kind]
            draft = Draft(kind, spec.op_class, stream, spec.retention_class, body=encode(body))
            now_ms = site.ports.clock.wall_ms()
            site.core.append(txn, draft, body, now_ms)
            site.core.log.before_commit(txn, now_ms)
            site.ports.engine.batch(txn.writes, site.token)


def _enrol(hub: _Foundation, branch: _Foundation, number: int) -> None:
    """Invite, join and approve a branch; headquarters is at the first address of the network."""
    name, token = f"branch{number}", os.urandom(TOKEN_BYTES)
    clock, entropy = hub.site.ports.clock, hub.site.ports.entropy
    now_ms = clock.wall_ms()
    node, hashed = branch.site.core.log.node, token_hash(token)
    key = _public_key(branch.site)
    hub.append(Kind.SITE_INVITED, SiteInvited(number, name, hashed, now_ms + DAY_MS))
    hub.do(JoinSite(hashed, key))
    hub.append(Kind.SITE_APPROVED, SiteApproved(number, node))
    core = hub.site.core
    branch.do(
        AdoptHeadquarters(
            core.log.node,
            _public_key(hub.site),
            (f"{NET}1:{PORT}",),
            core.secrets[SecretSlot.CA_CERTIFICATE],
            core.site_name,
            number,
            name,
            certificates.site_certificate(core, key, now_ms, entropy),
            core.secrets[SecretSlot.TENANT],
        )
    )


def _public_key(site: Site) -> bytes:
    seed = site.core.secrets[SecretSlot.SIGNING_SEED]
    return bytes(nacl.signing.SigningKey(seed).verify_key)


# --- what the sites have to know of each other before they are served ---------------------------


async def _nowhere(actor: Any, command: Any) -> NoReturn:
    del actor, command
    raise AssertionError("pieces are carried by hand")


def _acquaint(hub: _Foundation, branch: _Foundation) -> None:
    """Carry pieces and history between two stores until nothing moves any more."""
    is_moving = True
    while is_moving:
        is_moving = False
        for lane in NUMBERED:
            while _carry(hub, branch, lane, is_up=True) or _carry(hub, branch, lane, is_up=False):
                is_moving = True
        is_moving |= _tell_history(hub, branch)


def _replicas(hub: _Foundation, branch: _Foundation) -> tuple[BranchReplica, HeadquartersReplica]:
    one, other = branch.site, hub.site
    up = BranchReplica(one.core, one.ports.engine, _nowhere, other.core.log.node)
    down = HeadquartersReplica(other.core, other.ports.engine, _nowhere, one.core.log.node)
    up.begin(down.standing())
    down.begin(up.standing())
    return up, down


def _carry(hub: _Foundation, branch: _Foundation, lane: Lane, *, is_up: bool) -> bool:
    up, down = _replicas(hub, branch)
    source, told = (up, down.standing()) if is_up else (down, up.standing())
    sender, receiver = (branch, hub) if is_up else (hub, branch)
    origin = source.standing().origin
    after = told.cursors[lane] if told.peer == origin else 0
    piece = source.read(lane, after, PIECE_BYTES)
    if piece is None:
        return False
    arrived = columns.decode(b"".join(columns.encode(piece)))
    receiver.do(TakePiece(sender.site.core.log.node, origin, arrived))
    return True


def _tell_history(hub: _Foundation, branch: _Foundation) -> bool:
    up, down = _replicas(hub, branch)
    owed = up.owed()
    own, node = hub.site.core.log.own, hub.site.core.log.node
    for stream, before in owed:
        is_end = False
        while not is_end:
            chapter = down.history(stream, before, CHAPTER_OPS, PIECE_BYTES)
            assert chapter is not None
            branch.do(TakePiece(node, own, chapter.piece))
            before, is_end = chapter.before, chapter.is_end
            branch.do(NoteHistory(stream, before, is_end))
    return bool(owed)
