"""Follow the log of a simulated site, and hold each end in it against the oracle.

The simulated medium is watched: whatever row of the log is destroyed, in whichever commit, must
have a reason there and then, must be counted by its run, and must be told to the conversation.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from appliance.disposal import scope
from appliance.disposal.commands import Selection
from appliance.operations import (
    SPECS,
    ClockAnchor,
    ClockChanged,
    ConversationFiled,
    ConversationMember,
    ConversationWiped,
    DestructionConfirmed,
    DestructionIntent,
    Edit,
    HoldPlaced,
    HoldReleased,
    Kind,
    Message,
    PersonProfile,
    PersonRoles,
    PolicySet,
    RequestApproved,
    RequestMade,
    decode,
)
from store import hlc, merkle
from store.engine.memory import Medium
from store.errors import PartGoneError
from store.ids import OpId
from store.oplog import Op
from store.records import PartState
from store.records import Record as Row
from store.tables import LOG, Table
from store.vault import AUDIT as AUDIT_CLASS
from tests.appliance.disposal import oracle
from tests.appliance.disposal.harness import Hospital
from tests.appliance.disposal.oracle import (
    Filing,
    Oracle,
    Place,
    Policy,
    Record,
    Soul,
    Talk,
)
from tests.appliance.disposal.truth import Truth

SWEPT: Final = {
    Kind.CONVERSATION_TITLE: "",
    Kind.CONVERSATION_SETTINGS: "",
    Kind.CONVERSATION_MEMBER: "person",
    Kind.READ: "actor",
    Kind.DELIVERED: "actor",
}
"""Control operations that go once a newer one of their kind and item is there."""


LEADING: Final = {Kind.REQUEST_MADE: "request", Kind.DESTRUCTION_INTENT: "run"}
FOLLOWING: Final = {
    Kind.REQUEST_SIGNED: Kind.REQUEST_MADE,
    Kind.REQUEST_APPROVED: Kind.REQUEST_MADE,
    Kind.REQUEST_CLOSED: Kind.REQUEST_MADE,
    Kind.DESTRUCTION_CONFIRMED: Kind.DESTRUCTION_INTENT,
}
"""Entries of the audit that stay until the one they follow has gone."""


class Watched(Medium):
    """A medium that remembers, commit by commit, which rows of the log were destroyed."""

    def __init__(self, *, retain: bool = False) -> None:
        super().__init__(retain=retain)
        self.ended: list[list[Place]] = []

    def commit(self, writes: Mapping[bytes, bytes | None], *, urgent: bool = True) -> None:
        super().commit(writes, urgent=urgent)
        ended = [
            _place(key)
            for key, value in writes.items()
            if key[0] == Table.LOG and value and is_destroyed(value)
        ]
        if ended:
            self.ended.append(ended)


def is_destroyed(row: bytes) -> bool:
    return Row.unpack(row).body_state is PartState.DESTROYED


def _place(key: bytes) -> Place:
    origin, seq = LOG.columns(key)
    return origin, seq


@dataclass(slots=True)
class Asked:
    """A request of two people, in true time; ``approved_ms`` is 0 until the second one agrees."""

    by: bytes
    cooling_ms: int
    asked_ms: int
    policy: Policy
    selection: Selection
    approved_ms: int = 0


class About(NamedTuple):
    """What a control operation is about."""

    kind: Kind
    stream: bytes
    item: bytes


class Follower:
    """What the log has said so far; ``oracle`` is told of it, and asked.

    ``late_ms`` is the most by which an end may be late by the site's clock: what lies between two
    nights, if they are a day and minutes apart.
    """

    late_ms = 26 * 3_600_000

    def __init__(self, house: Hospital, medium: Watched, policy: Policy) -> None:
        self.house = house
        self.medium = medium
        self.truth = Truth(house.clock.wall_ms())
        self.oracle = Oracle(self.truth)
        self.asked: dict[int, Asked] = {}
        self.places: dict[OpId, Place] = {}
        self.names: dict[Place, OpId] = {}
        self.ended: set[Place] = set()
        self.counts: Counter[str] = Counter()
        self.is_suspended = False
        self.next_policy: Policy = policy
        self.next_selection = Selection()
        self._controls: dict[Place, About] = {}
        self._newest: dict[About, Place] = {}
        self._roots: dict[Place, Place] = {}
        self._intents: dict[int, DestructionIntent] = {}
        self._confirmed: dict[int, DestructionConfirmed] = {}
        self._scopes: dict[int, list[OpId]] = {}
        self._wiped: list[tuple[bytes, tuple[int, int]]] = []
        self._anchor_place: Place = (0, 0)
        self._leaders: dict[tuple[Kind, int], Record] = {}
        self.follow()

    def follow(self) -> None:
        """Tell the oracle what was appended, and hold against it what has ended."""
        ops, self.house.ops = self.house.ops, []
        self.house.heard.clear()
        for op in ops:
            self._follow(op)
        if self.medium.ended:
            raise AssertionError(f"destroyed by no run: {self.medium.ended[0]}")

    def _follow(self, op: Op) -> None:
        place = (op.origin, op.id.seq)
        self.places[op.id], self.names[place] = place, op.id
        kind = Kind(op.kind)
        body: Any = decode(op.kind, op.body or b"")
        if op.target:
            root = self.places[OpId.unpack(op.target)]
            self._roots[place] = self._roots.get(root, root)
            record = self.oracle.alive[self._roots[place]]
            record.targets.append(place)
            record.is_recalled |= kind is Kind.RECALL and root == record.place
            if isinstance(body, Edit):
                record.words.append(body.text)
            if kind is Kind.MESSAGE:
                copy = self._written(op, place, body)
                copy.is_copy = True
                record.copies.append(copy)
                self.oracle.write(copy)
        elif kind is Kind.MESSAGE or SPECS[kind].retention_class == AUDIT_CLASS:
            self.counts["records"] += 1
            record = self._written(op, place, body)
            self._lead(record, kind, body)
            self.oracle.write(record)
        else:
            self._control(op, place, kind, body)
        if kind in _FOLDS:
            _FOLDS[kind](self, op, body)

    def _written(self, op: Op, place: Place, body: Any) -> Record:
        talk = self.oracle.talks.get(op.conversation)
        author = self.oracle.people.get(op.actor)
        return Record(
            place,
            op.id.pack(),
            op.actor,
            talk,
            self.truth.now_ms,
            hlc.millis(op.t),
            len(self.oracle.policies) - 1,
            len(talk.filings) - 1 if talk is not None else 0,
            len(author.standings) - 1 if author is not None else 0,
            frozenset(talk.members) if talk is not None else frozenset(),
            body.text if isinstance(body, Message) else "",
            op.key,
        )

    def _lead(self, record: Record, kind: Kind, body: Any) -> None:
        """Let an entry of the audit stay as long as the one it follows."""
        if kind in LEADING:
            self._leaders[kind, getattr(body, LEADING[kind])] = record
        elif kind in FOLLOWING:
            leading = FOLLOWING[kind]
            record.leader = self._leaders.get((leading, getattr(body, LEADING[leading])))

    def _control(self, op: Op, place: Place, kind: Kind, body: Any) -> None:
        item = b""
        if SWEPT.get(kind):
            item = op.actor if SWEPT[kind] == "actor" else getattr(body, SWEPT[kind])
        about = About(kind, op.stream.id, item)
        self._controls[place] = about
        self._newest[about] = place

    def recover(self) -> None:
        """Follow the log over a power cut: it may have more than was told, or a commit less."""
        self.medium.ended.clear()
        with self.house.reading() as reader:
            rows = {_place(key): value for key, value in reader.range(*LOG.span())}
            unknown = [self.house.core.log.read(reader, *each) for each in rows.keys() - self.names]
        destroyed = {place for place, row in rows.items() if is_destroyed(row)}
        assert self.ended <= destroyed, "what was confirmed comes back"
        if destroyed - self.ended:
            self.medium.ended.append(sorted(destroyed - self.ended))
        for record in list(self.oracle.alive.values()):
            if record.place not in rows:
                self.oracle.lose(record)
        if self._anchor_place not in rows:
            self.oracle.lose_anchor()
        self.house.ops += sorted(unknown, key=lambda op: op.pos)
        self.follow()
        self.is_suspended = self.house.core.disposal.is_suspended

    # --- what single kinds say ------------------------------------------------------------------

    def _person(self, op: Op, _body: Any) -> None:
        self.oracle.people[op.stream.id] = Soul("")

    def _profile(self, op: Op, body: PersonProfile) -> None:
        soul = self.oracle.people[op.stream.id]
        soul.login = body.login
        self.oracle.stand(op.stream.id, soul.now._replace(unit=body.unit))

    def _roles(self, op: Op, body: PersonRoles) -> None:
        standing = self.oracle.people[op.stream.id].now
        self.oracle.stand(op.stream.id, standing._replace(roles=frozenset(body.roles)))

    def _opened(self, op: Op, _body: Any) -> None:
        self.oracle.talks[op.stream.id] = Talk(op.stream.id, [Filing("standard")])

    def _member(self, op: Op, body: ConversationMember) -> None:
        talk = self.oracle.talks[op.stream.id]
        talk.ever.add(body.person)
        (talk.members.add if body.role else talk.members.discard)(body.person)

    def _filed(self, op: Op, body: ConversationFiled) -> None:
        name = self.house.core.disposal.policies.class_name(body.retention_class)
        self.oracle.file(self.oracle.talks[op.stream.id], Filing(name, frozenset(body.labels)))

    def _policy(self, _op: Op, body: PolicySet) -> None:
        policy = self.next_policy
        if body.request:
            policy = self._agreed(body.request).policy
        read = [(each.name, each.min_ms, each.max_ms) for each in body.policy.rules]
        assert sorted(read) == sorted(
            (each.name, each.min_ms, each.max_ms) for each in policy.terms
        )
        self.oracle.set_policy(policy)

    def _hold(self, _op: Op, body: HoldPlaced) -> None:
        self.oracle.hold(body.hold, self.next_selection)
        self.counts["holds"] += 1

    def _release(self, _op: Op, body: HoldReleased) -> None:
        self._agreed(body.request)
        self.oracle.release(body.hold)

    def _ask(self, op: Op, body: RequestMade) -> None:
        cooling_ms = self.oracle.policies[-1].cooling_ms
        self.asked[body.request] = Asked(
            op.actor, cooling_ms, self.truth.now_ms, self.next_policy, self.next_selection
        )

    def _approve(self, op: Op, body: RequestApproved) -> None:
        asked = self.asked[body.request]
        assert op.actor != asked.by, "one person alone has agreed with themselves"
        asked.approved_ms = self.truth.now_ms

    def _anchor(self, op: Op, body: ClockAnchor) -> None:
        self._anchor_place = (op.origin, op.id.seq)
        late_ms = self.truth.now_ms - body.at_ms
        if not 0 <= late_ms <= self.truth.lag_ms + oracle.ROUNDING_MS:
            raise AssertionError(f"proven time lags by {late_ms} ms, not {self.truth.lag_ms}")
        self.oracle.anchored(confirmed=body.is_confirmed)

    def _clock(self, _op: Op, body: ClockChanged) -> None:
        self.is_suspended = body.suspended
        if body.suspended:
            self.counts["jumps"] += 1
        else:
            self.oracle.confirmed()

    def _tell(self, op: Op, body: ConversationWiped) -> None:
        self._wiped += [(op.stream.id, each) for each in body.ranges]

    def _intend(self, _op: Op, body: DestructionIntent) -> None:
        self._intents[body.run] = body
        self._end(self.medium.ended.pop(0), body)

    def _confirm(self, _op: Op, body: DestructionConfirmed) -> None:
        self._confirmed[body.run] = body

    def _agreed(self, number: int) -> Asked:
        """Return a request that two people agreed to, and whose cooling-off is over."""
        asked = self.asked[number]
        waited_ms = self.truth.now_ms - asked.approved_ms
        if not asked.approved_ms or waited_ms < asked.cooling_ms:
            raise AssertionError(f"request {number} is carried out {waited_ms} ms after approval")
        return asked

    # --- ends -----------------------------------------------------------------------------------

    def _end(self, places: list[Place], intent: DestructionIntent) -> None:
        """Hold what one commit has destroyed against the oracle."""
        self.ended.update(places)
        self._scopes.setdefault(intent.run, []).extend(self.names[each] for each in places)
        records = [self.oracle.alive[each] for each in places if each in self.oracle.alive]
        for record in records:
            self._check_end(record, intent)
        for record in records:
            self.oracle.die(record)
            self.counts[f"destroyed {self.kind(record)}"] += not record.is_copy
            left = set(record.targets) - self.ended
            if left:
                self.wrong(record, f"leaves {sorted(left)} behind")
        for place in places:
            if self._roots.get(place, place) not in self.ended:
                raise AssertionError(f"{place} ends without the message it is about")
            if place in self._controls:
                self._check_control(place, intent)
        self._check_told(records)

    def _check_end(self, record: Record, intent: DestructionIntent) -> None:
        reason = ""
        if intent.request:
            asked = self._agreed(intent.request)
            is_old = record.born_ms <= asked.asked_ms
            if is_old and self.oracle.is_meant(record, asked.selection):
                reason = "requested"
        found = self.oracle.wrongs(record, reason)
        if found:
            self.wrong(record, f"is destroyed by {intent.cause} though {found}")
        ends_ms = self.oracle.ends_ms(record)
        if intent.cause != "expiry" or record.was_blocked or ends_ms is None:
            return
        late_ms = self.truth.proven_ms - ends_ms
        if late_ms > self.late_ms:
            self.wrong(record, f"ends {late_ms} ms late")

    def _check_control(self, place: Place, intent: DestructionIntent) -> None:
        about = self._controls.pop(place)
        is_old = self._newest[about] != place
        if is_old and (about.kind in SWEPT or about.kind is Kind.SITE_SECRET):
            return
        if intent.cause == "erasure":
            (who,) = self._agreed(intent.request).selection.persons
            soul = self.oracle.people.get(about.stream)
            if soul is not None and who in (soul.login, f"id:{about.stream.hex()}"):
                if about.kind is Kind.PERSON_CREATED:
                    self.oracle.erase(about.stream)
                    self.counts["erased"] += 1
                return
        raise AssertionError(f"{place}, a {about.kind.name}, is destroyed for no reason")

    def _check_told(self, records: list[Record]) -> None:
        """Those who keep copies are told of each end, and of no survivor's."""
        told, self._wiped = self._wiped, []
        for record in records:
            if record.talk is not None and not any(
                talk == record.talk.id and low <= record.key <= high for talk, (low, high) in told
            ):
                self.wrong(record, "ends untold")
        for talk, (low, high) in told:
            for record in self.oracle.talks[talk].records:
                if low <= record.key <= high:
                    self.wrong(record, "is told to have ended")

    def wrong(self, record: Record, text: str) -> None:
        """Fail, naming a record."""
        raise AssertionError(
            f"record {record.place} of class {self.kind(record)}, born at {record.born_ms}, {text}"
        )

    @staticmethod
    def kind(record: Record) -> str:
        """Return the class that a record is in now."""
        return record.talk.filings[-1].kind if record.talk is not None else oracle.AUDIT

    # --- looking at everything ------------------------------------------------------------------

    def look(self, dead: list[Record]) -> None:
        """Open every survivor, and try to open some dead; nobody's view ends a record early."""
        log, is_over = self.house.core.log, self.house.core.is_over()
        with self.house.reading() as reader:
            for place, record in self.oracle.alive.items():
                op = log.read(reader, *place)
                body = decode(op.kind, op.body or b"")
                if isinstance(body, Message) and body.text != record.text:
                    self.wrong(record, "has changed")
                if is_over(op) and self.oracle.must_be_read(record):
                    self.wrong(record, "cannot be read")
            for record in dead:
                try:
                    log.read(reader, *record.place)
                except PartGoneError:
                    continue
                self.wrong(record, "comes back")

    def account(self) -> None:
        """Hold the runs' scopes against what was destroyed: all of it, and nothing else."""
        with self.house.reading() as reader:
            for run, intent in self._intents.items():
                leaves = list(scope.leaves(reader, run))
                expected = [scope.leaf(intent.scope_key, each) for each in self._scopes[run]]
                assert sorted(leaves) == sorted(expected), f"run {run}"
                told = self._confirmed[run]
                assert told.parts == told.scope_size == len(leaves), f"run {run}"
                assert told.scope_root == merkle.root(leaves), f"run {run}"
            rows = reader.range(*LOG.span())
            destroyed = {_place(key) for key, value in rows if is_destroyed(value)}
        assert destroyed == self.ended


_FOLDS: Final[dict[Kind, Callable[[Follower, Op, Any], None]]] = {
    Kind.PERSON_CREATED: Follower._person,
    Kind.PERSON_PROFILE: Follower._profile,
    Kind.PERSON_ROLES: Follower._roles,
    Kind.CONVERSATION_CREATED: Follower._opened,
    Kind.CONVERSATION_MEMBER: Follower._member,
    Kind.CONVERSATION_FILED: Follower._filed,
    Kind.CONVERSATION_WIPED: Follower._tell,
    Kind.POLICY_SET: Follower._policy,
    Kind.HOLD_PLACED: Follower._hold,
    Kind.HOLD_RELEASED: Follower._release,
    Kind.REQUEST_MADE: Follower._ask,
    Kind.REQUEST_APPROVED: Follower._approve,
    Kind.CLOCK_ANCHOR: Follower._anchor,
    Kind.CLOCK_CHANGED: Follower._clock,
    Kind.DESTRUCTION_INTENT: Follower._intend,
    Kind.DESTRUCTION_CONFIRMED: Follower._confirm,
}
