"""Be the people of one site, in a process of its own: talk, listen, and write down what happens.

Run as `python -m benchmarks.people`; stdin gives a plan, one line of JSON, then words, a line
each: ``close``: say no more; ``finish``: write down every group's history, and end. What happens
goes to stdout (``histories``). Each person has a session of the SDK, which outlives the server.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Final

import msgspec
import trio

from benchmarks import histories
from benchmarks.histories import Acknowledged, Record, Sent, Silent, Timeline, Told, Trouble
from benchmarks.network import PORT, Station
from client import Conversation, Refused, Resynced, Session, Unsent
from client.carriers import websocket
from client.carriers.race import Race
from client.core import Core
from client.trust import Trust
from transports.wire import schema
from transports.wire.links import SERVER_NAME, Server
from transports.wire.schema import Id

if TYPE_CHECKING:
    from benchmarks.federation import Federation

HOST: Final = "127.0.0.1"
PAGE: Final = 200
FINISH_SECONDS: Final = 60.0
CLOSE: Final = "close"
FINISH: Final = "finish"


class Part(msgspec.Struct, frozen=True):
    """What somebody does in a group: the mean pause between two messages; 0 is to listen."""

    group: str
    conv: bytes
    every_seconds: float = 0.0
    priority: str = "normal"


class Player(msgspec.Struct, frozen=True):
    """Somebody with a device; ``token`` in hex."""

    login: str
    device: bytes
    token: str
    parts: list[Part]


class Plan(msgspec.Struct, frozen=True):
    """All people of a site."""

    ca_pem: str
    seed: int
    players: list[Player]


# --- who starts it ------------------------------------------------------------------------------


class Crowd:
    """The people of a site as a running process."""

    def __init__(self, file: Path, process: subprocess.Popen[bytes]) -> None:
        self.file = file
        self.process = process

    @classmethod
    def gather(cls, station: Station, plan: Plan, file: Path) -> Crowd:
        """Start the process in a site's namespace; what happens stands in ``file``."""
        command = station.command(sys.executable, "-m", __name__)
        with file.open("wb") as out:
            process = subprocess.Popen(
                command,
                cwd=Path(__file__).resolve().parents[1],
                stdin=subprocess.PIPE,
                stdout=out,
            )
        crowd = cls(file, process)
        crowd.say(msgspec.json.encode(plan).decode())
        return crowd

    def say(self, word: str) -> None:
        """Say a word."""
        assert self.process.stdin is not None
        self.process.stdin.write(word.encode() + b"\n")
        self.process.stdin.flush()

    def records(self) -> list[Record]:
        """Return what has happened so far."""
        return list(histories.read(self.file))

    async def finish(self) -> None:
        """Have the histories written down, and wait for the end."""
        self.say(FINISH)
        with trio.fail_after(FINISH_SECONDS):
            status = await trio.to_thread.run_sync(self.process.wait, abandon_on_cancel=True)
        self.end()
        if status:
            raise RuntimeError(f"the people of {self.file.stem} ended with status {status}")

    def end(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()
        assert self.process.stdin is not None
        self.process.stdin.close()


def plan_of(federation: Federation, house: int, parts: dict[str, list[Part]], seed: int) -> Plan:
    """Return the plan of a site for those who have a part and are at home there."""
    site = federation.houses[house]
    players = [
        Player(login, person.device, person.token, parts[login])
        for login, person in site.people.items()
        if login in parts
    ]
    return Plan(site.ca_pem, seed, players)


# --- the process itself ---------------------------------------------------------------------------


class Hasty(Random):
    """Dice for the pauses between connections: short ones only."""

    LONGEST_SECONDS: Final = 0.3

    def uniform(self, a: float, b: float) -> float:
        return super().uniform(a, min(b, self.LONGEST_SECONDS))


def note(record: Record) -> None:
    """Write something down at once, in one write."""
    os.write(1, histories.encode(record))


class Actor:
    """One person and their session."""

    def __init__(self, player: Player, plan: Plan) -> None:
        self._player = player
        self._dice = Random(f"{plan.seed} {player.login}")
        self._groups = {part.conv: part.group for part in player.parts}
        self._newest: dict[str, str] = {}
        trust = Trust(plan.ca_pem.encode("ascii"), SERVER_NAME)
        opener = websocket.opener(Server(HOST, PORT), trust)
        auth = schema.Auth(
            "token", token=player.token, device=schema.DeviceInfo(id=Id(player.device))
        )
        core = Core(auth, pos="0")
        self._session = Session(core, Race([("websocket", opener)]), rng=Hasty(plan.seed))

    async def run(self, closing: trio.Event) -> None:
        """Talk and listen until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._session.run)
            nursery.start_soon(self._listen, nursery)
            async with trio.open_nursery() as talking:
                for part in self._player.parts:
                    if part.every_seconds:
                        talking.start_soon(self._talk, part, closing)
            note(Silent(self._player.login))

    async def _listen(self, nursery: trio.Nursery) -> None:
        async for event in self._session.events():
            if isinstance(event, schema.Event):
                self._hear(event)
                if isinstance(event.op, schema.MessageOp) and self._is_to_confirm(event.op):
                    nursery.start_soon(self._confirm, event.op.msg)
            elif isinstance(event, Unsent | Resynced | schema.Gap):
                note(Trouble(self._player.login, type(event).__name__))

    def _hear(self, event: schema.Event) -> None:
        op, group = event.op, self._groups.get(event.conv)
        if group is None or not isinstance(op, schema.MessageOp):
            return
        self._newest[group] = op.body.text
        name = (op.device.hex(), op.n)
        words = (self._player.login, group, op.body.text, op.msg.hex(), op.key)
        note(Told(*words, name, time.monotonic(), op.priority))

    def _is_to_confirm(self, op: schema.MessageOp) -> bool:
        return op.priority == "urgent" and op.device != self._player.device

    async def _confirm(self, msg: Id) -> None:
        """Confirm an urgent message: of unconfirmed ones nobody may have many."""
        try:
            await self._session.confirm(msg)
        except Refused as error:
            note(Trouble(self._player.login, error.code))

    async def _talk(self, part: Part, closing: trio.Event) -> None:
        room, number = Conversation(self._session, Id(part.conv)), 0
        who, group = self._player.login, part.group
        while not closing.is_set():
            with trio.move_on_after(self._dice.expovariate(1 / part.every_seconds)):
                await closing.wait()
                return
            number += 1
            text = f"{group}/{who}/{part.priority}/{number}"
            after = self._newest.get(group, "")
            note(Sent(who, group, text, time.monotonic(), part.priority, after))
            try:
                sent = await room.send(text, priority=part.priority)
            except Refused as error:
                note(Trouble(who, error.code))
                continue
            msg, at = bytes(sent.msg).hex(), time.monotonic()
            note(Acknowledged(who, group, text, msg, sent.key, at))

    async def tell(self) -> None:
        """Write down the whole history of each group."""
        for conv, group in self._groups.items():
            shown = [(op.msg.hex(), op.key, op.body.text) for op in await self._history(Id(conv))]
            note(Timeline(self._player.login, group, shown[::-1]))

    async def _history(self, conv: Id) -> list[schema.MessageOp]:
        room, before, found = Conversation(self._session, conv), "", []
        while page := await room.history(limit=PAGE, before=before):
            found += [item.op for item in page if isinstance(item.op, schema.MessageOp)]
            before = getattr(page[-1].op, "key", "")
        return found


async def play(plan: Plan, words: Iterator[str]) -> None:
    """Play a plan, and obey each word."""
    actors, closing = [Actor(player, plan) for player in plan.players], trio.Event()
    async with trio.open_nursery() as nursery:
        for actor in actors:
            nursery.start_soon(actor.run, closing)
        while True:
            word = await trio.to_thread.run_sync(next, words, FINISH, abandon_on_cancel=True)
            closing.set()
            if word.strip() == FINISH:
                break
        for actor in actors:
            await actor.tell()
        nursery.cancel_scope.cancel()


def main() -> None:
    """Read the plan, and play it."""
    words = iter(sys.stdin)
    trio.run(play, msgspec.json.decode(next(words), type=Plan), words)


if __name__ == "__main__":
    main()
