"""The check proves views and memory by the log, with what came from other sites in it."""

from __future__ import annotations

import pytest

from appliance.operations import Kind, Message, encode
from store.engine.txn import Txn
from store.heads import newest_pos
from store.ids import Stream, StreamKind
from store.oplog import Draft, Op, OpClass
from store.vault import STANDARD
from tests.appliance.messaging.harness import House
from tests.store.sitepair import branch, origin_of, shipped


@pytest.mark.parametrize("is_known", [True, False])
def test_what_is_quarantined_has_no_effect_on_any_view(is_known: bool) -> None:
    house = House("ann", "bob")
    conv = house.direct("ann", "bob")
    house.say("ann", conv, "here")
    heard = house.feed("bob")
    op = intrude(house, bytes(conv) if is_known else bytes(16))
    assert op.is_quarantined
    house.check()
    assert house.feed("bob") == heard
    assert house.texts("bob", conv) == ["here"]
    house.reopen()
    house.check()
    house.say("bob", conv, "after")
    with house.reading() as reader:
        assert house.site.core.applied(reader) == newest_pos(reader) == house.site.core.log.head.pos
    house.close()


def intrude(house: House, conversation: bytes) -> Op:
    """Let an operation of another site be logged that this one does not trust."""
    sender = branch()
    body = encode(Message("text", "from afar", "", "normal", b"", ()))
    stream = Stream(StreamKind.CONVERSATION, conversation)
    sender.append(
        Draft(
            Kind.MESSAGE,
            OpClass.MESSAGE,
            stream,
            STANDARD,
            conversation=conversation,
            body=body,
        )
    )
    log, engine = house.site.core.log, house.site.ports.engine
    with engine.snapshot() as reader:
        txn = Txn(reader)
        number = log.add_origin(txn, origin_of(sender), bytes(32), is_whole=False)
        op = log.receive(
            txn,
            number,
            shipped(sender)[0],
            retention_class=STANDARD,
            now_ms=house.clock.wall_ms(),
            lane=2,
            is_quarantined=True,
        )
        log.before_commit(txn, house.clock.wall_ms())
        house.medium.commit(dict(txn.writes))
    assert isinstance(op, Op)
    return op
