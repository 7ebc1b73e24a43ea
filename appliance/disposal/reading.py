"""Record that somebody reads what is not theirs to read every day.

The entry is committed with the answer: what cannot be recorded is not shown.
"""

from __future__ import annotations

from appliance.context import Context
from appliance.operations import Kind, PrivilegedRead
from store.ids import AUDIT_STREAM, OpId


def note(ctx: Context, what: str, *, record: OpId | None = None, request: int = 0) -> None:
    """Append a privileged read: of a list (``what``), or of one record."""
    target = record.pack() if record is not None else b""
    body = PrivilegedRead(what, target, request, ctx.actor.signed)
    ctx.append(Kind.PRIVILEGED_READ, body, stream=AUDIT_STREAM)
