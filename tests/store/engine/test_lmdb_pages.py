"""The walk over a store's pages finds damage anywhere, and none while writing goes on."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lmdb.verify
import pytest

from store.engine.lmdb import DATA_NAME, PAGE_BYTES, LmdbEngine, verify_pages
from store.errors import EngineError

HEADER = struct.Struct("=QHHHH")
"""The header of a page in LMDB 0.9: number, pad, flags, lower, upper."""

BRANCH, LEAF, OVERFLOW = 0x01, 0x02, 0x04


def filled(path: Path) -> LmdbEngine:
    """A store with branch, leaf and overflow pages, and free ones."""
    engine = LmdbEngine(path, map_bytes=64 << 20)
    token = engine.acquire()
    keys = [number.to_bytes(8, "big") for number in range(4_000)]
    engine.batch(dict.fromkeys(keys, b"v" * 40), token)
    engine.batch({b"big": b"o" * 20_000}, token)
    engine.batch(dict.fromkeys(keys[1_000:1_500]), token)
    return engine


@pytest.fixture
def store(tmp_path: Path) -> Path:
    engine = filled(tmp_path / "store")
    assert engine.verify() == []
    engine.close()
    assert verify_pages(tmp_path / "store") == []
    return tmp_path / "store"


def pages(store: Path, kind: int) -> list[int]:
    """Return the offsets of the pages of a kind that carry their own number."""
    content = (store / DATA_NAME).read_bytes()
    found = []
    for at in range(2 * PAGE_BYTES, len(content), PAGE_BYTES):
        number, _, flags, _, _ = HEADER.unpack_from(content, at)
        if number == at // PAGE_BYTES and flags == kind:
            found.append(at)
    return found


def spoil(store: Path, offset: int, data: bytes) -> list[str]:
    with (store / DATA_NAME).open("r+b") as file:
        file.seek(offset)
        file.write(data)
    return verify_pages(store)


@pytest.mark.parametrize("kind", [BRANCH, LEAF, OVERFLOW])
def test_a_page_that_is_another_one_is_found(store: Path, kind: int) -> None:
    spoiled = [spoil(store, at, struct.pack("=Q", 1 << 40)) for at in pages(store, kind)]
    assert any(spoiled)


def test_keys_out_of_order_are_found(store: Path) -> None:
    content = (store / DATA_NAME).read_bytes()
    key = (77).to_bytes(8, "big")
    found: list[str] = []
    at = content.find(key + b"v")
    while at >= 0:
        found += spoil(store, at, b"\xff" * 8)
        at = content.find(key + b"v", at + 1)
    assert any("order" in problem for problem in found)


def test_a_page_that_is_neither_used_nor_free_is_found(store: Path) -> None:
    """The last page's number in the newer meta page, one too high: a page that nobody knows."""
    content = (store / DATA_NAME).read_bytes()
    at = 16 + 24 + 2 * 48
    metas = [struct.unpack_from("=QQ", content, page * PAGE_BYTES + at) for page in (0, 1)]
    newer = max((0, 1), key=lambda page: metas[page][1])
    problems = spoil(store, newer * PAGE_BYTES + at, struct.pack("=Q", metas[newer][0] + 1))
    assert problems


def test_what_is_no_store_is_told(store: Path) -> None:
    assert spoil(store, 0, bytes(2 * PAGE_BYTES))
    (store / DATA_NAME).write_bytes(b"")
    assert verify_pages(store)
    (store / DATA_NAME).unlink()
    with pytest.raises(EngineError):
        verify_pages(store)


def test_a_store_that_is_written_during_the_walk_shows_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With every page that is read, two commits change and free pages that are still to come."""
    engine = filled(tmp_path / "store")
    token = engine.acquire()
    read_page: Callable[..., bytes | None] = lmdb.verify._Verifier.read_page
    commits = 0

    def read(walk: Any, number: int) -> bytes | None:
        nonlocal commits
        commits += 1
        keys = [((commits * 997 + step * 61) % 4_000).to_bytes(8, "big") for step in range(60)]
        engine.batch(dict.fromkeys(keys, b"w" * (commits % 90)), token)
        engine.batch(dict.fromkeys(keys[::2]), token)
        return read_page(walk, number)

    monkeypatch.setattr(lmdb.verify._Verifier, "read_page", read)
    assert engine.verify() == []
    assert commits > 20
    assert verify_pages(tmp_path / "store") != [], "without a snapshot pages are used again"
    engine.close()


@pytest.mark.parametrize(
    ("walks", "expected"),
    [(([],), []), ((["torn"], []), []), ((["bad"], ["bad", "worse"]), ["bad", "worse"])],
)
def test_what_one_walk_finds_counts_when_the_next_finds_something_too(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    walks: tuple[list[str], ...],
    expected: list[str],
) -> None:
    engine, left = filled(tmp_path / "store"), iter(walks)
    monkeypatch.setattr("store.engine.lmdb._walk", lambda _path: next(left))
    assert engine.verify() == expected
    assert next(left, None) is None
    engine.close()
