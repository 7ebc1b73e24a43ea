"""The vault on the real engine and real files: what comes back, what does not, what they hold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from store.clocks import SystemClock, SystemEntropy
from store.disk import FileDisk
from store.engine.lmdb import LmdbEngine
from store.engine.txn import Txn
from store.errors import PartGoneError
from store.vault import STANDARD, Locator, NoWrap, Vault
from store.writer import Writer
from tests.store.vault.attacker import Attacker
from tests.store.vault.harness import CONTEXT, PRESENT, part_key

CANARY = b"canary-9f2c4e71-in-a-body"
STREAMS = 300
MAP_BYTES = 64 << 20


def fill(data: Path, keys: FileDisk) -> tuple[bytes, list[tuple[Locator, bytes]]]:
    """Make a store, seal a part in each of some streams, and give the root away."""
    engine = LmdbEngine(data, map_bytes=MAP_BYTES)
    token = engine.acquire()
    with engine.snapshot() as snapshot:
        txn = Txn(snapshot)
        vault = Vault.create(txn, keys, SystemEntropy(), NoWrap())
        parts = [vault.seal(txn, n + 1, STANDARD, CANARY, CONTEXT, 0) for n in range(STREAMS)]
    engine.batch(txn.writes, token)
    assert not vault.recover(engine, token)
    root = vault._root()
    vault.close()
    engine.close()
    return root, parts


def test_a_vault_comes_back_from_its_files_and_no_file_tells(tmp_path: Path) -> None:
    keys = FileDisk(tmp_path / "keys")
    root, parts = fill(tmp_path / "data", keys)
    # A root slot of a switch that never happened.
    keys.write("root.1", (tmp_path / "keys" / "root.0").read_bytes())
    engine = LmdbEngine(tmp_path / "data", map_bytes=MAP_BYTES)
    token = engine.acquire()
    with engine.snapshot() as snapshot:
        vault = Vault.open(snapshot, keys, SystemEntropy(), NoWrap())
        assert all(vault.unseal(snapshot, *part, CONTEXT) == CANARY for part in parts)
    assert vault.recover(engine, token)
    assert (tmp_path / "keys" / "root.1").read_bytes() == bytes(4_096)
    engine.close()
    keys.close()
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) >= 4
    for secret in (CANARY, root):
        assert not any(secret in content for content in files)


def rows_of(engine: LmdbEngine) -> dict[bytes, bytes]:
    with engine.snapshot() as snapshot:
        return dict(snapshot.range(b"\x20", b"\x30"))


def test_the_file_still_holds_the_old_rows_and_they_open_nothing(tmp_path: Path) -> None:
    keys = FileDisk(tmp_path / "keys")
    fill(tmp_path / "data", keys)
    engine = LmdbEngine(tmp_path / "data", map_bytes=MAP_BYTES)
    token = engine.acquire()
    with engine.snapshot() as snapshot:
        vault = Vault.open(snapshot, keys, SystemEntropy(), NoWrap())
    vault.recover(engine, token)
    writer: Writer[None, Callable[[Txn], object], object] = Writer(
        engine,
        lambda txn, actor, command, now_ms: command(txn),
        SystemClock(),
        lambda completions: None,
        begin_switch=vault.begin_switch,
        failed=lambda error: None,
        token=token,
    )
    parts: list[tuple[Locator, bytes]] = []

    def seal(txn: Txn) -> None:
        for _ in range(10):
            parts.append(vault.seal(txn, 9_999, STANDARD, CANARY, CONTEXT, 0))
            txn.put(part_key(parts[-1][0]), PRESENT + parts[-1][1])

    writer.submit(None, seal, None)
    writer.run_pending()
    before = rows_of(engine)
    old_slot = (tmp_path / "keys" / "root.0").read_bytes()
    doomed, survivors = parts[:4], parts[4:]
    writer.submit(None, lambda txn: vault.doom(txn, [part for part, _ in doomed]), None)
    writer.run_pending()
    assert vault.generation == 2

    data = (tmp_path / "data" / "data.mdb").read_bytes()
    changed = [value for key, value in before.items() if value != rows_of(engine)[key]]
    assert len(changed) == 7  # six nodes and the epoch
    assert any(value in data for value in changed)  # free pages keep what they had
    assert old_slot not in b"".join(path.read_bytes() for path in tmp_path.rglob("root.*"))
    versions = {key: {value, before.get(key, value)} for key, value in rows_of(engine).items()}
    versions |= {part_key(part): {PRESENT + sealed} for part, sealed in parts}
    attacker = Attacker(versions, [vault._root()])
    assert [attacker.texts(part) for part, _ in doomed] == [set()] * 4
    assert [attacker.texts(part) for part, _ in survivors] == [{CANARY}] * 6
    with engine.snapshot() as snapshot:
        for part, sealed in doomed:
            with pytest.raises(PartGoneError):
                vault.unseal(snapshot, part, sealed, CONTEXT)
        for part, sealed in survivors:
            assert vault.unseal(snapshot, part, sealed, CONTEXT) == CANARY
    vault.decommission()
    engine.close()
    keys.close()
    slots = [path.read_bytes() for path in tmp_path.rglob("root.*")]
    assert slots == [bytes(4_096)] * 2
