"""Decide readings of the machine's clocks, and that destruction goes on after a jump."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from appliance.context import Context, refuse
from appliance.directory.requests import canonical_json
from appliance.disposal import calendar, decide_requests, rights
from appliance.disposal.commands import ReadClock, ResumeClock
from appliance.disposal.replies import ClockResumed
from appliance.disposal.state import Request
from appliance.operations import ClockAnchor, ClockChanged, Kind
from appliance.policy.clock import Anchored, Clock, Confirmed, Jumped, Step
from appliance.policy.limits import JUMP_MS
from store.ids import SITE_STREAM

if TYPE_CHECKING:
    from appliance.core import Core

ACT: Final = "clock.resume"


def read(core: Core, ctx: Context, command: ReadClock) -> bool:
    """Decide a reading; tells whether time is proven after it.

    With ``anchor`` what was written until now gets its date.
    """
    reading = core.reading()
    clock = core.disposal.clock.with_source(core.disposal.policies.current.clock)
    step = clock.anchor(reading) if command.anchor else clock.observe(reading)
    carry_out(core, ctx, step)
    calendar.put_seen(ctx.txn, reading)
    return core.disposal.clock.proven_now_ms(reading) is not None


def resume(core: Core, ctx: Context, command: ResumeClock) -> ClockResumed:
    """Decide ``clock.resume``: two officers confirm that the wall clock is right.

    Codes: clock.not_suspended, clock.differs.
    """
    officer = rights.signed(ctx, command)
    if not core.disposal.is_suspended:
        raise refuse("clock.not_suspended")
    if abs(command.wall_ms - core.reading().wall_ms) > JUMP_MS:
        raise refuse("clock.differs")
    request, done = decide_requests.propose(
        core, ctx, officer, ACT, canonical_json({}), command.reason
    )
    return ClockResumed(done, 0 if done else request.number)


def proven_ms(core: Core) -> int | None:
    """Return the time that is proven now (Unix ms); None while nothing may be destroyed."""
    reading = core.reading()
    step = core.disposal.clock.observe(reading)
    return None if step.effects else step.clock.proven_now_ms(reading)


def carry_out(core: Core, ctx: Context, step: Step, request: int = 0) -> None:
    """Take the clock's step: record its effects, in order, and go on from there."""
    _set(core, ctx, step.clock)
    for effect in step.effects:
        match effect:
            case Anchored():
                anchor = ClockAnchor(
                    effect.at_ms,
                    step.clock.source,
                    effect.wall_ms,
                    effect.boot,
                    effect.uptime_ms,
                    effect.is_confirmed,
                )
                ctx.append(Kind.CLOCK_ANCHOR, anchor, stream=SITE_STREAM)
            case Jumped():
                jump = ClockChanged(True, effect.expected_ms, effect.seen_ms)
                ctx.append(Kind.CLOCK_CHANGED, jump, stream=SITE_STREAM)
            case Confirmed():
                _confirm(core, ctx, effect, request)


def _confirm(core: Core, ctx: Context, effect: Confirmed, request: int) -> None:
    body = ClockChanged(
        False,
        effect.before_ms,
        effect.after_ms,
        effect.after_ms - effect.before_ms,
        request,
        ctx.actor.signed,
    )
    ctx.append(Kind.CLOCK_CHANGED, body, stream=SITE_STREAM)


def _set(core: Core, ctx: Context, clock: Clock) -> None:
    ctx.txn.on_rollback(partial(setattr, core.disposal, "clock", core.disposal.clock))
    core.disposal.clock = clock


def _perform(core: Core, ctx: Context, request: Request) -> None:
    if core.disposal.jumped_pos > request.pos:
        raise refuse("clock.differs")
    step = core.disposal.clock.resume(core.reading())
    if not any(isinstance(effect, Confirmed) for effect in step.effects):
        raise refuse("clock.differs")
    carry_out(core, ctx, step, request.number)


decide_requests.PERFORM[ACT] = _perform

DECISIONS: Final[dict[type, Callable[[Any, Context, Any], Any]]] = {
    ReadClock: read,
    ResumeClock: resume,
}
