"""The paths that every message takes, each as a piece of work whose processor time can be compared.

A path's cost is told as a multiple of a reference loop's, which does the same kinds of things in
the same process: interpreted steps, small objects, a hash, a seal. Both are run in turns and the
least time of each counts: other processes can only make a run longer, never shorter.
"""

from __future__ import annotations

import hashlib
import select
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import trio
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from appliance.context import Outcome
from appliance.gateway.client import Client
from appliance.gateway.fanout import Fanout
from appliance.gateway.roster import Roster
from appliance.gateway.session import Session
from appliance.messaging import timeline
from appliance.site import Site
from benchmarks.organisation import BODY, Founding, Person
from benchmarks.websocket_line import WebSocketLine
from store.engine.txn import Txn
from store.oplog import Op
from store.vault import NoWrap
from store.writer import Completion
from tests.appliance.simulation import World
from tests.transports.tcp_peers import Echo, make_identity
from transports.carrier import Codec
from transports.http.router import Router
from transports.limits import Limits
from transports.memory import MemoryCarrier, MemoryNetwork
from transports.pump import Pump, listen
from transports.tls import LiveIdentity, client_context
from transports.wire import codec, schema
from transports.wire.schema import Id

ROUNDS: Final = 24
"""Each is a millisecond or two: the shorter a piece, the likelier is one that nobody disturbed."""
REFERENCE_STEPS: Final = 100
MESSAGES: Final = 40
PAGES: Final = 1
RECEIVERS: Final = 100
EVENTS: Final = 20
LINES: Final = 16
PAYLOADS: Final = 8
"""In one turn of the pump, from each line."""

Work = Callable[[], object]


def reference() -> None:
    """Do a fixed amount of what the paths are made of."""
    cipher, digest = AESGCM(bytes(32)), bytes(32)
    rows: dict[bytes, tuple[int, bytes]] = {}
    for step in range(REFERENCE_STEPS):
        digest = hashlib.sha256(digest).digest()
        sealed = cipher.encrypt(digest[:12], digest * 4, b"")
        rows.clear()
        for part in range(16):
            key = digest[part : part + 8]
            rows[key] = (step, sealed[part : part + 16])
        assert sum(number for number, _ in rows.values()) == 16 * step


def seconds(work: Work) -> float:
    """Return the processor time that one run takes in this thread."""
    began = time.thread_time()
    work()
    return time.thread_time() - began


def cost(work: Work, units: int, *, rounds: int = ROUNDS) -> float:
    """Return what one unit costs, in thousandths of the reference loop."""
    times = [(seconds(reference), seconds(work)) for _ in range(rounds + 1)][1:]
    return 1_000 * min(each for _, each in times) / min(each for each, _ in times) / units


class Office:
    """A site in memory with two people, or a room of them, and one conversation."""

    def __init__(self, people: int = 2) -> None:
        self.site = Site.create(World(1).ports(), NoWrap(), name="Costs")
        self.founding = Founding(self.site)
        self.people: list[Person] = self.founding.people(people)
        self.conversation: Id = self.founding.groups([self.people])[0]
        self._said = 0

    def say(self) -> None:
        """Decide, seal, append and commit messages, as the writer does."""
        wanted = [self.conversation] * MESSAGES
        self.founding.messages(self.people[0], wanted, 1 + self._said)
        self._said += MESSAGES

    def seal(self) -> None:
        """Seal parts of 200 bytes under keys of their own."""
        with self.site.ports.engine.snapshot() as snapshot:
            txn = Txn(snapshot)
            for _ in range(MESSAGES):
                self.site.vault.seal(txn, 7, 0, bytes(200), bytes(32), 1)

    def read(self) -> None:
        """Open pages of 50 messages."""
        core = self.site.core
        with self.site.ports.engine.snapshot() as reader:
            for _ in range(PAGES):
                page = timeline.history(
                    reader,
                    core.log,
                    core.conversations,
                    self.people[0].id,
                    self.conversation,
                    limit=50,
                )
                assert len(page.items) == 50


class Room(Office):
    """A room in which everybody is connected and live."""

    def __init__(self) -> None:
        super().__init__(RECEIVERS)
        self.ops: list[Op] = []
        roster, network = Roster(), MemoryNetwork()
        self._carriers = []
        for number, person in enumerate(self.people):
            carrier = MemoryCarrier(network, Codec.MSGPACK, "memory")
            client = Client(number, carrier, Session(1.0), codec.MSGPACK)
            client.person, client.device, client.is_live = person.id, person.device, True
            roster.add(client)
            self._carriers.append(carrier)
        self._fanout = Fanout(roster, self.site.core.conversations)
        self.site.attach(self._keep, _raise)
        for number in range(1, EVENTS * (ROUNDS + 2) + 1):
            frame = schema.Send(number, number, BODY, self.conversation)
            self.site.writer.submit(self.people[0].actor, frame, None)
        while self.site.writer.run_pending():
            pass
        self._next = iter(self.ops)

    def _keep(self, done: list[Completion[Outcome]]) -> None:
        self.ops += (op for each in done if each.outcome is not None for op in each.outcome.ops)

    def tell(self) -> None:
        """Render, encode and hand events to everybody, one flush for each connection."""
        for _ in range(EVENTS):
            self._fanout.operation(next(self._next), 0.0)
        self._fanout.flush()
        for carrier in self._carriers:
            assert carrier.take() is not None


def _raise(error: BaseException) -> None:
    raise error


@contextmanager
def pump_times() -> Iterator[list[float]]:
    """Collect the processor time of every turn that pumps take meanwhile."""
    found: list[float] = []
    turn = Pump._turn

    def timed(self: Pump) -> None:
        began = time.thread_time()
        turn(self)
        found.append(time.thread_time() - began)

    Pump._turn = timed  # type: ignore[method-assign]
    try:
        yield found
    finally:
        Pump._turn = turn  # type: ignore[method-assign]


def pump_cost(payload: bytes = bytes(200)) -> float:
    """Return what one payload costs in the pump, there and back over TLS, as ``cost`` tells it."""
    return trio.run(_pump_cost, payload)


async def _pump_cost(payload: bytes) -> float:
    identity, ca_pem = make_identity()
    pump = Pump(
        Echo(),
        LiveIdentity(identity).choose,
        Router({}),
        limits=Limits(),
        log=lambda event, fields: None,
        woken=lambda: None,
    )
    listener = listen("127.0.0.1", 0)
    async with trio.open_nursery() as nursery:
        await nursery.start(pump.serve, [listener])
        context = client_context(ca_pem)
        context.check_hostname = False
        lines = [WebSocketLine(listener.getsockname(), context) for _ in range(LINES)]
        for line in lines:
            await _open(line)
        with pump_times() as turns:
            times = [
                (seconds(reference), await _echo(lines, payload, turns)) for _ in range(ROUNDS + 1)
            ]
        for line in lines:
            line.close()
        nursery.cancel_scope.cancel()
    best = min(each for _, each in times[1:]) / min(each for each, _ in times[1:])
    return 1_000 * best / (LINES * PAYLOADS)


async def _open(line: WebSocketLine) -> None:
    for events in line.open():
        poll = select.poll()
        poll.register(line.fileno(), events)
        while not poll.poll(0):
            await trio.lowlevel.checkpoint()


async def _echo(lines: list[WebSocketLine], payload: bytes, turns: list[float]) -> float:
    """Send payloads on every line; return the time of the turns until all have come back."""
    for line in lines:
        for _ in range(PAYLOADS):
            line.queue(line.frame(payload))
        line.flush()
    turns.clear()
    missing = len(lines) * PAYLOADS
    while missing:
        await trio.lowlevel.checkpoint()
        missing -= sum(len(line.receive()) for line in lines)
    return sum(turns)
