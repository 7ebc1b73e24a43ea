"""Decide who reads records that are not theirs: two people's word, and a trace of each record.

A page of an export, or one reconstruction, is a signed command. Its decision finds what is
meant and appends one ``privileged.read`` for each record, a leaf of the ledger; what the
records say is gathered once that is durable (``appliance.evidence.bundle``). So nothing is
shown whose showing could not be written down. The signature, with the reason in it, stands in
the first of the page's operations.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Protocol

from appliance.context import Context
from appliance.directory import rights
from appliance.directory.commands import Command
from appliance.directory.limits import REASON_CHARACTERS
from appliance.directory.model import Person
from appliance.directory.names import clean_text
from appliance.directory.requests import canonical_json
from appliance.directory.roles import AUDITOR, SECURITY_OFFICER
from appliance.disposal.commands import Selection
from appliance.evidence import cursors, lines, selection
from appliance.evidence.cursors import Cursor, Phase, Position, Tally
from appliance.evidence.limits import PAGE_RECORDS
from appliance.evidence.walk import Found, Sight, Walked, Walker
from appliance.messaging.model import Conversation
from appliance.messaging.timeline import Entry
from appliance.operations import UNSIGNED, Kind, PrivilegedRead
from appliance.policy.predicate import Predicate
from appliance.sites.authority import require_lease
from appliance.sites.lease import Act
from store import origins
from store.errors import PartGoneError
from store.ids import AUDIT_STREAM, OP_ID_BYTES, OpId
from store.oplog import Op, UnknownOpError
from transports.wire.errors import Refusal

READERS: Final = frozenset((SECURITY_OFFICER, AUDITOR))
"""Who may ask for records that are not theirs; a second person must have agreed."""

EXPORT: Final = "export"
RECONSTRUCT: Final = "reconstruct"


class Authority(Protocol):
    """Tells what two people have agreed may be read."""

    def __call__(self, ctx: Context, request: int) -> Predicate:
        """Return the predicate of an approved review, by its request number.

        Raises ``Refusal`` when there is no such request, or it is not approved, expired,
        closed, or not for the acting person. A request stays good for many pages.
        """
        ...


class Page(Command, frozen=True):
    """Show the next records of an export.

    ``request`` numbers the approved review; a record must match that, and ``selection`` where
    it has any field: people count who wrote it or were there.
    ``after`` is the cursor of the page before, empty at the start. With ``by_day`` a page
    holds records of one conversation and day only, and tells anew who was there.
    """

    request: int
    selection: Selection = Selection()
    after: str = ""
    limit: int = PAGE_RECORDS
    by_day: bool = False
    reason: str = ""


class Reconstruct(Command, frozen=True):
    """Show one message, by its id in hex or that of an edit of it, with all its versions."""

    message: str
    request: int
    reason: str = ""


REQUESTS: Final[dict[str, type[Command]]] = {
    "evidence.page": Page,
    "evidence.reconstruct": Reconstruct,
}
"""Signed requests by name."""

_NAMES: Final = {kind: name for name, kind in REQUESTS.items()}


@dataclass(frozen=True, slots=True)
class Selected:
    """What a page is to show; it holds no content yet. ``cursor`` is that of its start.

    ``position`` is where the next page begins. ``started_ms`` in Unix ms, 0 but for the first
    page, which begins with a header.
    """

    command: Page
    person: bytes
    asked: Predicate
    approved: Predicate
    cursor: Cursor
    found: tuple[Found, ...]
    position: Position
    started_ms: int


@dataclass(frozen=True, slots=True)
class Chosen:
    """The one message that is to be reconstructed."""

    found: Found


def decide_page(
    ctx: Context, command: Page, *, authority: Authority, sight: Sight | None = None
) -> Selected:
    """Decide ``Page``; O(records and messages walked).

    ``sight`` is what of the log is seen; None: what the log shows everybody.

    Raises ``Refusal``: "permission.denied" without the role, "request.signature",
    "evidence.cursor" for a cursor that is not this export's, and what ``authority`` and
    ``selection.resolve`` raise.
    """
    person = _entitled(ctx, command)
    if command.limit < 1:
        raise Refusal("request.invalid")
    approved = authority(ctx, command.request)
    asked = selection.resolve(command.selection, ctx.directory, ctx.conversations)
    binding = _binding(command, person)
    trace = _Trace(ctx, EXPORT, command.request)
    if command.after:
        keys = [row.verify_key for row in origins.load(ctx.txn).values() if row.is_own]
        cursor = cursors.read(command.after, keys, binding)
    else:
        start = Position(Phase.RECORDS)
        horizon = trace.note(b"").pos
        cursor = Cursor(binding, horizon, start, Tally(), lines.CHAIN_START, "")
    walked = _walk(ctx, command, selection.both(approved, asked), cursor, sight or Sight(ctx.read))
    for each in walked.found:
        if each.is_there:
            trace.note(each.entry.id.pack())
    started_ms = 0 if command.after else ctx.now
    return Selected(command, person.id, asked, approved, cursor, *walked, started_ms)


def decide_reconstruct(
    ctx: Context, command: Reconstruct, *, authority: Authority, sight: Sight | None = None
) -> Chosen:
    """Decide ``Reconstruct``.

    Raises ``Refusal``: as ``decide_page``, "message.unknown", and "evidence.scope" for a
    message that the request does not cover; ``PartGoneError`` when it is destroyed or over.
    """
    _entitled(ctx, command)
    approved = authority(ctx, command.request)
    sight = sight or Sight(ctx.read)
    op, known = _message(ctx, sight, command.message)
    if op.body is None:
        raise PartGoneError("the message is destroyed")
    entry = Entry(op.key, op.id, op.origin, op.pos)
    view = (ctx.txn, sight, ctx.directory, ctx.conversations)
    found = Walker(*view, (approved,), op.pos + 1).match(known, entry)
    if found is None:
        raise Refusal("evidence.scope")
    if not found.is_there:
        raise PartGoneError("the message has reached its end")
    _Trace(ctx, RECONSTRUCT, command.request).note(op.id.pack())
    return Chosen(found)


def _walk(
    ctx: Context,
    command: Page,
    wanted: tuple[Predicate, ...],
    cursor: Cursor,
    sight: Sight,
) -> Walked:
    """Return the page's records; none once they have all been shown."""
    if cursor.position.phase is not Phase.RECORDS:
        return Walked((), cursor.position)
    view = (ctx.txn, sight, ctx.directory, ctx.conversations)
    walker = Walker(*view, wanted, cursor.horizon)
    limit = min(command.limit, PAGE_RECORDS)
    return walker.page(cursor.position, limit, by_day=command.by_day)


class _Trace:
    """Notes what one command shows; the signature goes into the first of its operations."""

    def __init__(self, ctx: Context, what: str, request: int) -> None:
        self._ctx = ctx
        self._what = what
        self._request = request
        self._signed = ctx.actor.signed

    def note(self, target: bytes) -> Op:
        """Append one privileged read; ``target`` is a packed OpId, or empty for the start."""
        body = PrivilegedRead(self._what, target, self._request, self._signed)
        self._signed = UNSIGNED
        return self._ctx.append(Kind.PRIVILEGED_READ, body, stream=AUDIT_STREAM)


def _entitled(ctx: Context, command: Page | Reconstruct) -> Person:
    """Return who asks; raises ``Refusal`` without the role, the signature or a plain reason."""
    person = rights.acting(ctx)
    if ctx.sites.offices(person).isdisjoint(READERS):
        raise Refusal("permission.denied")
    rights.check_signature(ctx, person, _NAMES[type(command)], command)
    clean_text(command.reason, REASON_CHARACTERS)
    if isinstance(command, Page):
        require_lease(ctx, Act.EXPORT)
    return person


def _binding(command: Page, person: Person) -> bytes:
    """Return the hash of what is asked for and by whom: the same on every page of an export."""
    asked = (person.id.hex(), command.request, command.by_day, command.selection)
    return sha256(canonical_json(asked).encode()).digest()


def _message(ctx: Context, sight: Sight, name: str) -> tuple[Op, Conversation]:
    """Return a message by its own name or that of an operation on it."""
    op = _operation(ctx, sight, name)
    if op.target and not op.in_timeline:
        op = _operation(ctx, sight, op.target.hex())
    known = ctx.conversations.get(op.conversation)
    if op.kind != Kind.MESSAGE or known is None:
        raise Refusal("message.unknown")
    return op, known


def _operation(ctx: Context, sight: Sight, name: str) -> Op:
    try:
        packed = bytes.fromhex(name)
    except ValueError:
        packed = b""
    place = None
    if len(packed) == OP_ID_BYTES:
        place = ctx.conversations.place(OpId.unpack(packed))
    if place is None:
        raise Refusal("message.unknown")
    try:
        return sight.read(*place)
    except UnknownOpError:
        raise Refusal("message.unknown") from None
