"""Lead an act that takes two people from the first one's request to its end.

One officer asks and signs; another officer, with another key, signs the digest of just that
request; if the act destroys, a cooling-off passes in which anybody may still object; then it is
carried out. What nobody approves in time is over. What was approved is a set of records, by the
hash of a dry run: an act that would reach further by now is not what the second person agreed
to, and is over too. One that would reach less far may go on.

    state, event    approve    reject     expire    run                       finish   grow
    OPEN            APPROVED   REJECTED   EXPIRED   refused: unapproved       -        -
    APPROVED        refused    REJECTED   -         RUNNING, or OUTGROWN      -        OUTGROWN
    RUNNING         refused    refused    -         RUNNING, or OUTGROWN      DONE     OUTGROWN
    DONE, REJECTED, EXPIRED and OUTGROWN are ends: every event is refused

"-" is refused as well ("approval.state"): it cannot happen unless the caller is wrong, or late.
The guards, each with its refusal:

    approve   by who asked             "approval.same_person"
              with the key that asked  "approval.same_key"
              at or after expiry       "approval.expired"
    expire    before expiry            "approval.state"
    run       before the cooling-off   "approval.cooling", ``after`` the seconds left
              has passed
              unapproved               "approval.unapproved"

RUNNING takes another ``run``: a crash may have cut the first one off. Whether a set has grown
the hash alone cannot say; the caller does, by ``is_within``: every record of now was one of then.

The digest that the second person signs is SHA-256 over a canonical array:

    field  type   meaning
    0      text   "strongroom/approval/1"
    1      bytes  NodeId of the site (16)
    2      int    request number
    3      text   act
    4      text   arguments: canonical JSON
    5      bytes  hash of the dry run (32), or empty when the act has none
    6      int    records that the dry run found
    7      int    cooling-off, ms
    8      int    expiry, Unix ms
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from hashlib import sha256
from types import MappingProxyType
from typing import Final, NamedTuple

from appliance.directory.roles import SECURITY_OFFICER
from store import canonical
from transports.wire.errors import Refusal

LABEL: Final = "strongroom/approval/1"
MS_PER_SECOND: Final = 1_000


class Act(NamedTuple):
    """What an act asks for: a dry run, a cooling-off, and the roles of each of the two people."""

    has_dry_run: bool
    has_cooling: bool
    roles: tuple[str, ...] = (SECURITY_OFFICER,)


ACTS: Final[Mapping[str, Act]] = MappingProxyType(
    {
        "policy.set": Act(has_dry_run=True, has_cooling=True),
        "hold.release": Act(has_dry_run=True, has_cooling=True),
        "destroy": Act(has_dry_run=True, has_cooling=True),
        "erase": Act(has_dry_run=True, has_cooling=True),
        "review": Act(has_dry_run=False, has_cooling=False),
        "clock.resume": Act(has_dry_run=False, has_cooling=False),
        "replica.retire": Act(has_dry_run=False, has_cooling=False),
        "decommission": Act(has_dry_run=True, has_cooling=True),
    }
)
"""The acts that take two people. A policy's takes two only when it loosens."""


class State(StrEnum):
    """How far a request has come."""

    OPEN = "open"
    APPROVED = "approved"
    RUNNING = "running"
    DONE = "done"
    REJECTED = "rejected"
    EXPIRED = "expired"
    OUTGROWN = "outgrown"


class Event(StrEnum):
    """What can happen to a request."""

    APPROVE = "approve"
    REJECT = "reject"
    EXPIRE = "expire"
    RUN = "run"
    FINISH = "finish"
    GROW = "grow"


TRANSITIONS: Final[Mapping[tuple[State, Event], State]] = MappingProxyType(
    {
        (State.OPEN, Event.APPROVE): State.APPROVED,
        (State.OPEN, Event.REJECT): State.REJECTED,
        (State.OPEN, Event.EXPIRE): State.EXPIRED,
        (State.APPROVED, Event.REJECT): State.REJECTED,
        (State.APPROVED, Event.RUN): State.RUNNING,
        (State.APPROVED, Event.GROW): State.OUTGROWN,
        (State.RUNNING, Event.RUN): State.RUNNING,
        (State.RUNNING, Event.FINISH): State.DONE,
        (State.RUNNING, Event.GROW): State.OUTGROWN,
    }
)
"""Where an event leads; a pair that is not here is refused."""

ENDS: Final = frozenset((State.DONE, State.REJECTED, State.EXPIRED, State.OUTGROWN))
"""States that nothing leads out of; their values are what ``request.closed`` records."""


@dataclass(frozen=True, slots=True)
class Approval:
    """A request, as far as it has come; each event returns the next one or raises ``Refusal``.

    ``person`` and ``public_key`` are who asked; ``dry_run`` and ``records`` what was approved.
    ``expires_ms`` and ``approved_ms`` in Unix ms, ``approved_ms`` 0 before the approval.
    """

    person: bytes = field(repr=False)
    public_key: bytes = field(repr=False)
    dry_run: bytes
    records: int
    cooling_ms: int
    expires_ms: int
    state: State = State.OPEN
    approver: bytes = field(default=b"", repr=False)
    approver_key: bytes = field(default=b"", repr=False)
    approved_ms: int = 0

    @property
    def is_over(self) -> bool:
        """Whether nothing can come of it any more."""
        return self.state in ENDS

    @property
    def ready_ms(self) -> int | None:
        """When it may be carried out, in Unix ms; None unless it is approved."""
        is_approved = self.state in (State.APPROVED, State.RUNNING)
        return self.approved_ms + self.cooling_ms if is_approved else None

    def approve(self, person: bytes, public_key: bytes, now_ms: int) -> Approval:
        """Let a second person agree; that they signed the digest is for the caller to check."""
        after = self._after(Event.APPROVE)
        if now_ms >= self.expires_ms:
            raise Refusal("approval.expired")
        if person == self.person:
            raise Refusal("approval.same_person")
        if public_key == self.public_key:
            raise Refusal("approval.same_key")
        return replace(after, approver=person, approver_key=public_key, approved_ms=now_ms)

    def reject(self) -> Approval:
        """End it on one person's word: whoever may approve, or who asked."""
        return self._after(Event.REJECT)

    def expire(self, now_ms: int) -> Approval:
        """End it because nobody approved it in time."""
        if now_ms < self.expires_ms:
            raise Refusal("approval.state")
        return self._after(Event.EXPIRE)

    def run(
        self, now_ms: int, dry_run: bytes = b"", records: int = 0, *, is_within: bool = False
    ) -> Approval:
        """Begin to carry it out, or go on with it.

        Args:
            now_ms: Unix ms.
            dry_run: hash of what it would do now.
            records: how many records that are.
            is_within: each of these records was among those that were approved.

        Returns:
            it, RUNNING; or OUTGROWN, when it would do anything that was not approved.
        """
        if self.state is State.OPEN:
            raise Refusal("approval.unapproved")
        after = self._after(Event.RUN)
        left_ms = self.approved_ms + self.cooling_ms - now_ms
        if left_ms > 0:
            raise Refusal("approval.cooling", after=left_ms / MS_PER_SECOND)
        is_approved = dry_run == self.dry_run or (is_within and records <= self.records)
        return after if is_approved else self._after(Event.GROW)

    def finish(self) -> Approval:
        """End it: everything is done."""
        return self._after(Event.FINISH)

    def grow(self) -> Approval:
        """End it because it would reach further than what was approved."""
        return self._after(Event.GROW)

    def _after(self, event: Event) -> Approval:
        following = TRANSITIONS.get((self.state, event))
        if following is None:
            raise Refusal("approval.state")
        return replace(self, state=following)


def digest(
    act: str,
    arguments: str,
    dry_run: bytes,
    records: int,
    cooling_ms: int,
    expires_ms: int,
    request: int,
    node: bytes,
) -> bytes:
    """Return the 32 bytes that the second person signs; the layout is above."""
    fields = (LABEL, node, request, act, arguments, dry_run, records, cooling_ms, expires_ms)
    return sha256(canonical.encode(fields)).digest()
