"""Decide slices of a run: judge each record again, and let what must end do so in this commit.

The keys that die are marked in the transaction (``Vault.doom``); the writer's root switch ends
them with the commit. Whatever a hold, a minimum or a clock says at this moment counts: there is
no gap between the check and the act.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from appliance.context import Context, refuse
from appliance.disposal import decide_clock, decide_requests, gather, ledgering, numbers, scope
from appliance.disposal.commands import CutLost, Slice
from appliance.disposal.gather import Group
from appliance.disposal.judge import Judge
from appliance.disposal.limits import COUNTED_DAYS, SLICE_OPERATIONS, SPAN_DAYS, WIPED_RANGES
from appliance.disposal.replies import LostCut, SliceDone
from appliance.disposal.spread import spread
from appliance.disposal.state import Run
from appliance.messaging.model import Place
from appliance.operations import ConversationWiped, DayCount, DestructionIntent, Kind
from appliance.policy.decision import Outcome
from appliance.sites.authority import require_destruction
from store import merkle
from store.ids import AUDIT_STREAM, OpId, StreamKind
from store.oplog import Op
from store.tables import TIMELINE
from store.vault import AUDIT, Locator

if TYPE_CHECKING:
    from appliance.core import Core

EXPIRY: Final = "expiry"
RECALL: Final = "recall"
ORDER: Final = "order"
ERASURE: Final = "erasure"

HEADQUARTERS: Final = "headquarters"
"""What a branch destroys because headquarters ordered it."""

ORDERED: Final = {"destroy": ORDER, "erase": ERASURE}
"""Acts that end in a run, and the cause that its certificate names."""


_OF_PERSONS: Final = (StreamKind.PERSON, StreamKind.DEVICE)


@dataclass(slots=True)
class Piece:
    """What one slice has destroyed so far."""

    locators: list[Locator] = field(default_factory=list)
    parts: list[OpId] = field(default_factory=list)
    counts: Counter[tuple[str, int]] = field(default_factory=Counter)
    keys: dict[bytes, list[int]] = field(default_factory=lambda: defaultdict(list))
    records: int = 0
    held_back: int = 0
    groups: int = 0
    is_of_person: bool = False


def slice_(core: Core, ctx: Context, command: Slice) -> SliceDone:
    """Decide a slice; by the site alone. Codes: clock.unproven, site.lease, approval.*.

    Stops early when the records have more operations than fit: the reply's ``taken`` tells how
    many places were looked at.
    """
    assert ctx.actor.is_site, "only the site's own service cuts slices"
    require_destruction(ctx)
    proven_ms = decide_clock.proven_ms(core)
    if proven_ms is None:
        raise refuse("clock.unproven")
    allowed = _allowed(core, ctx, command)
    piece, taken, judge = Piece(), 0, Judge(core)
    for place in command.places:
        if len(piece.locators) >= SLICE_OPERATIONS:
            break
        taken += 1
        found = gather.group(core, ctx.txn, place)
        if found is None:
            continue
        if not _ends(core, ctx, judge, found, proven_ms, command, allowed):
            piece.held_back += 1
            continue
        destroy(core, ctx, judge, piece, found)
    if not piece.locators:
        return SliceDone(command.run, taken, 0, piece.held_back)
    records = tuple(piece.parts)
    for seed in ledgering.spent_seeds(core, ctx.txn):
        piece.parts.append(seed.id)
        piece.locators += gather.destroy(
            core, ctx.txn, Group((seed,)), keep_envelopes=False, now_ms=ctx.now
        )
    core.vault.doom(ctx.txn, piece.locators)
    run = record(core, ctx, command, piece)
    if allowed is not None:
        spread(core, ctx, run, records, is_of_person=piece.is_of_person)
    return SliceDone(run, taken, piece.records, piece.held_back)


def _allowed(core: Core, ctx: Context, command: Slice) -> set[Place] | None:
    """Return the records that an order may destroy; None for what needs no order."""
    if command.cause not in (ORDER, ERASURE):
        return None
    request = decide_requests.known(core, command.request, *ORDERED)
    request.approval.run(ctx.now, request.body.dry_run, request.body.records)
    return scope.order(ctx.txn, command.request)


def _ends(
    core: Core,
    ctx: Context,
    judge: Judge,
    found: Group,
    proven_ms: int,
    command: Slice,
    allowed: set[Place] | None,
) -> bool:
    cause = command.cause
    op = found.root
    if cause == ERASURE and op.stream.kind in _OF_PERSONS:
        return _is_erased(core, ctx, command.request, op)
    if core.retention_class(op) is None:
        return cause == EXPIRY and _is_swept(core, ctx, judge, op, proven_ms)
    place = (op.origin, op.id.seq)
    is_recalled = op.kind == Kind.MESSAGE and core.conversations.is_recalled(
        ctx.txn, ctx.read, place
    )
    is_requested = allowed is not None and place in allowed
    verdict = judge.judge(found, proven_ms, is_recalled=is_recalled, is_requested=is_requested)
    return verdict.outcome is Outcome.DESTROY


def _is_erased(core: Core, ctx: Context, number: int, op: Op) -> bool:
    """Tell whether an operation on a person or device goes with the person's erasure.

    Not while a hold names the person: it may need to know who they were.
    """
    request = decide_requests.known(core, number, "erase")
    (person,) = request.predicate.persons
    if any(person in hold.body.predicate.persons for hold in core.disposal.active_holds()):
        return False
    if op.stream.kind is StreamKind.PERSON:
        return op.stream.id == person
    return gather.is_device_of(core, ctx.txn, person, op.stream.id)


def _is_swept(core: Core, ctx: Context, judge: Judge, op: Op, proven_ms: int) -> bool:
    """Tell whether a control operation is superseded, and older than its conversation's class."""
    conversation = core.conversations.get(op.conversation)
    if conversation is None or not gather.is_superseded(core, ctx.txn, op):
        return False
    shortest = judge.policies.shortest_max_ms(conversation.retention_class)
    born_ms = core.disposal.born_hi(op.pos)
    return shortest is not None and born_ms is not None and born_ms + shortest <= proven_ms


def destroy(core: Core, ctx: Context, judge: Judge, piece: Piece, found: Group) -> None:
    """Take a record with all that goes with it out of log and views, and note it in ``piece``."""
    root = found.root
    number = core.retention_class(root)
    keeps = number is not None and judge.bounds(root).metadata == "keep"
    piece.groups += 1
    if number is not None:
        name = judge.policies.class_name(number)
        piece.counts[name, core.disposal.day_at(root.pos)] += 1
        piece.records += 1
    piece.locators += gather.destroy(
        core, ctx.txn, found, keep_envelopes=keeps and number != AUDIT, now_ms=ctx.now
    )
    if root.stream.kind in _OF_PERSONS:
        piece.is_of_person = True
        gather.drop_head(ctx.txn, root.feed)
    for op in found.ops:
        piece.parts.append(op.id)
        if op.in_timeline and op.conversation:
            piece.keys[op.conversation].append(op.key)


def record(core: Core, ctx: Context, command: Slice, piece: Piece) -> int:
    """Append what the slice did: to each conversation for its people, and to the audit."""
    known = core.disposal.runs.get(command.run)
    number = command.run if known is not None else numbers.take(ctx.txn, "run")
    for conversation_id, keys in piece.keys.items():
        _tell(core, ctx, number, conversation_id, keys)
    intent = _intent(core, ctx, command, piece, number, known)
    ctx.append(Kind.DESTRUCTION_INTENT, intent, stream=AUDIT_STREAM)
    return number


def _intent(
    core: Core, ctx: Context, command: Slice, piece: Piece, number: int, known: Run | None
) -> DestructionIntent:
    before = known.intent if known is not None else None
    scope_key = before.scope_key if before is not None else ctx.entropy.bytes(scope.KEY_BYTES)
    leaves = [scope.leaf(scope_key, part) for part in piece.parts]
    scope.put(ctx.txn, number, leaves)
    generation = core.vault.generation
    return DestructionIntent(
        number,
        before.piece + 1 if before else 1,
        command.cause,
        command.request,
        core.disposal.policies.number,
        scope_key,
        merkle.root(leaves),
        (before.parts if before else 0) + len(piece.parts),
        added(before.counts if before else (), piece.counts),
        (before.generations[0] if before else generation, generation),
        before.started_ms if before else ctx.now,
    )


def added(before: tuple[DayCount, ...], more: Counter[tuple[str, int]]) -> tuple[DayCount, ...]:
    """Add counts up; by spans of days where they would fill an operation."""
    counts = Counter(more)
    for each in before:
        counts[each.retention_class, each.day] += each.records
    if len(counts) > COUNTED_DAYS:
        spans: Counter[tuple[str, int]] = Counter()
        for (name, day), records in counts.items():
            spans[name, day - day % SPAN_DAYS] += records
        counts = spans
    return tuple(DayCount(*name, records) for name, records in sorted(counts.items()))


def _tell(core: Core, ctx: Context, run: int, conversation_id: bytes, keys: list[int]) -> None:
    """Append to a conversation which ranges of its timeline are gone."""
    conversation = core.conversations.get(conversation_id)
    if conversation is None:
        return
    ranges = list(_ranges(ctx, conversation.pseudonym, sorted(keys)))
    for start in range(0, len(ranges), WIPED_RANGES):
        body = ConversationWiped(run, tuple(ranges[start : start + WIPED_RANGES]))
        ctx.append(
            Kind.CONVERSATION_WIPED,
            body,
            stream=conversation.stream,
            conversation=conversation.id,
        )


def _ranges(ctx: Context, feed: int, keys: list[int]) -> Iterator[tuple[int, int]]:
    """Join neighbouring keys into ranges, as long as nothing between them survives."""
    first = last = keys[0]
    for key in keys[1:]:
        if _survives_between(ctx, feed, last, key):
            yield first, last
            first = key
        last = key
    yield first, last


def _survives_between(ctx: Context, feed: int, low: int, high: int) -> bool:
    rows = ctx.txn.range(TIMELINE.prefix(feed, low + 1), TIMELINE.prefix(feed, high), limit=1)
    return next(iter(rows), None) is not None


def bucketed(counts: Iterable[DayCount], below: int) -> tuple[DayCount, ...]:
    """Return counts as certificates tell them: small ones as 0, which stands for fewer."""
    return tuple(
        each if each.records >= below else DayCount(each.retention_class, each.day, 0)
        for each in counts
    )


def cut_lost(core: Core, ctx: Context, command: CutLost) -> LostCut:
    """Decide ``CutLost``: no record ends by it, so it is no destruction that anybody is told of."""
    del command
    return LostCut(core.vault.cut_lost(ctx.txn))


DECISIONS: Final[dict[type, Callable[[Any, Context, Any], Any]]] = {
    Slice: slice_,
    CutLost: cut_lost,
}
