"""Hold in memory what is in force: policy, holds, requests, runs, trusted time, replicas.

``fold`` follows single operations, ``load`` adds what only rows say. Both run in the writer's
thread, inside its transaction, and put memory back when that rolls back. Values are immutable
and replaced whole, so that any thread may look them up.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final, NamedTuple

import msgspec

from appliance.disposal import calendar
from appliance.disposal.orders import KINDS as ORDER_KINDS
from appliance.disposal.orders import Orders
from appliance.operations import (
    BodyStruct,
    ClockAnchor,
    ClockChanged,
    ConversationWiped,
    DayKey,
    DestructionConfirmed,
    DestructionIntent,
    DeviceWiped,
    HoldPlaced,
    HoldReleased,
    Kind,
    PolicySet,
    ReplicaNamed,
    ReplicaRetired,
    RequestApproved,
    RequestClosed,
    RequestMade,
    RequestSigned,
    SiteDecommissioned,
    decode,
)
from appliance.policy import approvals
from appliance.policy import predicate as predicates
from appliance.policy.approvals import Approval
from appliance.policy.born import BornBounds
from appliance.policy.clock import NONE, SYSTEM, Anchored, Clock, Reading, State
from appliance.policy.holds import Holds
from appliance.policy.policies import Policies
from appliance.policy.predicate import Predicate
from store.engine.contract import Reader
from store.engine.txn import Txn
from store.ids import OpId
from store.oplog import Op

Undo = Callable[[Callable[[], None]], None]

_EVERYTHING: Final = (1 << 62) - 1
"""A position beyond every other."""

RECALLS_QUEUED: Final = 100_000
"""Recalls that wait to be looked at; what is pushed out is found by the next expiry run."""


@dataclass(frozen=True, slots=True)
class Hold:
    """A legal hold; ``released`` is the request that ended it, 0 while it is active.

    ``pos`` is where it stands in the order of arrival here, ``seq`` its number where it was placed.
    """

    body: HoldPlaced = field(repr=False)
    by: bytes
    placed_ms: int
    released: int = 0
    released_ms: int = 0
    pos: int = 0
    seq: int = 0


@dataclass(frozen=True, slots=True)
class Request:
    """An act that takes two people, as far as it has come; times in Unix ms."""

    body: RequestMade = field(repr=False)
    pos: int
    made_ms: int
    approval: Approval
    signed: RequestSigned | None = field(default=None, repr=False)
    approved: RequestApproved | None = field(default=None, repr=False)
    closed: RequestClosed | None = field(default=None, repr=False)
    closed_ms: int = 0

    @property
    def number(self) -> int:
        """Its number."""
        return self.body.request

    @property
    def predicate(self) -> Predicate:
        """The records it means, where its act is about records."""
        arguments = msgspec.json.decode(self.body.arguments, type=dict[str, Any])
        text = msgspec.json.encode(arguments.get("predicate", {})).decode()
        return predicates.from_json(text)

    @property
    def is_open(self) -> bool:
        """Whether anything can still come of it."""
        return self.closed is None


@dataclass(frozen=True, slots=True)
class Run:
    """A destruction run: what its newest slice tells, and how it was confirmed, if it was."""

    intent: DestructionIntent
    confirmed: DestructionConfirmed | None = field(default=None, repr=False)
    place: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class Replica:
    """A key replica that destruction waits for."""

    number: int
    name: str
    identity: bytes = field(repr=False)


class Told(NamedTuple):
    """What a conversation's people were told of last: a run, and its ranges of timeline keys."""

    run: int
    ranges: tuple[tuple[int, int], ...]


class Disposal:
    """What decides about the end of records."""

    def __init__(self) -> None:
        self.policies = Policies()
        self.active = Holds()
        self.holds: Mapping[int, Hold] = {}
        self.requests: Mapping[int, Request] = {}
        self.runs: Mapping[int, Run] = {}
        self.replicas: Mapping[int, Replica] = {}
        self.wiped: dict[bytes, int] = {}
        """The newest run whose records each device has dropped."""
        self.told: dict[bytes, Told] = {}
        """The newest run that touched each conversation, and which ranges of it."""
        self.clock = Clock(NONE)
        """The clock after its last reading; begun by ``wake``."""
        self.day_key: DayKey | None = None
        self.decommissioned: SiteDecommissioned | None = None
        self.recalled: deque[OpId] = deque(maxlen=RECALLS_QUEUED)
        """Messages recalled a moment ago, for the service to look at; a night's run finds all."""
        self.orders: deque[int] = deque()
        """Requests that an officer has told to be carried out, for the service."""
        self._started = Clock(NONE)
        """A clock of this process alone, for where nothing was ever proven."""
        self.across = Orders()
        """What headquarters orders its branches to destroy, and what they answer."""
        self._anchor: ClockAnchor | None = None
        self._changed: ClockChanged | None = None
        self._seen: Reading | None = None
        self.jumped_pos = 0
        """Where the log says that the clock jumped last."""
        self.confirmed_ms = 0
        """When two people last confirmed the clock, in Unix ms; 0 while it is suspended anew."""
        self.ruled_pos = 0
        """Where the newest hold, release or policy arrived: who destroys must know of it."""
        self._positions: list[int] = []
        self._raw_ms: list[int] = []
        self._born = BornBounds()

    # --- time, from any thread --------------------------------------------------------------------

    def day_at(self, pos: int) -> int:
        """Return the day of the newest anchor before a position; 0 when there is none.

        Anchors are not corrected for this: a record stays on its day.
        """
        found = bisect_left(self._positions, pos)
        return calendar.day_of(self._raw_ms[found - 1]) if found else 0

    @property
    def anchored_ms(self) -> int:
        """The proven time of the newest anchor; 0 when there is none. It never goes back."""
        return self._raw_ms[-1] if self._raw_ms else 0

    def counted_ms(self, reading: Reading) -> int:
        """Return the time by which people wait, and may read (Unix ms); no wall clock moves it.

        Proven time, also while destruction is suspended; where nothing was ever proven, the wall
        clock at the start of this process and its uptime since.
        """
        return self.clock.lower_ms(reading) or self._started.lower_ms(reading)

    @property
    def counted_since_ms(self) -> int:
        """Since when that time goes on without a break; before it, nobody knows how long it was."""
        return self._raw_ms[0] if self._raw_ms else self._started.wall_ms

    def born_hi(self, pos: int) -> int | None:
        """Return when the operation at ``pos`` was there at the latest; None: not known yet."""
        return self._born.born_hi(pos)

    def born_lo(self, pos: int) -> int:
        """Return when the operation at ``pos`` was not there yet; 0: nothing is known."""
        found = bisect_left(self._positions, pos)
        return self._raw_ms[found - 1] if found else 0

    def days_between(self, first_pos: int, last_pos: int) -> Iterator[int]:
        """Yield every day on which an operation between two positions can count."""
        yield 0
        start = self.day_at(first_pos)
        yield from range(max(1, start), self.day_at(last_pos) + 1)

    def end_of_day(self, day: int) -> int:
        """Return the last position that counts on ``day`` or before; O(log anchors)."""
        found = bisect_left(self._raw_ms, (day + 1) * calendar.DAY_MS)
        return self._positions[found] if found < len(self._positions) else _EVERYTHING

    def has_news(self, pos: int) -> bool:
        """Tell whether anything was written since the newest anchor, up to ``pos``."""
        return not self._positions or pos > self._positions[-1]

    @property
    def is_suspended(self) -> bool:
        """Whether destruction waits because the clock jumped."""
        return self.clock.state is State.SUSPENDED

    def is_jumping(self, reading: Reading) -> bool:
        """Tell whether destruction waits because the clock jumped, before or with this reading."""
        return self.clock.observe(reading).clock.state is State.SUSPENDED

    # --- looking up -------------------------------------------------------------------------------

    def active_holds(self) -> list[Hold]:
        """Return the holds that are not released, oldest first."""
        return [hold for hold in self.holds.values() if not hold.released]

    def unfinished_runs(self) -> list[Run]:
        """Return the runs that are not confirmed, oldest first: a crash may have cut them off."""
        return [run for run in self.runs.values() if run.confirmed is None]

    # --- following the log ------------------------------------------------------------------------

    def load(self, reader: Reader) -> None:
        """Read the anchors; to be called once, after the registers were folded."""
        for pos, raw_ms, at_ms, is_confirmed in calendar.anchors(reader):
            self._positions.append(pos)
            self._raw_ms.append(raw_ms)
            self._born.anchor(pos, at_ms, is_confirmed)
        self._seen = calendar.seen(reader)

    def wake(self, reading: Reading) -> None:
        """Begin the clock of this process from what the log says; before anything is decided."""
        self._started = Clock(SYSTEM).observe(reading).clock
        source, anchor = self.policies.current.clock, self._anchor
        if anchor is None:
            self.clock = Clock(source)
            return
        known = Anchored(anchor.at_ms, anchor.wall_ms, anchor.boot, anchor.uptime_ms, False)
        is_suspended = self._changed is not None and self._changed.suspended
        self.clock = Clock.restored(
            source, known, reading, is_suspended=is_suspended, seen=self._seen
        )

    def apply(self, txn: Txn, op: Op, body: BodyStruct) -> None:
        """Follow an operation in rows and memory."""
        if isinstance(body, ClockAnchor):
            self._put_anchor(txn, op, body)
        elif isinstance(body, ClockChanged):
            self._correct(txn, body)
        elif op.kind == Kind.RECALL:
            self.recalled.append(OpId.unpack(op.target))
        self.fold(op, body, txn.on_rollback)

    def _put_anchor(self, txn: Txn, op: Op, body: ClockAnchor) -> None:
        row = self._born.anchor(op.pos, body.at_ms, body.is_confirmed)
        calendar.put_anchor(txn, calendar.Anchor(op.pos, body.at_ms, row.at_ms, row.is_confirmed))
        self._positions.append(op.pos)
        self._raw_ms.append(body.at_ms)
        txn.on_rollback(self._drop_anchor)

    def _drop_anchor(self) -> None:
        self._positions.pop()
        self._raw_ms.pop()
        self._born.restore((), len(self._positions))

    def _correct(self, txn: Txn, body: ClockChanged) -> None:
        before = self._born.correct(body.step_ms)
        was = [row._replace(at_ms=row.at_ms - body.step_ms) for row in before]
        txn.on_rollback(partial(self._born.restore, was, len(self._born)))
        for row in before:
            calendar.correct_anchor(txn, row.pos, row.at_ms)

    def fold(self, op: Op, body: BodyStruct, undo: Undo | None) -> None:
        """Follow an operation in memory; other rooms' kinds change nothing. No undo at load."""
        change = _FOLDS.get(op.kind)
        if change is not None:
            change(self, op, body, undo)
        elif op.kind in ORDER_KINDS:
            self.across.fold(op, body, undo)

    def follows(self, op: Op) -> bool:
        """Tell whether an entry of the audit follows one that is still there, and needs it gone.

        A request whose end were forgotten first would be open again, and could be carried out.
        """
        if op.body is None or op.kind not in _FOLLOWING:
            return False
        body: Any = decode(op.kind, op.body)
        if op.kind == Kind.DESTRUCTION_CONFIRMED:
            return body.run in self.runs
        return body.request in self.requests

    def forget(self, txn: Txn, op: Op) -> None:
        """Forget an entry of the audit that is being destroyed."""
        if op.body is None or op.kind not in (Kind.REQUEST_MADE, Kind.DESTRUCTION_INTENT):
            return
        body = decode(op.kind, op.body)
        if isinstance(body, RequestMade):
            rest = {k: v for k, v in self.requests.items() if k != body.request}
            self._set("requests", rest, txn.on_rollback)
        elif isinstance(body, DestructionIntent) and self._is_newest(body):
            left = {k: v for k, v in self.runs.items() if k != body.run}
            self._set("runs", left, txn.on_rollback)

    def _is_newest(self, intent: DestructionIntent) -> bool:
        known = self.runs.get(intent.run)
        return known is not None and known.intent.piece == intent.piece

    def _set(self, name: str, value: Any, undo: Undo | None) -> None:
        if undo is not None:
            undo(partial(setattr, self, name, getattr(self, name)))
        setattr(self, name, value)

    def _put(self, name: str, number: int, value: Any, undo: Undo | None) -> None:
        table = getattr(self, name)
        self._set(name, dict(sorted({**table, number: value}.items())), undo)

    def _fold_policy(self, op: Op, body: PolicySet, undo: Undo | None) -> None:
        self._set("policies", self.policies.add(body.version, op.pos, body.policy), undo)
        self._set("ruled_pos", max(self.ruled_pos, op.pos), undo)

    def _fold_hold(self, op: Op, body: HoldPlaced, undo: Undo | None) -> None:
        self._put("holds", body.hold, _hold(op, body), undo)
        self._set("active", self.active.place(body.hold, body.predicate), undo)
        self._set("ruled_pos", max(self.ruled_pos, op.pos), undo)

    def _fold_release(self, op: Op, body: HoldReleased, undo: Undo | None) -> None:
        hold = self.holds.get(body.hold)
        if hold is not None:
            ended = replace(hold, released=body.request or -1, released_ms=op.received_ms)
            self._put("holds", body.hold, ended, undo)
            self._set("active", self.active.release(body.hold), undo)
            self._set("ruled_pos", max(self.ruled_pos, op.pos), undo)

    def _fold_request(self, op: Op, body: RequestMade, undo: Undo | None) -> None:
        approval = Approval(
            op.actor, body.public_key, body.dry_run, body.records, body.cooling_ms, body.expires_ms
        )
        made = Request(body, op.pos, op.received_ms, approval)
        self._put("requests", body.request, made, undo)

    def _fold_approval(self, op: Op, body: RequestApproved, undo: Undo | None) -> None:
        known = self.requests.get(body.request)
        if known is not None:
            agreed = known.approval.approve(op.actor, body.public_key, body.approved_ms)
            self._put(
                "requests", body.request, replace(known, approval=agreed, approved=body), undo
            )

    def _fold_signed(self, op: Op, body: RequestSigned, undo: Undo | None) -> None:
        known = self.requests.get(body.request)
        if known is not None:
            self._put("requests", body.request, replace(known, signed=body), undo)

    def _fold_closed(self, op: Op, body: RequestClosed, undo: Undo | None) -> None:
        known = self.requests.get(body.request)
        if known is not None:
            ended = replace(known.approval, state=approvals.State(body.outcome))
            over = replace(known, approval=ended, closed=body, closed_ms=op.received_ms)
            self._put("requests", body.request, over, undo)

    def _fold_intent(self, op: Op, body: DestructionIntent, undo: Undo | None) -> None:
        known = self.runs.get(body.run)
        confirmed = None if known is None else known.confirmed
        place = (0, 0) if known is None else known.place
        self._put("runs", body.run, Run(body, confirmed, place), undo)

    def _fold_confirmed(self, op: Op, body: DestructionConfirmed, undo: Undo | None) -> None:
        known = self.runs.get(body.run)
        if known is not None:
            place = (op.origin, op.id.seq)
            self._put("runs", body.run, Run(known.intent, body, place), undo)

    def _fold_wiped(self, op: Op, body: DeviceWiped, undo: Undo | None) -> None:
        device = op.stream.id
        before = self.wiped.get(device, 0)
        if undo is not None:
            undo(partial(self.wiped.__setitem__, device, before))
        self.wiped[device] = max(before, body.run)

    def _fold_told(self, op: Op, body: ConversationWiped, undo: Undo | None) -> None:
        before = self.told.get(op.stream.id, Told(0, ()))
        if undo is not None:
            undo(partial(self.told.__setitem__, op.stream.id, before))
        more = before.ranges if before.run == body.run else ()
        self.told[op.stream.id] = Told(body.run, tuple(sorted((*more, *body.ranges))))

    def _fold_anchor(self, op: Op, body: ClockAnchor, undo: Undo | None) -> None:
        self._set("_anchor", body, undo)

    def _fold_clock(self, op: Op, body: ClockChanged, undo: Undo | None) -> None:
        self._set("_changed", body, undo)
        if body.suspended:
            self._set("jumped_pos", op.pos, undo)
        self._set("confirmed_ms", 0 if body.suspended else body.seen_ms, undo)

    def _fold_day_key(self, op: Op, body: DayKey, undo: Undo | None) -> None:
        self._set("day_key", body, undo)

    def _fold_replica(self, op: Op, body: ReplicaNamed, undo: Undo | None) -> None:
        named = Replica(body.replica, body.name, body.identity)
        self._put("replicas", body.replica, named, undo)

    def _fold_retired(self, op: Op, body: ReplicaRetired, undo: Undo | None) -> None:
        rest = {k: v for k, v in self.replicas.items() if k != body.replica}
        self._set("replicas", rest, undo)

    def _fold_decommissioned(self, op: Op, body: SiteDecommissioned, undo: Undo | None) -> None:
        self._set("decommissioned", body, undo)


def _hold(op: Op, body: HoldPlaced) -> Hold:
    return Hold(body, op.actor, op.received_ms, pos=op.pos, seq=op.id.seq)


_FOLLOWING: Final = frozenset(
    (
        Kind.REQUEST_SIGNED,
        Kind.REQUEST_APPROVED,
        Kind.REQUEST_CLOSED,
        Kind.DESTRUCTION_CONFIRMED,
    )
)

_FOLDS: Final[dict[int, Callable[[Disposal, Op, Any, Undo | None], None]]] = {
    Kind.POLICY_SET: Disposal._fold_policy,
    Kind.HOLD_PLACED: Disposal._fold_hold,
    Kind.HOLD_RELEASED: Disposal._fold_release,
    Kind.REQUEST_MADE: Disposal._fold_request,
    Kind.REQUEST_APPROVED: Disposal._fold_approval,
    Kind.REQUEST_CLOSED: Disposal._fold_closed,
    Kind.REQUEST_SIGNED: Disposal._fold_signed,
    Kind.DESTRUCTION_INTENT: Disposal._fold_intent,
    Kind.DESTRUCTION_CONFIRMED: Disposal._fold_confirmed,
    Kind.DEVICE_WIPED: Disposal._fold_wiped,
    Kind.CONVERSATION_WIPED: Disposal._fold_told,
    Kind.CLOCK_ANCHOR: Disposal._fold_anchor,
    Kind.CLOCK_CHANGED: Disposal._fold_clock,
    Kind.DAY_KEY: Disposal._fold_day_key,
    Kind.REPLICA_NAMED: Disposal._fold_replica,
    Kind.REPLICA_RETIRED: Disposal._fold_retired,
    Kind.SITE_DECOMMISSIONED: Disposal._fold_decommissioned,
}
