"""Turn what people name into a predicate, and back into names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from appliance.context import refuse
from appliance.directory.names import ID_PREFIX
from appliance.disposal.commands import Selection
from appliance.policy import predicate as predicates
from appliance.policy.predicate import Predicate
from store.ids import ID_BYTES

if TYPE_CHECKING:
    from appliance.core import Core


def resolve(core: Core, selection: Selection) -> Predicate:
    """Return the predicate meant.

    Codes: person.unknown, conversation.unknown, selection.empty, selection.invalid.
    """
    predicate = Predicate(
        tuple(sorted({_person(core, who) for who in selection.persons})),
        tuple(sorted({_conversation(core, each) for each in selection.conversations})),
        tuple(sorted(set(selection.units))),
        tuple(sorted(set(selection.labels))),
        selection.from_ms,
        selection.until_ms,
    )
    if predicates.is_empty(predicate):
        raise refuse("selection.empty")
    if predicates.problems(predicate):
        raise refuse("selection.invalid")
    return predicate


def names_by_id(selection: Selection) -> bool:
    """Tell whether people are named by id alone, so that what was signed keeps no name."""
    return all(who.startswith(ID_PREFIX) for who in selection.persons)


def named(core: Core, predicate: Predicate) -> Selection:
    """Return a predicate in the words of people; who is gone is named by id."""
    people = (core.directory.person(person) for person in predicate.persons)
    return Selection(
        tuple(
            known.login if known is not None and known.login else f"id:{person.hex()}"
            for person, known in zip(predicate.persons, people, strict=True)
        ),
        tuple(each.hex() for each in predicate.conversations),
        predicate.units,
        predicate.labels,
        predicate.from_ms,
        predicate.until_ms,
    )


def login(core: Core, person: bytes) -> str:
    """Return a person's login name, their id once the name is gone, or empty for the site."""
    if not person:
        return ""
    known = core.directory.person(person)
    return known.login if known is not None and known.login else f"id:{person.hex()}"


def _person(core: Core, who: str) -> bytes:
    known = core.directory.refer(who)
    if known is not None:
        return known.id
    if who.startswith(ID_PREFIX) and len(who) == len(ID_PREFIX) + 2 * ID_BYTES:
        try:
            return bytes.fromhex(who.removeprefix(ID_PREFIX))
        except ValueError:
            pass
    raise refuse("person.unknown")


def _conversation(core: Core, text: str) -> bytes:
    try:
        conversation = bytes.fromhex(text)
    except ValueError:
        raise refuse("conversation.unknown") from None
    if core.conversations.get(conversation) is None:
        raise refuse("conversation.unknown")
    return conversation
