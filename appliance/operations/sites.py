"""Define the bodies of operations on branches, where people are at home, verdicts and leases."""

from __future__ import annotations

from appliance.operations.base import UNSIGNED, BodyStruct, Signed

# --- branches, at headquarters ----------------------------------------------------------------


class SiteInvited(BodyStruct, frozen=True):
    """A branch may join under this name: SHA-256 of its one-time token, expiry (Unix ms)."""

    site: int
    name: str
    token_hash: bytes
    expires_ms: int
    signed: Signed = UNSIGNED


class SiteJoined(BodyStruct, frozen=True):
    """A machine used the token: its Ed25519 public key (32 bytes), from which its NodeId comes.

    ``address`` (HOST:PORT) is where its people reach it, ``ca`` the SHA-256 of the certificate of
    the CA that they pin, empty where it shows an administrator's certificate.
    """

    site: int
    node: bytes
    public_key: bytes
    address: str = ""
    ca: bytes = b""


class SiteMoved(BodyStruct, frozen=True):
    """A branch is reached elsewhere by now: ``address`` and ``ca`` as in ``SiteJoined``."""

    site: int
    address: str
    ca: bytes


class SiteApproved(BodyStruct, frozen=True):
    """An administrator has compared the fingerprint of this node's key, and lets it in."""

    site: int
    node: bytes
    signed: Signed = UNSIGNED


class SiteRevoked(BodyStruct, frozen=True):
    """The branch is let in no more, for ever: it was stolen, lost or closed."""

    site: int
    reason: str
    signed: Signed = UNSIGNED


class SiteReprovisioned(BodyStruct, frozen=True):
    """Everybody whose credentials the branch held has to enrol anew: how many people."""

    site: int
    people: int
    signed: Signed = UNSIGNED


# --- headquarters, at a branch ----------------------------------------------------------------


class SiteHeadquarters(BodyStruct, frozen=True):
    """Whose branch this site is, and under which number and name.

    Headquarters' NodeId and Ed25519 public key (32 bytes), where it is reached (HOST:PORT), and
    the certificate (DER) of the CA that signs its own and the branch's certificates.
    """

    node: bytes
    public_key: bytes
    addresses: tuple[str, ...]
    ca: bytes
    organisation: str
    site: int
    name: str


class LeaseGranted(BodyStruct, frozen=True):
    """Headquarters has answered a branch's request for authority; a branch's own record.

    The lease counts from the asking: ``wall_ms`` (Unix ms), ``boot`` and ``uptime_ms`` are the
    branch's clocks then. ``hold`` is the hold version that had been applied here when it asked,
    ``headquarters_ms`` headquarters' time and ``headquarters_hold`` its hold version.
    """

    wall_ms: int
    boot: str
    uptime_ms: int
    hold: int
    headquarters_ms: int
    headquarters_hold: int


# --- everywhere -------------------------------------------------------------------------------


class PersonHome(BodyStruct, frozen=True):
    """The NodeId of the branch where the person is at home; empty: at headquarters.

    ``past`` lists branches that have held the person's credentials and still know them.
    """

    node: bytes
    signed: Signed = UNSIGNED
    past: tuple[bytes, ...] = ()


class Verdict(BodyStruct, frozen=True):
    """What headquarters decided about an operation of a branch: packed OpId, outcome, code.

    ``outcome`` is accepted, corrected, quarantined or refused; ``code`` is of the error
    catalogue, or empty.
    """

    op: bytes
    outcome: str
    code: str = ""


class ClockFix(BodyStruct, frozen=True):
    """Operations ``first`` to ``last`` of an origin were timed ``delta_ms`` too late.

    ``fix`` numbers these findings of headquarters, from 1.
    """

    fix: int
    node: bytes
    incarnation: int
    first: int
    last: int
    delta_ms: int
