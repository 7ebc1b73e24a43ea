"""The keyring: always the key that the cover gives, whatever was read, evicted or purged."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.errors import PartGoneError
from store.vault import ggm
from store.vault.arena import Arena
from store.vault.keyring import EpochName, Keyring
from store.vault.limits import EPOCH_PARTS
from store.vault.suites import XCHACHA

PRF = XCHACHA.prf
BIRTH = ggm.birth_cover(bytes(range(64)))
NAME: EpochName = (7, 0, 2)
indices = st.integers(0, EPOCH_PARTS - 1)


def keyring(cells: int = 4_096) -> tuple[Keyring, Arena]:
    arena = Arena(cells)
    return Keyring(arena), arena


@given(
    st.sets(indices, max_size=20),
    st.lists(st.one_of(indices, st.integers(0, 12)), min_size=1, max_size=60),
)
def test_the_cache_gives_the_keys_of_the_cover(removed: set[int], asked: list[int]) -> None:
    ring, _ = keyring()
    cover = ggm.puncture(PRF, BIRTH, removed)
    ring.insert(NAME, cover, ring.era)
    for index in asked:
        if index in removed:
            with pytest.raises(PartGoneError):
                ring.part_key(XCHACHA, NAME, index)
        else:
            assert ring.part_key(XCHACHA, NAME, index) == ggm.part_key(PRF, BIRTH, index)


class CountingSuite(type(XCHACHA)):  # type: ignore[misc]  # the class has no public name
    """A suite that counts its PRF calls."""

    calls = 0

    @classmethod
    def prf(cls, key: bytes, data: bytes) -> bytes:
        cls.calls += 1
        return PRF(key, data)


def test_in_order_a_key_costs_a_third_more_than_one_prf_call() -> None:
    ring, _ = keyring()
    ring.insert(NAME, BIRTH, ring.era)
    for index in range(EPOCH_PARTS):
        ring.part_key(CountingSuite(), NAME, index)
    # 2,048 leaves, and each inner node below the two of the cover once: 8 + 32 + 128 + 512.
    assert CountingSuite.calls == 2_048 + 680


def test_an_epoch_not_inserted_is_unknown() -> None:
    ring, _ = keyring()
    assert ring.part_key(XCHACHA, NAME, 0) is None


def test_the_suite_is_part_of_the_name() -> None:
    ring, _ = keyring()
    ring.insert(NAME, BIRTH, ring.era)
    assert ring.part_key(XCHACHA, (7, 0, 1), 0) is None


def test_going_through_an_epoch_takes_a_bounded_number_of_cells() -> None:
    ring, arena = keyring()
    before = arena.free_cells
    ring.insert(NAME, BIRTH, ring.era)
    for index in range(EPOCH_PARTS):
        ring.part_key(XCHACHA, NAME, index)
    assert before - arena.free_cells == 2 + 4


def test_the_epoch_used_longest_ago_makes_room() -> None:
    ring, _ = keyring(2_048)
    for epoch in range(400):
        ring.insert((7, epoch, 2), BIRTH, ring.era)
        ring.part_key(XCHACHA, (7, epoch, 2), 0)
        assert ring.part_key(XCHACHA, (7, 0, 2), 5) == ggm.part_key(PRF, BIRTH, 5)
    assert ring.part_key(XCHACHA, (7, 1, 2), 0) is None
    assert ring.part_key(XCHACHA, (7, 399, 2), 0) is not None


def test_dropping_and_purging_wipe_the_memory() -> None:
    ring, arena = keyring()
    for epoch in range(3):
        ring.insert((7, epoch, 2), BIRTH, ring.era)
        ring.part_key(XCHACHA, (7, epoch, 2), 1_000)
    ring.drop((7, 0, 2))
    assert ring.part_key(XCHACHA, (7, 0, 2), 0) is None
    assert ring.part_key(XCHACHA, (7, 1, 2), 0) is not None
    ring.purge()
    assert ring.part_key(XCHACHA, (7, 1, 2), 0) is None
    assert not any(arena._map[:])
    assert arena.free_cells == 4_096


def test_dropping_many_leaves_the_others_and_begins_an_era() -> None:
    ring, arena = keyring()
    for epoch in range(4):
        ring.insert((7, epoch, 2), BIRTH, ring.era)
    before = ring.era
    ring.drop_many([(7, 0, 2), (7, 2, 2), (9, 9, 2)])
    found = [ring.part_key(XCHACHA, (7, epoch, 2), 0) is not None for epoch in range(4)]
    assert found == [False, True, False, True]
    ring.insert((7, 0, 2), BIRTH, before)
    assert ring.part_key(XCHACHA, (7, 0, 2), 0) is None
    ring.drop_many([(7, 1, 2), (7, 3, 2)])
    assert not any(arena._map[:])
    ring.insert((7, 0, 2), BIRTH, ring.era)
    assert ring.part_key(XCHACHA, (7, 0, 2), 0) is not None


def test_dropping_the_unknown_does_nothing() -> None:
    ring, _ = keyring()
    ring.drop(NAME)
    assert ring.part_key(XCHACHA, NAME, 0) is None


def test_what_was_read_before_a_purge_is_not_kept_after_it() -> None:
    ring, arena = keyring()
    era = ring.era
    ring.purge()
    ring.insert(NAME, BIRTH, era)
    assert ring.part_key(XCHACHA, NAME, 0) is None
    assert not any(arena._map[:])


def test_inserting_again_keeps_what_is_there() -> None:
    ring, arena = keyring()
    ring.insert(NAME, BIRTH, ring.era)
    free = arena.free_cells
    ring.insert(NAME, BIRTH, ring.era)
    assert arena.free_cells == free
