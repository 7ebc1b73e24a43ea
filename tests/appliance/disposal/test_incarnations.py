"""A new incarnation begins a new ledger, whose first leaf says which one it follows."""

from __future__ import annotations

from appliance.operations import Kind, SiteSucceeds, decode
from store.ledger import Ledger
from tests.appliance.disposal.harness import Hospital
from tests.appliance.disposal.test_expiry import CHAT


def test_the_first_leaf_of_a_new_ledger_names_the_old_one() -> None:
    house = Hospital("alice", "bob", policy=CHAT)
    room = house.group("alice", "bob")
    house.send("alice", room, "before")
    house.anchor()
    old = house.core.log.head
    size, root = house.core.log.ledger.size, house.core.log.ledger.root()
    house.site.close()
    house.devices[1].remove("fence")
    house.start()
    head = house.core.log.head
    assert head.incarnation != old.incarnation
    with house.reading() as reader:
        (leaf, *_) = house.core.log.ledger.leaves(reader)
        op = house.core.log.read(reader, leaf.reference.origin, leaf.reference.seq)
        assert Ledger.open(reader, old.origin).size == size
    assert op.kind == Kind.SITE_SUCCEEDS
    body = decode(op.kind, op.body or b"")
    assert isinstance(body, SiteSucceeds)
    assert (body.incarnation, body.size, body.root) == (old.incarnation, size, root)
    assert house.problems() == []
    house.pass_days(31)
    assert house.expire() == 1
    assert house.problems() == []
