"""Gather what targets a message: its edits, recall, reactions and confirmations.

Who wins does not depend on the order of arrival: a recall beats everything, the newest edit by
(timeline key, OpId) counts, and so does the newest state of each (person, emoji).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

import msgspec

from appliance.messaging.model import Place
from appliance.operations import BodyStruct, Edit, Kind, Message, Reaction, decode, encode
from store.engine.contract import Reader
from store.errors import PartGoneError
from store.oplog import Op
from store.tables import TARGET

Read = Callable[[int, int], Op]
"""Open an operation by its place; raises ``PartGoneError`` when it is gone."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How a message stands now; reactions and confirmations in the order they were made.

    ``opened`` is how many operations had to be opened to tell.
    """

    edit: Edit | None
    edits: int
    recalled: bool
    reactions: dict[str, tuple[bytes, ...]]
    confirmed: tuple[bytes, ...]
    opened: int


_ALL: Final = TARGET.span()
_NOWHERE: Final[Place] = (-1, 0)
"""Before every place."""
_END: Final[Place] = (1 << 32, 0)
"""Behind every place."""

UNTOUCHED: Final = Standing(None, 0, False, {}, (), 0)
"""How a message stands that nothing targets: most do."""


def place_of(op: Op) -> Place:
    """Return where an operation is in this site's log."""
    return op.origin, op.id.seq


def body_of(op: Op) -> BodyStruct | None:
    """Read an operation's body; None when it is gone or not known to this build."""
    if op.body is None:
        return None
    try:
        return decode(op.kind, op.body)
    except (ValueError, KeyError):
        return None


def of(reader: Reader, read: Read, root: Place) -> Iterator[Op]:
    """Yield what targets a message and survives, in the order of the log; opens each."""
    for key, _ in reader.range(*TARGET.span(*root)):
        _, _, origin, seq = TARGET.columns(key)
        try:
            yield read(origin, seq)
        except PartGoneError:
            continue


def count(reader: Reader, root: Place, limit: int) -> int:
    """Return how many operations target a message, at most ``limit``; opens none."""
    return sum(1 for _ in islice(reader.range(*TARGET.span(*root)), limit))


def is_recalled(reader: Reader, read: Read, root: Place) -> bool:
    """Tell whether a message was recalled; opens what targets it."""
    return any(op.kind == Kind.RECALL for op in of(reader, read, root))


class Targeted:
    """Tells of messages whether anything targets them: most often one seek for a whole page.

    What a seek passes over is remembered, so it pays to ask in the order of the log: newest first
    if ``reverse``.
    """

    __slots__ = ("_first", "_last", "_reader", "_reverse")

    def __init__(self, reader: Reader, *, reverse: bool) -> None:
        self._reader = reader
        self._reverse = reverse
        # Nothing targets what is after the first place and before the last one.
        self._first = self._last = _NOWHERE

    def __contains__(self, place: Place) -> bool:
        """Tell whether anything targets the message at ``place``."""
        if self._first < place < self._last:
            return False
        origin, seq = place
        if self._reverse:
            span = _ALL[0], TARGET.prefix(origin, seq + 1)
        else:
            span = TARGET.prefix(origin, seq), _ALL[1]
        nearest = _NOWHERE if self._reverse else _END
        for key, _ in self._reader.range(*span, reverse=self._reverse, limit=1):
            found_origin, found_seq, _, _ = TARGET.columns(key)
            nearest = found_origin, found_seq
        if nearest == place:
            return True
        if self._reverse:
            self._first, self._last = nearest, (origin, seq + 1)
        else:
            self._first, self._last = (origin, seq - 1), nearest
        return False


def standing(reader: Reader, read: Read, root: Op) -> Standing:
    """Fold everything that targets ``root``; O(targets), each opened."""
    ops = list(of(reader, read, place_of(root)))
    return fold(root, ops) if ops else UNTOUCHED


def fold(root: Op, ops: Iterable[Op]) -> Standing:
    """Return how ``root`` stands after ``ops``, in whatever order they come."""
    edits: list[tuple[int, bytes, Edit]] = []
    states: dict[tuple[str, bytes], tuple[int, bytes, bool]] = {}
    confirmed: dict[bytes, tuple[int, bytes]] = {}
    recalled, opened = False, 0
    for op in ops:
        opened += 1
        body, order = body_of(op), (op.key, op.id.pack())
        if op.kind == Kind.RECALL:
            recalled = True
        elif op.kind == Kind.CONFIRM:
            confirmed[op.actor] = min(confirmed.get(op.actor, order), order)
        elif isinstance(body, Edit) and op.actor == root.actor:
            edits.append((*order, body))
        elif isinstance(body, Reaction):
            name, state = (body.emoji, op.actor), (*order, body.on)
            states[name] = max(states.get(name, state), state)
    newest = max(edits, key=lambda edit: edit[:2])[2] if edits else None
    people = tuple(sorted(confirmed, key=lambda person: confirmed[person]))
    return Standing(newest, len(edits), recalled, _reactions(states), people, opened)


def withheld(op: Op) -> Op:
    """Return a message or edit without what it said, as those see it who ask after its recall."""
    body = body_of(op)
    if isinstance(body, Message | Edit):
        return msgspec.structs.replace(
            op, body=encode(msgspec.structs.replace(body, text="", data=""))
        )
    return op


def _reactions(
    states: dict[tuple[str, bytes], tuple[int, bytes, bool]],
) -> dict[str, tuple[bytes, ...]]:
    """Return who has set each emoji, in the order in which they did."""
    people: dict[str, tuple[bytes, ...]] = {}
    for emoji, person in sorted(states, key=lambda name: states[name][:2]):
        if states[emoji, person][2]:
            people[emoji] = (*people.get(emoji, ()), person)
    return people
