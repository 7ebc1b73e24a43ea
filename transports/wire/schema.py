"""Define every frame of the session protocol once, for both codecs.

A frame is a tagged map (``t`` names its type); unknown fields are ignored. Ids are bytes in
msgpack and lower-case hex in JSON (``Id``). Positions (``pos``) are opaque strings. Times
(``at``) are Unix milliseconds. Timeline keys (``key``) are 16 hex digits, so that they sort as
text. ``docs/protocol.md`` describes each frame's fields, limits, reply and errors.
"""

from __future__ import annotations

from typing import Any

import msgspec

PROTOCOL_VERSION = 1


class Id(bytes):
    """An identifier: 16 bytes (person, device, conversation, duty) or 32 bytes (operation)."""

    __slots__ = ()


class Frame(msgspec.Struct, tag_field="t", omit_defaults=True, frozen=True, gc=False):
    """Base of every frame."""


class Body(msgspec.Struct, omit_defaults=True, frozen=True, gc=False):
    """What a message says; ``data`` of kinds other than ``text`` is stored and relayed as is."""

    kind: str
    text: str = ""
    data: str = ""


# --- client to server -----------------------------------------------------------------------


class Hello(Frame, tag="hello", frozen=True):
    """First frame of a connection: protocol version, software name and language (en, zh-CN)."""

    v: int
    agent: str = ""
    lang: str = "en"


class DeviceInfo(msgspec.Struct, omit_defaults=True, frozen=True):
    """The device that signs in: its id once it has one, a name, and whether it is shared."""

    name: str = ""
    id: Id | None = None
    shared: bool = False


class Auth(Frame, tag="auth", frozen=True):
    """Prove who is there: ``password`` (login, password), ``token`` (token), ``invite`` (code)."""

    method: str
    login: str = ""
    password: str = ""
    token: str = ""
    code: str = ""
    device: DeviceInfo = DeviceInfo()
    public_key: Id | None = None


class Resume(Frame, tag="resume", frozen=True):
    """Ask for everything after ``pos``; an empty ``pos`` means: from now on."""

    pos: str = ""
    site: Id = Id(b"")
    incarnation: str = ""


class Send(Frame, tag="send", frozen=True):
    """Post a message into ``conv``, or to a duty (``to="duty:NAME"``)."""

    id: int
    n: int
    body: Body
    conv: Id | None = None
    to: str = ""
    after: str = ""
    priority: str = "normal"
    reply: Id | None = None
    mentions: tuple[Id, ...] = ()


class Edit(Frame, tag="edit", frozen=True):
    """Replace the body of one's own message; versions are kept."""

    id: int
    n: int
    msg: Id
    body: Body


class Recall(Frame, tag="recall", frozen=True):
    """Hide a message from everybody (its author or a conversation owner)."""

    id: int
    n: int
    msg: Id


class React(Frame, tag="react", frozen=True):
    """Set or clear one's reaction ``emoji`` on a message."""

    id: int
    n: int
    msg: Id
    emoji: str
    on: bool = True


class Read(Frame, tag="read", frozen=True):
    """Mark everything in ``conv`` up to the event position ``upto`` as read."""

    conv: Id
    upto: str
    id: int = 0


class Confirm(Frame, tag="confirm", frozen=True):
    """Acknowledge an urgent message explicitly."""

    id: int
    msg: Id


class Typing(Frame, tag="typing", frozen=True):
    """Say that one is typing in ``conv``; never stored."""

    conv: Id


class Presence(Frame, tag="presence", frozen=True):
    """Say how one can be reached: available, busy, away; never stored."""

    state: str


class Open(Frame, tag="open", frozen=True):
    """Open a conversation: ``direct`` with one other member, or ``group``."""

    id: int
    kind: str
    members: tuple[Id, ...]
    n: int = 0
    title: str = ""
    history: bool = False


class Conv(Frame, tag="conv", frozen=True):
    """Change a conversation: rename, add, remove, leave, role, archive, history."""

    id: int
    conv: Id
    op: str
    person: Id | None = None
    title: str = ""
    role: str = ""
    on: bool = True


class History(Frame, tag="history", frozen=True):
    """Read a conversation's timeline, newest first, around timeline keys."""

    id: int
    conv: Id
    limit: int = 50
    before: str = ""
    after: str = ""


class List(Frame, tag="list", frozen=True):
    """List ``conversations``, ``people``, ``devices`` or ``duties``."""

    id: int
    what: str


class Got(Frame, tag="got", frozen=True):
    """Say that every event up to ``pos`` has been received (at most one a second)."""

    pos: str


class Wiped(Frame, tag="wiped", frozen=True):
    """Say that this device keeps nothing more of what run ``certificate`` destroyed."""

    certificate: int
    id: int = 0


class Mode(Frame, tag="mode", frozen=True):
    """Choose ``active`` or ``background`` (events are coalesced, urgent ones pass)."""

    state: str


class Revoke(Frame, tag="revoke", frozen=True):
    """Revoke one of one's own devices; its sessions end at once."""

    id: int
    device: Id


class Duty(Frame, tag="duty", frozen=True):
    """Hand a duty that one holds over to ``person``."""

    id: int
    duty: str
    person: Id


class Password(Frame, tag="password", frozen=True):
    """Change one's own password."""

    id: int
    old: str
    new: str


class Ping(Frame, tag="ping", frozen=True):
    """Ask for a ``pong``."""

    id: int = 0


ClientFrame = (
    Hello
    | Auth
    | Resume
    | Send
    | Edit
    | Recall
    | React
    | Read
    | Confirm
    | Typing
    | Presence
    | Open
    | Conv
    | History
    | List
    | Got
    | Wiped
    | Mode
    | Revoke
    | Duty
    | Password
    | Ping
)


# --- server to client -----------------------------------------------------------------------


class Limits(msgspec.Struct, omit_defaults=True, frozen=True):
    """Bounds announced in ``welcome``: sizes in bytes, rates per second."""

    frame_bytes: int
    body_bytes: int
    sends_per_second: float
    history: int
    members: int
    conversations: int


class Welcome(Frame, tag="welcome", frozen=True):
    """Answer to ``auth``: who one is, the present position, limits and keep-alive (seconds).

    ``token`` is set once, when a device was added by invitation or password; ``n`` is the
    highest message counter accepted for this device.
    """

    v: int
    site: Id
    incarnation: str
    pos: str
    person: Id
    device: Id
    login: str
    name: str
    limits: Limits
    keepalive: float
    n: int = 0
    roles: tuple[str, ...] = ()
    token: str = ""
    at: int = 0


class Ok(Frame, tag="ok", frozen=True):
    """A command succeeded: it is on disk. ``msg`` is the operation, ``conv`` its conversation."""

    re: int
    msg: Id | None = None
    conv: Id | None = None
    pos: str = ""
    key: str = ""
    at: int = 0
    destroyed: bool = False
    items: tuple[Any, ...] | None = None
    more: bool = False


class Err(Frame, tag="err", frozen=True):
    """A command failed: a stable code, a message in the session's language, whether to retry."""

    code: str
    message: str
    retryable: bool = False
    re: int | None = None
    after: float = 0


class Event(Frame, tag="event", frozen=True):
    """Something happened, in ``pos`` order without gaps; ``late``: it sorts into the past."""

    pos: str
    conv: Id
    op: Occurrence
    late: bool = False


class Gap(Frame, tag="gap", frozen=True):
    """Events from ``from_`` to ``to`` are not sent; fetch what matters by ``history``."""

    from_: str = msgspec.field(name="from")
    to: str


class TypingNotice(Frame, tag="typing", frozen=True):
    """Somebody types in ``conv``."""

    conv: Id
    person: Id


class PresenceNotice(Frame, tag="presence", frozen=True):
    """Somebody's presence changed: available, busy, away, offline."""

    person: Id
    state: str


class Site(Frame, tag="site", frozen=True):
    """This site's connection to headquarters; ``since`` Unix ms, ``waiting`` operations."""

    headquarters: str
    since: int = 0
    waiting: int = 0


class Pong(Frame, tag="pong", frozen=True):
    """Answer to ``ping``."""

    id: int = 0


class Bye(Frame, tag="bye", frozen=True):
    """The server ends the session: a reason code, and after how many seconds to come back."""

    reason: str
    after: float = 0


# --- what an event says -----------------------------------------------------------------------


class Occurred(msgspec.Struct, tag_field="op", omit_defaults=True, frozen=True, gc=False):
    """Base of what an event carries: the operation's id, author and time."""

    msg: Id
    by: Id
    at: int


class MessageOp(Occurred, tag="message", frozen=True):
    """A message; ``device`` and ``n`` are its idempotency name."""

    key: str
    body: Body
    device: Id = Id(b"")
    n: int = 0
    priority: str = "normal"
    reply: Id | None = None
    mentions: tuple[Id, ...] = ()
    duty: str = ""


class EditedOp(Occurred, tag="edited", frozen=True):
    """A new version of message ``of``."""

    of: Id
    body: Body


class RecalledOp(Occurred, tag="recalled", frozen=True):
    """Message ``of`` was recalled."""

    of: Id


class ReactionOp(Occurred, tag="reaction", frozen=True):
    """A reaction on message ``of`` was set or cleared."""

    of: Id
    emoji: str
    on: bool = True


class DeliveredOp(Occurred, tag="delivered", frozen=True):
    """Everything up to timeline key ``key`` has reached a device of ``by``."""

    key: str


class ReadOp(Occurred, tag="read", frozen=True):
    """``by`` has read everything up to timeline key ``key``."""

    key: str


class ConfirmedOp(Occurred, tag="confirmed", frozen=True):
    """``by`` confirmed urgent message ``of``."""

    of: Id


class EscalatedOp(Occurred, tag="escalated", frozen=True):
    """Urgent message ``of`` was repeated, or went on to ``to`` (``step`` counts from 1)."""

    of: Id
    to: Id | None = None
    step: int = 0


class MemberOp(Occurred, tag="member", frozen=True):
    """``person`` was added, changed role, or (empty role) left or was removed."""

    person: Id
    role: str = ""


class OpenedOp(Occurred, tag="opened", frozen=True):
    """A conversation came to be."""

    kind: str
    title: str = ""
    members: tuple[Id, ...] = ()


class RenamedOp(Occurred, tag="renamed", frozen=True):
    """The conversation's title changed."""

    title: str


class SettingsOp(Occurred, tag="settings", frozen=True):
    """The conversation was archived or reopened, or its history rule changed."""

    archived: bool = False
    history: bool = False


class DutyOp(Occurred, tag="duty", frozen=True):
    """A duty's holder changed."""

    duty: str
    holder: Id | None = None


class DestroyedOp(Occurred, tag="destroyed", frozen=True):
    """Message ``of`` is destroyed: its keys are gone; ``key`` is where it was."""

    of: Id
    key: str = ""


class WipeOp(Occurred, tag="wipe", frozen=True):
    """Run ``certificate`` destroyed the messages whose timeline keys are in ``ranges``.

    Each range is its first and its last key, both included.
    """

    certificate: int
    ranges: tuple[tuple[str, str], ...]

    def covers(self, key: str) -> bool:
        """Tell whether a message with this timeline key is to be dropped."""
        return any(first <= key <= last for first, last in self.ranges)


Occurrence = (
    MessageOp
    | EditedOp
    | RecalledOp
    | ReactionOp
    | DeliveredOp
    | ReadOp
    | ConfirmedOp
    | EscalatedOp
    | MemberOp
    | OpenedOp
    | RenamedOp
    | SettingsOp
    | DutyOp
    | DestroyedOp
    | WipeOp
)

ServerFrame = Welcome | Ok | Err | Event | Gap | TypingNotice | PresenceNotice | Site | Pong | Bye


# --- items of ``ok`` to ``list`` and ``history`` ------------------------------------------------


class Reaction(msgspec.Struct, omit_defaults=True, frozen=True):
    """Who set one emoji."""

    emoji: str
    people: tuple[Id, ...]


class HistoryItem(msgspec.Struct, omit_defaults=True, frozen=True):
    """A timeline entry as it stands now: newest version, reactions, who read and confirmed."""

    op: Occurrence
    edited: int = 0
    recalled: bool = False
    reactions: tuple[Reaction, ...] = ()
    confirmed: tuple[Id, ...] = ()


class Member(msgspec.Struct, omit_defaults=True, frozen=True):
    """A member with role (owner, member) and the timeline keys delivered and read so far."""

    person: Id
    role: str
    delivered: str = ""
    read: str = ""


class ConversationItem(msgspec.Struct, omit_defaults=True, frozen=True):
    """A conversation as its lister sees it; ``unread`` is computed."""

    conv: Id
    kind: str
    title: str
    members: tuple[Member, ...]
    unread: int
    pos: str
    key: str = ""
    archived: bool = False
    history: bool = False


class PersonItem(msgspec.Struct, omit_defaults=True, frozen=True):
    """A person of the directory."""

    person: Id
    login: str
    name: str
    unit: str = ""
    state: str = "active"
    presence: str = ""


class DeviceItem(msgspec.Struct, omit_defaults=True, frozen=True):
    """One of one's own devices; ``online`` counts its sessions."""

    device: Id
    name: str
    at: int
    shared: bool = False
    current: bool = False
    online: int = 0


class DutyItem(msgspec.Struct, omit_defaults=True, frozen=True):
    """A duty, its holder now and the chain of next persons."""

    duty: str
    title: str
    holder: Id | None = None
    chain: tuple[Id, ...] = ()
