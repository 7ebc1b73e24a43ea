"""List every kind of operation: its number, body, class and which register it sets.

A body is a canonical msgpack array in field order; new fields are appended and default, so
that older operations stay readable. A *register* is the newest operation of one kind for one
object (``REGISTER`` row): names, titles, roles, devices and duties are registers, opened into
memory at start, so that no view holds content. An operation that is no longer the newest of
its register is superseded, and its part may be destroyed.

    number   kind                     stream         item of the register
    1        site.created             site           -
    2        site.secret              site           slot number
    16       person.created           person         -
    17       person.profile           person         -
    18       person.roles             person         -
    19       person.state             person         -
    20       person.password          person         -
    21       person.key               person         -
    22       person.reset             person         -
    24       device.added             person         device
    25       device.revoked           person         device
    28       invite.created           person         invitation (device stream kind)
    29       invite.closed            person         invitation
    48       conversation.created     conversation   -
    49       conversation.title       conversation   -
    50       conversation.member      conversation   person
    51       conversation.settings    conversation   -
    64-72    messages and what targets them: no register
    73       read mark                conversation   person
    74       delivered mark           conversation   person
    80       duty.created             duty           -
    81       duty.chain               duty           -
    82       duty.holder              duty           -
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import msgspec

from store.oplog import OpClass
from store.vault import AUDIT, CONTROL, STANDARD


class BodyStruct(msgspec.Struct, array_like=True, frozen=True):
    """Base of every operation body: encoded as an array in field order."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class Kind(IntEnum):
    """Numbers of the kinds; stored for ever, never reused."""

    SITE_CREATED = 1
    SITE_SECRET = 2
    PERSON_CREATED = 16
    PERSON_PROFILE = 17
    PERSON_ROLES = 18
    PERSON_STATE = 19
    PERSON_PASSWORD = 20
    PERSON_KEY = 21
    PERSON_RESET = 22
    DEVICE_ADDED = 24
    DEVICE_REVOKED = 25
    INVITE_CREATED = 28
    INVITE_CLOSED = 29
    CONVERSATION_CREATED = 48
    CONVERSATION_TITLE = 49
    CONVERSATION_MEMBER = 50
    CONVERSATION_SETTINGS = 51
    MESSAGE = 64
    EDIT = 65
    RECALL = 66
    REACTION = 67
    CONFIRM = 70
    ESCALATION = 71
    READ = 73
    DELIVERED = 74
    DUTY_CREATED = 80
    DUTY_CHAIN = 81
    DUTY_HOLDER = 82


class Signed(BodyStruct, frozen=True):
    """Proof of a privileged request: its canonical bytes and the person's Ed25519 signature.

    Both are empty for what the site does by itself (init) and for acts of ordinary clients.
    """

    request: bytes = b""
    signature: bytes = b""


UNSIGNED = Signed()


class SiteCreated(BodyStruct, frozen=True):
    """The site began: its Ed25519 public key (32 bytes) and its name."""

    public_key: bytes
    name: str


class SecretSlot(IntEnum):
    """Numbers of the site's secrets; stored.

    The CA's certificate (DER) is public, but belongs to its key.
    """

    SIGNING_SEED = 1
    CA_ENTROPY = 2
    TENANT = 3
    CA_CERTIFICATE = 4


class SiteSecret(BodyStruct, frozen=True):
    """A secret of the site, by ``SecretSlot``."""

    slot: int
    value: bytes


class PersonCreated(BodyStruct, frozen=True):
    """A person came to be; profile and roles follow in their own operations."""

    person: bytes
    signed: Signed = UNSIGNED


class PersonProfile(BodyStruct, frozen=True):
    """Login name, display name and unit."""

    login: str
    name: str
    unit: str
    signed: Signed = UNSIGNED


class PersonRoles(BodyStruct, frozen=True):
    """Access roles, sorted: member, administrator, security_officer, auditor."""

    roles: tuple[str, ...]
    signed: Signed = UNSIGNED


class PersonState(BodyStruct, frozen=True):
    """active, disabled or removed."""

    state: str
    reason: str = ""
    signed: Signed = UNSIGNED


class PersonPassword(BodyStruct, frozen=True):
    """Argon2id verifier in PHC string form; empty when the password is withdrawn."""

    verifier: str


class PersonKey(BodyStruct, frozen=True):
    """Ed25519 public key (32 bytes) with which the person signs privileged requests."""

    public_key: bytes
    signed: Signed = UNSIGNED


class PersonReset(BodyStruct, frozen=True):
    """Password, key, devices and invitations up to here are void: the person enrols anew."""

    reason: str = ""
    signed: Signed = UNSIGNED


class DeviceAdded(BodyStruct, frozen=True):
    """A device: id, name, SHA-256 of its token, expiry (Unix ms, 0: policy), and how it came.

    ``method`` is invite or password; a password device's token is a session of at most 12 h.
    """

    device: bytes
    name: str
    token_hash: bytes
    expires_ms: int
    shared: bool
    method: str


class DeviceRevoked(BodyStruct, frozen=True):
    """The device's token is void from now on."""

    device: bytes
    reason: str = ""
    signed: Signed = UNSIGNED


class InviteCreated(BodyStruct, frozen=True):
    """A one-time invitation for this person: id (16), SHA-256 of the code, expiry (Unix ms)."""

    invite: bytes
    code_hash: bytes
    expires_ms: int
    signed: Signed = UNSIGNED


class InviteClosed(BodyStruct, frozen=True):
    """An invitation was used or revoked."""

    invite: bytes
    used: bool
    signed: Signed = UNSIGNED


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


@dataclass(frozen=True, slots=True)
class Spec:
    """What the log and the views must know of a kind.

    ``item`` names the body's field that identifies the register's item (a person, device or
    invitation id, or a plain number), "actor" for the envelope's actor, or "" for none.
    """

    body: type[BodyStruct]
    op_class: OpClass
    retention_class: int
    is_register: bool = False
    item: str = ""


def _control(body: type[BodyStruct], item: str = "") -> Spec:
    return Spec(body, OpClass.CONTROL, CONTROL, is_register=True, item=item)


def _privileged(body: type[BodyStruct], item: str = "") -> Spec:
    return Spec(body, OpClass.PRIVILEGED, CONTROL, is_register=True, item=item)


def _message(body: type[BodyStruct]) -> Spec:
    return Spec(body, OpClass.MESSAGE, STANDARD)


SPECS: dict[Kind, Spec] = {
    Kind.SITE_CREATED: _privileged(SiteCreated),
    Kind.SITE_SECRET: _control(SiteSecret, "slot"),
    Kind.PERSON_CREATED: _privileged(PersonCreated),
    Kind.PERSON_PROFILE: _privileged(PersonProfile),
    Kind.PERSON_ROLES: _privileged(PersonRoles),
    Kind.PERSON_STATE: _privileged(PersonState),
    Kind.PERSON_PASSWORD: _control(PersonPassword),
    Kind.PERSON_KEY: _privileged(PersonKey),
    Kind.PERSON_RESET: _privileged(PersonReset),
    Kind.DEVICE_ADDED: _control(DeviceAdded, "device"),
    Kind.DEVICE_REVOKED: _privileged(DeviceRevoked, "device"),
    Kind.INVITE_CREATED: _privileged(InviteCreated, "invite"),
    Kind.INVITE_CLOSED: _privileged(InviteClosed, "invite"),
    Kind.CONVERSATION_CREATED: _control(ConversationCreated),
    Kind.CONVERSATION_TITLE: _control(ConversationTitle),
    Kind.CONVERSATION_MEMBER: _control(ConversationMember, "person"),
    Kind.CONVERSATION_SETTINGS: _control(ConversationSettings),
    Kind.MESSAGE: _message(Message),
    Kind.EDIT: _message(Edit),
    Kind.RECALL: _message(Recall),
    Kind.REACTION: _message(Reaction),
    Kind.CONFIRM: _message(Confirm),
    Kind.ESCALATION: _message(Escalation),
    Kind.READ: _control(Mark, "actor"),
    Kind.DELIVERED: _control(Mark, "actor"),
    Kind.DUTY_CREATED: _privileged(DutyCreated),
    Kind.DUTY_CHAIN: _privileged(DutyChain),
    Kind.DUTY_HOLDER: _privileged(DutyHolder),
}


def _plain(value: object) -> bytes:
    """Encode ids as the bytes they are, whatever subclass they came as."""
    if isinstance(value, bytes):
        return bytes(value)
    raise TypeError("a body holds numbers, texts, bytes and arrays")


_ENCODER = msgspec.msgpack.Encoder(enc_hook=_plain)
_DECODERS = {kind: msgspec.msgpack.Decoder(spec.body) for kind, spec in SPECS.items()}


def encode(body: BodyStruct) -> bytes:
    """Return the canonical bytes of a body."""
    return _ENCODER.encode(body)


def decode(kind: int, data: bytes) -> BodyStruct:
    """Read a body; raises ``ValueError`` or ``KeyError`` for a kind or bytes not known here."""
    return _DECODERS[Kind(kind)].decode(data)


__all__ = ["AUDIT", "SPECS", "Kind", "Signed", "Spec", "decode", "encode"]
