"""Define the bodies of operations on conversations, messages, receipts and duties."""

from __future__ import annotations

from appliance.operations.base import UNSIGNED, BodyStruct, Signed


class ConversationCreated(BodyStruct, frozen=True):
    """A conversation: direct or group, its retention class and labels; members follow."""

    kind: str
    retention_class: int
    labels: tuple[str, ...]
    salt: bytes
    """16 random bytes, so that two groups never share an id."""


class ConversationTitle(BodyStruct, frozen=True):
    """The title; ``opening`` when it was given as the conversation was created."""

    title: str
    opening: bool = False


class ConversationMember(BodyStruct, frozen=True):
    """Register of (conversation, person): role owner or member, or empty when gone.

    It tells the whole membership, so that superseded operations are not needed: timeline keys
    from which the person hears (``since``, 0: this operation's own key) and may read
    (``read_from``, 0: as ``since``), and the earlier times as (read from, since, until).
    ``opening`` marks the first members, whom the opening itself announces.
    """

    person: bytes
    role: str
    since: int = 0
    read_from: int = 0
    past: tuple[tuple[int, int, int], ...] = ()
    opening: bool = False


class ConversationSettings(BodyStruct, frozen=True):
    """Whether it is archived, and whether new members read what was before them."""

    archived: bool
    history: bool


class Message(BodyStruct, frozen=True):
    """A message; ``mentions`` are person ids, ``reply`` a packed OpId or empty.

    ``duty`` is the duty it was addressed to. One with a target passes that urgent message on
    to the next person of the duty's chain.
    """

    kind: str
    text: str
    data: str
    priority: str
    reply: bytes
    mentions: tuple[bytes, ...]
    duty: bytes = b""


class Edit(BodyStruct, frozen=True):
    """A new version of the target message; here and below ``key`` is the target's own key."""

    kind: str
    text: str
    data: str
    key: int = 0


class Recall(BodyStruct, frozen=True):
    """The target message is hidden."""

    key: int = 0


class Reaction(BodyStruct, frozen=True):
    """Register of (message, person, emoji)."""

    emoji: str
    on: bool
    key: int = 0


class Confirm(BodyStruct, frozen=True):
    """The target urgent message is confirmed by the actor."""

    key: int = 0


class Escalation(BodyStruct, frozen=True):
    """The target urgent message was repeated (empty ``to``) or went on to ``to``."""

    to: bytes
    step: int
    key: int = 0


class Mark(BodyStruct, frozen=True):
    """Everything up to timeline key ``upto`` was delivered to, or read by, the actor.

    ``seen`` is the feed position up to which events had arrived; what sorts before ``upto``
    but arrives later stays unread. Of a ``quiet`` mark only the actor's own devices hear.
    """

    upto: int
    seen: int
    quiet: bool = False


class DutyCreated(BodyStruct, frozen=True):
    """A duty: name (as in ``duty:NAME``) and title."""

    duty: bytes
    name: str
    title: str
    signed: Signed = UNSIGNED


class DutyChain(BodyStruct, frozen=True):
    """Persons to escalate to, in order, and after how many seconds each."""

    chain: tuple[bytes, ...]
    step_seconds: int
    signed: Signed = UNSIGNED


class DutyHolder(BodyStruct, frozen=True):
    """Who holds the duty now (empty: nobody)."""

    holder: bytes
    signed: Signed = UNSIGNED
