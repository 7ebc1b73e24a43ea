"""The formats against kept bytes, and a reader written from the documentation alone."""

from __future__ import annotations

import hmac
import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from store.tables import EPOCH, FOREST, TREE, index48, meta_key
from store.vault import Argon2Cost, CredentialWrap, Locator, NoWrap, PassphraseWrap, Wrap, ggm
from store.vault.suites import SUITES
from tests.store.vault.harness import CONTEXT, Store, VectorEntropy

VECTORS: dict[str, Any] = json.loads(Path(__file__).with_name("vectors.json").read_text("utf-8"))

TEXT = b"vector text"
STREAM = 0x0102030405060708
NOW_MS = 1_750_000_000_000
WRAPS: dict[str, Wrap] = {
    "none": NoWrap(),
    "passphrase": PassphraseWrap(b"correct horse", Argon2Cost(64, 1, 1)),
    "credential": CredentialWrap(bytes(range(32))),
}
CASES = [(suite, wrap) for suite in SUITES for wrap in WRAPS]


def make(suite: int, wrap: str) -> tuple[Store, Locator, bytes]:
    store = Store(suite=suite, wrap=WRAPS[wrap], entropy=VectorEntropy())
    return store, *store.seal(TEXT, STREAM, 2, NOW_MS)


def rows(store: Store) -> dict[bytes, bytes]:
    with store.engine.snapshot() as snapshot:
        return dict(snapshot.range(b"", b"\xff"))


def derived(suite: int) -> dict[str, Any]:
    prf, cover = SUITES[suite].prf, ggm.birth_cover(bytes(range(64)))
    punctured = ggm.puncture(prf, cover, [0, 5, *range(64, 128), 2_047])
    return {
        "part_keys": {
            str(n): ggm.part_key(prf, cover, n).hex() for n in (0, 1, 1_023, 1_024, 2_047)
        },
        "index_key_3": ggm.index_key(prf, bytes(range(32)), 3).hex(),
        "punctured_cover_nodes": list(punctured),
        "punctured_cover_sha256": sha256(ggm.encode_cover(punctured)).hexdigest(),
    }


def stored(suite: int, wrap: str) -> dict[str, Any]:
    store, _, sealed = make(suite, wrap)
    slot, found = store.disk.read("root.0") or b"", rows(store)
    return {
        "slot_start": slot[:120].hex(),
        "slot_sha256": sha256(slot).hexdigest(),
        "epoch": found[EPOCH.key(STREAM, 0)].hex(),
        "tree": found[TREE.key(2)].hex(),
        "vault": found[meta_key("vault")].hex(),
        "nodes_sha256": {
            key.hex(): sha256(value).hexdigest()
            for key, value in found.items()
            if key.startswith(FOREST.prefix())
        },
        "sealed": sealed.hex(),
    }


def everything() -> dict[str, Any]:
    """Compute all vectors; a change of what this returns is a change of a final format."""
    return {
        "derived": {str(suite): derived(suite) for suite in SUITES},
        "stored": {f"{suite} {wrap}": stored(suite, wrap) for suite, wrap in CASES},
    }


@pytest.mark.parametrize("suite", SUITES)
def test_derived_keys_are_what_they_always_were(suite: int) -> None:
    assert derived(suite) == VECTORS["derived"][str(suite)]


@pytest.mark.parametrize(("suite", "wrap"), CASES)
def test_stored_bytes_are_what_they_always_were(suite: int, wrap: str) -> None:
    assert stored(suite, wrap) == VECTORS["stored"][f"{suite} {wrap}"]


def open_gcm(key: bytes, sealed: bytes, associated: bytes) -> bytes:
    assert sealed[0] == 1
    return AESGCM(key).decrypt(sealed[1:13], sealed[13:], associated)


def mac(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "sha256")


def test_the_documented_layouts_lead_from_the_slot_to_the_text() -> None:
    """Go from the credential to the plaintext with offsets and primitives only."""
    store, locator, sealed = make(1, "credential")
    slot, found = store.disk.read("root.0") or b"", rows(store)

    assert (slot[:8], slot[8:12]) == (b"STRGROOT", bytes((1, 1, 2, 0)))
    assert int.from_bytes(slot[12:20], "big") == 1
    assert slot[4_064:] == sha256(slot[:4_064]).digest()
    wrapping_key = mac(slot[20:36], bytes(range(32)))
    slot_wrap = mac(wrapping_key, b"strongroom/root-slot/1" + slot[120:4_064])
    key = AESGCM(slot_wrap).decrypt(slot[48:60], slot[72:120], slot[:48])

    for level in range(6):
        row_key = FOREST.key(0, level, index48(0))
        value = found[row_key]
        key = open_gcm(key, value[1:], b"strongroom/node/1" + row_key + value[:2])[:32]

    row_key = EPOCH.key(STREAM, 0)
    row = found[row_key]
    assert row[:2] == b"\x01\x01"
    assert [int.from_bytes(row[a:b], "big") for a, b in ((2, 4), (4, 8), (8, 16), (16, 24))] == [
        2,
        0,
        0,
        NOW_MS,
    ]
    keys = open_gcm(key, row[24:], b"strongroom/epoch/1" + row_key + row[:24])
    assert len(keys) == 32 + 2 * 34
    assert (keys[32:34], keys[66:68]) == (b"\x00\x01", b"\x00\x02")

    seed = keys[34:66]
    for _ in range(4):
        seed = mac(seed, b"\x01\x00")
    part_key = mac(seed, b"\x02\x00")
    place = b"\x01" + STREAM.to_bytes(8, "big") + bytes(4) + bytes(2)
    assert locator == Locator(STREAM, 0, 0)
    assert open_gcm(part_key, sealed, CONTEXT + place) == TEXT
