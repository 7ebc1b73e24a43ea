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
    96       policy.set               site           version
    97       hold.placed              site           hold number
    98       hold.released            site           hold number
    100      request.made             audit          request number
    101      request.approved         audit          request number
    102      request.closed           audit          request number
    103      request.signed           audit          request number
    104      destruction.intent       audit          run number
    105      destruction.confirmed    audit          run number
    106      conversation.wiped       conversation   -
    107      conversation.filed       conversation   -
    108      device.wiped             device         -
    110      clock.anchor             site           -
    111      clock.changed            site           -
    112      day.key                  site           -
    113      site.succeeds            site           -
    114      privileged.read          audit          - (no register)
    115      replica.named            site           replica number
    116      replica.retired          site           replica number
    117      site.decommissioned      site           -
    118      destruction.order        site           order number
    119      destruction.receipt      site           number of branch and order
    120      site.lost                site           site number
    121      scope.left               audit          - (no register)
    128      site.invited             site           site number
    129      site.joined              site           site number
    130      site.approved            site           site number
    131      site.revoked             site           site number
    132      site.reprovisioned       site           site number
    133      site.headquarters        site           -
    134      lease.granted            site           -
    135      person.home              person         -
    136      verdict                  audit          - (no register)
    137      clock.fix                site           number of the fix
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import msgspec

from appliance.operations.base import UNSIGNED, BodyStruct, Signed
from appliance.operations.conversations import (
    Confirm,
    ConversationCreated,
    ConversationMember,
    ConversationSettings,
    ConversationTitle,
    DutyChain,
    DutyCreated,
    DutyHolder,
    Edit,
    Escalation,
    Mark,
    Message,
    Reaction,
    Recall,
)
from appliance.operations.people import (
    DeviceAdded,
    DeviceRevoked,
    InviteClosed,
    InviteCreated,
    PersonCreated,
    PersonKey,
    PersonPassword,
    PersonProfile,
    PersonReset,
    PersonRoles,
    PersonState,
    SecretSlot,
    SiteCreated,
    SiteSecret,
)
from appliance.operations.proof import (
    Approval,
    ClockAnchor,
    ClockChanged,
    ConversationFiled,
    ConversationWiped,
    DayCount,
    DayKey,
    DestructionConfirmed,
    DestructionIntent,
    DestructionOrder,
    DestructionReceipt,
    DeviceWiped,
    HoldPlaced,
    HoldReleased,
    LogSettled,
    PolicySet,
    PrivilegedRead,
    ReplicaNamed,
    ReplicaRetired,
    ReplicaState,
    RequestApproved,
    RequestClosed,
    RequestMade,
    RequestSigned,
    ScopeLeft,
    SiteAnswer,
    SiteDecommissioned,
    SiteLost,
    SiteSucceeds,
)
from appliance.operations.sites import (
    ClockFix,
    LeaseGranted,
    PersonHome,
    SiteApproved,
    SiteHeadquarters,
    SiteInvited,
    SiteJoined,
    SiteMoved,
    SiteReprovisioned,
    SiteRevoked,
    Verdict,
)
from store.oplog import OpClass
from store.vault import AUDIT, CONTROL, STANDARD


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
    POLICY_SET = 96
    HOLD_PLACED = 97
    HOLD_RELEASED = 98
    REQUEST_MADE = 100
    REQUEST_APPROVED = 101
    REQUEST_CLOSED = 102
    REQUEST_SIGNED = 103
    DESTRUCTION_INTENT = 104
    DESTRUCTION_CONFIRMED = 105
    CONVERSATION_WIPED = 106
    CONVERSATION_FILED = 107
    DEVICE_WIPED = 108
    CLOCK_ANCHOR = 110
    CLOCK_CHANGED = 111
    DAY_KEY = 112
    SITE_SUCCEEDS = 113
    PRIVILEGED_READ = 114
    REPLICA_NAMED = 115
    REPLICA_RETIRED = 116
    SITE_DECOMMISSIONED = 117
    DESTRUCTION_ORDER = 118
    DESTRUCTION_RECEIPT = 119
    SITE_LOST = 120
    SCOPE_LEFT = 121
    LOG_SETTLED = 122
    SITE_INVITED = 128
    SITE_JOINED = 129
    SITE_APPROVED = 130
    SITE_REVOKED = 131
    SITE_REPROVISIONED = 132
    SITE_HEADQUARTERS = 133
    LEASE_GRANTED = 134
    PERSON_HOME = 135
    VERDICT = 136
    CLOCK_FIX = 137
    SITE_MOVED = 139


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


def _audited(body: type[BodyStruct], item: str = "") -> Spec:
    """An entry of the audit stream, which has a class of its own; numbered ones are registers."""
    return Spec(body, OpClass.PRIVILEGED, AUDIT, is_register=bool(item), item=item)


def _message(body: type[BodyStruct]) -> Spec:
    return Spec(body, OpClass.MESSAGE, STANDARD)


SPECS: dict[int, Spec] = {
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
    Kind.POLICY_SET: _privileged(PolicySet, "version"),
    Kind.HOLD_PLACED: _privileged(HoldPlaced, "hold"),
    Kind.HOLD_RELEASED: _privileged(HoldReleased, "hold"),
    Kind.REQUEST_MADE: _audited(RequestMade, "request"),
    Kind.REQUEST_APPROVED: _audited(RequestApproved, "request"),
    Kind.REQUEST_CLOSED: _audited(RequestClosed, "request"),
    Kind.REQUEST_SIGNED: _audited(RequestSigned, "request"),
    Kind.DESTRUCTION_INTENT: _audited(DestructionIntent, "run"),
    Kind.DESTRUCTION_CONFIRMED: _audited(DestructionConfirmed, "run"),
    Kind.CONVERSATION_WIPED: _control(ConversationWiped),
    Kind.CONVERSATION_FILED: _privileged(ConversationFiled),
    Kind.DEVICE_WIPED: _control(DeviceWiped),
    Kind.CLOCK_ANCHOR: _control(ClockAnchor),
    Kind.CLOCK_CHANGED: _privileged(ClockChanged),
    Kind.DAY_KEY: _privileged(DayKey),
    Kind.SITE_SUCCEEDS: _privileged(SiteSucceeds),
    Kind.PRIVILEGED_READ: _audited(PrivilegedRead),
    Kind.REPLICA_NAMED: _privileged(ReplicaNamed, "replica"),
    Kind.REPLICA_RETIRED: _privileged(ReplicaRetired, "replica"),
    Kind.SITE_DECOMMISSIONED: _privileged(SiteDecommissioned),
    Kind.DESTRUCTION_ORDER: _privileged(DestructionOrder, "order"),
    Kind.DESTRUCTION_RECEIPT: _privileged(DestructionReceipt, "receipt"),
    Kind.SITE_LOST: _privileged(SiteLost, "site"),
    Kind.SCOPE_LEFT: _audited(ScopeLeft),
    Kind.LOG_SETTLED: _audited(LogSettled),
    Kind.SITE_INVITED: _privileged(SiteInvited, "site"),
    Kind.SITE_JOINED: _privileged(SiteJoined, "site"),
    Kind.SITE_APPROVED: _privileged(SiteApproved, "site"),
    Kind.SITE_REVOKED: _privileged(SiteRevoked, "site"),
    Kind.SITE_REPROVISIONED: _privileged(SiteReprovisioned, "site"),
    Kind.SITE_HEADQUARTERS: _privileged(SiteHeadquarters),
    Kind.LEASE_GRANTED: _control(LeaseGranted),
    Kind.PERSON_HOME: _privileged(PersonHome),
    Kind.VERDICT: _audited(Verdict),
    Kind.CLOCK_FIX: _privileged(ClockFix, "fix"),
    Kind.SITE_MOVED: _privileged(SiteMoved, "site"),
}


def _plain(value: object) -> bytes:
    """Encode ids as the bytes they are, whatever subclass they came as."""
    if isinstance(value, bytes):
        return bytes(value)
    raise TypeError("a body holds numbers, texts, bytes and arrays")


_ENCODER = msgspec.msgpack.Encoder(enc_hook=_plain)
_DECODERS: dict[int, msgspec.msgpack.Decoder[BodyStruct]] = {
    kind: msgspec.msgpack.Decoder(spec.body) for kind, spec in SPECS.items()
}


def encode(body: BodyStruct) -> bytes:
    """Return the canonical bytes of a body."""
    return _ENCODER.encode(body)


def decode(kind: int, data: bytes) -> BodyStruct:
    """Read a body; raises ``ValueError`` or ``KeyError`` for a kind or bytes not known here."""
    return _DECODERS[kind].decode(data)


__all__ = [
    "AUDIT",
    "SPECS",
    "UNSIGNED",
    "Approval",
    "BodyStruct",
    "ClockAnchor",
    "ClockChanged",
    "ClockFix",
    "Confirm",
    "ConversationCreated",
    "ConversationFiled",
    "ConversationMember",
    "ConversationSettings",
    "ConversationTitle",
    "ConversationWiped",
    "DayCount",
    "DayKey",
    "DestructionConfirmed",
    "DestructionIntent",
    "DestructionOrder",
    "DestructionReceipt",
    "DeviceAdded",
    "DeviceRevoked",
    "DeviceWiped",
    "DutyChain",
    "DutyCreated",
    "DutyHolder",
    "Edit",
    "Escalation",
    "HoldPlaced",
    "HoldReleased",
    "InviteClosed",
    "InviteCreated",
    "Kind",
    "LeaseGranted",
    "LogSettled",
    "Mark",
    "Message",
    "PersonCreated",
    "PersonHome",
    "PersonKey",
    "PersonPassword",
    "PersonProfile",
    "PersonReset",
    "PersonRoles",
    "PersonState",
    "PolicySet",
    "PrivilegedRead",
    "Reaction",
    "Recall",
    "ReplicaNamed",
    "ReplicaRetired",
    "ReplicaState",
    "RequestApproved",
    "RequestClosed",
    "RequestMade",
    "RequestSigned",
    "ScopeLeft",
    "SecretSlot",
    "Signed",
    "SiteAnswer",
    "SiteApproved",
    "SiteCreated",
    "SiteDecommissioned",
    "SiteHeadquarters",
    "SiteInvited",
    "SiteJoined",
    "SiteLost",
    "SiteMoved",
    "SiteReprovisioned",
    "SiteRevoked",
    "SiteSecret",
    "SiteSucceeds",
    "Spec",
    "Verdict",
    "decode",
    "encode",
]
