"""Own every client connection: carry out what sessions decide, and answer what was committed.

All of it runs in the trio thread, synchronously, between the carriers' turns. Commands go to
the writer and come back as completions; only password checks take time, in tasks of their own.

    carrier payload -> Session.receive -> effect -> writer | snapshot | sign-in | fan-out
    completions     -> reply to the sender, events to everybody concerned, one flush per turn
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import NamedTuple

import trio

from appliance.blame import blame
from appliance.context import SITE, Actor, Outcome
from appliance.core import Core
from appliance.directory.commands import RevokeDevice
from appliance.directory.sessions import PASSIVE, Ended, Reason, Session, Sessions
from appliance.gateway import queries
from appliance.gateway.catchup import CatchUp
from appliance.gateway.client import Client
from appliance.gateway.fanout import Fanout
from appliance.gateway.limits import (
    BYE_AFTER_SECONDS,
    DRAIN_POLL_SECONDS,
    DRAIN_SECONDS,
    IN_FLIGHT,
    KEEPALIVE_BACKGROUND_SECONDS,
    KEEPALIVE_SECONDS,
    OVERLOAD_WAIT_SECONDS,
    PAYLOAD_FRAMES,
)
from appliance.gateway.roster import Roster
from appliance.gateway.session import (
    Check,
    Effect,
    End,
    Follow,
    Query,
    Quiet,
    Reply,
    Run,
    Signal,
)
from appliance.gateway.session import Session as Protocol
from appliance.gateway.signin import Granted, SignIn
from appliance.positions import parse_pos
from store import reading
from store.engine.contract import Engine
from store.errors import EngineFullError, OverloadedError, StoreError
from store.ids import StreamKind
from store.ports import Clock
from store.writer import Completion
from transports.carrier import Carrier, CloseReason
from transports.carrier import Codec as CarrierCodec
from transports.wire import codec as wire
from transports.wire import schema
from transports.wire.codec import Codec, Rejected
from transports.wire.errors import FrameError, Refusal, StrongroomError
from transports.wire.schema import ClientFrame, Frame

logger = logging.getLogger("strongroom.gateway")

CODECS: dict[CarrierCodec, Codec] = {
    CarrierCodec.JSON: wire.JSON,
    CarrierCodec.MSGPACK: wire.MSGPACK,
}

Submit = Callable[[Actor, object, object], None]


def _nobody() -> None:
    """Need not be told."""


class Ticket(NamedTuple):
    """Who awaits a command's outcome."""

    client: Client
    request: int | None


class SessionInfo(NamedTuple):
    """A live session as administrators see it; ``opened_ms`` is Unix time."""

    person: bytes
    device: bytes
    method: str
    carrier: str
    peer: str
    agent: str
    opened_ms: int
    idle_seconds: float


class Counters:
    """What the gateway has done since it started."""

    __slots__ = ("commands", "connections", "refused", "sign_ins")

    def __init__(self) -> None:
        self.connections = 0
        self.sign_ins = 0
        self.commands = 0
        self.refused = 0


class Gateway:
    """The handler of all carriers.

    Args:
        core: the site's state.
        engine: where snapshots for reading come from.
        clock: the clock port.
        submit: gives a command to the writer; may raise ``OverloadedError``.
        sign_in: verifies credentials.
        limits: announced in ``welcome``.
        wake: asks for a turn of the carriers, from any thread.
    """

    def __init__(
        self,
        core: Core,
        engine: Engine,
        clock: Clock,
        submit: Submit,
        sign_in: SignIn,
        limits: schema.Limits,
        wake: Callable[[], None],
    ) -> None:
        self._core = core
        self._engine = engine
        self._clock = clock
        self._submit = submit
        self._sign_in = sign_in
        self._limits = limits
        self._wake = wake
        self.committed: Callable[[], None] = _nobody
        """Told once for each turn in which something was committed."""
        self._completions: deque[Completion[Outcome]] = deque()
        self._clients: dict[int, Client] = {}
        self._is_draining = False
        self.run_inline: Callable[[], int] | None = None
        """Set when the writer has no thread: carries out one batch; 0 when there is none."""
        self.roster = Roster()
        self._sessions = Sessions(core.directory.lifetimes)
        self._watch_devices()
        self.fanout = Fanout(self.roster, core.conversations)
        self.catch_up = CatchUp(core, engine, self.fanout)
        self.counters = Counters()
        self.line: schema.Site | None = None
        """This branch's line to headquarters as told last; None at headquarters."""

    def _watch_devices(self) -> None:
        """Let the idle time of every sign-in begin anew: nobody knows what was before."""
        now, now_ms = self._now(), self._clock.wall_ms()
        for person in self._core.directory.people():
            for device in person.live_devices(now_ms):
                self._sessions.watch(person.id, device, now, now_ms)

    # --- what carriers tell ---------------------------------------------------------------------

    def opened(self, carrier: Carrier) -> None:
        """Begin a session on a new carrier."""
        session = Protocol(self._limits.sends_per_second)
        self.counters.connections += 1
        number = self.counters.connections
        client = Client(number, carrier, session, CODECS[carrier.codec])
        carrier.context = client
        self._clients[number] = client
        if self._is_draining:
            bye = schema.Bye("draining", BYE_AFTER_SECONDS)
            self._farewell(client, bye, CloseReason.GOING_AWAY)

    def received(self, carrier: Carrier, payload: bytes, *, datagram: bool = False) -> None:
        """Take one payload; a bad one ends this connection only."""
        client = carrier.context
        assert isinstance(client, Client)
        try:
            frames = client.codec.client.decode(payload)
        except FrameError as error:
            self._violated(client, error.code, CloseReason.INVALID)
            return
        if len(frames) > PAYLOAD_FRAMES:
            self._violated(client, "frame.too_large", CloseReason.TOO_BIG)
            return
        now = self._now()
        for frame in frames:
            if client.carrier.reason is not None:
                return
            if datagram and not isinstance(frame, schema.Typing | schema.Presence):
                continue
            self._carry_out(client, frame, client.session.receive(frame, now), now)

    def writable(self, carrier: Carrier) -> None:
        """Let a connection whose queue was full go on reading from the log."""
        client = carrier.context
        assert isinstance(client, Client)
        client.is_blocked = False
        if client.session.is_known and client.pos >= 0 and not client.is_live:
            self.catch_up.follow(client, client.pos)

    def closed(self, carrier: Carrier) -> None:
        """Forget a connection."""
        client = carrier.context
        assert isinstance(client, Client)
        client.session.close()
        client.is_live = False
        self._clients.pop(client.id, None)
        self._sessions.close(client.id)
        self.fanout.dirty.discard(client)
        if self.roster.remove(client):
            self.fanout.presence(client.person, "offline")

    def turn_ended(self) -> None:
        """Finish a turn: inline batches, completions, catching up, one flush for each client."""
        if self.run_inline is not None:
            while self.run_inline():
                pass
        now = self._now()
        if self._completions:
            self.committed()
        while self._completions:
            self._complete(self._completions.popleft(), now)
        while self.fanout.behind:
            client = self.fanout.behind.pop()
            self.catch_up.follow(client, client.pos)
        if self.catch_up.step(now):
            self._wake()
        while self.catch_up.failed:
            client = self.catch_up.failed.pop()
            logger.error("catchup.failed")
            last = client.session.error("server.failed", after=OVERLOAD_WAIT_SECONDS)
            self._farewell(client, last, CloseReason.INTERNAL)
        self.fanout.flush()

    # --- what the writer tells ------------------------------------------------------------------

    def delivered(self, completions: list[Completion[Outcome]]) -> None:
        """Take what was committed; called in the writer's thread."""
        self._completions.extend(completions)
        self._wake()

    def _complete(self, completion: Completion[Outcome], now: float) -> None:
        context = completion.context
        if isinstance(context, Ticket):
            self._answer(context, completion, now)
        elif callable(context):
            context(completion)
        if completion.outcome is not None:
            for op in completion.outcome.ops:
                self.fanout.operation(op, now)
                if op.stream.kind is StreamKind.PERSON:
                    self._enforce(op.stream.id)

    def _answer(self, ticket: Ticket, completion: Completion[Outcome], now: float) -> None:
        client = ticket.client
        client.in_flight -= 1
        self.counters.commands += 1
        if completion.error is not None:
            self._refuse(client, completion.error, ticket.request)
            return
        reply = None if completion.outcome is None else completion.outcome.reply
        if ticket.request and isinstance(reply, Frame):
            self.fanout.reply(client, reply)

    # --- effects --------------------------------------------------------------------------------

    def _carry_out(
        self, client: Client, frame: ClientFrame | Rejected, effect: Effect, now: float
    ) -> None:
        if client.session.is_known and not isinstance(frame, PASSIVE):
            self._sessions.touch(client.id, now)
        match effect:
            case Run(command):
                self._run(client, command)
            case Reply(reply):
                if isinstance(reply, schema.Err):
                    self.counters.refused += 1
                self.fanout.reply(client, reply)
            case Query(query):
                self._query(client, query)
            case Signal(schema.Typing() as typing):
                self.fanout.typing(client, typing)
            case Signal(schema.Presence() as presence):
                if self.roster.set_presence(client.person, presence.state):
                    self.fanout.presence(client.person, presence.state)
            case Quiet(is_on):
                self._quiet(client, is_on=is_on)
            case Follow(resume):
                self._follow(client, resume)
            case Check(schema.Auth() as auth):
                self._sign_in.begin(client, auth, self._granted, self._denied)
            case Check(schema.Password() as change):
                self._sign_in.change_password(client, change, self._changed)
            case End(last):
                self._farewell(client, last)

    def _run(self, client: Client, command: ClientFrame) -> None:
        request = getattr(command, "id", None)
        if client.in_flight >= IN_FLIGHT:
            self._refuse(client, Refusal("rate.limited", after=OVERLOAD_WAIT_SECONDS), request)
            return
        try:
            self._submit(Actor(client.person, client.device), command, Ticket(client, request))
        except StoreError as error:
            self._refuse(client, error, request)
            return
        client.in_flight += 1

    def _query(self, client: Client, query: schema.History | schema.List) -> None:
        answer = partial(
            queries.answer, core=self._core, roster=self.roster, client=client, query=query
        )
        try:
            reply = reading.read(self._engine, answer)
        except (StrongroomError, StoreError) as error:
            self._refuse(client, error, query.id)
            return
        self.fanout.reply(client, reply)

    def _quiet(self, client: Client, *, is_on: bool) -> None:
        client.is_background = is_on
        seconds = KEEPALIVE_BACKGROUND_SECONDS if is_on else KEEPALIVE_SECONDS
        client.carrier.keepalive_seconds = seconds
        if not is_on and client.has_output:
            self.fanout.dirty.add(client)

    def _follow(self, client: Client, resume: schema.Resume) -> None:
        head = reading.read(self._engine, self._core.applied)
        pos = head
        if resume.pos and resume.incarnation in ("", self._core.incarnation):
            try:
                pos = min(head, parse_pos(resume.pos))
            except Refusal as error:
                self._refuse(client, error, None)
        self.catch_up.follow(client, pos)
        self.fanout.present(client)
        if self.line is not None:
            self.fanout.reply(client, self.line)

    # --- signing in -----------------------------------------------------------------------------

    def _granted(self, client: Client, granted: Granted) -> None:
        if client.carrier.reason is not None:
            return
        person, device, _token = granted
        now, now_ms = self._now(), self._clock.wall_ms()
        session = Session(
            client.id, person.id, device.id, client.carrier.name, client.carrier.peer, now_ms
        )
        try:
            self._sessions.open(session, device, now, now_ms)
        except Refusal as error:
            self._denied(client, error)
            return
        client.person, client.device, client.method = person.id, device.id, device.method
        client.session.accepted()
        client.carrier.authenticated = True
        client.carrier.keepalive_seconds = KEEPALIVE_SECONDS
        self.counters.sign_ins += 1
        welcome = partial(
            queries.welcome, core=self._core, granted=granted, limits=self._limits, now_ms=now_ms
        )
        self.fanout.reply(client, reading.read(self._engine, welcome))
        if self.roster.add(client):
            self.fanout.presence(client.person, "available")
        self._wake()

    def _denied(self, client: Client, error: Exception) -> None:
        if client.carrier.reason is None:
            may_try_again = client.session.refused()
            self._refuse(client, error, None)
            if not may_try_again:
                self._farewell(client)
            self._wake()

    def _changed(self, client: Client, request: int, error: Exception | None) -> None:
        if client.carrier.reason is None:
            if error is None:
                self.fanout.reply(client, schema.Ok(request))
            else:
                self._refuse(client, error, request)
            self._wake()

    # --- ending sessions ------------------------------------------------------------------------

    def tick(self) -> None:
        """Once a second: end what has expired, flush what background mode held back."""
        now = self._now()
        for ended in self._sessions.expire(now):
            self._end(ended.sessions, "auth.expired")
            self._void(ended)
        self.fanout.flush_due(now)
        self._wake()

    def tell_line(self, site: schema.Site) -> None:
        """Tell everybody, and whoever comes, how this branch's line to headquarters is."""
        self.line = site
        self.fanout.line(site)
        self._wake()

    def _void(self, ended: Ended) -> None:
        """Revoke the token of a sign-in that was idle too long; an expired one is void already."""
        if ended.reason is Reason.IDLE:
            command = RevokeDevice(f"id:{ended.person.hex()}", ended.device, "idle")
            with suppress(StoreError):
                self._submit(SITE, command, None)

    def _enforce(self, person: bytes) -> None:
        """End sessions whose device or account has just lost its rights."""
        known = self._core.directory.person(person)
        now_ms = self._clock.wall_ms()
        is_let_in = known is not None and known.is_active and self._core.sites.may_sign_in(person)
        live = known.live_devices(now_ms) if known is not None and is_let_in else []
        gone = self._sessions.keep_only(person, [device.id for device in live])
        self._end(gone, "auth.revoked")

    def _end(self, numbers: Iterable[int], code: str) -> int:
        clients = [self._clients[each] for each in numbers if each in self._clients]
        for client in clients:
            self._farewell(client, client.session.error(code), CloseReason.REVOKED)
        return len(clients)

    async def drain(self) -> None:
        """Take no new sessions, let commands in flight be answered, and say ``bye``.

        Waits at most ``DRAIN_SECONDS`` for each of the two.
        """
        self._is_draining = True
        await self._until(lambda: not any(client.in_flight for client in self._clients.values()))
        self.turn_ended()
        for client in list(self._clients.values()):
            bye = schema.Bye("draining", BYE_AFTER_SECONDS)
            self._farewell(client, bye, CloseReason.GOING_AWAY)
        self._wake()
        await self._until(lambda: not self._clients)

    async def _until(self, condition: Callable[[], bool]) -> None:
        with trio.move_on_after(DRAIN_SECONDS):
            while not condition():  # noqa: ASYNC110 - at most a few times
                await trio.sleep(DRAIN_POLL_SECONDS)

    # --- for administrators ---------------------------------------------------------------------

    def sessions(self) -> list[SessionInfo]:
        """Return the sessions that have signed in, oldest first."""
        now = self._now()
        return [
            SessionInfo(
                each.person,
                each.device,
                self._clients[each.id].method,
                each.carrier,
                each.address,
                self._clients[each.id].session.agent,
                each.since_ms,
                self._sessions.idle_seconds(each.id, now),
            )
            for each in self._sessions.everybody()
            if each.id in self._clients
        ]

    def end_device(self, person: bytes, device: bytes, code: str = "auth.revoked") -> int:
        """End a device's sessions at once; returns how many there were."""
        clients = self.roster.of_device(person, device)
        return self._end([client.id for client in clients], code)

    def end_person(self, person: bytes, code: str = "auth.revoked") -> int:
        """End all sessions of a person at once; returns how many there were."""
        return self._end([client.id for client in self.roster.of(person)], code)

    @property
    def connections(self) -> int:
        """How many connections are open, signed in or not."""
        return len(self._clients)

    # --- helpers --------------------------------------------------------------------------------

    def _now(self) -> float:
        return self._clock.monotonic_ns() / 1e9

    def _refuse(self, client: Client, error: Exception, request: int | None) -> None:
        code, after = _code(error)
        if code == "server.failed":
            logger.error("command.failed", extra=blame(error))
        self.counters.refused += 1
        self.fanout.reply(client, client.session.error(code, request, after))

    def _violated(self, client: Client, code: str, reason: CloseReason) -> None:
        self._farewell(client, client.session.error(code), reason)

    def _farewell(
        self, client: Client, last: Frame | None = None, reason: CloseReason = CloseReason.POLICY
    ) -> None:
        if last is not None:
            client.push_frame(last)
        client.flush()
        client.session.close()
        client.is_live = False
        client.carrier.close(reason)


def _code(error: Exception) -> tuple[str, float]:
    """Return the catalogue code for an error, and how long to wait (seconds)."""
    if isinstance(error, StrongroomError):
        return error.code, error.after
    if isinstance(error, OverloadedError):
        return "server.overloaded", OVERLOAD_WAIT_SECONDS
    if isinstance(error, EngineFullError):
        return "server.full", OVERLOAD_WAIT_SECONDS
    return "server.failed", OVERLOAD_WAIT_SECONDS
