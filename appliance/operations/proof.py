"""Define the bodies of operations on policy, holds, approvals, destruction, time and the ledger."""

from __future__ import annotations

from appliance.operations.base import UNSIGNED, BodyStruct, Signed
from appliance.policy.predicate import Predicate
from appliance.policy.rules import Policy

# --- policy, holds, approvals -----------------------------------------------------------------


class PolicySet(BodyStruct, frozen=True):
    """A version of the retention policy, complete: version from 1, its rules, its classes.

    Every version stays: a looser minimum counts for what comes after it only.
    """

    version: int
    policy: Policy
    reason: str
    request: int = 0
    signed: Signed = UNSIGNED


class HoldPlaced(BodyStruct, frozen=True):
    """A legal hold, by its number: what it covers and why."""

    hold: int
    name: str
    predicate: Predicate
    reason: str
    signed: Signed = UNSIGNED


class HoldReleased(BodyStruct, frozen=True):
    """A legal hold ends, by the approved ``request``."""

    hold: int
    request: int
    reason: str
    signed: Signed = UNSIGNED


class RequestMade(BodyStruct, frozen=True):
    """An act that takes two people, asked for by the first.

    ``act`` and ``arguments`` (canonical JSON) say what is to be done, ``dry_run`` is the
    SHA-256 of what it would do now (empty when it has no dry run) and ``records`` how many
    records that are. It may be carried out ``cooling_ms`` after its approval, and not at all
    unless approved by ``expires_ms`` (Unix ms). ``digest`` is what the second person signs.
    """

    request: int
    act: str
    arguments: str
    reason: str
    dry_run: bytes
    records: int
    cooling_ms: int
    expires_ms: int
    digest: bytes
    public_key: bytes
    signed: Signed = UNSIGNED


class RequestSigned(BodyStruct, frozen=True):
    """Who asked has signed the request's digest: it names nobody, so that certificates show it."""

    request: int
    signed: Signed = UNSIGNED


class RequestApproved(BodyStruct, frozen=True):
    """The second person agrees; ``public_key`` is the key that signed.

    ``approved_ms`` is the time then (Unix ms) as cooling-offs count it: proven time. The
    operation's own time may be far ahead of it: that never goes back once a wall clock was.
    """

    request: int
    public_key: bytes
    signed: Signed = UNSIGNED
    approved_ms: int = 0


class RequestClosed(BodyStruct, frozen=True):
    """A request is over: done, rejected, expired or outgrown."""

    request: int
    outcome: str
    reason: str = ""
    signed: Signed = UNSIGNED


# --- destruction ------------------------------------------------------------------------------


class Approval(BodyStruct, frozen=True):
    """Who asked or agreed: person id, Ed25519 public key, and what they signed."""

    person: bytes
    public_key: bytes
    signed: Signed


class DayCount(BodyStruct, frozen=True):
    """Records of one class born on one day (days since 1970); 0 stands for one to four.

    Where a run reaches over very many days, ``day`` is the first of 31.
    """

    retention_class: str
    day: int
    records: int


class DestructionIntent(BodyStruct, frozen=True):
    """One slice of a run, committed together with the loss of its keys.

    It tells the whole run so far, so that the newest one is all there is to know: ``parts``,
    exact ``counts``, the first and last of the ``generations`` that died. ``scope_root`` is the
    RFC 6962 root over HMAC-SHA-256(scope key, OpId) of this slice's parts. Time in Unix ms.
    """

    run: int
    piece: int
    cause: str
    request: int
    policy_version: int
    scope_key: bytes
    scope_root: bytes
    parts: int
    counts: tuple[DayCount, ...]
    generations: tuple[int, int]
    started_ms: int


class ReplicaState(BodyStruct, frozen=True):
    """How far a key replica has followed: its name and the generation it has acknowledged."""

    name: str
    generation: int


class SiteAnswer(BodyStruct, frozen=True):
    """What a branch has answered to the orders of a run, by its number and name.

    ``state`` is done, held (a hold keeps some of it there), missing (no answer, or not to all) or
    lost (an officer attests that nothing is left of it). Numbers are of operations.
    """

    site: int
    name: str
    state: str
    destroyed: int
    held_back: int
    absent: int


class DestructionConfirmed(BodyStruct, frozen=True):
    """A run is over: its keys are effaced. Everything a certificate says, except the proofs.

    ``cause`` is expiry, recall, erasure, order, headquarters or decommission; ``state`` is
    LOCAL, REPLICAS or COMPLETE. ``scope_root`` covers all slices, in order. ``generations`` are
    the first and last root that died, ``evidence`` what was seen on the key directory's device.
    Times in Unix ms.
    """

    run: int
    cause: str
    request: int
    dry_run: bytes
    approvals: tuple[Approval, ...]
    policy_version: int
    policy_hash: bytes
    parts: int
    counts: tuple[DayCount, ...]
    held_back: int
    scope_root: bytes
    scope_size: int
    generations: tuple[int, int]
    tier: str
    evidence: tuple[str, ...]
    replicas: tuple[ReplicaState, ...]
    state: str
    devices_asked: int
    devices_answered: int
    started_ms: int
    confirmed_ms: int
    clock: str
    program: str
    digest: bytes = b""
    """What the second person signed; empty for runs that need no approval."""
    sites: tuple[SiteAnswer, ...] = ()
    """What the branches have answered, where the run became orders to them."""


class DestructionOrder(BodyStruct, frozen=True):
    """Headquarters has destroyed these operations by an act of two people; branches follow.

    ``order`` numbers them, ``run`` is the run of headquarters that they are of, ``digest`` what
    the second person signed, ``scope_root`` as the run's intent says. ``targets`` are OpIds of 32
    bytes. ``person``: whose erasure it is; then all goes that a site knows of them, named here or
    not. ``holders`` are the numbers of the branches that must answer.
    """

    order: int
    run: int
    cause: str
    digest: bytes
    scope_root: bytes
    targets: tuple[bytes, ...]
    person: bytes
    holders: tuple[int, ...]


class DestructionReceipt(BodyStruct, frozen=True):
    """A branch has carried out an order, as far as it may: the newest receipt counts.

    ``receipt`` is the branch's number and the order's in one, ``run`` the branch's own run whose
    certificate tells more (0: it had nothing to destroy), ``generation`` its root after it.
    ``destroyed``, ``held_back`` and ``absent`` (never held, or gone before) count operations,
    ``left`` those that it has not come to yet.
    """

    receipt: int
    order: int
    run: int
    generation: int
    destroyed: int
    held_back: int
    absent: int
    left: int


class ScopeLeft(BodyStruct, frozen=True):
    """A branch has let go of so many bodies of a conversation that nobody there is in any more.

    ``held_back`` are kept for a hold; ``generation`` is the branch's root before.
    """

    conversation: bytes
    dropped: int
    held_back: int
    generation: int


class LogSettled(BodyStruct, frozen=True):
    """A branch has found that a log went on differently here and at headquarters.

    ``node`` and ``incarnation`` name the log, ``common`` is the last operation that both have.
    The two heads: sequence number and hash of the newest operation here, and at headquarters.
    ``again`` operations of this branch were said again under its present incarnation, ``let_go``
    of headquarters were given up, because headquarters has lost them.
    """

    node: bytes
    incarnation: int
    common: int
    here: int
    here_hash: bytes
    there: int
    there_hash: bytes
    again: int
    let_go: int


class SiteLost(BodyStruct, frozen=True):
    """An officer attests that nothing is left of a revoked branch: no order waits for it."""

    site: int
    reason: str
    signed: Signed = UNSIGNED


class ConversationWiped(BodyStruct, frozen=True):
    """Messages of the conversation are destroyed: inclusive ranges of timeline keys."""

    run: int
    ranges: tuple[tuple[int, int], ...]


class ConversationFiled(BodyStruct, frozen=True):
    """Which retention class and labels a conversation has, and had.

    ``past`` lists earlier ones as (class, labels, last position covered): a minimum that ran
    then goes on. ``case_closed_ms`` is 0 while the case is open.
    """

    retention_class: int
    labels: tuple[str, ...]
    case_closed_ms: int
    past: tuple[tuple[int, tuple[str, ...], int], ...]
    signed: Signed = UNSIGNED


class DeviceWiped(BodyStruct, frozen=True):
    """The device has dropped what runs up to this one destroyed."""

    run: int


# --- time, ledger, replicas -------------------------------------------------------------------


class ClockAnchor(BodyStruct, frozen=True):
    """It was at least ``at_ms`` (Unix ms of proven time) when everything before was there.

    ``source`` vouches for it. ``wall_ms``, ``boot`` and ``uptime_ms`` are the machine's own
    clocks at that moment, from which a later process goes on.
    """

    at_ms: int
    source: str
    wall_ms: int
    boot: str
    uptime_ms: int
    is_confirmed: bool


class ClockChanged(BodyStruct, frozen=True):
    """Destruction is suspended because of a jump, or goes on; times in Unix ms.

    ``step_ms`` is how far proven time moved forward on two people's or headquarters' word.
    """

    suspended: bool
    expected_ms: int
    seen_ms: int
    step_ms: int = 0
    request: int = 0
    signed: Signed = UNSIGNED


class DayKey(BodyStruct, frozen=True):
    """The key that signs checkpoints from ``day`` (days since 1970), certified by the site."""

    day: int
    public_key: bytes
    signature: bytes


class SiteSucceeds(BodyStruct, frozen=True):
    """This incarnation follows another: first leaf of its ledger.

    ``size`` and ``root`` are of the old ledger as found, ``reason`` says why.
    """

    incarnation: int
    size: int
    root: bytes
    reason: str


class PrivilegedRead(BodyStruct, frozen=True):
    """Somebody with a right beyond their own conversations read something.

    ``what`` names the kind of read; ``target`` is the packed OpId of a record shown, if one.
    """

    what: str
    target: bytes
    request: int
    signed: Signed = UNSIGNED


class ReplicaNamed(BodyStruct, frozen=True):
    """A key replica exists, by number: its name and random id; destruction waits for it."""

    replica: int
    name: str
    identity: bytes


class ReplicaRetired(BodyStruct, frozen=True):
    """A key replica is waited for no more, by the approved ``request``."""

    replica: int
    request: int
    signed: Signed = UNSIGNED


class SiteDecommissioned(BodyStruct, frozen=True):
    """The site ends: the root goes with run ``run``."""

    run: int
    request: int
    signed: Signed = UNSIGNED
