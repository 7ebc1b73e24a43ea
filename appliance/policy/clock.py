"""Keep a proven lower bound of the time, and notice when the wall clock cannot be believed.

Destruction needs to know how old a record is at least. The wall clock cannot say: it may be
wrong, and it may be set by who wants records gone. What a machine does know is how long it has
been up, which nobody sets. So the clock here is one number, **proven time**, that moves only

    by uptime       at 1 - 200 ppm of its pace, since a machine's crystal may run fast
    by authority    forward to the time that two people confirmed, or headquarters signed

and never by a reading of the wall clock, nor ever back. Time from the last reading before a
restart of the machine to the first one after it is not counted until an authority says it has
passed. Proven time therefore lags true time and
never runs ahead of it, and since every age is the difference of two of its values
(``appliance.policy.born``), no age comes out longer than it truly is.

The wall clock is watched beside it. After each reading the next one is expected as much later as
the uptime grew; after a restart of the machine, at the same time as the last one. A reading up to
five minutes off is adopted, and the next is expected from there: network time corrects clocks in
such steps. A reading further off, ahead or behind, is a **jump**: destruction is suspended, and
somebody has to look. A machine that was off for more than five minutes shows just such a jump
when it comes back; it cannot be told from a clock that was set.

    state       event                        next        effects
    UNPROVEN    reading, source system       RUNNING     Anchored: the operator vouches for it
    UNPROVEN    reading, other source        UNPROVEN    -
    RUNNING     reading up to 5 min off      RUNNING     -
    RUNNING     reading further off          SUSPENDED   Jumped
    RUNNING     time for an anchor           RUNNING     Anchored
    SUSPENDED   reading up to 5 min off      SUSPENDED   - (from what was read last)
    SUSPENDED   reading further off          SUSPENDED   Jumped again
    SUSPENDED   time for an anchor           SUSPENDED   -
    any         two people confirm           RUNNING     Confirmed, Anchored; if the wall clock
                                                         jumps at that moment: as a reading
    any         headquarters' time           RUNNING     Anchored; Confirmed before it, when it
                                                         was not RUNNING, or for a step forward
                                                         of more than 2.5 min
    any         headquarters' time that is   same        -: it is stale, or played back
                behind by over 5 min

With source ``none`` nothing is proven and no event changes anything.

**The clock for readers** follows the wall clock too, but only within five minutes ahead of
proven time: it hides records that have reached their maximum, and a leap of the wall clock must
not hide a hospital's. It goes back when the wall clock is corrected backwards.

A ``Clock`` is a value: each event returns the next one and what is to be recorded. It can be
stored whole, and restored from an anchor in the log.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple, TypeAlias

import msgspec
from msgspec.structs import replace

from appliance.policy.limits import DRIFT_PPM, JUMP_MS, SIGNED_AGE_MS

NONE: Final = "none"
SYSTEM: Final = "system"
HEADQUARTERS: Final = "headquarters"
"""Sources of trusted time, as ``Policy.clock`` names them."""

_MILLION: Final = 1_000_000


class State(StrEnum):
    """What the clock is good for; destruction needs RUNNING."""

    UNPROVEN = "unproven"
    RUNNING = "running"
    SUSPENDED = "suspended"


class Reading(NamedTuple):
    """The machine's clocks at one moment.

    ``boot`` names the machine's present boot (empty where it tells none), ``uptime_ms`` is the
    time since then, time asleep included. ``wall_ms`` is Unix ms.
    """

    wall_ms: int
    boot: str
    uptime_ms: int


class Anchored(NamedTuple):
    """Record that it was at least ``at_ms``: an operation ``clock.anchor``.

    With ``wall_ms`` and the reading's ``boot`` and ``uptime_ms`` the clock is restored from it.
    """

    at_ms: int
    wall_ms: int
    boot: str
    uptime_ms: int
    is_confirmed: bool


class Jumped(NamedTuple):
    """Record that destruction is suspended, and alarm; times in Unix ms."""

    expected_ms: int
    seen_ms: int


class Confirmed(NamedTuple):
    """Record that destruction goes on, and that proven time moved forward (Unix ms)."""

    before_ms: int
    after_ms: int


Effect: TypeAlias = Anchored | Jumped | Confirmed


class Step(NamedTuple):
    """The clock after an event, and what is to be recorded, in this order."""

    clock: Clock
    effects: tuple[Effect, ...] = ()


class Clock(msgspec.Struct, frozen=True, array_like=True):
    """The clock after its last event.

    ``proven_ms`` held at ``proven_uptime_ms`` (0: nothing is proven yet); ``wall_ms`` was the
    last reading, at ``wall_uptime_ms``; both uptimes are of ``boot``.
    """

    source: str
    proven_ms: int = 0
    proven_uptime_ms: int = 0
    wall_ms: int = 0
    wall_uptime_ms: int = 0
    boot: str = ""
    is_suspended: bool = False

    @classmethod
    def restored(
        cls,
        source: str,
        anchor: Anchored,
        reading: Reading,
        *,
        is_suspended: bool,
        seen: Reading | None = None,
    ) -> Clock:
        """Return the clock of a process that starts, from the newest anchor in the log.

        Time since the anchor counts by uptime as long as the boot is the same, see ``woken``.
        ``is_suspended``: the newest ``clock.changed`` after or before it says so. ``seen`` is a
        later reading, kept where anybody with the disk could change it: the wall clock is
        expected to go on from there, but no time counts for it.
        """
        is_same_boot = anchor.boot != "" and anchor.boot == reading.boot
        last = seen if seen is not None and seen.boot == anchor.boot else anchor
        clock = cls(
            source,
            anchor.at_ms,
            anchor.uptime_ms if is_same_boot else last.uptime_ms,
            last.wall_ms,
            last.uptime_ms,
            anchor.boot,
            is_suspended,
        )
        return clock.woken(reading)

    def woken(self, reading: Reading) -> Clock:
        """Return the clock of a process that starts, from this one, which was stored before.

        Time since then counts when the machine's boot is still the same; else it goes on from
        ``reading``, as where machines name no boots. How long another machine has been up may be
        longer ago than what was proven, if the data has moved there.
        """
        if self.boot and reading.boot == self.boot:
            return self
        return self._restarted(reading)

    @property
    def state(self) -> State:
        """What the clock is good for."""
        if self.source == NONE or not self.proven_ms:
            return State.UNPROVEN
        return State.SUSPENDED if self.is_suspended else State.RUNNING

    # --- what time it is ------------------------------------------------------------------------

    def proven_now_ms(self, reading: Reading) -> int | None:
        """Return the time that it is at least, for destruction; None unless RUNNING.

        The wall clock of ``reading`` is not looked at: let ``observe`` see it before.
        """
        return self.lower_ms(reading) if self.state is State.RUNNING else None

    def lower_ms(self, reading: Reading) -> int:
        """Return the time that it is at least, suspended or not; 0 when nothing is proven."""
        clock = self._carried(reading)
        return clock._lower_ms(reading.uptime_ms)

    def reading_ms(self, reading: Reading) -> int | None:
        """Return the time for readers; None when nothing is proven."""
        if self.state is State.UNPROVEN:
            return None
        lower_ms = self.lower_ms(reading)
        expected_ms = self._carried(reading)._expected_ms(reading)
        return min(max(expected_ms, lower_ms), lower_ms + JUMP_MS)

    # --- events -----------------------------------------------------------------------------------

    def with_source(self, source: str) -> Clock:
        """Return the clock under another policy's source."""
        return replace(self, source=source)

    def observe(self, reading: Reading) -> Step:
        """Take a reading: adopt it, or notice a jump; the first of source ``system`` anchors."""
        if self.source == NONE:
            return Step(self)
        clock = self._carried(reading)
        if not clock.proven_ms:
            is_vouched = self.source == SYSTEM and reading.wall_ms > 0
            return clock._set(reading, reading.wall_ms, ()) if is_vouched else Step(clock)
        expected_ms = clock._expected_ms(reading)
        after = clock._adopting(reading)
        if abs(reading.wall_ms - expected_ms) <= JUMP_MS:
            return Step(after)
        jumped = Jumped(expected_ms, reading.wall_ms)
        return Step(replace(after, is_suspended=True), (jumped,))

    def anchor(self, reading: Reading) -> Step:
        """Take a reading and anchor what was written until now, unless suspended."""
        step = self.observe(reading)
        if step.effects or step.clock.state is not State.RUNNING:
            return step
        return Step(step.clock, (step.clock._anchored(reading, is_confirmed=False),))

    def resume(self, reading: Reading) -> Step:
        """Go on from the wall clock of ``reading``, which two people have confirmed.

        Nothing is confirmed (no ``Confirmed`` among the effects) when the wall clock jumps with
        this very reading, and with source ``none``.
        """
        step = self.observe(reading)
        if step.effects or self.source == NONE:
            return step
        return step.clock._confirmed(reading, reading.wall_ms)

    def headquarters(self, reading: Reading, at_ms: int) -> Step:
        """Go on from a time that headquarters signed (Unix ms).

        The caller has checked the signature, and by a nonce of its own that the time was signed
        no more than ``SIGNED_AGE_MS`` before ``reading``, and not after.
        """
        if self.source == NONE or at_ms <= 0:
            return Step(self)
        clock = self._carried(reading)
        lower_ms = clock._lower_ms(reading.uptime_ms)
        if at_ms < lower_ms - JUMP_MS:
            return Step(clock)
        if clock.proven_ms and not clock.is_suspended and at_ms <= lower_ms + SIGNED_AGE_MS:
            return clock._set(reading, max(at_ms, lower_ms), ())
        return clock._confirmed(reading, at_ms)

    # --- steps --------------------------------------------------------------------------------

    def _confirmed(self, reading: Reading, at_ms: int) -> Step:
        before_ms = self._lower_ms(reading.uptime_ms) if self.proven_ms else at_ms
        after_ms = max(before_ms, at_ms)
        return self._set(reading, after_ms, (Confirmed(before_ms, after_ms),))

    def _set(self, reading: Reading, at_ms: int, effects: tuple[Effect, ...]) -> Step:
        """Let proven time be ``at_ms`` on an authority's word."""
        clock = self._adopting(reading)
        clock = replace(
            clock, proven_ms=at_ms, proven_uptime_ms=clock.wall_uptime_ms, is_suspended=False
        )
        return Step(clock, (*effects, clock._anchored(reading, is_confirmed=True)))

    def _anchored(self, reading: Reading, *, is_confirmed: bool) -> Anchored:
        return Anchored(
            self._lower_ms(reading.uptime_ms),
            self.wall_ms,
            self.boot,
            self.wall_uptime_ms,
            is_confirmed,
        )

    def _adopting(self, reading: Reading) -> Clock:
        """Return the clock that expects the wall clock to go on from here."""
        uptime_ms = max(reading.uptime_ms, self.wall_uptime_ms)
        return replace(self, wall_ms=reading.wall_ms, wall_uptime_ms=uptime_ms, boot=reading.boot)

    def _carried(self, reading: Reading) -> Clock:
        """Return the same clock, told in the uptime of the reading's boot."""
        return self if reading.boot == self.boot else self._restarted(reading)

    def _restarted(self, reading: Reading) -> Clock:
        """Return the same clock, going on from ``reading`` with what was proven when last read."""
        return replace(
            self,
            proven_ms=self._lower_ms(self.wall_uptime_ms),
            proven_uptime_ms=reading.uptime_ms,
            wall_uptime_ms=reading.uptime_ms,
            boot=reading.boot,
        )

    def _lower_ms(self, uptime_ms: int) -> int:
        """Return proven time at an uptime of this boot, or when last read if that was later."""
        elapsed_ms = max(uptime_ms, self.wall_uptime_ms) - self.proven_uptime_ms
        return self.proven_ms + max(0, elapsed_ms) * (_MILLION - DRIFT_PPM) // _MILLION

    def _expected_ms(self, reading: Reading) -> int:
        return self.wall_ms + max(0, reading.uptime_ms - self.wall_uptime_ms)
