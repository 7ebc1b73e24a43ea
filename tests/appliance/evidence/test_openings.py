"""Openings: every operation of a real log can be proven, and no other bytes can."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from appliance.evidence import openings
from appliance.evidence.openings import Proof, Prover, check_opening, check_segment, open_row
from appliance.operations import Edit, Kind, encode
from store import segments
from store.errors import PartGoneError
from store.ids import Origin
from store.limits import SEGMENT_OPS
from store.logreader import UnknownOpError
from tests.appliance.messaging.harness import House


class Proven:
    """A house whose log has closed segments and an open one, and proofs of all of it."""

    def __init__(self, messages: int = 3) -> None:
        self.house = House("alice", "bob")
        conv = self.house.direct("alice", "bob")
        for number in range(messages):
            self.house.say("alice", conv, f"{number}")
        self.house.tick(61)
        self.house.say("alice", conv, "pending")
        self.log = self.house.site.core.log
        origin, last = self.log.head.origin, self.log.head.seq
        with self.house.reading() as reader:
            prover = Prover(reader)
            opened = [open_row(self.log, reader, origin, seq) for seq in range(1, last + 1)]
            self.proofs = [prover.prove(each) for each in opened]
        self.ops = [each.op for each in opened]

    def is_signed(self, origin: Origin, statement: bytes, signature: bytes) -> bool:
        assert origin.node == self.log.node
        key = self.log.origins[self.log.head.origin].verify_key
        try:
            VerifyKey(key).verify(segments.signed_bytes(statement), signature)
        except (BadSignatureError, ValueError):
            return False
        return True

    def holds(self, proof: Proof) -> bool:
        claim = check_opening(proof)
        return claim is not None and check_segment(proof, claim, self.is_signed)


@pytest.fixture(scope="module")
def proven() -> Proven:
    return Proven()


def test_every_operation_is_proven_or_pending(proven: Proven) -> None:
    assert all(map(proven.holds, proven.proofs))
    pending = [
        op.id.seq for op, proof in zip(proven.ops, proven.proofs, strict=True) if proof.is_pending
    ]
    assert pending == [proven.ops[-1].id.seq]
    for op, proof in zip(proven.ops, proven.proofs, strict=True):
        claim = check_opening(proof)
        assert claim is not None
        assert (claim.skeleton.id, claim.body, claim.envelope.actor) == (op.id, op.body, op.actor)
        assert repr(proof) == "<Proof>"


def test_proofs_go_across_full_segments() -> None:
    proven = Proven(SEGMENT_OPS + 5)
    assert all(map(proven.holds, proven.proofs))
    statements = {proof.statement for proof in proven.proofs if not proof.is_pending}
    assert len(statements) == 2


BYTES = ("skeleton", "envelope", "body", "salt", "statement", "signature")


@given(st.data())
def test_no_bit_of_a_proof_can_be_changed(proven: Proven, data: st.DataObject) -> None:
    proof = data.draw(st.sampled_from(proven.proofs[:-1]))
    name = data.draw(st.sampled_from(BYTES))
    raw = bytearray(getattr(proof, name))
    if raw:
        raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    else:
        raw = bytearray(b"\0")
    assert not proven.holds(msgspec.structs.replace(proof, **{name: bytes(raw)}))


def test_a_proof_of_another_operation_does_not_fit(proven: Proven) -> None:
    one, two = proven.proofs[:2]
    assert not proven.holds(msgspec.structs.replace(one, path=two.path))
    assert not proven.holds(msgspec.structs.replace(one, path=one.path[:-1]))
    assert not proven.holds(msgspec.structs.replace(one, path=(*one.path, b"\0" * 32)))
    assert not proven.holds(msgspec.structs.replace(one, statement=b""))
    pending = proven.proofs[-1]
    stolen = msgspec.structs.replace(pending, statement=one.statement, signature=one.signature)
    assert not proven.holds(stolen)


def test_a_body_that_is_said_to_be_gone_needs_the_envelopes_own_salt(proven: Proven) -> None:
    assert not proven.holds(msgspec.structs.replace(proven.proofs[0], body=None))


def test_rows_that_cannot_be_opened_are_told_apart(proven: Proven) -> None:
    with proven.house.reading() as reader, pytest.raises(UnknownOpError):
        open_row(proven.log, reader, 1, 10_000)
    assert issubclass(PartGoneError, Exception)


def test_content_is_readable_and_without_the_targets_key() -> None:
    body = encode(Edit("text", "new", "", 7))
    assert openings.content(Kind.EDIT, body) == {"kind": "text", "text": "new", "data": ""}
    assert openings.content(Kind.EDIT, None) is None
    assert openings.content(Kind.EDIT, b"\x00") is None
    assert openings.content(9_999, body) is None
    assert (openings.kind_name(Kind.EDIT), openings.kind_name(9_999)) == ("edit", "9999")
