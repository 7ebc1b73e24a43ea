"""Define what the commands of policy, holds, approvals and destruction answer.

Names ending in ``_ms`` are Unix ms (0: not yet, or never); over the administration socket they
are called ``..._at``, and bytes are hex.
"""

from __future__ import annotations

import msgspec

from appliance.disposal.commands import Selection


class Reply(msgspec.Struct, frozen=True):
    """Base of the answers; its repr shows nothing."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class PolicyChanged(Reply, frozen=True):
    """A policy is in force as ``version``, or waits for a second officer as ``request``.

    ``loosens`` says, in words, why it takes two; once approved, it is in force from ``ready_ms``.
    """

    version: int
    request: int
    loosens: tuple[str, ...]
    ready_ms: int = 0


class HoldChanged(Reply, frozen=True):
    """A hold was placed, or released; or its release waits as ``request`` (else 0).

    Once a second officer has agreed, it ends at ``ready_ms``; before that it is 0.
    """

    hold: int
    request: int
    active: bool
    ready_ms: int = 0


class HoldItem(Reply, frozen=True):
    """One hold; nothing is destroyed against it anywhere from ``everywhere_ms`` on (0: already).

    ``waits_for`` are the sites that have not told yet that they know it.
    """

    hold: int
    name: str
    active: bool
    by: str
    reason: str
    selection: Selection
    placed_ms: int
    released_ms: int
    everywhere_ms: int = 0
    waits_for: tuple[str, ...] = ()


class Holds(Reply, frozen=True):
    """Holds, oldest first."""

    holds: tuple[HoldItem, ...]


class Requested(Reply, frozen=True):
    """A request waits for a second officer.

    ``records`` would end now, ``held`` are kept by holds and ``young`` by minimums.
    """

    request: int
    digest: str
    records: int
    held: int
    young: int
    cooling_seconds: int
    expires_ms: int


class Approved(Reply, frozen=True):
    """A request is approved; ``done`` when it was carried out at once, else from ``ready_ms``."""

    request: int
    done: bool
    ready_ms: int


class RequestItem(Reply, frozen=True):
    """One request. ``state``: open, approved, ready, running, done, rejected, expired, outgrown.

    What the digest covers is all here, so that who approves can compute it (see
    ``appliance.policy.approvals.digest``) and signs nothing but what was shown.
    """

    request: int
    act: str
    state: str
    by: str
    approver: str
    reason: str
    arguments: str
    dry_run: str
    records: int
    cooling_seconds: int
    digest: str
    made_ms: int
    approved_ms: int
    ready_ms: int
    expires_ms: int
    closed_ms: int


class Requests(Reply, frozen=True):
    """Requests, oldest first."""

    requests: tuple[RequestItem, ...]


class RunStarted(Reply, frozen=True):
    """An order is being carried out; ``run.status`` with its request tells how far it is.

    ``outgrown``: it is not, since more would be destroyed than was approved; the request is over.
    """

    request: int
    outgrown: bool


class Ended(Reply, frozen=True):
    """The site is decommissioned by run ``run``; its keys go when the server is told to finish."""

    run: int
    text: str


class LostCut(Reply, frozen=True):
    """So many epochs were cut; 0: nothing of a lost batch is left."""

    epochs: int


class SliceDone(Reply, frozen=True):
    """A slice is committed: of the places given, ``taken`` were looked at."""

    run: int
    taken: int
    records: int
    held_back: int


class OrderCarried(Reply, frozen=True):
    """An order is carried out at a branch, but for ``left`` operations that it has not come to."""

    run: int
    left: int
    held_back: int
    destroyed: int


class Attested(Reply, frozen=True):
    """No order waits for this branch any more."""

    site: int
    name: str


class SiteItem(Reply, frozen=True):
    """What a branch has answered to a run. ``state``: done, held, missing or lost.

    The numbers are of operations; ``absent``: never held there, or gone before.
    """

    name: str
    state: str
    destroyed: int
    held_back: int
    absent: int


class RunItem(Reply, frozen=True):
    """One run. ``state``: RUNNING, LOCAL, REPLICAS, COMPLETE or CLOSING.

    ``sites`` are the branches that had to follow; none where nothing was ordered.
    """

    run: int
    cause: str
    state: str
    request: int
    parts: int
    held_back: int
    devices_asked: int
    devices_answered: int
    started_ms: int
    confirmed_ms: int
    sites: tuple[SiteItem, ...] = ()


class Runs(Reply, frozen=True):
    """Runs, newest first."""

    runs: tuple[RunItem, ...]


class Certificate(Reply, frozen=True):
    """A certificate as text."""

    run: int
    text: str


class ScopeKey(Reply, frozen=True):
    """What an auditor needs to ask whether a run destroyed a message."""

    run: int
    scope_key: bytes
    leaves: tuple[bytes, ...]


class TrailEntry(Reply, frozen=True):
    """One leaf of the ledger, and the privileged act it stands for as far as that survives."""

    index: int
    kind: str
    act: str
    by: str
    at_ms: int
    detail: str
    op: bytes


class Trail(Reply, frozen=True):
    """Entries of the trail; ``size`` is the ledger's before this reading, itself an entry."""

    entries: tuple[TrailEntry, ...]
    size: int


class LedgerPage(Reply, frozen=True):
    """Lines of a ledger export, in order; ``after`` asks for the next page, empty at the end."""

    lines: tuple[str, ...]
    after: str


class Filed(Reply, frozen=True):
    """A conversation has a class and labels."""

    retention_class: str
    labels: tuple[str, ...]


class ClockResumed(Reply, frozen=True):
    """Destruction goes on, or the request for it waits."""

    resumed: bool
    request: int
