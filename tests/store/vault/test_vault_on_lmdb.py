"""The vault on the real engine and real files: it comes back, and no file holds a canary."""

from __future__ import annotations

from pathlib import Path

from store.clocks import SystemEntropy
from store.disk import FileDisk
from store.engine.lmdb import LmdbEngine
from store.engine.txn import Txn
from store.vault import STANDARD, Locator, NoWrap, Vault
from tests.store.vault.harness import CONTEXT

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
