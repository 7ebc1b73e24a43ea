"""The bytes that live for ever are the published ones, and nothing else is read as them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store import canonical, skeleton
from store.envelope import Envelope
from store.envelope import encode as encode_envelope
from store.errors import FormatError
from store.ids import OpId
from store.skeleton import OpClass, Skeleton

VECTORS = json.loads(Path(__file__).with_name("log_vectors.json").read_text("utf-8"))
U64 = st.integers(0, (1 << 64) - 1)
HASH = st.binary(min_size=32, max_size=32)
SKELETONS = st.builds(
    Skeleton,
    st.sampled_from(OpClass),
    st.builds(OpId, st.binary(min_size=16, max_size=16), U64, U64),
    HASH,
    HASH,
)


@given(SKELETONS)
def test_skeletons_come_back_from_98_bytes(bones: Skeleton) -> None:
    data = bones.pack()
    assert len(data) == skeleton.SKELETON_BYTES
    assert Skeleton.unpack(data) == bones
    assert data[skeleton.CLASS_OFFSET] == bones.op_class


@given(SKELETONS, st.integers(0, 255).filter(lambda byte: byte != 1))
def test_other_versions_classes_and_lengths_are_refused(bones: Skeleton, byte: int) -> None:
    data = bones.pack()
    for wrong in (
        bytes((byte,)) + data[1:],
        data[:1] + bytes((max(byte, 3),)) + data[2:],
        data[:-1],
        data + b"\0",
    ):
        with pytest.raises(FormatError):
            Skeleton.unpack(wrong)


@pytest.mark.parametrize("vector", VECTORS["operations"], ids=lambda vector: vector["name"])
def test_operations_are_hashed_as_the_vectors_say(vector: dict[str, Any]) -> None:
    fields = [
        bytes.fromhex(field) if isinstance(field, str) else field for field in vector["fields"]
    ]
    encoded = encode_envelope(Envelope(*fields))  # type: ignore[arg-type]
    assert encoded.hex() == vector["envelope"]
    assert canonical.encode(fields) == encoded
    salt, body = bytes.fromhex(vector["salt"]), bytes.fromhex(vector["body"])
    bones = skeleton.pack(
        int(vector["class"]),
        OpId.unpack(bytes.fromhex(vector["id"])),
        canonical.commit("envelope", canonical.envelope_salt(salt), encoded),
        canonical.commit("body", salt, body),
    )
    assert bones.hex() == vector["skeleton"]
    digest = skeleton.op_hash(bones)
    assert digest.hex() == vector["op_hash"]
    assert skeleton.chain(skeleton.CHAIN_START, digest).hex() == vector["chain"]


@given(st.integers(0, 0xFFFF), st.binary(min_size=32, max_size=32))
def test_the_node_id_comes_from_tenant_and_key(tenant: int, key: bytes) -> None:
    expected = hashlib.sha256(b"strongroom/node/1" + tenant.to_bytes(2, "big") + key).digest()
    assert skeleton.node_id(tenant, key) == expected[:16]


@given(HASH, HASH)
def test_the_chain_covers_predecessor_and_operation(previous: bytes, digest: bytes) -> None:
    expected = hashlib.sha256(b"strongroom/chain/1" + previous + digest).digest()
    assert skeleton.chain(previous, digest) == expected
