"""Tell what headquarters believes of a branch: what an honest one may say, and of whom.

A branch that was taken over can sign anything with its own key. It must not be able to speak for
people of other sites, to change who they are, to be heard in conversations in which nobody of its
own is, to hand over duties of others, to name officers, or to put an operation where none of its
kind belongs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from appliance.directory.roles import EXCLUSIVE
from appliance.messaging.membership import GONE, MEMBER, OWNER
from appliance.operations import (
    SPECS,
    BodyStruct,
    ConversationMember,
    Kind,
    PersonHome,
    PersonRoles,
)
from appliance.sites.scope import Scope
from store.engine.contract import Reader
from store.ids import ID_BYTES, Stream, StreamKind
from store.tables import REGISTER

if TYPE_CHECKING:
    from appliance.core import Core
    from appliance.directory.model import Person

_ROLES: Final = frozenset((GONE, MEMBER, OWNER))

_BY_RANGE: Final = (
    (Kind.PERSON_CREATED, Kind.INVITE_CLOSED, StreamKind.PERSON),
    (Kind.CONVERSATION_CREATED, Kind.DELIVERED, StreamKind.CONVERSATION),
    (Kind.DUTY_CREATED, Kind.DUTY_HOLDER, StreamKind.DUTY),
)
"""Kinds from the first to the second belong to streams of the third kind."""


def is_well_formed(kind: int, stream: Stream, body: BodyStruct) -> bool:
    """Tell whether an operation is in a stream where its kind belongs, and names things by ids."""
    for first, last, wanted in _BY_RANGE:
        if first <= kind <= last and stream.kind is not wanted:
            return False
    if isinstance(body, ConversationMember) and body.role not in _ROLES:
        return False
    if isinstance(body, PersonHome) and body.past:
        return False
    spec = SPECS[Kind(kind)]
    item = getattr(body, spec.item, 0) if spec.item not in ("", "actor") else 0
    return isinstance(item, int) or len(item) == ID_BYTES


def may_change(core: Core, reader: Reader, node: bytes, stream: Stream) -> bool:
    """Tell whether a branch may change what a stream stands for: its people, its conversations.

    What is not known here yet it may begin.
    """
    if stream.kind is StreamKind.PERSON:
        return _is_of(core, reader, node, stream)
    if stream.kind is StreamKind.CONVERSATION:
        known = core.conversations.get(stream.id)
        if known is None:
            return True
        scope = Scope(node, core.conversations, core.sites.node_of_person)
        # Of one that the branch has begun, its own people may come last.
        return known.created.id.node == node or bool(scope.until(known))
    if stream.kind is StreamKind.DUTY:
        duty = core.conversations.duty(stream.id)
        return duty is None or not duty.holder or core.sites.node_of_person(duty.holder) == node
    return True


def may_move(core: Core, node: bytes, person: bytes, body: PersonHome) -> bool:
    """Tell whether a branch may say where somebody is at home: there, of whom it has just made."""
    known = core.directory.person(person)
    return body.node == node and (known is None or not known.home)


def believed_roles(known: Person | None, told: PersonRoles) -> PersonRoles:
    """Return the roles that a branch may give: no office that headquarters has not given."""
    given = frozenset() if known is None else known.roles
    roles = frozenset(told.roles)
    kept = roles - (EXCLUSIVE - given)
    return told if kept == roles else PersonRoles(tuple(sorted(kept)))


def _is_of(core: Core, reader: Reader, node: bytes, stream: Stream) -> bool:
    """Tell whether a person is at home at a branch, or was made there and is nowhere else yet."""
    pseudonym = core.streams.pseudonym(stream)
    if pseudonym is None or core.directory.person(stream.id) is None:
        return True
    if reader.get(REGISTER.key(pseudonym, Kind.PERSON_HOME, 0)) is not None:
        return core.sites.node_of_person(stream.id) == node
    made = reader.get(REGISTER.key(pseudonym, Kind.PERSON_CREATED, 0))
    if made is None:
        return False
    number, _seq = core.place_in(made)
    return bool(core.log.origins[number].origin.node == node)
