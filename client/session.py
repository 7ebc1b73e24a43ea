"""Give one session its API: conversations, messages, people, events."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Hashable, Sequence
from typing import Any, TypeVar

import msgspec
import trio

from client.conversation import Conversation, Sent
from client.core import Core, State
from client.errors import CarrierLost, ClientError, Closed, Refused
from client.events import EventQueue
from client.line import Dialer, Line
from client.notices import (
    Answered,
    AppEvent,
    Ended,
    Failed,
    Hangup,
    Notice,
    Offline,
    Online,
    Resynced,
    Unsent,
    Welcomed,
)
from client.outbox import NumberedFrame
from client.profile import Profile
from client.progress import Progress
from transports.wire import schema
from transports.wire.schema import Body, ConversationItem, DeviceItem, DutyItem, Id, PersonItem

T = TypeVar("T")


class _Waiter:
    """Where a caller waits for its answer."""

    def __init__(self) -> None:
        self._done = trio.Event()
        self._ok: schema.Ok | None = None
        self._error: ClientError | None = None

    def resolve(self, ok: schema.Ok | None, error: ClientError | None) -> None:
        self._ok, self._error = ok, error
        self._done.set()

    async def get(self) -> schema.Ok:
        await self._done.wait()
        if self._ok is None:
            raise self._error or Closed()
        return self._ok


class Session:
    """A person's session; made by ``client.connect``. Belongs to one trio run.

    Calls made while there is no connection wait for one. A call that is cancelled is forgotten;
    whether the server has carried it out is then unknown.
    """

    def __init__(
        self,
        core: Core,
        dialer: Dialer,
        *,
        profile: Profile | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self._core = core
        self._line = Line(core, dialer, self._act, rng)
        self._profile = profile
        self._events = EventQueue()
        self._waiters: dict[int, _Waiter] = {}
        self._durable: dict[int, int] = {}
        self._welcomed = trio.Event()
        self._over: ClientError | None = None
        self._is_overrun = False
        self._progress = Progress(core, profile)
        self._people: dict[str, PersonItem] = {}

    def __repr__(self) -> str:
        return f"<session {self._core.state.name.lower()}>"

    # --- who and where ------------------------------------------------------------------------

    @property
    def welcome(self) -> schema.Welcome:
        """Return the server's last welcome; Closed before the first."""
        if self._core.welcome is None:
            raise Closed
        return self._core.welcome

    @property
    def person(self) -> Id:
        """Return who one is."""
        return self.welcome.person

    @property
    def device(self) -> Id:
        """Return which device this is."""
        return self.welcome.device

    @property
    def carrier(self) -> str:
        """Return the present carrier's name; empty while there is none."""
        return self._line.carrier.name if self._line.carrier is not None else ""

    @property
    def is_online(self) -> bool:
        """Whether the session is signed in at this moment."""
        return self._core.state is State.LIVE

    @property
    def pos(self) -> str:
        """Return the position of the newest event received."""
        return self._core.pos

    # --- conversations ------------------------------------------------------------------------

    async def open_direct(self, who: str | Id) -> Conversation:
        """Open the conversation with one other person, by login name or id."""
        person = await self.find_person(who)
        return await self._open("direct", (person,))

    async def open_group(
        self, title: str, members: Sequence[str | Id], *, history: bool = False
    ) -> Conversation:
        """Open a group with these people; ``history``: newcomers may read what came before."""
        people = tuple([await self.find_person(each) for each in members])
        return await self._open("group", people, title, history=history)

    async def conversations(self) -> list[Conversation]:
        """Return one's conversations, each with its ``item``."""
        items = await self.list_of(
            ConversationItem, lambda request: schema.List(id=request, what="conversations")
        )
        return [Conversation(self, item.conv, item) for item in items]

    def conversation(self, conv: Id) -> Conversation:
        """Return the conversation with this id, without asking the server."""
        return Conversation(self, conv)

    async def _open(
        self, kind: str, members: tuple[Id, ...], title: str = "", *, history: bool = False
    ) -> Conversation:
        ok = await self.numbered(
            lambda request, n: schema.Open(
                id=request, kind=kind, members=members, n=n, title=title, history=history
            ),
            "open",
        )
        return Conversation(self, _named(ok.conv))

    # --- messages -----------------------------------------------------------------------------

    async def send(
        self,
        to: Conversation | str,
        text: str,
        *,
        priority: str = "normal",
        reply: Id | None = None,
        mentions: Sequence[Id] = (),
    ) -> Sent:
        """Post a message; returns once it is on the server's disk.

        Args:
            to: a conversation, or a duty as ``duty:NAME``.
            text: what it says.
            priority: ``normal`` or ``urgent``.
            reply: the message this one answers.
            mentions: persons to be noticed.

        Raises:
            Refused: the server does not take it.
            Closed: the session has ended.
        """
        make, lane = _message(to, Body(kind="text", text=text), priority, reply, tuple(mentions))
        entry = self._core.queue(make, lane, trio.current_time())
        ok = await self._outcome(entry.id)
        return Sent(_named(ok.msg), _named(ok.conv), ok.pos, ok.key, ok.at, entry.n, ok.destroyed)

    async def queue(
        self,
        to: Conversation | str,
        text: str,
        *,
        priority: str = "normal",
        reply: Id | None = None,
        mentions: Sequence[Id] = (),
    ) -> int:
        """Post a message when possible; returns its number at once.

        Messages leave in the order in which they were queued. With a profile the message is on
        this machine's disk when the call returns, sealed, and is sent even if the program ends
        before; the write takes the time of one fsync. A final refusal comes as an ``Unsent``
        event.
        """
        make, lane = _message(to, Body(kind="text", text=text), priority, reply, tuple(mentions))
        is_durable = self._profile is not None
        entry = self._core.queue(make, lane, trio.current_time(), is_durable=is_durable)
        self._durable[entry.id] = entry.n
        if self._profile is not None:
            self._profile.keep(entry)
        self._line.ring()
        await trio.lowlevel.checkpoint()
        return entry.n

    async def confirm(self, msg: Id) -> None:
        """Acknowledge an urgent message."""
        await self.call(lambda request: schema.Confirm(id=request, msg=msg), is_repeatable=True)

    @property
    def waiting(self) -> int:
        """Return how many numbered frames the server has not acknowledged."""
        return len(self._core.outbox)

    # --- people, duties, oneself --------------------------------------------------------------

    async def people(self) -> list[PersonItem]:
        """Return the directory."""
        items = await self.list_of(
            PersonItem, lambda request: schema.List(id=request, what="people")
        )
        self._people = {item.login: item for item in items}
        return items

    async def find_person(self, who: str | Id) -> Id:
        """Return the id of a login name; Refused(person.unknown) when nobody has it."""
        if isinstance(who, bytes):
            return Id(who)
        if who not in self._people:
            await self.people()
        if who not in self._people:
            raise Refused("person.unknown")
        return self._people[who].person

    async def devices(self) -> list[DeviceItem]:
        """Return one's own devices."""
        return await self.list_of(
            DeviceItem, lambda request: schema.List(id=request, what="devices")
        )

    async def duties(self) -> list[DutyItem]:
        """Return the duties and who holds them."""
        return await self.list_of(DutyItem, lambda request: schema.List(id=request, what="duties"))

    async def hand_over(self, duty: str, to: str | Id) -> None:
        """Hand a duty that one holds over to somebody else."""
        person = await self.find_person(to)
        await self.call(lambda request: schema.Duty(id=request, duty=duty, person=person))

    async def revoke(self, device: Id) -> None:
        """Revoke one of one's own devices; its sessions end at once."""
        await self.call(
            lambda request: schema.Revoke(id=request, device=device), is_repeatable=True
        )

    async def change_password(self, old: str, new: str) -> None:
        """Change one's own password."""
        await self.call(lambda request: schema.Password(id=request, old=old, new=new))

    async def presence(self, state: str) -> None:
        """Say how one can be reached: ``available``, ``busy`` or ``away``."""
        await self.tell(schema.Presence(state=state))

    async def mode(self, state: str) -> None:
        """Choose ``active`` or ``background``, where events come in bundles to save power."""
        self._core.tell(schema.Mode(state=state))
        self._line.ring()
        await trio.lowlevel.checkpoint()

    # --- events -------------------------------------------------------------------------------

    def events(self) -> AsyncIterator[AppEvent]:
        """Iterate over what happens, in order, without loss or repetition in this session.

        The iteration may be left and begun again at any time. It raises Refused when the server
        has ended the session for good, and Closed when this side has.

        After an event whose ``op`` is a ``WipeOp`` drop every message of that conversation whose
        timeline key it ``covers``, with whatever was made of it, before asking for the next
        event: asking is what tells the server that nothing is left here. A wipe with which the
        application was not done comes again in the next session of the profile.
        """
        return _Events(self)

    async def next_event(self) -> AppEvent:
        """Return the next event; raises as ``events``. One task at a time."""
        with self._events.taken():
            self._progress.asked_for_more(self._events.first, trio.current_time())
            self._line.ring()
            event = await self._events.take()
        self._progress.handed_out(event, trio.current_time())
        if self._is_overrun and not len(self._events):
            self._is_overrun = False
            self._line.drop()
        return event

    # --- the line -----------------------------------------------------------------------------

    async def migrate(self) -> bool:
        """Move the present connection to a new local address (QUIC); False when it cannot."""
        carrier = self._line.carrier
        return carrier is not None and await carrier.migrate()

    async def reconnect(self) -> None:
        """Drop the present connection; the session comes back and resumes."""
        self._line.drop()
        await trio.lowlevel.checkpoint()

    async def wait_online(self) -> None:
        """Return once the session has been welcomed.

        Raises:
            Refused, Closed: the session ended before.
            Unreachable, Untrusted: the first attempt to connect failed; others follow.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_first_of, self._line.attempted, nursery.cancel_scope)
            nursery.start_soon(_first_of, self._welcomed, nursery.cancel_scope)
        if self._over is not None:
            raise self._over
        if not self._welcomed.is_set() and self._line.failure is not None:
            raise self._line.failure

    @property
    def failure(self) -> ClientError | None:
        """Return why the newest attempt to connect failed; None when it did not."""
        return self._line.failure

    # --- building blocks for the calls above --------------------------------------------------

    async def call(
        self, make: Callable[[int], schema.Frame], *, is_repeatable: bool = False
    ) -> schema.Ok:
        """Send a request and return its answer; see ``Core.request``."""
        request = self._core.request(make, trio.current_time(), is_repeatable=is_repeatable)
        return await self._outcome(request)

    async def numbered(
        self, make: Callable[[int, int], NumberedFrame], lane: Hashable
    ) -> schema.Ok:
        """Send a numbered frame in its lane and return its answer."""
        entry = self._core.queue(make, lane, trio.current_time())
        return await self._outcome(entry.id)

    async def list_of(self, kind: type[T], make: Callable[[int], schema.Frame]) -> list[T]:
        """Send a request whose answer is a list of ``kind``."""
        ok = await self.call(make, is_repeatable=True)
        return [msgspec.convert(item, kind, dec_hook=_convert_id) for item in ok.items or ()]

    async def tell(self, frame: schema.Typing | schema.Presence) -> None:
        """Send what may be lost; nothing at all while there is no connection."""
        carrier = self._line.carrier
        if carrier is None or not self.is_online:
            await trio.lowlevel.checkpoint()
            return
        try:
            await carrier.send_datagram(carrier.codec.payload(frame))
        except CarrierLost:
            return

    async def _outcome(self, request: int) -> schema.Ok:
        waiter = self._waiters[request] = _Waiter()
        self._line.ring()
        try:
            return await waiter.get()
        finally:
            if self._waiters.pop(request, None) is waiter:
                self._core.forget(request)
                self._line.ring()

    # --- life ---------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep the session connected until it ends or is cancelled."""
        self._restore()
        await self._line.run()

    async def close(self) -> None:
        """End the session from this side."""
        with trio.CancelScope(shield=True):
            if self._over is None:
                notices = self._core.close()
                self._finish(Closed())
                for notice in notices:
                    self._act(notice)
            await self._line.say_goodbye()
            self._progress.save(trio.current_time())

    def _restore(self) -> None:
        """Take up what an earlier run of this profile left unsent."""
        for frame, lane in self._profile.waiting() if self._profile is not None else ():
            entry = self._core.restore(frame, lane)
            self._durable[entry.id] = entry.n
        self._progress.restore()

    # --- what the core tells ------------------------------------------------------------------

    def _act(self, notice: Notice | Offline) -> None:
        if isinstance(notice, Answered):
            self._settle(notice.id, notice.ok, None)
        elif isinstance(notice, Failed):
            self._settle(notice.id, None, notice.error)
        elif isinstance(notice, Welcomed):
            self._is_overrun = False
            self._progress.began()
            self._progress.online(trio.current_time())
            self._events.put(Online(self.carrier))
            if notice.is_resynced:
                self._events.put(Resynced())
            self._welcomed.set()
        elif isinstance(notice, Ended):
            self._finish(notice.error)
        elif not isinstance(notice, Hangup):
            self._events.put(notice)
        if self._events.is_full and not self._is_overrun:
            self._is_overrun = True
            self._core.overrun()

    def _settle(self, request: int, ok: schema.Ok | None, error: ClientError | None) -> None:
        number = self._durable.get(request)
        if number is not None and not isinstance(error, Closed) and self._over is None:
            del self._durable[request]
            if self._profile is not None:
                self._profile.drop(number)
            if error is not None:
                self._events.put(Unsent(number, error))
        waiter = self._waiters.pop(request, None)
        if waiter is not None:
            waiter.resolve(ok, error)
        self._progress.settled(request, error, trio.current_time())

    def _finish(self, error: ClientError) -> None:
        self._over = self._over or error
        self._events.end(self._over)
        self._welcomed.set()
        for waiter in self._waiters.values():
            waiter.resolve(None, self._over)
        self._waiters.clear()


class _Events:
    """The iteration over a session's events."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def __aiter__(self) -> AsyncIterator[AppEvent]:
        return self

    async def __anext__(self) -> AppEvent:
        return await self._session.next_event()


def _message(
    to: Conversation | str,
    body: Body,
    priority: str,
    reply: Id | None,
    mentions: tuple[Id, ...],
) -> tuple[Callable[[int, int], schema.Send], Hashable]:
    """Return what builds a message's frame, and its lane."""
    conv = None if isinstance(to, str) else to.id
    duty = to if isinstance(to, str) else ""

    def make(request: int, n: int) -> schema.Send:
        return schema.Send(
            id=request,
            n=n,
            body=body,
            conv=conv,
            to=duty,
            priority=priority,
            reply=reply,
            mentions=mentions,
        )

    return make, duty or bytes(conv or b"")


async def _first_of(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()


def _named(value: Id | None) -> Id:
    """Return an id that the server's answer must carry; Refused when it does not."""
    if value is None:
        raise Refused("server.failed", retryable=False)
    return value


def _convert_id(kind: type[Any], value: object) -> Any:
    if isinstance(value, str):
        return Id(bytes.fromhex(value))
    if isinstance(value, bytes):
        return Id(value)
    raise NotImplementedError
