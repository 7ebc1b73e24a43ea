"""Say of each kind of operation how far it travels, and in which lane (sans-IO).

What stays at a site leaves it as a bare commitment only: its secrets, its clock, its day keys,
how it numbers its destructions. Credentials go no further than headquarters and the site where
the person is at home, so that a stolen branch tells nothing about anybody else.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from appliance.operations import Kind
from store.ids import StreamKind
from sync.pieces import Lane


class Reach(Enum):
    """How far an operation travels from the site where it was made."""

    SITE = "site"
    """Nowhere."""
    KEPT = "kept"
    """To headquarters, which keeps it and does not act on it."""
    HEADQUARTERS = "headquarters"
    """To headquarters, which acts on it."""
    HOME = "home"
    """To headquarters, and to the site where the person of its stream is at home."""
    CONVERSATION = "conversation"
    """To every site where somebody is at home who is in the conversation."""
    EVERYWHERE = "everywhere"


_SITE: Final = (
    Kind.SITE_CREATED,
    Kind.SITE_SECRET,
    Kind.CONVERSATION_WIPED,
    Kind.DEVICE_WIPED,
    Kind.CLOCK_ANCHOR,
    Kind.CLOCK_CHANGED,
    Kind.DAY_KEY,
    Kind.REPLICA_NAMED,
    Kind.REPLICA_RETIRED,
    Kind.SITE_INVITED,
    Kind.SITE_JOINED,
    Kind.SITE_APPROVED,
    Kind.SITE_MOVED,
    Kind.SITE_REVOKED,
    Kind.SITE_REPROVISIONED,
    Kind.SITE_HEADQUARTERS,
    Kind.LEASE_GRANTED,
    Kind.SITE_LOST,
)

_KEPT: Final = (
    Kind.REQUEST_MADE,
    Kind.REQUEST_APPROVED,
    Kind.REQUEST_CLOSED,
    Kind.REQUEST_SIGNED,
    Kind.DESTRUCTION_INTENT,
    Kind.DESTRUCTION_CONFIRMED,
    Kind.PRIVILEGED_READ,
    Kind.SITE_SUCCEEDS,
    Kind.SITE_DECOMMISSIONED,
    Kind.SCOPE_LEFT,
    Kind.LOG_SETTLED,
)

_HOME: Final = (
    Kind.PERSON_PASSWORD,
    Kind.PERSON_KEY,
    Kind.PERSON_RESET,
    Kind.DEVICE_ADDED,
    Kind.DEVICE_REVOKED,
    Kind.INVITE_CREATED,
    Kind.INVITE_CLOSED,
)

_EVERYWHERE: Final = (
    Kind.PERSON_CREATED,
    Kind.PERSON_PROFILE,
    Kind.PERSON_ROLES,
    Kind.PERSON_STATE,
    Kind.PERSON_HOME,
    Kind.VERDICT,
    Kind.CLOCK_FIX,
    Kind.DUTY_CREATED,
    Kind.DUTY_CHAIN,
    Kind.DUTY_HOLDER,
    Kind.POLICY_SET,
    Kind.HOLD_PLACED,
    Kind.HOLD_RELEASED,
    Kind.DESTRUCTION_ORDER,
)

_CONVERSATION: Final = (
    Kind.CONVERSATION_CREATED,
    Kind.CONVERSATION_TITLE,
    Kind.CONVERSATION_MEMBER,
    Kind.CONVERSATION_SETTINGS,
    Kind.CONVERSATION_FILED,
    Kind.MESSAGE,
    Kind.EDIT,
    Kind.RECALL,
    Kind.REACTION,
    Kind.CONFIRM,
    Kind.ESCALATION,
    Kind.READ,
    Kind.DELIVERED,
)

REACH: Final[dict[int, Reach]] = {
    **dict.fromkeys(_SITE, Reach.SITE),
    **dict.fromkeys(_KEPT, Reach.KEPT),
    Kind.DESTRUCTION_RECEIPT: Reach.HEADQUARTERS,
    **dict.fromkeys(_HOME, Reach.HOME),
    **dict.fromkeys(_EVERYWHERE, Reach.EVERYWHERE),
    **dict.fromkeys(_CONVERSATION, Reach.CONVERSATION),
}
"""How far each kind travels; a kind that is missing here is one of a newer build."""

_LANES: Final[dict[int, Lane]] = {
    **dict.fromkeys(_KEPT, Lane.RECEIPTS),
    Kind.MESSAGE: Lane.MESSAGES,
    Kind.EDIT: Lane.MESSAGES,
    Kind.RECALL: Lane.MESSAGES,
    Kind.REACTION: Lane.MESSAGES,
    Kind.CONFIRM: Lane.URGENT,
    Kind.ESCALATION: Lane.URGENT,
    Kind.READ: Lane.RECEIPTS,
    Kind.DELIVERED: Lane.RECEIPTS,
}


def reach(kind: int, stream: StreamKind) -> Reach:
    """Return how far an operation travels; one of an unknown kind as far as its stream allows."""
    known = REACH.get(kind)
    if known is not None:
        return known
    return Reach.CONVERSATION if stream is StreamKind.CONVERSATION else Reach.KEPT


def is_only_kept(kind: int) -> bool:
    """Tell whether an operation of another site is logged and not acted on."""
    return reach(kind, StreamKind.SITE) in (Reach.KEPT, Reach.SITE)


def lane(kind: int, *, is_urgent: bool = False) -> Lane:
    """Return the lane of an operation; ``is_urgent`` of a message with that priority."""
    if is_urgent and kind == Kind.MESSAGE:
        return Lane.URGENT
    return _LANES.get(kind, Lane.CONTROL)


_FROM_HEADQUARTERS: Final = frozenset(
    (
        Kind.POLICY_SET,
        Kind.HOLD_RELEASED,
        Kind.VERDICT,
        Kind.CLOCK_FIX,
        Kind.DESTRUCTION_ORDER,
    )
)
"""What only headquarters may make: a branch moves only towards keeping and hiding."""


def may_come_from_branch(kind: int) -> bool:
    """Tell whether headquarters accepts an operation of this kind from a branch."""
    return kind not in _FROM_HEADQUARTERS
