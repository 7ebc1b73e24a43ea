"""Join the log, the directory and the conversations into one state machine.

Everything that changes anything is one path: a command is decided in the write transaction,
what it decides is appended to the log, and rows and memory follow at once. The same ``apply``
rebuilds the views from the log, which is how ``check`` proves that they agree.
"""

from __future__ import annotations

import struct
from collections import ChainMap
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

import msgspec
import nacl.signing

from appliance import backup_age, collector, health
from appliance.context import Actor, Context, Outcome
from appliance.directory import decide as directory_decide
from appliance.directory.state import Directory
from appliance.disposal import calendar
from appliance.disposal.decide import DECISIONS as DISPOSAL
from appliance.disposal.decide_end import DECIDED, STILL_DECIDED
from appliance.disposal.judge import Judge
from appliance.disposal.state import Disposal
from appliance.messaging import DECISIONS as MESSAGING
from appliance.messaging.answers import DESTROYED
from appliance.messaging.state import Conversations
from appliance.messaging.timeline import IsOver, never_over
from appliance.operations import (
    SPECS,
    BodyStruct,
    ConversationFiled,
    Kind,
    Mark,
    PersonProfile,
    PersonRoles,
    SecretSlot,
    SiteSecret,
    SiteSucceeds,
    decode,
    encode,
)
from appliance.policy.clock import Reading
from appliance.sites import (
    decide_lease,
    decide_sites,
    leaving,
    link_decisions,
    peers,
    proofs,
    settling,
)
from appliance.sites.reach import is_only_kept
from appliance.sites.registry import Sites
from store import cursors, feeds, heads
from store.engine.contract import Reader
from store.engine.txn import Txn
from store.errors import FormatError, IntegrityError, PartGoneError
from store.fence import Fence
from store.ids import SITE_STREAM, OpId, Stream, StreamKind
from store.ledger import Ledger
from store.logreader import LogReader
from store.oplog import Draft, Op, OpClass, OpLog
from store.ports import Clock, Entropy
from store.streams import Streams
from store.tables import FEED, IDEMPOTENCY, REGISTER
from store.vault import AUDIT, CONTROL, Vault
from sync.pieces import Lane
from transports.wire.errors import Refusal

SECRET_BYTES: Final = 32

_BEGINNINGS: Final = frozenset({Kind.CONVERSATION_CREATED, Kind.DUTY_CREATED})
"""What has to be folded before all else at load: a later one of another site may have won."""

_MARKS: Final = frozenset({Kind.READ, Kind.DELIVERED})
"""Registers of which memory holds nothing: there are many, and their rows say enough."""

_OP_PLACE = struct.Struct(">IQ")
_IDEMPOTENCY_ROW = struct.Struct(">IQB")

_ITEM_STREAMS = {
    "person": StreamKind.PERSON,
    "actor": StreamKind.PERSON,
    "device": StreamKind.DEVICE,
    "invite": StreamKind.DEVICE,
}

DECISIONS: dict[type, Callable[[Context, Any], Any]] = {
    **directory_decide.DECISIONS,
    **MESSAGING,
    **health.DECISIONS,
    **backup_age.DECISIONS,
    **decide_sites.DECISIONS,
    **decide_lease.DECISIONS,
    **peers.DECISIONS,
}
"""Every command that can be decided, and the function that decides it."""


_WEIGHTY: Final[Mapping[type, Callable[[Any, Context, Any], Any]]] = ChainMap(
    DISPOSAL,
    link_decisions.DECISIONS,
    proofs.DECISIONS,
    leaving.DECISIONS,
    decide_lease.WEIGHTY,
    settling.DECISIONS,
)
"""Decisions that get the core itself."""


class Core:
    """The site's state: log, views and what is opened into memory.

    ``decide`` and ``append`` belong to the writer's thread; reading is safe from any.
    """

    def __init__(self, vault: Vault, streams: Streams, entropy: Entropy) -> None:
        self.vault = vault
        self.streams = streams
        self.entropy = entropy
        self.directory = Directory()
        self.disposal = Disposal()
        self.conversations = Conversations(streams)
        self.sites = Sites(self.directory)
        self.conversations.is_own = self.is_own
        self.conversations.place = self.place_of
        self.site_name = ""
        self.secrets: dict[int, bytes] = {}
        self._signing_key: nacl.signing.SigningKey | None = None
        self._machine: Clock | None = None
        self._read_log: LogReader | None = None
        self.log: OpLog

    # --- birth and start ------------------------------------------------------------------------

    @classmethod
    def create(
        cls, txn: Txn, vault: Vault, fence: Fence, entropy: Entropy, signing_seed: bytes
    ) -> Core:
        """Begin a new site's log in ``txn``; its first operations are for the caller to append."""
        core = cls(vault, Streams(vault, entropy), entropy)
        core._signing_key = nacl.signing.SigningKey(signing_seed)
        core.log = OpLog.create(
            txn,
            vault,
            core.streams,
            fence,
            entropy=entropy,
            sign=core.sign,
            verify_key=bytes(core._signing_key.verify_key),
        )
        core.sites.node = core.log.node
        return core

    @classmethod
    def open(cls, txn: Txn, vault: Vault, fence: Fence, entropy: Entropy) -> Core:
        """Open a site and load its memory; commit ``txn`` before anything else is written.

        O(streams + registers): names, roles, devices, titles and members are opened.
        """
        with collector.paused():
            core = cls(vault, Streams.load(txn, vault, entropy), entropy)
            core.log = OpLog.open(txn, vault, core.streams, fence, entropy=entropy, sign=core.sign)
            core.sites.node = core.log.node
            core._load(txn)
        return core

    def read_through(self, log: LogReader) -> None:
        """Take a log to look things up in, where views are rebuilt and nothing is appended."""
        self._read_log = log
        self.sites.node = next(row.origin.node for row in log.origins.values() if row.is_own)

    def succeed(self, txn: Txn, reason: str, now_ms: int) -> None:
        """Say in a new incarnation which one it follows: the first leaf of its ledger.

        To be called once after ``OpLog.renew``, before anything else is appended.
        """
        own = sorted(number for number, row in self.log.origins.items() if row.is_own)
        if len(own) < 2:
            return
        if self.sites.is_branch:
            settling.suspect_earlier(self, txn)
        before = Ledger.open(txn, own[-2])
        incarnation = self.log.origins[own[-2]].origin.incarnation
        body = SiteSucceeds(incarnation, before.size, before.root(), reason)
        draft = Draft(
            Kind.SITE_SUCCEEDS, OpClass.PRIVILEGED, SITE_STREAM, CONTROL, body=encode(body)
        )
        self.append(txn, draft, body, now_ms)

    def wake(self, machine: Clock) -> None:
        """Take the machine's clock, and go on with proven time from what the log says."""
        self._machine = machine
        self.disposal.wake(self.reading())

    def reading(self) -> Reading:
        """Return what the machine's clocks say now."""
        assert self._machine is not None, "wake comes first"
        machine = self._machine
        return Reading(machine.wall_ms(), machine.boot(), machine.uptime_ms())

    def sign(self, data: bytes) -> bytes:
        """Sign with the site's Ed25519 key (20 us)."""
        if self._signing_key is None:
            raise IntegrityError("the site's signing key is not open")
        return bytes(self._signing_key.sign(data).signature)

    def _load(self, reader: Reader) -> None:
        places = {
            _OP_PLACE.unpack(value)
            for key, value in reader.range(*REGISTER.span())
            if REGISTER.columns(key)[1] not in _MARKS
        }
        ops = [self.log.read(reader, origin, seq) for origin, seq in places]
        for op in sorted(ops, key=lambda op: (op.kind not in _BEGINNINGS, op.pos)):
            self._fold(op, self.body_of(op))
        self.conversations.load(reader, self.log)
        self.disposal.load(reader)
        self.sites.load(reader)

    # --- decisions ------------------------------------------------------------------------------

    def decide(self, txn: Txn, actor: Actor, command: Any, now_ms: int) -> Outcome:
        """Decide one command; raises ``Refusal``, and the store's errors.

        Whatever was appended is in ``txn``; the caller rolls back when this raises.
        """
        if self.disposal.decommissioned is not None and type(command) not in STILL_DECIDED:
            raise Refusal(DECIDED)
        if actor.device and self.directory.is_void(actor.person, actor.device, now_ms):
            raise Refusal("auth.revoked")
        context = Context(
            txn,
            actor,
            now_ms,
            self.directory,
            self.conversations,
            self.sites,
            self.entropy,
            self.append,
            lambda origin, seq: self.log.read(txn, origin, seq),
            self.reading,
            self.disposal.anchored_ms,
        )
        decision = DECISIONS.get(type(command))
        if decision is not None:
            return Outcome(decision(context, command), tuple(context.ops))
        weighty = _WEIGHTY.get(type(command))
        if weighty is None:
            raise Refusal("request.unknown")
        return Outcome(weighty(self, context, command), tuple(context.ops))

    def append(self, txn: Txn, draft: Draft, body: BodyStruct, now_ms: int) -> Op:
        """Append one operation and let rows and memory follow."""
        if self.sites.is_branch:
            seen = cursors.get(txn, cursors.PEER, Lane.CONTROL)
            draft = msgspec.structs.replace(draft, seen=seen)
        if draft.kind == Kind.SITE_INVITED:
            self.log.keep_order(txn)
        op = self.log.append(txn, draft, now_ms)
        self.apply(txn, op, body)
        return op

    def body_of(self, op: Op) -> BodyStruct:
        """Read an operation's body, with what it says of positions as it holds here."""
        return self.localised(op, decode_body(op))

    def heeds(self, op: Op) -> bool:
        """Tell whether an operation of this kind is acted on, be it made here or elsewhere.

        One of a newer build is kept until this one is upgraded.
        """
        return op.kind in SPECS and (self.is_own(op.origin) or not is_only_kept(op.kind))

    def localised(self, op: Op, body: BodyStruct) -> BodyStruct:
        """Return a body whose positions are those of this site, whatever site it is of.

        Positions of another site mean nothing here. What it says has been until some position is
        taken to have been until now: records are rather kept too long than not long enough. What
        another site's reader had seen is taken to be all that had come here by then.
        """
        if self.is_own(op.origin):
            return body
        if isinstance(body, Mark):
            return msgspec.structs.replace(body, seen=op.pos)
        if isinstance(body, PersonProfile | PersonRoles):
            past = tuple((each, 0) for each, _ in body.past)
            return msgspec.structs.replace(body, past=past)
        if isinstance(body, ConversationFiled):
            until = tuple((number, labels, op.pos - 1) for number, labels, _ in body.past)
            return msgspec.structs.replace(body, past=until)
        return body

    def apply(self, txn: Txn, op: Op, body: BodyStruct) -> None:
        """Write the views' rows of an operation and fold it into memory."""
        now_ms = op.received_ms
        spec = SPECS[op.kind]
        if spec.is_register:
            item = self._item(txn, spec.item, op, body, now_ms)
            place = _OP_PLACE.pack(op.origin, op.id.seq)
            txn.put(REGISTER.key(op.pseudonym, op.kind, item), place)
        if op.counter:
            device = self.streams.ensure(txn, Stream(StreamKind.DEVICE, op.device), now_ms)
            row = _IDEMPOTENCY_ROW.pack(op.origin, op.id.seq, 0)
            txn.put(IDEMPOTENCY.key(device, op.counter), row)
        if op.kind == Kind.CONVERSATION_FILED:
            self._refile(txn, op, body)
        is_new = op.kind == Kind.CONVERSATION_CREATED and op.stream.id not in self.conversations
        self._fold(op, body, txn)
        self.sites.fold(op, body, txn.on_rollback)
        self.directory.apply(txn, op, body)
        self.conversations.apply(txn, op, body)
        self.disposal.apply(txn, op, body)
        self._count(txn, op, 1)
        if is_new and not self.is_own(op.origin):
            self._catch_up(txn, op)

    def _catch_up(self, txn: Txn, created: Op) -> None:
        """Let everything have its effect that came from other sites before its conversation did.

        O(operations of the conversation that are here); most often that is none.
        """
        before = FEED.key(created.feed, 0), FEED.key(created.feed, created.pos)
        for _, value in txn.range(*before):
            origin, seq, _key = feeds.FEED_ROW.unpack(value)
            try:
                op = (self._read_log or self.log).read(txn, origin, seq)
            except PartGoneError:
                continue
            if op.body is not None and op.kind in SPECS:
                self.conversations.apply(txn, op, self.body_of(op))
                self._count(txn, op, 1)

    def forget(self, txn: Txn, op: Op) -> None:
        """Take an operation that is being destroyed out of rows and memory.

        LOG, FEED and TIMELINE are the store's to clear. A retry of its command is told that it
        was destroyed.
        """
        key = self.register_key(op)
        if key is not None and txn.get(key) == _OP_PLACE.pack(op.origin, op.id.seq):
            txn.delete(key)
        if op.counter:
            device = self.streams.pseudonym(Stream(StreamKind.DEVICE, op.device))
            if device is not None:
                row = _IDEMPOTENCY_ROW.pack(op.origin, op.id.seq, DESTROYED)
                txn.put(IDEMPOTENCY.key(device, op.counter), row)
        self._count(txn, op, -1)
        self.directory.forget(txn, op)
        self.conversations.forget(txn, op, partial(self.log.read, txn))
        self.disposal.forget(txn, op)

    def register_key(self, op: Op) -> bytes | None:
        """Return the key of the register that an operation sets; None when it sets none."""
        if op.body is None or not SPECS[op.kind].is_register:
            return None
        return self.register_of(op.kind, op.stream, op.actor, decode_body(op))

    def register_of(
        self, kind: int, stream: Stream, actor: bytes, body: BodyStruct
    ) -> bytes | None:
        """Return the key of a register; None when the kind has none, or nothing ever set it."""
        spec = SPECS[kind]
        pseudonym = self.streams.pseudonym(stream)
        if not spec.is_register or pseudonym is None:
            return None
        item = 0
        if spec.item:
            value = actor if spec.item == "actor" else getattr(body, spec.item)
            if isinstance(value, int):
                item = value
            else:
                known = self.streams.pseudonym(Stream(_ITEM_STREAMS[spec.item], value))
                if known is None:
                    return None
                item = known
        return REGISTER.key(pseudonym, kind, item)

    def retention_class(self, op: Op) -> int | None:
        """Return the class whose calendar counts an operation; None when no age ends it.

        Messages count in their conversation's present class, entries of the audit in theirs.
        What targets a message goes with it, whatever its own age.
        """
        if op.kind == Kind.MESSAGE and not op.target:
            conversation = self.conversations.get(op.conversation)
            return None if conversation is None else conversation.retention_class
        if SPECS[op.kind].retention_class == AUDIT:
            return AUDIT
        return None

    def _count(self, txn: Txn, op: Op, change: int) -> None:
        number = self.retention_class(op)
        if number is not None:
            day = self.disposal.day_at(op.pos)
            calendar.note(txn, number, day, op.feed, change)

    def _refile(self, txn: Txn, op: Op, body: BodyStruct) -> None:
        """Let the calendar follow a conversation into another class, before memory does."""
        assert isinstance(body, ConversationFiled)
        known = self.conversations.get(op.stream.id)
        if known is not None:
            first = 0 if known.is_direct else known.created.pos
            days = self.disposal.days_between(first, op.pos)
            calendar.move(txn, op.feed, known.retention_class, body.retention_class, days)

    def _item(self, txn: Txn, item: str, op: Op, body: BodyStruct, now_ms: int) -> int:
        if not item:
            return 0
        value = op.actor if item == "actor" else getattr(body, item)
        if isinstance(value, int):
            return value
        return self.streams.ensure(txn, Stream(_ITEM_STREAMS[item], value), now_ms)

    def _fold(self, op: Op, body: BodyStruct, txn: Txn | None = None) -> None:
        """Fold what belongs to the site itself; with no transaction, everything (at load)."""
        if op.kind == Kind.SITE_SECRET:
            assert isinstance(body, SiteSecret)
            self._adopt(body)
        elif op.kind == Kind.SITE_CREATED:
            self.site_name = str(getattr(body, "name", ""))
        if txn is None:
            self.directory.fold(op, body, None)
            self.conversations.fold(op, body, None)
            self.sites.fold(op, body, None)
            self.disposal.fold(op, body, None)

    def _adopt(self, secret: SiteSecret) -> None:
        self.secrets[secret.slot] = secret.value
        if secret.slot == SecretSlot.SIGNING_SEED:
            self._signing_key = nacl.signing.SigningKey(secret.value)
        elif secret.slot == SecretSlot.TENANT:
            self.conversations.tenant_secret = secret.value

    def is_own(self, origin: int) -> bool:
        """Tell whether what comes from an origin was made at this site."""
        return (self._read_log or self.log).is_own(origin)

    def place_of(self, op_id: OpId) -> tuple[int, int] | None:
        """Return where an operation would be in this site's log; None for unknown origins."""
        return (self._read_log or self.log).place_of(op_id)

    def place_in(self, value: bytes) -> tuple[int, int]:
        """Read a REGISTER row's value: origin number and seq of the newest operation."""
        origin, seq = _OP_PLACE.unpack(value)
        return origin, seq

    def is_over(self) -> IsOver:
        """Return what tells of messages that they have reached their end, as of this moment.

        By the clock for readers, so that a record is read no more from its maximum on, also
        before its destruction comes to it; what is held stays readable.
        """
        if not self.disposal.policies.current.rules:
            return never_over
        judge, reading_ms = Judge(self), self.disposal.clock.reading_ms(self.reading())
        return lambda op: judge.is_over(op, reading_ms)

    # --- for the gateway and the checks ---------------------------------------------------------

    @property
    def incarnation(self) -> str:
        """The incarnation as clients are told it."""
        return f"{self.log.head.incarnation:016x}"

    def applied(self, reader: Reader) -> int:
        """Return the newest position in ``reader``'s view; one get."""
        return heads.newest_pos(reader)


def decode_body(op: Op) -> BodyStruct:
    """Read an operation's body.

    Raises ``FormatError`` for a kind or body this build does not know.
    """
    try:
        return decode(op.kind, op.body or b"")
    except (ValueError, KeyError):
        raise FormatError("an operation of a kind this build does not know") from None


__all__ = ["DECISIONS", "Core", "SecretSlot", "decode_body"]
