"""Turn what is asked for into predicates, and tell in which conversations they can match."""

from __future__ import annotations

from collections.abc import Sequence

from appliance.directory.state import Directory
from appliance.disposal.commands import Selection
from appliance.messaging.state import Conversations
from appliance.policy import predicate as predicates
from appliance.policy.predicate import Predicate
from store.ids import Stream, StreamKind
from transports.wire.errors import Refusal


def resolve(selection: Selection, directory: Directory, conversations: Conversations) -> Predicate:
    """Return the predicate with ids for names; an empty one for no field at all.

    Raises ``Refusal``: "person.unknown", "conversation.unknown", and "request.invalid" for
    too many values or times that are out of order.
    """
    predicate = Predicate(
        tuple(_person(directory, who) for who in selection.persons),
        tuple(_conversation(conversations, each) for each in selection.conversations),
        selection.units,
        selection.labels,
        selection.from_ms,
        selection.until_ms,
    )
    if not predicates.is_empty(predicate) and predicates.problems(predicate):
        raise Refusal("request.invalid")
    return predicate


def both(approved: Predicate, asked: Predicate) -> tuple[Predicate, ...]:
    """Return what a record has to match, all of it; what asks for nothing asks for everything."""
    return (approved,) if predicates.is_empty(asked) else (approved, asked)


def chosen_pseudonyms(
    wanted: Sequence[Predicate], conversations: Conversations
) -> list[int] | None:
    """Return the pseudonyms of the conversations where a match can be, sorted; None: in any.

    O(conversations of the persons named).
    """
    chosen: frozenset[bytes] | None = None
    for predicate in wanted:
        found = _candidates(predicate, conversations)
        if found is not None:
            chosen = found if chosen is None else chosen & found
    if chosen is None:
        return None
    streams = (Stream(StreamKind.CONVERSATION, each) for each in chosen)
    pseudonyms = (conversations.streams.pseudonym(each) for each in streams)
    return sorted(each for each in pseudonyms if each is not None)


def _candidates(predicate: Predicate, conversations: Conversations) -> frozenset[bytes] | None:
    found: frozenset[bytes] | None = None
    if predicate.conversations:
        found = frozenset(predicate.conversations)
    if predicate.persons:
        theirs = frozenset(each for who in predicate.persons for each in conversations.ever(who))
        found = theirs if found is None else found & theirs
    return found


def _person(directory: Directory, who: str) -> bytes:
    person = directory.refer(who)
    if person is None:
        raise Refusal("person.unknown")
    return person.id


def _conversation(conversations: Conversations, name: str) -> bytes:
    try:
        known = conversations.get(bytes.fromhex(name))
    except ValueError:
        known = None
    if known is None:
        raise Refusal("conversation.unknown")
    return known.id
