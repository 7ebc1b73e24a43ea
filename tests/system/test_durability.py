"""Kill the server again and again while people chat: what was acknowledged is there, in order.

Six people on both carriers write into a group and into pairs, edit, react and read, while the
process is killed at random moments, some of them in the middle of a start. Half of the clients
end and begin again too, on the same profile. Then everything that any client was told is compared
with what every other client was told, with the history, and with the log.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import pytest
import trio

from appliance.positions import parse_pos
from client import Conversation, Refused, Sent, Session, Unsent
from tests.system import harness
from tests.system.harness import Organisation, ServerProcess, Ways
from transports.wire import schema
from transports.wire.schema import Id

KILLS = 20
SEED = 20_261_123
KILL_SECONDS = (0.05, 0.7)
"""From ready to the kill."""
EARLY_KILL_SECONDS = (0.2, 1.0)
"""From the start of the process to the kill, in the middle of its start."""
EARLY_SHARE = 0.25
PAUSE_SECONDS = 0.05
"""Longest pause of a writer between two messages."""
LIFE_SECONDS = (2.0, 6.0)
"""From the start to the end of those clients that end and begin again."""
FINISH_SECONDS = 60.0
LEAST_MESSAGES = 300
PAGE = 200

WAYS = (
    ("quic", "msgpack"),
    ("websocket", "msgpack"),
    ("auto", "msgpack"),
    ("websocket", "json"),
    ("quic", "msgpack"),
    ("websocket", "msgpack"),
)
LOGINS = tuple(f"p{number}" for number in range(len(WAYS)))
GROUP = "group"
END = "end"


def lanes(number: int) -> tuple[str, str]:
    """Return the names of the conversations of a person: the group, and the pair."""
    return GROUP, f"pair{number // 2}"


def members(lane: str) -> set[str]:
    return {login for number, login in enumerate(LOGINS) if lane in lanes(number)}


class Client:
    """A person's client, which goes on for as long as it takes; it notes all it is told."""

    def __init__(self, organisation: Organisation, number: int, seed: int) -> None:
        self.login = LOGINS[number]
        self.lanes = lanes(number)
        self.lives = 1
        self.is_complete = False
        self.events: list[schema.Event] = []
        self.acknowledged: dict[str, Sent] = {}
        self.queued: set[str] = set()
        self.edited: dict[bytes, list[str]] = {}
        self.problems: list[str] = []
        self._organisation = organisation
        self._ways = WAYS[number]
        self._dice = Random(seed)
        self._is_mortal = number % 2 == 1
        self._said = Counter[str]()
        self._awaited = {(lane, login) for lane in self.lanes for login in members(lane)}

    async def run(self, closing_time: trio.Event) -> None:
        """Chat until everybody's last words are heard."""
        person = self._organisation.people[self.login]
        carrier, codec = self._ways
        while not self.is_complete:
            ways = Ways(self._organisation.address, self._organisation.trust, carrier, codec)
            profile = self._organisation.profile(self.login)
            seed = self._dice.randrange(1 << 30)
            async with (
                harness.session_of(person, ways, profile=profile, seed=seed) as session,
                trio.open_nursery() as nursery,
            ):
                nursery.start_soon(self._take, session, nursery.cancel_scope)
                nursery.start_soon(self._say, session, closing_time)
                nursery.start_soon(self._post, session, closing_time)
                if self._is_mortal and not closing_time.is_set():
                    nursery.start_soon(self._die, closing_time, nursery.cancel_scope)

    async def _die(self, closing_time: trio.Event, life: trio.CancelScope) -> None:
        await trio.sleep(self._dice.uniform(*LIFE_SECONDS))
        if not closing_time.is_set():
            self.lives += 1
            life.cancel()

    async def _take(self, session: Session, life: trio.CancelScope) -> None:
        async for event in session.events():
            if isinstance(event, schema.Event):
                self.events.append(event)
                if isinstance(event.op, schema.MessageOp):
                    lane, login, what = event.op.body.text.split("/")
                    if what == END:
                        self._awaited.discard((lane, login))
            elif isinstance(event, Unsent | schema.Gap):
                self.problems.append(type(event).__name__)
            if not self._awaited:
                self.is_complete = True
                life.cancel()

    async def _say(self, session: Session, closing_time: trio.Event) -> None:
        """Write into the group, each message after the last one's acknowledgement."""
        room = self._room(session, GROUP)
        while not closing_time.is_set():
            text = self._next(GROUP)
            sent = self.acknowledged[text] = await room.send(text)
            if self._dice.random() < 0.1:
                await self._react(room, sent)
            await trio.sleep(self._dice.uniform(0, PAUSE_SECONDS))
        text = f"{GROUP}/{self.login}/{END}"
        self.acknowledged[text] = await room.send(text)

    async def _react(self, room: Conversation, sent: Sent) -> None:
        """Do something else with a message: edit it, mark what came before as read, react."""
        text = self._next(GROUP)
        try:
            await room.edit(sent.msg, text)
            self.edited.setdefault(bytes(sent.msg), []).append(text)
            await room.read(sent.pos)
            await room.react(sent.msg, "👍")
        except Refused as error:
            self.problems.append(error.code)

    async def _post(self, session: Session, closing_time: trio.Event) -> None:
        """Queue messages into the pair's conversation, without waiting for anything."""
        lane = self.lanes[1]
        room = self._room(session, lane)
        while not closing_time.is_set():
            text = self._next(lane)
            await room.queue(text)
            self.queued.add(text)
            await trio.sleep(self._dice.uniform(0, 4 * PAUSE_SECONDS))
        await room.queue(f"{lane}/{self.login}/{END}")

    def _room(self, session: Session, lane: str) -> Conversation:
        return Conversation(session, Id(self._organisation.conversations[lane]))

    def _next(self, lane: str) -> str:
        self._said[lane] += 1
        return f"{lane}/{self.login}/{self._said[lane]}"

    # --- what was told --------------------------------------------------------------------------

    def messages(self, conv: bytes) -> list[schema.MessageOp]:
        """Return the messages of a conversation in the order in which they were told."""
        ops = [event.op for event in self.events if event.conv == conv]
        return [op for op in ops if isinstance(op, schema.MessageOp)]


@pytest.fixture
def organisation(tmp_path: Path) -> Organisation:
    settings: dict[str, dict[str, object]] = {"limits": {"sends_per_second": 1_000.0}}
    found = harness.found(tmp_path, LOGINS, settings=settings)
    people = [found.people[login] for login in LOGINS]
    with harness.opened(found) as site:
        found.conversations[GROUP] = harness.open_group(site, people[0], people[1:], "Ward")
        for number in range(0, len(people), 2):
            pair = harness.open_direct(site, people[number], people[number + 1])
            found.conversations[lanes(number)[1]] = pair
    return found


@asynccontextmanager
async def chatting(organisation: Organisation, seed: int) -> AsyncIterator[list[Client]]:
    """Have everybody chat during the block; after it, until all have heard everything."""
    clients = [Client(organisation, number, seed + number) for number in range(len(LOGINS))]
    closing_time = trio.Event()
    async with trio.open_nursery() as nursery:
        for client in clients:
            nursery.start_soon(client.run, closing_time)
        yield clients
        closing_time.set()
        nursery.cancel_scope.deadline = trio.current_time() + FINISH_SECONDS
    missing = [client.login for client in clients if not client.is_complete]
    assert not missing, f"{missing} have not heard everything in {FINISH_SECONDS} s"


async def kill_often(server: ServerProcess, dice: Random, kills: int) -> None:
    for _ in range(kills):
        server.start()
        if dice.random() < EARLY_SHARE:
            await trio.sleep(dice.uniform(*EARLY_KILL_SECONDS))
        else:
            await server.ready()
            await trio.sleep(dice.uniform(*KILL_SECONDS))
        assert server.is_running, server.output()[-2_000:]
        server.kill()


async def whole_history(session: Session, conv: bytes) -> list[bytes]:
    """Return the ids of a conversation's messages, oldest first."""
    found: list[bytes] = []
    before = ""
    while True:
        page = await Conversation(session, Id(conv)).history(limit=PAGE, before=before)
        ops = [item.op for item in page if isinstance(item.op, schema.MessageOp)]
        found += [bytes(op.msg) for op in ops]
        if not page:
            return found[::-1]
        last = page[-1].op
        assert isinstance(last, schema.MessageOp | schema.MemberOp | schema.OpenedOp)
        before = getattr(last, "key", "")


def verify_positions(client: Client) -> None:
    """What one client was told came in the order of positions, nothing twice."""
    assert client.problems == []
    positions = [parse_pos(event.pos) for event in client.events]
    assert positions == sorted(set(positions)), client.login


def verify_conversation(clients: list[Client], conv: bytes, history: list[bytes]) -> None:
    """Everybody was told the same messages in the same order, which is the history's."""
    told = [client.messages(conv) for client in clients]
    for client, messages in zip(clients, told, strict=True):
        assert messages == told[0], client.login
    assert [bytes(op.msg) for op in told[0]] == history
    keys = [op.key for op in told[0]]
    assert keys == sorted(set(keys))
    names = Counter((op.device, op.n) for op in told[0])
    assert max(names.values()) == 1


def verify_sending_order(client: Client, lane: str, messages: list[schema.MessageOp]) -> None:
    """One's own messages are there once, in the order in which they were sent."""
    own = [text for text in (op.body.text for op in messages) if f"/{client.login}/" in text]
    numbers = [int(text.rsplit("/")[-1]) for text in own[:-1]]
    assert numbers == sorted(set(numbers)), client.login
    assert own[-1] == f"{lane}/{client.login}/{END}"


def verify_promises(client: Client, conv: bytes) -> None:
    """What was acknowledged or queued is there, as it was acknowledged."""
    by_text = {op.body.text: op for op in client.messages(conv)}
    positions = {bytes(event.op.msg): event.pos for event in client.events}
    for text, sent in client.acknowledged.items():
        op = by_text[text] if sent.conv == conv else None
        if op is not None:
            assert (op.msg, op.key, op.n, op.at) == (sent.msg, sent.key, sent.n, sent.at)
            assert positions[bytes(op.msg)] == sent.pos
    messages = (event.op for event in client.events)
    texts = {each.body.text for each in messages if isinstance(each, schema.MessageOp)}
    assert client.queued <= texts


def verify_edits(clients: list[Client]) -> None:
    """Every acknowledged edit was told to everybody, once."""
    for teller in clients:
        for listener in clients:
            ops = [event.op for event in listener.events]
            edits = Counter(op.body.text for op in ops if isinstance(op, schema.EditedOp))
            for texts in teller.edited.values():
                assert [edits[text] for text in texts] == [1] * len(texts)


async def verify(organisation: Organisation, server: ServerProcess, clients: list[Client]) -> None:
    """Compare what the clients were told with each other and with the history."""
    for client in clients:
        verify_positions(client)
    for lane, conv in organisation.conversations.items():
        here = [client for client in clients if client.login in members(lane)]
        async with harness.online(organisation, here[0].login, "websocket") as session:
            history = await whole_history(session, conv)
        verify_conversation(here, conv, history)
        for client in here:
            verify_promises(client, conv)
            verify_sending_order(client, lane, client.messages(conv))
    verify_edits(clients)
    assert server.is_running


async def scenario(organisation: Organisation, seed: int, kills: int) -> None:
    server = ServerProcess(organisation)
    try:
        async with chatting(organisation, seed) as clients:
            await kill_often(server, Random(seed), kills)
            server.start()
            await server.ready()
        told = sum(len(client.acknowledged) + len(client.queued) for client in clients)
        assert told >= LEAST_MESSAGES
        assert any(client.lives > 1 for client in clients)
        await verify(organisation, server, clients)
        assert await server.stop() == 0
    finally:
        if server.is_running:
            server.kill()
    findings = await harness.check(organisation)
    assert {each["severity"] for each in findings} <= {"notice"}, findings


def test_what_was_acknowledged_survives_kills_at_random_moments(organisation: Organisation) -> None:
    trio.run(scenario, organisation, SEED, KILLS)


@pytest.mark.soak
def test_what_was_acknowledged_survives_kills_for_long(organisation: Organisation) -> None:
    seconds = float(os.environ.get("STRONGROOM_SOAK_SECONDS", "600"))
    seed = Random().randrange(1 << 30)
    trio.run(scenario, organisation, seed, max(KILLS, int(seconds / 1.5)))
