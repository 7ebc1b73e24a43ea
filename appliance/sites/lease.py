"""Tell how long ago headquarters confirmed a branch's authority, and what is allowed meanwhile.

A lease counts from the branch's own sending of the request. While the machine stays up it ages
by uptime, and no wall clock matters. Over a restart it ages by the wall clock, which is all there
is, but by no less than the machine has been up since; if the wall clock is behind what it was
before the restart, the lease is over at once, and stays so until headquarters grants another. So
setting the clock back gains nothing. (A machine that was off, and whose clock was then set to
just when it went off, cannot know better.)

    age        state      no more allowed                     profile
    < 24 h     FRESH      -
    < 7 d      AGED       grants, new devices, exports
    from 7 d   EXPIRED    also what cannot be undone          hospital
    from 7 d   EXPIRED    also that, and new logins           bank

What preserves and hides is always allowed, and so are messages.

    note "ask" (canonical msgpack array)        note "grant": fields 1 to 4 as asked, and
    0  text  "strongroom/lease/ask/1"           0  text  "strongroom/lease/grant/1"
    1  int   the branch's wall clock, Unix ms   5  int   headquarters' time, Unix ms
    2  text  its boot                           6  int   headquarters' hold version
    3  int   its uptime, ms
    4  int   the hold version applied there

    META row "lease"   canonical msgpack array: the fields of ``Mark``
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, Literal, NamedTuple, TypeAlias

from appliance.operations import LeaseGranted
from appliance.policy.clock import Reading
from appliance.sites.limits import (
    AGED_MS,
    EXPIRED_MS,
    LEASE_BOOT_CHARACTERS,
)
from store import canonical
from store.errors import FormatError, StoreError

Profile: TypeAlias = Literal["hospital", "bank"]

_ASK: Final = "strongroom/lease/ask/1"
_GRANT: Final = "strongroom/lease/grant/1"


class State(StrEnum):
    """How old a branch's authority is."""

    FRESH = "fresh"
    AGED = "aged"
    EXPIRED = "expired"


class Act(StrEnum):
    """What a branch may do by its lease only."""

    MESSAGE = "message"
    """Write, read, edit, recall: everything in conversations."""
    PRESERVE = "preserve"
    """Place a hold, revoke a device, disable a person: towards preserve and hide."""
    LOGIN = "login"
    """Sign in with a password; a device that is known here goes on with its token."""
    NEW_DEVICE = "new device"
    """Enrol by an invitation."""
    GRANT = "grant"
    """Add a person, give a role, invite somebody, let a disabled person in again."""
    EXPORT = "export"
    """Take records out."""
    DESTROY = "destroy"
    """What cannot be undone."""


_FRESH_ONLY: Final = frozenset((Act.NEW_DEVICE, Act.GRANT, Act.EXPORT))

REFUSED: Final[dict[tuple[State, Profile], frozenset[Act]]] = {
    (State.FRESH, "hospital"): frozenset(),
    (State.FRESH, "bank"): frozenset(),
    (State.AGED, "hospital"): _FRESH_ONLY,
    (State.AGED, "bank"): _FRESH_ONLY,
    (State.EXPIRED, "hospital"): _FRESH_ONLY | {Act.DESTROY},
    (State.EXPIRED, "bank"): _FRESH_ONLY | {Act.DESTROY, Act.LOGIN},
}
"""What each state no more allows, by profile."""


class Mark(NamedTuple):
    """A lease at one moment: its age then, in ms, and the machine's clocks.

    ``applied`` and ``known`` are the hold versions of the branch when it asked, and of
    headquarters when it granted: arrival numbers at headquarters, up to which everything had
    been applied at the branch, and at which the newest hold or release arrived.
    """

    age_ms: int
    wall_ms: int
    boot: str
    uptime_ms: int
    applied: int = 0
    known: int = 0

    def at(self, reading: Reading) -> Mark:
        """Return the same lease as it is now; it is never younger than before."""
        return self._replace(
            age_ms=self.age_ms + self._passed_ms(reading),
            wall_ms=reading.wall_ms,
            boot=reading.boot,
            uptime_ms=reading.uptime_ms,
        )

    def _passed_ms(self, reading: Reading) -> int:
        if self.boot and reading.boot == self.boot:
            return max(0, reading.uptime_ms - self.uptime_ms)
        if reading.wall_ms < self.wall_ms:
            return EXPIRED_MS
        return max(reading.wall_ms - self.wall_ms, reading.uptime_ms)

    @property
    def state(self) -> State:
        """How old it was at this moment."""
        if self.age_ms < AGED_MS:
            return State.FRESH
        return State.AGED if self.age_ms < EXPIRED_MS else State.EXPIRED


def state_of(mark: Mark | None, reading: Reading) -> State:
    """Return the state of a branch's lease now; without one it is as if expired."""
    return State.EXPIRED if mark is None else mark.at(reading).state


def is_allowed(act: Act, state: State, profile: Profile) -> bool:
    """Tell whether a branch may do this; that the holds are known is ``may_destroy``'s to say."""
    return act not in REFUSED[state, profile]


def may_destroy(mark: Mark | None, applied: int, reading: Reading) -> bool:
    """Tell whether a branch may destroy now: under a lease, with every hold of it applied.

    ``applied`` is the hold version applied here now.
    """
    return (
        mark is not None and mark.at(reading).state is not State.EXPIRED and (applied >= mark.known)
    )


# --- asking and granting ------------------------------------------------------------------------


class Ask(NamedTuple):
    """A branch asks for a lease."""

    wall_ms: int
    boot: str
    uptime_ms: int
    hold: int


class Grant(NamedTuple):
    """Headquarters grants what was asked; times in Unix ms."""

    asked: Ask
    headquarters_ms: int
    headquarters_hold: int


def ask(reading: Reading, hold: int) -> Ask:
    """Return what a branch asks now."""
    return Ask(reading.wall_ms, reading.boot, reading.uptime_ms, hold)


def write_ask(asked: Ask) -> bytes:
    """Return the note to send to headquarters."""
    return canonical.encode((_ASK, *asked))


def read_ask(data: bytes) -> Ask:
    """Read an asking note; raises ``FormatError``."""
    fields = _fields(data, _ASK)
    if len(fields) == len(Ask._fields):
        return _asked(fields)
    raise FormatError("not a request for a lease")


def write_grant(granted: Grant) -> bytes:
    """Return the note to send to the branch."""
    return canonical.encode((_GRANT, *granted.asked, *granted[1:]))


def read_grant(data: bytes) -> Grant:
    """Read a granting note; raises ``FormatError``."""
    fields = _fields(data, _GRANT)
    match fields[len(Ask._fields) :]:
        case [int(at_ms), int(hold)] if at_ms >= 0 and hold >= 0:
            return Grant(_asked(fields[: len(Ask._fields)]), at_ms, hold)
    raise FormatError("not a lease")


def accept(mark: Mark | None, granted: Grant, reading: Reading) -> Mark | None:
    """Return the lease after a grant; None when it is not better than the present one.

    Only what this boot asked for counts: how long ago that was is known.
    """
    asked = granted.asked
    if not asked.boot or asked.boot != reading.boot or asked.uptime_ms > reading.uptime_ms:
        return None
    age_ms = reading.uptime_ms - asked.uptime_ms
    if mark is not None and mark.at(reading).age_ms <= age_ms:
        return None
    return Mark(age_ms, *reading, asked.hold, granted.headquarters_hold)


def operation(granted: Grant) -> LeaseGranted:
    """Return what the branch records of a grant."""
    return LeaseGranted(*granted.asked, granted.headquarters_ms, granted.headquarters_hold)


def pack(mark: Mark) -> bytes:
    """Return the row that keeps a lease over a restart."""
    return canonical.encode(tuple(mark))


def unpack(row: bytes) -> Mark:
    """Read the row; raises ``FormatError``."""
    match canonical.decode(row):
        case [int(age), int(wall), str(boot), int(uptime), int(applied), int(known)]:
            return Mark(age, wall, boot, uptime, applied, known)
    raise FormatError("a lease of another version")


def _fields(data: bytes, label: str) -> list[canonical.Value]:
    try:
        fields = canonical.decode(data)
    except StoreError:
        return []
    return fields[1:] if fields and fields[0] == label else []


def _asked(fields: list[canonical.Value]) -> Ask:
    match fields:
        case [int(wall), str(boot), int(uptime), int(hold)]:
            if min(wall, uptime, hold) >= 0 and len(boot) <= LEASE_BOOT_CHARACTERS:
                return Ask(wall, boot, uptime, hold)
    raise FormatError("not a request for a lease")
