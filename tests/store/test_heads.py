"""A store tells without keys who its site is and where its log stands."""

from __future__ import annotations

import pytest

from store.engine.memory import MemoryEngine
from store.errors import IntegrityError
from store.heads import META_KEY, LogMeta, newest_pos, own_incarnations, read_head
from store.ids import Origin
from store.origins import OriginRow
from store.skeleton import CHAIN_START
from store.tables import ORIGIN
from tests.store.logbox import SITE_KEY, Box, message


def test_the_head_is_that_of_the_log() -> None:
    box = Box().create()
    box.append(message(1), message(2))
    found, head = box.read(read_head), box.log.head
    assert (found.number, found.incarnation, found.seq, found.chain, found.pos) == head
    assert (found.node, found.verify_key) == (box.log.node, bytes(SITE_KEY.verify_key))
    assert found.origin == Origin(box.log.node, head.incarnation)


def test_an_empty_log_stands_at_its_start() -> None:
    found = Box().create().read(read_head)
    assert (found.seq, found.chain, found.pos) == (0, CHAIN_START, 0)


def test_the_newest_incarnation_counts_and_positions_go_on() -> None:
    box = Box().create()
    first = box.log.head.incarnation
    box.append(message(1))
    box.commit(box.log.renew)
    found = box.read(read_head)
    assert (found.incarnation, found.seq, found.pos) == (box.log.head.incarnation, 0, 1)
    assert box.read(own_incarnations) == {first, found.incarnation}


def test_other_sites_are_not_ones_own() -> None:
    box = Box().create()
    stranger = OriginRow(Origin(b"n" * 16, 7), b"k" * 32, is_own=False)
    box.engine.batch({ORIGIN.key(9): stranger.pack()}, box.token)
    assert box.read(read_head).node == box.log.node
    assert 7 not in box.read(own_incarnations)


def test_a_row_of_the_first_version_is_read_by_the_last_rows_and_replaced() -> None:
    box = Box().create()
    box.append(message(1), message(2))
    box.commit(box.log.renew)
    (last,) = box.append(message(3))
    meta = box.read(LogMeta.read)
    assert meta == (2, last.t, 3)
    box.medium.rows[META_KEY] = b"\x01" + meta.pack()[1:13]
    assert box.read(LogMeta.read) == meta
    assert box.read(newest_pos) == box.read(read_head).pos == 3
    assert box.open().log.head.pos == 3
    box.append(message(3))
    assert box.medium.rows[META_KEY] == meta._replace(t=last.t + 1, pos=4).pack()


def test_a_store_without_a_site_has_no_head() -> None:
    with MemoryEngine().snapshot() as reader, pytest.raises(IntegrityError):
        read_head(reader)
