"""Define the commands of policy, holds, approvals and destruction, and their names when signed.

People are named by login, conversations by their id in hex. What one officer may not do alone
becomes a request; another officer who sends the same command, or ``request.approve`` with the
request's digest, agrees to it.
"""

from __future__ import annotations

from typing import Final

import msgspec

from appliance.directory.commands import Command


class Selection(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which records are meant; as ``appliance.policy.predicate``, in the words of people.

    ``from_ms`` (inclusive) and ``until_ms`` (exclusive) are Unix ms, 0 for open.
    """

    persons: tuple[str, ...] = ()
    conversations: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    from_ms: int = 0
    until_ms: int = 0

    def __repr__(self) -> str:
        return "<Selection>"


# --- policy -----------------------------------------------------------------------------------


class SetPolicy(Command, frozen=True):
    """Replace the policy; ``text`` is the TOML document, ``base`` the version it was made from."""

    text: str
    base: int
    reason: str


class FileConversation(Command, frozen=True):
    """Give a conversation a retention class and labels, and say whether its case is closed."""

    conversation: str
    retention_class: str
    labels: tuple[str, ...] = ()
    case_closed: bool = False


class ResumeClock(Command, frozen=True):
    """Say that the wall clock is right now (Unix ms, as read), so that destruction goes on."""

    wall_ms: int
    reason: str


# --- holds ------------------------------------------------------------------------------------


class PlaceHold(Command, frozen=True):
    """Hold everything that matches, from this moment on."""

    name: str
    selection: Selection
    reason: str


class ReleaseHold(Command, frozen=True):
    """End a hold; it takes two officers."""

    hold: int
    reason: str


class ListHolds(Command, frozen=True):
    """List holds; reading them is recorded."""

    released: bool = False


# --- requests ---------------------------------------------------------------------------------


class RequestDestruction(Command, frozen=True):
    """Ask for the destruction of what matches before its time; ``erase``: of a whole person."""

    selection: Selection
    reason: str
    erase: bool = False


class RequestReview(Command, frozen=True):
    """Ask to read what matches, for some hours."""

    selection: Selection
    hours: int
    reason: str


class RetireReplica(Command, frozen=True):
    """Ask that a key replica is waited for no more."""

    replica: str
    reason: str


class RequestDecommission(Command, frozen=True):
    """Ask for the end of the site: the root of all keys goes.

    ``transferred``: what must still be kept by law was handed over to another custodian; both
    officers sign that.
    """

    reason: str
    transferred: bool = False


class RunDecommission(Command, frozen=True):
    """End the site by an approved request whose cooling-off is over; said again, go on with it."""

    request: int


class SignRequest(Command, frozen=True):
    """Sign one's own request by its digest in hex, as certificates show it: without a name.

    Needed before somebody can approve what destroys.
    """

    request: int
    digest: str


class ApproveRequest(Command, frozen=True):
    """Agree to a request, named by its number and its digest in hex."""

    request: int
    digest: str


class RejectRequest(Command, frozen=True):
    """Refuse a request, or take back one's own."""

    request: int
    reason: str = ""


class ListRequests(Command, frozen=True):
    """List requests; reading them is recorded."""

    closed: bool = False


class RunDestruction(Command, frozen=True):
    """Carry out an approved destruction whose cooling-off is over."""

    request: int


# --- trail ------------------------------------------------------------------------------------


class ListRuns(Command, frozen=True):
    """List destruction runs."""

    limit: int = 100


class ShowCertificate(Command, frozen=True):
    """Return a run's certificate."""

    run: int


class AttestLost(Command, frozen=True):
    """Attest that nothing is left of a revoked branch, so that no order waits for it."""

    name: str
    reason: str


class ReadTrail(Command, frozen=True):
    """Read leaves of the ledger after an index, oldest first; -1: the newest ones."""

    after: int = -1
    limit: int = 100


class ExportLedger(Command, frozen=True):
    """Hand out a page of the ledger, as ``store.verifier`` reads it; the first one is recorded.

    All pages are of the newest checkpoint when it began: ``after`` is the page before's cursor.
    """

    after: str = ""


class ShowScopeKey(Command, frozen=True):
    """Hand out the key of a run's scope, for the question whether it destroyed a message."""

    run: int


REQUESTS: Final[dict[str, type[Command]]] = {
    "policy.set": SetPolicy,
    "conversation.file": FileConversation,
    "clock.resume": ResumeClock,
    "hold.place": PlaceHold,
    "hold.release": ReleaseHold,
    "hold.list": ListHolds,
    "destroy.request": RequestDestruction,
    "destroy.run": RunDestruction,
    "review.request": RequestReview,
    "replica.retire": RetireReplica,
    "decommission.request": RequestDecommission,
    "decommission.run": RunDecommission,
    "request.sign": SignRequest,
    "request.approve": ApproveRequest,
    "request.reject": RejectRequest,
    "request.list": ListRequests,
    "run.list": ListRuns,
    "site.lost": AttestLost,
    "run.certificate": ShowCertificate,
    "run.scope": ShowScopeKey,
    "audit.read": ReadTrail,
    "ledger.export": ExportLedger,
}
"""Signed requests by name."""

NAMES: Final = {kind: name for name, kind in REQUESTS.items()}


# --- prepared from a snapshot, then decided -----------------------------------------------------


class OrderFound(msgspec.Struct, frozen=True):
    """A request for destruction with what its dry run found: places of records, and how many stay.

    The dry run reads a snapshot in a worker thread; the writer does not wait for it.
    """

    command: RequestDestruction
    places: tuple[tuple[int, int], ...]
    held: int
    young: int


class RunFound(msgspec.Struct, frozen=True):
    """The command to carry out an order, with what its predicate finds now."""

    command: RunDestruction
    places: tuple[tuple[int, int], ...]


class EndAsked(msgspec.Struct, frozen=True):
    """A request for the end with what survives: records, and whether a minimum still runs."""

    command: RequestDecommission
    records: int
    is_young: bool


class EndFound(msgspec.Struct, frozen=True):
    """The command to end the site, with all that a snapshot of one generation holds.

    ``counts`` are (class, day, records). ``size`` and ``peaks`` are the scope's tree over every
    operation up to ``upto``: (origin number, last seq) each.
    """

    command: RunDecommission
    generation: int
    is_young: bool
    counts: tuple[tuple[str, int, int], ...]
    scope_key: bytes
    size: int
    peaks: tuple[bytes, ...]
    upto: tuple[tuple[int, int], ...]

    def __repr__(self) -> str:
        return "<EndFound>"


# --- by the site itself -----------------------------------------------------------------------


class ReadClock(msgspec.Struct, frozen=True):
    """Take a reading of the machine's clocks, and ``anchor`` what was written until now."""

    anchor: bool = False


class NameReplica(msgspec.Struct, frozen=True):
    """Let destruction wait for a key replica: its name and random id (16 bytes)."""

    name: str
    identity: bytes


class KeepLedger(msgspec.Struct, frozen=True):
    """See to the key of the day, and sign a checkpoint of the ledger."""


class CutLost(msgspec.Struct, frozen=True):
    """End keys that lost batches may have used, of some epochs; the reply tells of how many."""


class Slice(msgspec.Struct, frozen=True):
    """Destroy some records, by their places (origin number, seq), as one piece of a run.

    Each is decided again in the transaction: what is held or too young by then stays. ``run``
    is 0 for the first piece of a new run; the reply tells its number.
    """

    run: int
    cause: str
    request: int
    places: tuple[tuple[int, int], ...]


class CarryOrder(msgspec.Struct, frozen=True):
    """At a branch: destroy what an order of headquarters names, at most ``most`` records of it.

    ``run`` is the branch's own run that this goes on with, 0 for a new one.
    """

    order: int
    run: int
    most: int


class Confirm(msgspec.Struct, frozen=True):
    """Say that a run is over: its keys are effaced, as ``evidence`` shows.

    ``replicas`` are (name, generation acknowledged). Said again when more is known.
    """

    run: int
    held_back: int
    evidence: tuple[str, ...]
    replicas: tuple[tuple[str, int], ...]
    devices_asked: int
    devices_answered: int


class Settle(msgspec.Struct, frozen=True):
    """Close requests that nobody approved in time, and carry out those whose time has come."""
