"""Be one session, across any number of connections, as a state machine without I/O.

A session signs in on each connection it is given, resumes at the position it has reached, sends
what waits, and matches answers to requests. It is told about connections and payloads, and says
what to send and what happened; time is an argument, in seconds.

=========  ==============================================================================
state      meaning
=========  ==============================================================================
OFFLINE    no connection; requests wait
GREETING   ``hello`` and ``auth`` are sent, ``welcome`` is awaited
LIVE       signed in; ``resume`` is sent, requests flow
ENDED      over: refused for good, or closed
=========  ==============================================================================

What survives a lost connection: numbered frames are sent again (the server knows them by their
number), so are requests that may be repeated; any other request that was already sent fails with
``Interrupted``, because nobody knows. Events continue after the last position; one that was seen
before is dropped.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Protocol

import msgspec

from client.errors import Closed, Interrupted, Refused
from client.notices import Answered, Ended, Failed, Hangup, Notice, Welcomed
from client.outbox import Entry, NumberedFrame, Outbox
from transports.wire import schema
from transports.wire.codec import Codec, Rejected
from transports.wire.errors import FrameError
from transports.wire.schema import Auth, Frame

GREETING_SECONDS = 15.0
"""How long the server may take to answer ``auth`` (a password costs it time on purpose)."""
KEEPALIVE_SECONDS = 45.0
"""Silence after which the server is pinged, when it proposes no interval."""
ANSWER_SECONDS = 4.0
"""The same while an answer is awaited: a server that was restarted never gives it."""
PONG_SECONDS = 10.0
"""How long a ping may go unanswered."""
GOT_SECONDS = 1.0
"""The shortest time between two ``got``."""
HOLD_SECONDS = 1.0
"""How long to hold everything back after "not now" without advice."""
SEEN_POSITIONS = 4_096
"""Positions remembered to recognise an event that comes twice."""
PAYLOAD_BYTES = 32 * 1024
"""Bytes of frames from which the next frame goes into another payload."""
FATAL_PREFIX = "auth."


class State(Enum):
    """Where a session stands."""

    OFFLINE = auto()
    GREETING = auto()
    LIVE = auto()
    ENDED = auto()


class Signal(Enum):
    """What moves a session from state to state."""

    CONNECTED = auto()
    WELCOMED = auto()
    CUT = auto()
    REFUSED = auto()
    CLOSED = auto()


TRANSITIONS: dict[tuple[State, Signal], State] = {
    (State.OFFLINE, Signal.CONNECTED): State.GREETING,
    (State.OFFLINE, Signal.CLOSED): State.ENDED,
    (State.GREETING, Signal.WELCOMED): State.LIVE,
    (State.GREETING, Signal.CUT): State.OFFLINE,
    (State.GREETING, Signal.REFUSED): State.ENDED,
    (State.GREETING, Signal.CLOSED): State.ENDED,
    (State.LIVE, Signal.CUT): State.OFFLINE,
    (State.LIVE, Signal.REFUSED): State.ENDED,
    (State.LIVE, Signal.CLOSED): State.ENDED,
    (State.ENDED, Signal.CUT): State.ENDED,
    (State.ENDED, Signal.CLOSED): State.ENDED,
}
"""Every other pair is a mistake of the caller, or a frame that is ignored."""


class Numbers(Protocol):
    """Where message numbers come from."""

    def next(self, floor: int) -> int:
        """Return a number above ``floor`` that this device never used."""
        ...


class Counting:
    """Numbers for a session without a profile: they go on above what the server has seen."""

    def __init__(self) -> None:
        self._last = 0

    def next(self, floor: int) -> int:
        """Return the next number."""
        self._last = max(self._last, floor) + 1
        return self._last


@dataclass(slots=True)
class _Request:
    frame: Any
    is_repeatable: bool
    is_sent: bool = False


class Core:
    """One session.

    Args:
        auth: how to sign in. After an invitation or password was accepted, the token that came
            with it is used from then on.
        numbers: gives message numbers.
        pos: the position to resume at; empty: from now on.
        incarnation: what ``pos`` belongs to.
        agent: this software's name, told to the server.
        language: of error texts: ``en`` or ``zh-CN``.
        window: see ``Outbox``.
    """

    def __init__(
        self,
        auth: Auth,
        *,
        numbers: Numbers | None = None,
        pos: str = "",
        incarnation: str = "",
        agent: str = "strongroom-python",
        language: str = "en",
        window: int = 1,
    ) -> None:
        self.state = State.OFFLINE
        self.pos = pos
        self.incarnation = incarnation
        self.welcome: schema.Welcome | None = None
        self.outbox = Outbox(window)
        self._auth = auth
        self._numbers = numbers or Counting()
        self._hello = schema.Hello(v=schema.PROTOCOL_VERSION, agent=agent, lang=language)
        self._codec: Codec | None = None
        self._out: list[Frame] = []
        self._last_id = 0
        self._requests: dict[int, _Request] = {}
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._is_overrun = False
        self._hold_until = 0.0
        self._heard_at = 0.0
        self._asked_at = 0.0
        self._pinged_at: float | None = None
        self._got_at = float("-inf")
        self._got_due: float | None = None

    # --- connections ------------------------------------------------------------------------

    def connected(self, codec: Codec, now: float) -> None:
        """Begin to sign in on a new connection."""
        self._move(Signal.CONNECTED)
        self._codec = codec
        self._heard_at = now
        self._pinged_at = None
        self._is_overrun = False
        self._out = [self._hello, self._auth]

    def cut(self) -> list[Notice]:
        """Note that the connection is gone; returns the requests whose outcome is unknown."""
        self._move(Signal.CUT)
        self._out = []
        self._got_due = None
        self.outbox.cut()
        lost = [key for key, each in self._requests.items() if self._is_lost(each)]
        for each in self._requests.values():
            each.is_sent = False
        for key in lost:
            del self._requests[key]
        return [Failed(key, Interrupted()) for key in lost]

    def close(self) -> list[Notice]:
        """End the session; everything that waits fails."""
        self._move(Signal.CLOSED)
        return self._fail_all(Closed())

    def overrun(self) -> None:
        """Ignore events until the next connection, which then resumes at ``pos``.

        For an application that does not take its events: replies still pass.
        """
        self._is_overrun = True

    # --- what the application asks for --------------------------------------------------------

    def request(
        self, make: Callable[[int], Frame], now: float, *, is_repeatable: bool = False
    ) -> int:
        """Send a request as soon as possible.

        Args:
            make: builds the frame, given its request id.
            now: the time.
            is_repeatable: doing it twice is the same as once, so it may be sent again after the
                connection broke.

        Returns:
            The request's id, which ``Answered`` or ``Failed`` will name.
        """
        self._require_open()
        self._last_id += 1
        self._requests[self._last_id] = _Request(make(self._last_id), is_repeatable)
        self._fill(now)
        return self._last_id

    @property
    def last_request(self) -> int:
        """Return the newest request id given out."""
        return self._last_id

    def queue(
        self,
        make: Callable[[int, int], NumberedFrame],
        lane: Hashable,
        now: float,
        *,
        is_durable: bool = False,
    ) -> Entry:
        """Send a numbered frame in its turn; ``make`` builds it, given request id and number."""
        self._require_open()
        floor = self.welcome.n if self.welcome else 0
        self._last_id += 1
        entry = Entry(make(self._last_id, self._numbers.next(floor)), lane, is_durable)
        self.outbox.add(entry)
        self._fill(now)
        return entry

    def restore(self, frame: NumberedFrame, lane: Hashable) -> Entry:
        """Take up a numbered frame that an earlier run of this profile left behind."""
        self._last_id += 1
        entry = Entry(msgspec.structs.replace(frame, id=self._last_id), lane, is_durable=True)
        self.outbox.add(entry)
        return entry

    def tell(self, frame: Frame) -> None:
        """Send a frame that needs no answer, if the session is live; else forget it."""
        if self.state is State.LIVE:
            self._out.append(frame)

    def forget(self, request: int) -> None:
        """Stop caring about a request; one not yet sent is never sent."""
        self._requests.pop(request, None)
        self.outbox.answered(request)

    # --- input and output -----------------------------------------------------------------------

    def receive(self, payload: bytes, now: float) -> list[Notice]:
        """Take one payload and return what it means."""
        if self._codec is None or self.state in (State.OFFLINE, State.ENDED):
            return []
        self._heard_at = now
        self._pinged_at = None
        try:
            frames = self._codec.server.decode(payload)
        except FrameError:
            return [Hangup()]
        notices: list[Notice] = []
        for frame in frames:
            if not isinstance(frame, Rejected):  # of a later version: not for us
                notices += self._take(frame, now)
        self._fill(now)
        return notices

    def data_to_send(self) -> list[bytes]:
        """Return the payloads to send now."""
        if not self._out or self._codec is None:
            return []
        payloads: list[bytes] = []
        batch: list[bytes] = []
        size = 0
        for frame in self._out:
            data = self._codec.encode(frame)
            if batch and size + len(data) > PAYLOAD_BYTES:
                payloads.append(self._codec.join(batch))
                batch, size = [], 0
            batch.append(data)
            size += len(data)
        payloads.append(self._codec.join(batch))
        self._out = []
        return payloads

    def next_deadline(self) -> float:
        """Return when ``tick`` must be called next."""
        if self.state is State.GREETING:
            return self._heard_at + GREETING_SECONDS
        if self.state is not State.LIVE:
            return float("inf")
        pinged = self._pinged_at
        times = [self._ping_due() if pinged is None else pinged + PONG_SECONDS]
        if self._got_due is not None:
            times.append(self._got_due)
        if self._hold_until:
            times.append(self._hold_until)
        return min(times)

    def tick(self, now: float) -> list[Notice]:
        """Do what is due."""
        if self.state is State.GREETING and now >= self._heard_at + GREETING_SECONDS:
            return [Hangup()]
        if self.state is not State.LIVE:
            return []
        if self._got_due is not None and now >= self._got_due:
            self._say_got(now)
        self._fill(now)
        return self._mind_silence(now)

    # --- frames from the server -------------------------------------------------------------------

    def _take(self, frame: Any, now: float) -> list[Notice]:
        if self.state is State.GREETING:
            return self._take_greeting(frame, now)
        if self.state is not State.LIVE:
            return []
        if isinstance(frame, schema.Event):
            return self._take_event(frame, now)
        if isinstance(frame, schema.Ok):
            return self._take_ok(frame)
        if isinstance(frame, schema.Err):
            return self._take_err(frame, now)
        if isinstance(frame, schema.Bye):
            return self._take_bye(frame.reason, frame.after)
        if isinstance(frame, schema.Gap):
            return self._take_gap(frame, now)
        if isinstance(frame, schema.TypingNotice | schema.PresenceNotice | schema.Site):
            return [frame]
        return []

    def _take_greeting(self, frame: Any, now: float) -> list[Notice]:
        if isinstance(frame, schema.Welcome):
            return self._take_welcome(frame)
        if isinstance(frame, schema.Err):
            if frame.retryable:
                return [Hangup(frame.after)]
            return self._refuse(Refused(frame.code, retryable=False, after=frame.after))
        if isinstance(frame, schema.Bye):
            return self._take_bye(frame.reason, frame.after)
        return []

    def _take_welcome(self, welcome: schema.Welcome) -> list[Notice]:
        self._move(Signal.WELCOMED)
        is_resynced = bool(self.incarnation) and self.incarnation != welcome.incarnation
        if is_resynced or not self.pos:
            self.pos = welcome.pos
            self._seen.clear()
        self.incarnation = welcome.incarnation
        self.welcome = welcome
        self._hold_until = 0.0
        if welcome.token:
            device = schema.DeviceInfo(id=welcome.device)
            self._auth = Auth(method="token", token=welcome.token, device=device)
        self._resume()
        return [Welcomed(welcome, is_resynced)]

    def _resume(self) -> None:
        assert self.welcome is not None
        site, incarnation = self.welcome.site, self.welcome.incarnation
        self._out.append(schema.Resume(pos=self.pos, site=site, incarnation=incarnation))

    def _take_event(self, event: schema.Event, now: float) -> list[Notice]:
        if self._is_overrun or event.pos in self._seen:
            return []
        self._seen[event.pos] = None
        if len(self._seen) > SEEN_POSITIONS:
            self._seen.popitem(last=False)
        self._advance(event.pos, now)
        return [event]

    def _take_gap(self, gap: schema.Gap, now: float) -> list[Notice]:
        if self._is_overrun:
            return []
        self._advance(gap.to, now)
        return [gap]

    def _advance(self, pos: str, now: float) -> None:
        self.pos = pos
        if self._got_due is None:
            self._got_due = max(now, self._got_at + GOT_SECONDS)

    def _take_ok(self, ok: schema.Ok) -> list[Notice]:
        known = self._requests.pop(ok.re, None) or self.outbox.answered(ok.re)
        return [Answered(ok.re, ok)] if known else []

    def _take_err(self, err: schema.Err, now: float) -> list[Notice]:
        if err.re is None:
            return self._take_general_err(err, now)
        if err.re in self.outbox and err.retryable:
            self.outbox.put_back(err.re)
            self._hold(err.after, now)
            return []
        if self._requests.pop(err.re, None) or self.outbox.answered(err.re):
            error = Refused(err.code, retryable=err.retryable, after=err.after)
            return [Failed(err.re, error)]
        return []

    def _take_general_err(self, err: schema.Err, now: float) -> list[Notice]:
        if err.code == "send.position":  # the server no longer knows where we were
            assert self.welcome is not None
            self.pos = self.welcome.pos
            self._resume()
            return [Welcomed(self.welcome, is_resynced=True)]
        if err.code.startswith(FATAL_PREFIX) and not err.retryable:
            return self._refuse(Refused(err.code, retryable=False, after=err.after))
        if err.retryable:
            self._hold(err.after, now)
        return []

    def _take_bye(self, reason: str, after: float) -> list[Notice]:
        if reason.startswith(FATAL_PREFIX):
            return self._refuse(Refused(reason, retryable=False, after=after))
        return [Hangup(after)]

    # --- inside -----------------------------------------------------------------------------------

    def _fill(self, now: float) -> None:
        """Put out whatever may be sent now."""
        if self.state is not State.LIVE or now < self._hold_until:
            return
        self._hold_until = 0.0
        asked: list[Frame] = [each.frame for each in self._requests.values() if not each.is_sent]
        for request in self._requests.values():
            request.is_sent = True
        asked += [entry.frame for entry in self.outbox.take()]
        if asked and self._asked_at <= self._heard_at:
            self._asked_at = now
        self._out += asked

    def _hold(self, after: float, now: float) -> None:
        self._hold_until = max(self._hold_until, now + (after or HOLD_SECONDS))

    def _say_got(self, now: float) -> None:
        self._out.append(schema.Got(pos=self.pos))
        self._got_at = now
        self._got_due = None

    def _mind_silence(self, now: float) -> list[Notice]:
        if self._pinged_at is not None:
            return [Hangup()] if now >= self._pinged_at + PONG_SECONDS else []
        if now >= self._ping_due():
            self._pinged_at = now
            self._out.append(schema.Ping())
        return []

    def _ping_due(self) -> float:
        """Return when to ask a silent server whether it is there; sooner if it owes an answer."""
        due = self._heard_at + self._keepalive()
        if self.outbox.is_under_way or any(each.is_sent for each in self._requests.values()):
            return min(due, max(self._heard_at, self._asked_at) + ANSWER_SECONDS)
        return due

    def _keepalive(self) -> float:
        proposed = self.welcome.keepalive if self.welcome else 0
        return proposed if proposed > 0 else KEEPALIVE_SECONDS

    @staticmethod
    def _is_lost(request: _Request) -> bool:
        return request.is_sent and not request.is_repeatable

    def _refuse(self, error: Refused) -> list[Notice]:
        self._move(Signal.REFUSED)
        return [*self._fail_all(error), Ended(error)]

    def _fail_all(self, error: Refused | Closed) -> list[Notice]:
        waiting = [*self._requests, *(entry.id for entry in self.outbox)]
        self._requests.clear()
        self._out = []
        return [Failed(each, error) for each in waiting]

    def _require_open(self) -> None:
        if self.state is State.ENDED:
            raise Closed

    def _move(self, signal: Signal) -> None:
        try:
            self.state = TRANSITIONS[self.state, signal]
        except KeyError:
            raise RuntimeError(f"{signal.name} while {self.state.name}") from None


__all__ = ["TRANSITIONS", "Core", "Counting", "Numbers", "Signal", "State"]
