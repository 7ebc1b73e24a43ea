"""Hold in memory which branches there are, or whose branch this is.

``fold`` follows single operations in the writer's thread and puts memory back when their
transaction rolls back. Values are immutable and replaced whole, so that any thread may look
them up. A *site number* numbers invitations, not machines: a branch whose machine was lost is
revoked, and comes back under another number, where it may have the old name.

    state      event                        next
    -          invited                      INVITED
    INVITED    invited again (new token)    INVITED
    INVITED    joined                       JOINED
    JOINED     invited again (new token)    INVITED
    JOINED     approved, of the same node   APPROVED
    any        revoked                      REVOKED
    any        moved (other address)        as it was

What else is decided never comes to the log; if the log says it, it changes nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from appliance.directory.roles import EXCLUSIVE
from appliance.operations import (
    BodyStruct,
    ClockFix,
    Kind,
    LeaseGranted,
    SiteApproved,
    SiteHeadquarters,
    SiteInvited,
    SiteJoined,
    SiteMoved,
    SiteReprovisioned,
    SiteRevoked,
)
from appliance.sites.lease import Mark, Profile, pack, unpack
from store import cursors
from store.engine.contract import Reader
from store.engine.txn import Txn
from store.oplog import Op
from store.tables import meta_key, successor
from sync.pieces import Lane

if TYPE_CHECKING:
    from appliance.directory.model import Person
    from appliance.directory.state import Directory

Undo = Callable[[Callable[[], None]], None]

_MARK: Final = meta_key("lease")
_GRANTED: Final = meta_key("lease.")
_SITE = struct.Struct(">I")
_GRANT_ROW = struct.Struct(">QQ")


class Granted(NamedTuple):
    """The last lease that headquarters granted a branch, in Unix ms, and what it had applied.

    META row "lease." and the site number u32: both, u64 each.
    """

    at_ms: int
    applied: int


class State(StrEnum):
    """How far a branch has come."""

    INVITED = "invited"
    JOINED = "joined"
    APPROVED = "approved"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class Branch:
    """A branch as headquarters knows it; times in Unix ms, 0 for what has not happened.

    ``node`` and ``public_key`` are empty until it joins; ``address`` and ``ca`` are what its
    people need to reach it, as ``SiteJoined``.
    """

    site: int
    name: str
    state: State
    token_hash: bytes = field(repr=False)
    expires_ms: int
    invited_ms: int
    node: bytes = b""
    public_key: bytes = field(default=b"", repr=False)
    address: str = ""
    ca: bytes = field(default=b"", repr=False)
    joined_ms: int = 0
    approved_ms: int = 0
    revoked_ms: int = 0
    reprovisioned_ms: int = 0

    @property
    def is_approved(self) -> bool:
        """Whether its machine is let in."""
        return self.state is State.APPROVED

    @property
    def is_revoked(self) -> bool:
        """Whether it is let in no more, for ever."""
        return self.state is State.REVOKED


class Sites:
    """Branches and headquarters, as this site knows them; ``node`` is its own NodeId."""

    def __init__(self, directory: Directory) -> None:
        self.node = b""
        self.branches: Mapping[int, Branch] = {}
        """By site number, in this order."""
        self.headquarters: SiteHeadquarters | None = None
        self.lease: LeaseGranted | None = None
        self.mark: Mark | None = None
        """How old this branch's lease was when last noted."""
        self.applied = 0
        """Up to which arrival number of headquarters everything is applied at this branch."""
        self.granted: Mapping[int, Granted] = {}
        """At headquarters: the last lease of each branch, by site number."""
        self.profile: Profile = "hospital"
        """What an expired lease still allows, as the configuration says."""
        self.clock_fixes: Mapping[int, ClockFix] = {}
        self._directory = directory
        self._by_node: Mapping[bytes, int] = {}

    # --- looking up, from any thread ------------------------------------------------------------

    @property
    def is_branch(self) -> bool:
        """Whether this site is a branch of headquarters."""
        return self.headquarters is not None

    @property
    def headquarters_node(self) -> bytes:
        """Return the NodeId of headquarters: this site's own, unless it is a branch."""
        return self.node if self.headquarters is None else self.headquarters.node

    @property
    def number(self) -> int:
        """Return this site's number; 0 is headquarters'."""
        return 0 if self.headquarters is None else self.headquarters.site

    @property
    def own_home(self) -> bytes:
        """Return what ``Person.home`` is of those at home here: empty at headquarters."""
        return self.node if self.is_branch else b""

    def node_of_person(self, person: bytes) -> bytes:
        """Return the NodeId of the site where a person is at home; unknown ones: headquarters."""
        known = self._directory.person(person)
        return known.home if known is not None and known.home else self.headquarters_node

    def is_home(self, person: bytes) -> bool:
        """Tell whether a person is at home at this site, so that they may sign in here."""
        return self.node_of_person(person) == self.node

    def may_sign_in(self, person: bytes) -> bool:
        """Tell whether a person may sign in at this site; at headquarters everybody may."""
        return not self.is_branch or self.is_home(person)

    def offices(self, person: Person) -> frozenset[str]:
        """Return the roles that somebody may act in at this site.

        Offices count only where their holder is at home: a branch that was taken over has its
        people's credentials, and must not decide at headquarters with them.
        """
        return person.roles if self.is_home(person.id) else person.roles - EXCLUSIVE

    def branch_of(self, node: bytes) -> Branch | None:
        """Return the branch with this NodeId, whatever its state."""
        return self.branches.get(self._by_node.get(node, 0))

    def named(self, name: str) -> Branch | None:
        """Return the branch of that name, the revoked one only where no other has it."""
        found = [each for each in self.branches.values() if each.name == name]
        return max(found, key=lambda each: (not each.is_revoked, each.site), default=None)

    def name_of(self, node: bytes) -> str:
        """Return what a site is called; empty for headquarters and for one not known here."""
        headquarters = self.headquarters
        if headquarters is not None and node == self.node:
            return headquarters.name
        branch = self.branch_of(node)
        return "" if branch is None else branch.name

    def invited(self, token_hash: bytes) -> Branch | None:
        """Return the branch whose newest token has this hash; it may have expired. O(sites)."""
        for branch in self.branches.values():
            if branch.token_hash == token_hash:
                return branch
        return None

    def revealed(self, node: bytes) -> list[Person]:
        """Return the people whose credentials a branch holds or still knows; O(people)."""
        people = self._directory.people()
        found = [each for each in people if node in (each.home, *each.past_homes)]
        return sorted(found, key=lambda each: each.login)

    # --- following the log, in the writer's thread ------------------------------------------------

    def load(self, reader: Reader) -> None:
        """Read what only rows say; to be called once, after the registers were folded."""
        row = reader.get(_MARK)
        self.mark = None if row is None else unpack(row)
        self.applied = cursors.get(reader, cursors.PEER, Lane.CONTROL)
        self.granted = {
            _SITE.unpack(key[len(_GRANTED) :])[0]: Granted(*_GRANT_ROW.unpack(value))
            for key, value in reader.range(_GRANTED, successor(_GRANTED))
        }

    def set_mark(self, txn: Txn, mark: Mark) -> None:
        """Note the age of the lease."""
        txn.put(_MARK, pack(mark))
        self._set("mark", mark, txn.on_rollback)

    def set_applied(self, number: int, undo: Undo) -> None:
        """Note up to which arrival number of headquarters everything is applied here."""
        if number != self.applied:
            self._set("applied", number, undo)

    def set_granted(self, txn: Txn, site: int, granted: Granted) -> None:
        """At headquarters: note the newest lease of a branch."""
        txn.put(_GRANTED + _SITE.pack(site), _GRANT_ROW.pack(*granted))
        self._set("granted", {**self.granted, site: granted}, txn.on_rollback)

    def fold(self, op: Op, body: BodyStruct, undo: Undo | None) -> None:
        """Follow an operation; other rooms' kinds change nothing. ``undo`` is None at load."""
        change = _FOLDS.get(op.kind)
        if change is not None:
            change(self, op, body, undo)

    def _set(self, name: str, value: Any, undo: Undo | None) -> None:
        if undo is not None:
            undo(partial(setattr, self, name, getattr(self, name)))
        setattr(self, name, value)

    def _put(self, branch: Branch, undo: Undo | None) -> None:
        branches = dict(sorted({**self.branches, branch.site: branch}.items()))
        by_node = {each.node: each.site for each in branches.values() if each.node}
        self._set("branches", branches, undo)
        self._set("_by_node", by_node, undo)

    def _invited(self, op: Op, body: SiteInvited, undo: Undo | None) -> None:
        known = self.branches.get(body.site)
        if known is None or known.state in (State.INVITED, State.JOINED):
            fields = (body.site, body.name, State.INVITED, body.token_hash, body.expires_ms)
            self._put(Branch(*fields, invited_ms=op.received_ms), undo)

    def _joined(self, op: Op, body: SiteJoined, undo: Undo | None) -> None:
        known = self.branches.get(body.site)
        if known is not None and known.state is State.INVITED:
            joined = replace(
                known,
                state=State.JOINED,
                node=body.node,
                public_key=body.public_key,
                address=body.address,
                ca=body.ca,
                joined_ms=op.received_ms,
            )
            self._put(joined, undo)

    def _approved(self, op: Op, body: SiteApproved, undo: Undo | None) -> None:
        known = self.branches.get(body.site)
        if known is not None and known.state is State.JOINED and known.node == body.node:
            self._put(replace(known, state=State.APPROVED, approved_ms=op.received_ms), undo)

    def _moved(self, _op: Op, body: SiteMoved, undo: Undo | None) -> None:
        known = self.branches.get(body.site)
        if known is not None:
            self._put(replace(known, address=body.address, ca=body.ca), undo)

    def _revoked(self, op: Op, body: SiteRevoked, undo: Undo | None) -> None:
        known = self.branches.get(body.site)
        if known is not None:
            self._put(replace(known, state=State.REVOKED, revoked_ms=op.received_ms), undo)

    def _reprovisioned(self, op: Op, body: SiteReprovisioned, undo: Undo | None) -> None:
        known = self.branches.get(body.site)
        if known is not None:
            self._put(replace(known, reprovisioned_ms=op.received_ms), undo)

    def _headquarters(self, _op: Op, body: SiteHeadquarters, undo: Undo | None) -> None:
        self._set("headquarters", body, undo)

    def _lease(self, _op: Op, body: LeaseGranted, undo: Undo | None) -> None:
        self._set("lease", body, undo)

    def _clock_fix(self, _op: Op, body: ClockFix, undo: Undo | None) -> None:
        fixes = dict(sorted({**self.clock_fixes, body.fix: body}.items()))
        self._set("clock_fixes", fixes, undo)


_FOLDS: Final[Mapping[int, Callable[[Sites, Op, Any, Undo | None], None]]] = {
    Kind.SITE_INVITED: Sites._invited,
    Kind.SITE_JOINED: Sites._joined,
    Kind.SITE_APPROVED: Sites._approved,
    Kind.SITE_MOVED: Sites._moved,
    Kind.SITE_REVOKED: Sites._revoked,
    Kind.SITE_REPROVISIONED: Sites._reprovisioned,
    Kind.SITE_HEADQUARTERS: Sites._headquarters,
    Kind.LEASE_GRANTED: Sites._lease,
    Kind.CLOCK_FIX: Sites._clock_fix,
}
