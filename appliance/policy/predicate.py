"""Say which records are meant, by who, where, how labelled and when: holds, orders, reviews.

A predicate is a conjunction: every field that has values must match, and one of its values does.
Whose ``persons`` and ``units`` are looked at depends on what it is for:

    people        a record matches a person who            used by
    participant   wrote it, or was in the conversation     holds, reviews, exports
    author        wrote it                                 orders, erasure of a person

So a hold on a custodian covers what they could read, and an order for a person's records leaves
what others wrote. Dates are those of the record as it says itself. A hold takes a record also
when it can have been written between its dates by proven time (``Subject.span_ms``), and looks a
day further at both ends (``HOLD_TOLERANCE_MS``), so that no wrong clock takes a record out of it.

A predicate without any field matches nothing: there is no word for "everything".

The canonical JSON form, for signing and for people at a terminal, has the fields that are set,
keys sorted, no white space, ids in hex, values sorted and each once:

    {"from_ms":1700000000000,"labels":["trial"],"persons":["00112233445566778899aabbccddeeff"]}
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import msgspec

from appliance.policy.limits import HOLD_TOLERANCE_MS, PREDICATE_VALUES, SELECTOR_CHARACTERS
from store.ids import ID_BYTES

People = Literal["author", "participant"]

LAST_MS: Final = (1 << 53) - 1
"""Latest date of a predicate: what every JSON reader takes for the same number."""


class Predicate(msgspec.Struct, array_like=True, frozen=True):
    """A set of records. Fields that are given must all match; one of each field's values does.

    ``persons`` and ``conversations`` are 16-byte ids, ``from_ms`` and ``until_ms`` Unix ms
    (inclusive, exclusive; 0: open).
    """

    persons: tuple[bytes, ...] = ()
    conversations: tuple[bytes, ...] = ()
    units: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    from_ms: int = 0
    until_ms: int = 0

    def __repr__(self) -> str:
        return "<Predicate>"


class PredicateError(ValueError):
    """A text is no predicate; the message names the field, never its value."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A record as predicates look at it.

    ``participants`` are the ids of all who were in the conversation when it was written, its
    author among them or not; ``units`` are their units and the author's. ``at_ms`` is when the
    record says it was written, in Unix ms; ``span_ms`` is between when and when it can have
    been too, where the record's own date is not all there is to believe.
    """

    author: bytes
    conversation: bytes
    at_ms: int
    participants: frozenset[bytes] = field(default=frozenset(), repr=False)
    author_unit: str = field(default="", repr=False)
    units: frozenset[str] = field(default=frozenset(), repr=False)
    labels: frozenset[str] = field(default=frozenset(), repr=False)
    span_ms: tuple[int, int] | None = None


def is_empty(predicate: Predicate) -> bool:
    """Tell whether no field is set: then nothing matches."""
    return predicate == Predicate()


def matches(
    predicate: Predicate, subject: Subject, *, people: People, tolerance_ms: int = 0
) -> bool:
    """Tell whether a record is meant; ``tolerance_ms`` widens the dates, for holds."""
    if is_empty(predicate) or not _is_within(predicate, subject, tolerance_ms):
        return False
    if predicate.conversations and subject.conversation not in predicate.conversations:
        return False
    if predicate.labels and subject.labels.isdisjoint(predicate.labels):
        return False
    is_author = people == "author"
    if predicate.persons and subject.author not in predicate.persons:
        is_there = not is_author and not subject.participants.isdisjoint(predicate.persons)
        if not is_there:
            return False
    if predicate.units and subject.author_unit not in predicate.units:
        return not is_author and not subject.units.isdisjoint(predicate.units)
    return True


def matches_hold(predicate: Predicate, subject: Subject) -> bool:
    """Tell whether a hold covers a record: participants count, and dates have a tolerance."""
    return matches(predicate, subject, people="participant", tolerance_ms=HOLD_TOLERANCE_MS)


def problems(predicate: Predicate) -> list[str]:
    """Return what is wrong with a predicate, one sentence each; empty when it may be used."""
    return list(_problems(predicate))


def normalised(predicate: Predicate) -> Predicate:
    """Return the same set of records with each value once, in order."""
    return Predicate(
        tuple(sorted(set(predicate.persons))),
        tuple(sorted(set(predicate.conversations))),
        tuple(sorted(set(predicate.units))),
        tuple(sorted(set(predicate.labels))),
        predicate.from_ms,
        predicate.until_ms,
    )


def canonical_json(predicate: Predicate) -> str:
    """Return the one text that means this set of records."""
    fields: dict[str, Any] = msgspec.structs.asdict(normalised(predicate))
    for name in ("persons", "conversations"):
        fields[name] = [each.hex() for each in fields[name]]
    given = {name: value for name, value in fields.items() if value}
    return msgspec.json.encode(given, order="sorted").decode()


class _Written(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The JSON form."""

    persons: tuple[str, ...] = ()
    conversations: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    from_ms: int = 0
    until_ms: int = 0


def from_json(text: str) -> Predicate:
    """Read the JSON form; order and white space do not matter.

    Raises ``PredicateError`` for anything else, and for a predicate that may not be used.
    """
    try:
        written = msgspec.json.decode(text, type=_Written)
        predicate = Predicate(
            tuple(map(bytes.fromhex, written.persons)),
            tuple(map(bytes.fromhex, written.conversations)),
            written.units,
            written.labels,
            written.from_ms,
            written.until_ms,
        )
    except (ValueError, RecursionError):
        raise PredicateError("is not the JSON of a predicate") from None
    for problem in _problems(predicate):
        raise PredicateError(problem)
    return normalised(predicate)


def _problems(predicate: Predicate) -> Iterator[str]:
    if is_empty(predicate):
        yield "selects nothing: name persons, conversations, units, labels or dates"
    for name in ("persons", "conversations", "units", "labels"):
        values = getattr(predicate, name)
        if len(values) > PREDICATE_VALUES:
            yield f"{name}: at most {PREDICATE_VALUES}"
        is_id = name in ("persons", "conversations")
        if is_id and any(len(each) != ID_BYTES for each in values):
            yield f"{name}: an id has {ID_BYTES} bytes"
        if not is_id and not all(0 < len(each) <= SELECTOR_CHARACTERS for each in values):
            yield f"{name}: 1 to {SELECTOR_CHARACTERS} characters"
    if not (0 <= predicate.from_ms <= LAST_MS and 0 <= predicate.until_ms <= LAST_MS):
        yield "dates: Unix milliseconds"
    elif predicate.until_ms and predicate.from_ms >= predicate.until_ms:
        yield "dates: from must be before until"


def _is_within(predicate: Predicate, subject: Subject, tolerance_ms: int) -> bool:
    first_ms = predicate.from_ms - tolerance_ms if predicate.from_ms else 0
    until_ms = predicate.until_ms + tolerance_ms if predicate.until_ms else LAST_MS + 1
    if first_ms <= subject.at_ms < until_ms:
        return True
    span_ms = subject.span_ms
    return span_ms is not None and first_ms <= span_ms[1] and span_ms[0] < until_ms
