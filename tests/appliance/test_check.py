"""The check proves views and memory by the log, with what came from other sites in it."""

from __future__ import annotations

import pytest

from appliance import check
from appliance.operations import Kind, Message, encode
from store.engine.txn import Txn
from store.heads import newest_pos
from store.ids import Stream, StreamKind
from store.oplog import Draft, Op, OpClass
from store.tables import FEED
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


def test_rows_of_a_view_that_are_gone_changed_or_too_many_are_all_counted() -> None:
    house = House("ann", "bob")
    conv = house.direct("ann", "bob")
    for number in range(6):
        house.say("ann", conv, f"text {number}")
    with house.reading() as reader:
        gone, changed, *rest = [key for key, _ in reader.range(*FEED.span())]
        stored = len(rest) + 2
        extra = FEED.key(1, 1)
        house.medium.commit({gone: None, changed: b"", extra: b"x", rest[0]: None})
    with house.reading() as reader:
        (found,) = (
            each for each in check.check(house.site.core, reader) if each.id == "views.feed"
        )
    assert found.evidence.startswith(
        f"4 rows of FEED differ: {stored - 1} stored, {stored} expected; keys "
    )
    house.close()


def test_the_rebuilding_of_the_views_holds_nothing_to_undo_it_with() -> None:
    """It would be most of what a check needs of memory, by operations that are all right."""
    house = House("ann", "bob")
    house.say("ann", house.direct("ann", "bob"), "here")
    with house.reading() as reader:
        _, scratch = check.rebuild(house.site.core, reader)
    assert scratch.writes
    assert scratch.savepoint() == 0
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
