"""Define what a decision works with: who acts, when, on what, and what it answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from appliance.operations import SPECS, UNSIGNED, BodyStruct, Kind, Signed, encode
from appliance.sites import reach
from store.engine.txn import Txn
from store.ids import Stream
from store.oplog import Draft, Op
from transports.wire.errors import Refusal

if TYPE_CHECKING:
    from appliance.directory.state import Directory
    from appliance.messaging.state import Conversations
    from appliance.policy.clock import Reading
    from appliance.sites.registry import Sites
    from store.ports import Entropy


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks: a person on a device, or (both empty) the site itself.

    ``signed`` is the verified signature of a privileged request; ``UNSIGNED`` otherwise.
    """

    person: bytes = b""
    device: bytes = b""
    signed: Signed = UNSIGNED

    @property
    def is_site(self) -> bool:
        """Whether the site itself acts (init, timers)."""
        return not self.person


SITE = Actor()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command led to: its reply, and the operations it appended, in order."""

    reply: Any
    ops: tuple[Op, ...] = ()


class Appender(Protocol):
    """What carries a draft into the log and its views (``appliance.core``)."""

    def __call__(self, txn: Txn, draft: Draft, body: BodyStruct, now_ms: int) -> Op:
        """Append, and let rows and memory follow."""
        ...


@dataclass(slots=True)
class Context:
    """One command's view of the world inside the write transaction; ``now`` in Unix ms.

    ``now`` is the wall clock; ``proven_ms`` is the time of the newest anchor, which no wall clock
    moves, 0 where nothing was ever proven.

    Everything read here is what the transaction will commit on: there is no gap between check
    and act. Raise ``Refusal`` before the first ``append``.
    """

    txn: Txn
    actor: Actor
    now: int
    directory: Directory
    conversations: Conversations
    sites: Sites
    entropy: Entropy
    appender: Appender
    reader: Callable[[int, int], Op]
    reading: Callable[[], Reading]
    proven_ms: int = 0
    ops: list[Op] = field(default_factory=list)

    def append(
        self,
        kind: Kind,
        body: BodyStruct,
        *,
        stream: Stream | None,
        conversation: bytes = b"",
        target: bytes = b"",
        counter: int = 0,
        retention_class: int | None = None,
        in_timeline: bool = False,
        floor: int = 0,
    ) -> Op:
        """Append one operation with the actor's identity; views and memory follow at once.

        ``stream=None`` names the stream by the operation's own hash (a new group).
        """
        spec = SPECS[kind]
        draft = Draft(
            kind=kind,
            op_class=spec.op_class,
            stream=stream,
            retention_class=spec.retention_class if retention_class is None else retention_class,
            actor=self.actor.person,
            device=self.actor.device,
            counter=counter,
            conversation=conversation,
            target=target,
            body=encode(body),
            in_timeline=in_timeline,
            floor=floor,
            lane=reach.lane(kind, is_urgent=getattr(body, "priority", "") == "urgent"),
        )
        op = self.appender(self.txn, draft, body, self.now)
        self.ops.append(op)
        return op

    def read(self, origin: int, seq: int) -> Op:
        """Open an operation of the log as this transaction sees it."""
        return self.reader(origin, seq)


def refuse(code: str, *, after: float = 0) -> Refusal:
    """Return the refusal to raise for a catalogue code; ``after`` in seconds."""
    return Refusal(code, after=after)
