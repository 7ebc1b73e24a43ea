"""Decide what each frame of a client may do: the session protocol as a table (sans-IO).

A session moves one way: NEW -hello-> GREETED -auth-> CHECKING -accepted-> READY -resume->
FOLLOWING. ``RULES`` says in which states a frame is welcome, what it costs, and what becomes
of it; ``receive`` answers with one effect, which the gateway carries out. A frame out of turn
is answered with an error and the connection kept, but a stranger gets only a few of those.

    frame                                   welcome in          becomes
    hello                                   NEW                 Greet (state only)
    auth                                    GREETED             Check
    resume                                  READY               Follow
    send edit recall react read confirm     READY, FOLLOWING    Run   (through the writer)
    open conv got wiped revoke duty
    password                                READY, FOLLOWING    Check
    history list                            READY, FOLLOWING    Query (reads only)
    typing presence                         READY, FOLLOWING    Signal
    mode                                    READY, FOLLOWING    Quiet
    ping                                    any                 Reply
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum, IntEnum, auto
from typing import NamedTuple

from appliance.gateway.limits import SIGNALS_PER_SECOND, STRANGER_ERRORS
from transports.wire import schema
from transports.wire.codec import Rejected
from transports.wire.errors import CATALOGUE, text
from transports.wire.schema import ClientFrame, Frame


class State(IntEnum):
    """Where a session stands; see the module's table."""

    NEW = auto()
    GREETED = auto()
    CHECKING = auto()
    READY = auto()
    FOLLOWING = auto()
    CLOSED = auto()


# --- effects ----------------------------------------------------------------------------------


class Reply(NamedTuple):
    """Send one frame."""

    frame: Frame


class Check(NamedTuple):
    """Verify credentials; the gateway then calls ``accepted`` or ``refused``."""

    frame: schema.Auth | schema.Password


class Run(NamedTuple):
    """Decide the command in the writer; its outcome is the reply."""

    command: ClientFrame


class Query(NamedTuple):
    """Answer from a snapshot."""

    frame: schema.History | schema.List


class Follow(NamedTuple):
    """Send events from a position on."""

    frame: schema.Resume


class Signal(NamedTuple):
    """Tell those concerned; nothing is stored."""

    frame: schema.Typing | schema.Presence


class Quiet(NamedTuple):
    """Enter or leave background mode."""

    on: bool


class End(NamedTuple):
    """Send one last frame, then close for a violated rule."""

    frame: Frame


class Nothing(NamedTuple):
    """The frame was taken; there is nothing to do."""


Effect = Reply | Check | Run | Query | Follow | Signal | Quiet | End | Nothing


class Cost(Enum):
    """Which budget a frame draws on."""

    FREE = auto()
    COMMAND = auto()
    SIGNAL = auto()


class Rule(NamedTuple):
    """One line of the protocol table."""

    states: frozenset[State]
    cost: Cost
    effect: type[Run | Check | Query | Signal | Follow] | None = None


_KNOWN = frozenset({State.READY, State.FOLLOWING})
_ANY = frozenset(State) - {State.CLOSED}

_COMMANDS = (
    schema.Send,
    schema.Edit,
    schema.Recall,
    schema.React,
    schema.Read,
    schema.Confirm,
    schema.Open,
    schema.Conv,
    schema.Got,
    schema.Wiped,
    schema.Revoke,
    schema.Duty,
)

RULES: dict[type[Frame], Rule] = {
    schema.Hello: Rule(frozenset({State.NEW}), Cost.FREE),
    schema.Auth: Rule(frozenset({State.GREETED}), Cost.FREE, Check),
    schema.Resume: Rule(frozenset({State.READY}), Cost.FREE, Follow),
    schema.Password: Rule(_KNOWN, Cost.COMMAND, Check),
    schema.History: Rule(_KNOWN, Cost.COMMAND, Query),
    schema.List: Rule(_KNOWN, Cost.COMMAND, Query),
    schema.Typing: Rule(_KNOWN, Cost.SIGNAL, Signal),
    schema.Presence: Rule(_KNOWN, Cost.SIGNAL, Signal),
    schema.Mode: Rule(_KNOWN, Cost.FREE),
    schema.Ping: Rule(_ANY, Cost.FREE),
    **{kind: Rule(_KNOWN, Cost.COMMAND, Run) for kind in _COMMANDS},
}


@dataclass(slots=True)
class Bucket:
    """A token bucket: ``rate`` a second, ``burst`` at once; time is an argument, in seconds."""

    rate: float
    burst: float
    tokens: float = -1.0
    filled: float = 0.0

    def take(self, now: float) -> float:
        """Take one token; returns 0, or the seconds to wait when there is none."""
        if self.tokens < 0:
            self.tokens = self.burst
        else:
            self.tokens = min(self.burst, self.tokens + max(0.0, now - self.filled) * self.rate)
        self.filled = now
        if self.tokens >= 1:
            self.tokens -= 1
            return 0.0
        return (1 - self.tokens) / self.rate


class Session:
    """One connection's protocol state. Never raises for what a peer sends.

    ``sends_per_second`` bounds commands (twice that at once); typing and presence have their
    own bound, beyond which they are dropped in silence.
    """

    __slots__ = ("_commands", "_errors", "_signals", "agent", "language", "state")

    def __init__(self, sends_per_second: float) -> None:
        self.state = State.NEW
        self.language = "en"
        self.agent = ""
        self._errors = 0
        self._commands = Bucket(sends_per_second, 2 * sends_per_second)
        self._signals = Bucket(SIGNALS_PER_SECOND, 2 * SIGNALS_PER_SECOND)

    def receive(self, frame: ClientFrame | Rejected, now: float) -> Effect:
        """Take one frame at ``now`` (monotonic seconds) and return what is to be done."""
        if isinstance(frame, Rejected):
            return self._error(frame.code, frame.re)
        rule = RULES[type(frame)]
        request = getattr(frame, "id", None)
        if self.state not in rule.states:
            stranger = self.state in (State.NEW, State.GREETED)
            return self._error("auth.required" if stranger else "frame.unexpected", request)
        if rule.cost is not Cost.FREE:
            wait = (self._commands if rule.cost is Cost.COMMAND else self._signals).take(now)
            if wait:
                return self._limited(rule, request, wait)
        return self._take(frame, rule)

    def _take(self, frame: ClientFrame, rule: Rule) -> Effect:
        if isinstance(frame, schema.Ping):
            return Reply(schema.Pong(frame.id))
        if isinstance(frame, schema.Hello):
            return self._greet(frame)
        if isinstance(frame, schema.Mode):
            return Quiet(frame.state == "background")
        if isinstance(frame, schema.Auth):
            self.state = State.CHECKING
        elif isinstance(frame, schema.Resume):
            self.state = State.FOLLOWING
        assert rule.effect is not None
        return rule.effect(frame)  # type: ignore[arg-type]  # the table pairs them

    def accepted(self) -> None:
        """Credentials were good."""
        self.state = State.READY

    def refused(self) -> bool:
        """Credentials were not good; returns whether the client may try again."""
        self.state = State.GREETED
        self._errors += 1
        return self._errors < STRANGER_ERRORS

    def close(self) -> None:
        """The connection is ending; nothing is welcome any more."""
        self.state = State.CLOSED

    @property
    def is_known(self) -> bool:
        """Whether the peer has signed in."""
        return self.state in _KNOWN

    def error(self, code: str, request: int | None = None, after: float = 0) -> schema.Err:
        """Return an error frame in the session's language."""
        message = text(code, self.language)
        return schema.Err(code, message, CATALOGUE[code].retryable, request or None, after)

    def _greet(self, frame: schema.Hello) -> Effect:
        self.language = "zh-CN" if frame.lang.lower().startswith("zh") else "en"
        self.agent = frame.agent[:64]
        if frame.v != schema.PROTOCOL_VERSION:
            return End(self.error("auth.version"))
        self.state = State.GREETED
        return Nothing()

    def _limited(self, rule: Rule, request: int | None, wait: float) -> Effect:
        if rule.cost is Cost.SIGNAL:
            return Nothing()
        return Reply(self.error("rate.limited", request, math.ceil(wait * 1_000) / 1_000))

    def _error(self, code: str, request: int | None) -> Effect:
        frame = self.error(code, request)
        if self.is_known:
            return Reply(frame)
        self._errors += 1
        return End(frame) if self._errors >= STRANGER_ERRORS else Reply(frame)
