"""Conversations, messages, receipts, urgent messages and duties: pure decisions and views."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from appliance.context import Context
from appliance.messaging import checks, duties, groups, marks, messages, opening, urgent
from appliance.messaging.commands import AssignDuty, CreateDuty, HandOver, SetChain, Tick
from transports.wire import schema

Decision = Callable[[Context, Any], Any]


def _by_participant(decide: Decision) -> Decision:
    """Let only those through who may write and read when the decision is taken."""

    def checked(ctx: Context, command: Any) -> Any:
        checks.acting_participant(ctx)
        return decide(ctx, command)

    return checked


_FRAMES: Final[dict[type, Decision]] = {
    schema.Open: opening.open_conversation,
    schema.Conv: groups.change,
    schema.Send: messages.send,
    schema.Edit: messages.edit,
    schema.Recall: messages.recall,
    schema.React: messages.react,
    schema.Read: marks.read,
    schema.Got: marks.got,
    schema.Confirm: urgent.confirm,
    schema.Duty: duties.hand_over,
}

DECISIONS: Final[dict[type, Decision]] = {
    **{frame: _by_participant(decide) for frame, decide in _FRAMES.items()},
    Tick: urgent.tick,
    CreateDuty: duties.create,
    AssignDuty: duties.assign,
    SetChain: duties.set_chain,
    HandOver: duties.hand_over_signed,
}
"""Commands of this room and what decides each."""

__all__ = ["DECISIONS"]
