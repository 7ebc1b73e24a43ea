"""Hold conversations and duties in memory, and write their views' rows.

``fold`` is the memory half: what current registers alone say. ``apply`` adds the rows and
what follows single messages. Both run in the writer's thread, inside its transaction, and put
memory back when that rolls back. Any thread may look things up: values are immutable, and
tables are only ever read by key or copied whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Final, TypeVar, cast

from appliance.messaging import membership, receipts, roots, targets, urgency, urgents
from appliance.messaging.membership import Membership
from appliance.messaging.model import (
    NO_ROOT,
    Conversation,
    Created,
    Duty,
    Front,
    Place,
    Root,
)
from appliance.messaging.recent import Recent
from appliance.messaging.urgency import Urgent
from appliance.operations import (
    BodyStruct,
    ConversationCreated,
    ConversationFiled,
    ConversationMember,
    ConversationSettings,
    ConversationTitle,
    DutyChain,
    DutyCreated,
    DutyHolder,
    Kind,
    Mark,
    Message,
)
from store.engine.contract import Reader
from store.engine.txn import Txn
from store.errors import IntegrityError
from store.feeds import FeedHead, believed_key
from store.ids import OpId, Stream, StreamKind
from store.logreader import LogReader
from store.oplog import Op
from store.streams import Streams
from store.tables import HEAD, MEMBER, MEMBER_OF, RECALLED, TARGET

Undo = Callable[[Callable[[], None]], None]
K = TypeVar("K")
V = TypeVar("V")

RECALLS: Final = 4_096
"""Messages of which it is remembered whether they were recalled."""

RECENT_SHARE: Final = 4
"""To look at a conversation costs so many times less than to look at a recent operation."""

_NO_FRONT: Final = Front(0, 0, None)
_NONE: Final[Mapping[bytes, int]] = {}
_KINDS: Final = frozenset(
    (
        *range(Kind.CONVERSATION_CREATED, Kind.DUTY_HOLDER + 1),
        Kind.CONVERSATION_WIPED,
        Kind.CONVERSATION_FILED,
    )
)
"""What moves a conversation or duty; the other rooms' kinds change nothing here."""


class Conversations:
    """Every conversation and duty of the site.

    ``tenant_secret`` is set when the site's secrets are opened; ids of direct conversations
    come from it.
    """

    def __init__(self, streams: Streams) -> None:
        self.streams = streams
        self.tenant_secret = b""
        self.is_own: Callable[[int], bool] = _always
        """Tells of an origin's number whether what comes from there was made at this site."""
        self.place: Callable[[OpId], Place | None] = _nowhere
        """Returns where an operation would be in this site's log; None for unknown origins."""
        self._conversations: dict[bytes, Conversation] = {}
        self._of_person: dict[bytes, Mapping[bytes, int]] = {}
        self._fronts: dict[int, Front] = {}
        self._recent = Recent()
        self._duties: dict[bytes, Duty] = {}
        self._duty_names: dict[str, bytes] = {}
        self._urgent: dict[Place, Urgent] = {}
        self._copies: dict[Place, Place] = {}
        self._got: dict[bytes, int] = {}
        self._recalled: dict[Place, bool] = {}

    def __len__(self) -> int:
        """Return how many conversations there are."""
        return len(self._conversations)

    def __contains__(self, conversation: bytes) -> bool:
        """Tell whether a conversation is known by its id."""
        return conversation in self._conversations

    # --- looking up, from any thread ------------------------------------------------------------

    def get(self, conversation: bytes) -> Conversation | None:
        """Return a conversation by its id."""
        return self._conversations.get(conversation)

    def ids(self) -> list[bytes]:
        """Return the ids of all conversations (a copy)."""
        return list(self._conversations)

    def classes_in_use(self) -> set[int]:
        """Return the retention classes that conversations have or had; O(conversations)."""
        used: set[int] = set()
        for each in list(self._conversations.values()):
            used.add(each.retention_class)
            used.update(number for number, _, _ in each.past_filings)
        return used

    def ever(self, person: bytes) -> Mapping[bytes, int]:
        """Return the conversations a person is or was in: id to pseudonym. Never changes."""
        return self._of_person.get(person, _NONE)

    def current(self, person: bytes) -> list[bytes]:
        """Return the conversations a person is in now; O(conversations of the person)."""
        table = self._conversations
        return [each for each in self.ever(person) if person in table[each].members]

    def front(self, feed: int) -> Front:
        """Return the newest position and key of a feed; may be ahead of what is committed."""
        return self._fronts.get(feed, _NO_FRONT)

    def moved(self, person: bytes, pos: int) -> list[bytes]:
        """Return the conversations ever joined with something newer than ``pos``.

        O(operations since then), or if there were many O(conversations of the person), 50 ns
        each: tuples are indexed on purpose.
        """
        fronts, ever = self._fronts, self.ever(person)
        feeds = self._recent.since(pos, len(ever) // RECENT_SHARE)
        if feeds is None:
            return [each for each, feed in ever.items() if fronts[feed][0] > pos]
        streams = filter(None, map(self.streams.stream, feeds))
        return [each.id for each in streams if ever.get(each.id) and fronts[ever[each.id]][0] > pos]

    def root(self, reader: Reader, read: targets.Read, feed: int) -> Root:
        """Return the newest messages of a conversation; looked up when not in memory."""
        root = self.front(feed).root
        return roots.look_up(reader, read, feed) if root is None else root

    def duty(self, duty: bytes) -> Duty | None:
        """Return a duty by its id."""
        return self._duties.get(duty)

    def duty_named(self, name: str) -> Duty | None:
        """Return a duty by its name, in any case."""
        return self._duties.get(self._duty_names.get(name.casefold(), b""))

    def duties(self) -> list[Duty]:
        """Return all duties, by name."""
        return sorted(self._duties.values(), key=lambda duty: duty.name)

    def in_memory(self) -> tuple[dict[bytes, Conversation], dict[bytes, Duty], dict[Place, Urgent]]:
        """Return conversations, duties and open urgent messages (copies), to be compared."""
        return dict(self._conversations), dict(self._duties), dict(self._urgent)

    # --- for the writer's decisions -------------------------------------------------------------

    def urgent(self, place: Place) -> Urgent | None:
        """Return the open urgent message at ``place``, or the one that was passed on there."""
        return self._urgent.get(self._copies.get(place, place))

    def open_urgent(self) -> list[Urgent]:
        """Return all urgent messages that are not confirmed."""
        return list(self._urgent.values())

    def known_root(self, txn: Txn, read: targets.Read, feed: int) -> Root:
        """Return the newest messages of a conversation and remember them."""
        front = self.front(feed)
        if front.root is not None:
            return front.root
        root = roots.look_up(txn, read, feed)
        _set(self._fronts, feed, front._replace(root=root), txn.on_rollback)
        return root

    def is_recalled(self, txn: Txn, read: targets.Read, root: Place) -> bool:
        """Tell whether a message was recalled; O(targets) the first time."""
        known = self._recalled.get(root)
        if known is None:
            known = targets.is_recalled(txn, read, root)
            self._remember_recall(root, known, txn.on_rollback)
        return known

    def got(self, person: bytes) -> int:
        """Return the position up to which a person's ``got`` was handled since the start."""
        return self._got.get(person, 0)

    def set_got(self, person: bytes, pos: int, undo: Undo) -> None:
        """Remember how far a person's ``got`` was handled."""
        _set(self._got, person, pos, undo)

    # --- following the log ----------------------------------------------------------------------

    def load(self, reader: Reader, log: LogReader) -> None:
        """Read what registers do not say: heads of feeds, and open urgent messages.

        O(streams); to be called once, after the registers were folded.
        """
        kinds = (StreamKind.CONVERSATION, StreamKind.DUTY)
        for key, value in reader.range(*HEAD.span()):
            (feed,) = HEAD.columns(key)
            stream = self.streams.stream(feed)
            if stream is not None and stream.kind in kinds:
                self._fronts[feed] = Front(*FeedHead.unpack(value), None)
        for urgent in urgents.load(reader, log, self):
            self._urgent[urgent.root] = urgent
            self._copies.update(dict.fromkeys(urgent.copies, urgent.root))

    def fold(self, op: Op, body: BodyStruct, undo: Undo | None) -> None:
        """Follow an operation in memory; other rooms' kinds change nothing.

        ``undo`` is None at load, when nobody reads yet and nothing is rolled back.
        """
        change = _FOLDS.get(op.kind)
        if change is not None:
            change(self, op, body, undo)

    def apply(self, txn: Txn, op: Op, body: BodyStruct) -> None:
        """Follow an operation in rows and memory; the log has written FEED, HEAD, TIMELINE."""
        if op.kind not in _KINDS:
            return
        if isinstance(body, ConversationMember):
            self.streams.ensure(txn, Stream(StreamKind.PERSON, body.person), op.received_ms)
        self.fold(op, body, txn.on_rollback)
        self._advance(op, txn.on_rollback)
        if op.target:
            self._note_target(txn, op)
        rows = _ROWS.get(op.kind)
        if rows is not None:
            rows(self, txn, op, body)

    def _advance(self, op: Op, undo: Undo) -> None:
        self._recent.note(op.pos, op.feed)
        front = self._fronts.get(op.feed)
        root: Root | None = None
        if front is None:
            front, root = _NO_FRONT, NO_ROOT
        elif front.root is not None:
            root = front.root
        if op.kind == Kind.MESSAGE and root is not None and not op.is_ahead:
            root = root.after(op.pos, op.key, op.actor)
        _set(
            self._fronts,
            op.feed,
            Front(max(front.pos, op.pos), max(front.key, believed_key(op)), root),
            undo,
        )

    def _note_target(self, txn: Txn, op: Op) -> None:
        root = self.place(OpId.unpack(op.target))
        if root is None:
            return
        txn.put(TARGET.key(*root, op.origin, op.id.seq), b"")
        if op.kind == Kind.RECALL:
            txn.put(RECALLED.key(op.feed, *root), b"")
            self._remember_recall(root, True, txn.on_rollback)

    def forget(self, txn: Txn, op: Op, read: targets.Read) -> None:
        """Take a message, or what targets one, out of rows and memory: it is being destroyed.

        FEED and TIMELINE are the log's to clear.
        """
        place = (op.origin, op.id.seq)
        if op.target:
            root = self.place(OpId.unpack(op.target))
            if root is not None:
                txn.delete(TARGET.key(*root, *place))
                if op.kind == Kind.RECALL:
                    self._forget_recall(txn, op.feed, root, read)
        if op.kind != Kind.MESSAGE:
            return
        txn.delete(RECALLED.key(op.feed, *place))
        followed = self._urgent.get(place)
        if followed is not None:
            self.put_urgent(txn, followed, None)
        if place in self._recalled:
            _drop(self._recalled, place, txn.on_rollback)
        front = self._fronts.get(op.feed)
        if front is not None and front.root is not None:
            _set(self._fronts, op.feed, front._replace(root=None), txn.on_rollback)

    def _forget_recall(self, txn: Txn, feed: int, root: Place, read: targets.Read) -> None:
        """Note that a message counts as recalled no more, if it survives its only recall."""
        key = RECALLED.key(feed, *root)
        if txn.get(key) is not None and not targets.is_recalled(txn, read, root):
            txn.delete(key)
            self._remember_recall(root, False, txn.on_rollback)

    def _remember_recall(self, root: Place, is_recalled: bool, undo: Undo) -> None:
        if len(self._recalled) >= RECALLS:
            self._recalled.pop(next(iter(self._recalled)))
        _set(self._recalled, root, is_recalled, undo)

    # --- rows of single kinds -------------------------------------------------------------------

    def _put_member(self, txn: Txn, op: Op, body: BodyStruct) -> None:
        assert isinstance(body, ConversationMember)
        conversation = self._conversations.get(op.stream.id)
        if conversation is None:
            return
        member = conversation.membership(body.person)
        assert member is not None
        txn.put(MEMBER.key(conversation.pseudonym, member.pseudonym), member.pack())
        txn.put(MEMBER_OF.key(member.pseudonym, conversation.pseudonym), b"")
        if not member.is_current:
            for urgent in self.open_urgent():
                if urgent.conversation == conversation.id and not urgent.duty:
                    self.put_urgent(txn, urgent, urgent.without(body.person))

    def _put_mark(self, txn: Txn, op: Op, body: BodyStruct) -> None:
        assert isinstance(body, Mark)
        person = self.streams.ensure(txn, Stream(StreamKind.PERSON, op.actor), op.received_ms)
        receipt = receipts.get(txn, op.feed, person)
        advance = receipt.read if op.kind == Kind.READ else receipt.delivered
        receipts.put(txn, op.feed, person, advance(body.upto, body.seen, op.received_ms))

    def _put_message(self, txn: Txn, op: Op, body: BodyStruct) -> None:
        message = cast("Message", body)
        if op.late:
            receipts.note_late(txn, op.feed, op.pos)
        if message.priority != "normal":
            urgents.follow_message(txn, self, op, message)

    def put_urgent(self, txn: Txn, before: Urgent | None, after: Urgent | None) -> None:
        """Replace the state of an urgent message, in memory and in its row."""
        known = before or after
        assert known is not None
        if before is not None:
            txn.delete(before.row_key())
            if after is None:
                _drop(self._urgent, before.root, txn.on_rollback)
                for copy in before.copies:
                    _drop(self._copies, copy, txn.on_rollback)
        if after is not None:
            if not self.is_own(after.root[0]):
                after = replace(after, due_ms=urgency.ELSEWHERE_MS)
            txn.put(*after.row())
            _set(self._urgent, after.root, after, txn.on_rollback)
            for copy in after.copies[-1:]:
                _set(self._copies, copy, after.root, txn.on_rollback)

    # --- folds of single kinds ------------------------------------------------------------------

    def _fold_created(self, op: Op, body: BodyStruct, undo: Undo | None) -> None:
        assert isinstance(body, ConversationCreated)
        created = Created(op.id, op.key, op.pos, op.received_ms)
        known = self._conversations.get(op.stream.id)
        if known is not None:  # two sites began the same direct conversation: the first one did
            changed_key = max(op.key, known.changed_key)
            conversation = replace(known, created=created, changed_key=changed_key)
        else:
            conversation = Conversation(
                op.stream,
                op.pseudonym,
                body.kind,
                body.retention_class,
                created,
                op.key,
                labels=body.labels,
            )
        _set(self._conversations, op.stream.id, conversation, undo)

    def _fold_title(self, op: Op, body: BodyStruct, undo: Undo | None) -> None:
        assert isinstance(body, ConversationTitle)
        conversation = self._conversations.get(op.stream.id)
        if conversation is not None:
            first = body.title if body.opening else ""
            changed = replace(conversation, title=body.title, first_title=first)
            _set(self._conversations, op.stream.id, changed, undo)

    def _fold_settings(self, op: Op, body: BodyStruct, undo: Undo | None) -> None:
        assert isinstance(body, ConversationSettings)
        conversation = self._conversations.get(op.stream.id)
        if conversation is not None:
            archived_pos = op.pos if body.archived else 0
            changed = replace(
                conversation,
                archived=body.archived,
                history=body.history,
                archived_pos=archived_pos,
            )
            _set(self._conversations, op.stream.id, changed, undo)

    def _fold_filed(self, op: Op, body: BodyStruct, undo: Undo | None) -> None:
        assert isinstance(body, ConversationFiled)
        conversation = self._conversations.get(op.stream.id)
        if conversation is not None:
            changed = replace(
                conversation,
                retention_class=body.retention_class,
                labels=body.labels,
                past_filings=body.past,
                case_closed_pos=op.pos if body.case_closed_ms else 0,
            )
            _set(self._conversations, op.stream.id, changed, undo)

    def _fold_member(self, op: Op, body: BodyStruct, undo: Undo | None) -> None:
        assert isinstance(body, ConversationMember)
        conversation = self._conversations.get(op.stream.id)
        if conversation is None:
            return
        pseudonym = self.streams.pseudonym(Stream(StreamKind.PERSON, body.person))
        if pseudonym is None:
            raise IntegrityError("a member without a pseudonym")
        member = membership.from_operation(body, op.key, op.pos, pseudonym)
        changed = _with_member(conversation, member, op.key, is_shared=undo is not None)
        _set(self._conversations, op.stream.id, changed, undo)
        known = self.ever(body.person)
        if op.stream.id not in known:
            joined = {**known, op.stream.id: conversation.pseudonym}
            _set(self._of_person, body.person, joined, undo)

    def _fold_duty(self, op: Op, body: BodyStruct, undo: Undo | None) -> None:
        known = self._duties.get(op.stream.id)
        duty = _changed_duty(known, op, body)
        if duty is None:
            return
        _set(self._duties, duty.id, duty, undo)
        if known is None:
            _set(self._duty_names, duty.name.casefold(), duty.id, undo)


def _always(origin: int) -> bool:
    del origin
    return True


def _nowhere(op_id: OpId) -> Place | None:
    del op_id
    return None


def _with_member(
    conversation: Conversation, member: Membership, key: int, *, is_shared: bool
) -> Conversation:
    """Return the conversation with one membership changed.

    The tables of members are copied when others may be reading them.
    """
    members = dict(conversation.members) if is_shared else conversation.members
    former = dict(conversation.former) if is_shared else conversation.former
    assert isinstance(members, dict)
    assert isinstance(former, dict)
    members.pop(member.person, None)
    former.pop(member.person, None)
    (members if member.is_current else former)[member.person] = member
    changed_key = max(key, conversation.changed_key)
    return replace(conversation, members=members, former=former, changed_key=changed_key)


def _changed_duty(known: Duty | None, op: Op, body: BodyStruct) -> Duty | None:
    if isinstance(body, DutyCreated):
        return known or Duty(op.stream.id, op.pseudonym, body.name, body.title)
    if known is None:
        return None
    if isinstance(body, DutyChain):
        return replace(known, chain=body.chain, step_seconds=body.step_seconds)
    assert isinstance(body, DutyHolder)
    return replace(known, holder=body.holder)


def _set(table: dict[K, V], key: K, value: V, undo: Undo | None) -> None:
    """Set an entry; values are never None."""
    if undo is not None:
        undo(partial(_restore, table, key, table.get(key)))
    table[key] = value


def _drop(table: dict[K, V], key: K, undo: Undo) -> None:
    undo(partial(_restore, table, key, table.pop(key, None)))


def _restore(table: dict[K, V], key: K, value: V | None) -> None:
    if value is None:
        table.pop(key, None)
    else:
        table[key] = value


_FOLDS: Final[dict[int, Callable[[Conversations, Op, BodyStruct, Undo | None], None]]] = {
    Kind.CONVERSATION_CREATED: Conversations._fold_created,
    Kind.CONVERSATION_TITLE: Conversations._fold_title,
    Kind.CONVERSATION_MEMBER: Conversations._fold_member,
    Kind.CONVERSATION_SETTINGS: Conversations._fold_settings,
    Kind.CONVERSATION_FILED: Conversations._fold_filed,
    Kind.DUTY_CREATED: Conversations._fold_duty,
    Kind.DUTY_CHAIN: Conversations._fold_duty,
    Kind.DUTY_HOLDER: Conversations._fold_duty,
}

FOLDED: Final = frozenset(_FOLDS)
"""Kinds whose registers ``fold`` needs at load; those of other kinds need not be opened."""

_ROWS: Final[dict[int, Callable[[Conversations, Txn, Op, BodyStruct], None]]] = {
    Kind.CONVERSATION_MEMBER: Conversations._put_member,
    Kind.MESSAGE: Conversations._put_message,
    Kind.READ: Conversations._put_mark,
    Kind.DELIVERED: Conversations._put_mark,
    Kind.CONFIRM: urgents.follow_confirm,
    Kind.RECALL: urgents.follow_recall,
    Kind.ESCALATION: urgents.follow_escalation,
}
