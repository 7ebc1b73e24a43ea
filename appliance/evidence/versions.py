"""Reconstruct a message: the original, every later version, and all else that happened to it.

Order does not depend on arrival: versions and events are in the order of (timeline key, OpId),
the original first. An edit is a version when it is by the message's author, as everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from appliance.operations import Kind
from store.oplog import Op


@dataclass(frozen=True, slots=True)
class History:
    """A message with all that targets it.

    ``events`` are recalls, reactions, confirmations, escalations, copies, and what this build
    does not know.
    """

    versions: tuple[Op, ...]
    events: tuple[Op, ...]

    @property
    def root(self) -> Op:
        """The original."""
        return self.versions[0]

    @property
    def is_recalled(self) -> bool:
        """Whether readers no longer see it."""
        return any(op.kind == Kind.RECALL for op in self.events)


def history(root: Op, targets: Iterable[Op]) -> History:
    """Return the history of ``root``, whatever order its targets come in."""
    ordered = sorted(targets, key=order)
    versions = [op for op in ordered if is_version(op, root)]
    events = [op for op in ordered if not is_version(op, root)]
    return History((root, *versions), tuple(events))


def is_version(op: Op, root: Op) -> bool:
    """Tell whether ``op`` is a new version of ``root``."""
    return op.kind == Kind.EDIT and op.actor == root.actor


def order(op: Op) -> tuple[int, bytes]:
    """Return what operations of a conversation are sorted by."""
    return op.key, op.id.pack()
