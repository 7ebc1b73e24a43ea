"""Tell the failure cases: three sites with four people, who talk; one may lie in its log."""

from __future__ import annotations

from typing import Any

from appliance.operations import Kind, Verdict, decode
from store.engine.txn import Txn
from store.ids import OpId, Stream, StreamKind
from store.oplog import Draft, OpClass
from store.ops import Op
from store.vault import STANDARD
from sync.pieces import Lane
from tests.appliance.sites.harness import Organisation, Place
from transports.wire import schema
from transports.wire.schema import Body, Id

HOMES = {"ann": 0, "bea": 1, "bob": 1, "cat": 2}
"""Where everybody is at home: 0 is headquarters."""


def new_organisation() -> Organisation:
    """Return headquarters and two branches that know everybody."""
    found = Organisation(2)
    for login, number in HOMES.items():
        found.enrol(login, found.places[number])
    found.settle()
    return found


def begin(organisation: Organisation, login: str, *others: str) -> Id:
    """Let somebody open a group, and all sites hear of it."""
    place = home(organisation, login)
    reply = place.by(login, schema.Open(1, "group", place.ids(*others), title="ward"))
    assert reply.conv is not None
    organisation.settle()
    return Id(reply.conv)


def home(organisation: Organisation, login: str) -> Place:
    """Return the site where somebody is at home."""
    return organisation.places[HOMES[login]]


def say(organisation: Organisation, login: str, conv: Id, text: str) -> Id:
    """Let somebody say something at home."""
    place = home(organisation, login)
    frame = schema.Send(1, place.number(login), Body("text", text), conv=conv)
    return Id(place.by(login, frame).msg)


def texts(place: Place, login: str, conv: Id) -> list[str]:
    """Return what somebody reads, oldest first."""
    shown = [each.op for each in place.history(login, conv)]
    return [op.body.text for op in shown if isinstance(op, schema.MessageOp)]


def smuggle(place: Place, draft: Draft) -> Op:
    """Put an operation into a site's log that its program would not have made."""
    with place.reading() as reader:
        txn = Txn(reader)
        now_ms = place.clock.wall_ms()
        op: Op = place.core.log.append(txn, draft, now_ms)
        place.core.log.before_commit(txn, now_ms)
        place.site.ports.engine.batch(txn.writes, place.site.writer._token)
    return op


def in_conversation(conv: bytes, kind: int, body: bytes, **fields: Any) -> Draft:
    """Return an operation of a conversation."""
    stream = Stream(StreamKind.CONVERSATION, bytes(conv))
    return Draft(
        kind,
        OpClass.MESSAGE,
        stream,
        STANDARD,
        body=body,
        conversation=bytes(conv),
        lane=Lane.MESSAGES,
        **fields,
    )


def verdicts(place: Place) -> list[Verdict]:
    """Return what headquarters decided about operations of branches."""
    with place.reading() as reader:
        found = [
            decode(entry.kind, entry.body or b"")
            for entry in place.core.log.replay(reader)
            if isinstance(entry, Op) and entry.kind == Kind.VERDICT
        ]
    return [each for each in found if isinstance(each, Verdict)]


def is_void_at(place: Place, name: OpId) -> bool:
    """Tell whether a site has an operation that has no effect there."""
    with place.reading() as reader:
        found = place.core.log.find(reader, name)
        assert found is not None, "the operation is in the log"
        return bool(place.core.log.read(reader, *found).is_quarantined)
