"""A site whose ledger confirms destruction runs, and all that an auditor would be given of it."""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field

from nacl.signing import SigningKey

from appliance.directory.requests import canonical_json, canonical_request
from appliance.disposal import certificate, export
from appliance.operations import (
    SPECS,
    Approval,
    DayCount,
    DestructionConfirmed,
    Kind,
    ReplicaState,
    Signed,
    encode,
)
from store import merkle, notes
from store.engine.txn import Txn
from store.ids import AUDIT_STREAM, OpId, Origin
from store.limits import SEGMENT_MS
from store.notes import Checkpoint
from store.oplog import Draft, Op
from tests.store.logbox import SITE_KEY, Box, message, privileged, sign

SITE_PUBLIC = bytes(SITE_KEY.verify_key)
DAY = 20_781
DIGEST = bytes(range(100, 132))
SCOPE_KEY = bytes(range(32, 64))
OPS = [OpId(bytes(range(16)), 7, seq).pack() for seq in range(1, 38)]
LEAVES = [hmac.digest(SCOPE_KEY, op_id, "sha256") for op_id in OPS]
AGREED: dict[str, object] = {"request": 3, "digest": DIGEST.hex()}


@dataclass
class Officer:
    """Somebody who signs requests."""

    number: int
    key: SigningKey = field(init=False)

    def __post_init__(self) -> None:
        self.key = SigningKey(bytes((self.number,)) * 32)

    @property
    def person(self) -> bytes:
        return bytes((self.number,)) * 16

    def approval(self, node: bytes, command: str, arguments: object) -> Approval:
        request = canonical_request(
            node, bytes(16), self.person, command, canonical_json(arguments)
        )
        signature = bytes(self.key.sign(request).signature)
        return Approval(self.person, bytes(self.key.verify_key), Signed(request, signature))


ANNA, BO = Officer(1), Officer(2)


def day_signer(day: int) -> SigningKey:
    return SigningKey(day.to_bytes(32, "big"))


class ProofBox:
    """A site with some history; ``confirm`` runs, then ask for what auditors are given."""

    def __init__(self, seed: str = "proof") -> None:
        self.box = Box(seed).create()
        self.day = DAY
        for _ in range(3):
            self.box.append(message(), privileged(), message(), privileged(b"\x91\x05"))
            self.box.clock.advance(SEGMENT_MS)

    @property
    def node(self) -> bytes:
        return self.box.log.node

    def approvals(self) -> tuple[Approval, ...]:
        first = ANNA.approval(self.node, "request.sign", AGREED)
        return (first, BO.approval(self.node, "request.approve", AGREED))

    def body(self, **changes: object) -> DestructionConfirmed:
        fields: dict[str, object] = {
            "run": 12,
            "cause": "order",
            "request": 3,
            "dry_run": bytes(range(32)),
            "approvals": self.approvals(),
            "policy_version": 4,
            "policy_hash": bytes(range(32, 64)),
            "parts": len(LEAVES),
            "counts": (DayCount("standard", 20_500, 33), DayCount("病历", 20_501, 0)),
            "held_back": 2,
            "scope_root": merkle.root(LEAVES),
            "scope_size": len(LEAVES),
            "generations": (41, 43),
            "tier": "file",
            "evidence": ("random, zero, read back", "ext4 on a local disk"),
            "replicas": (ReplicaState("hq", 44), ReplicaState("cellar", 45)),
            "state": "COMPLETE",
            "devices_asked": 10,
            "devices_answered": 8,
            "started_ms": 1_795_500_000_000,
            "confirmed_ms": 1_795_500_003_120,
            "clock": "ntp.example",
            "program": "0.2.0",
            "digest": DIGEST,
        }
        return DestructionConfirmed(**(fields | changes))  # type: ignore[arg-type]

    def confirm(self, **changes: object) -> Op:
        """Append the end of a run."""
        kind = Kind.DESTRUCTION_CONFIRMED
        spec = SPECS[kind]
        body = encode(self.body(**changes))
        draft = Draft(kind, spec.op_class, AUDIT_STREAM, spec.retention_class, body=body)
        (op,) = self.box.append(draft)
        return op

    def checkpoint(self, name: str = "") -> bytes:
        """Sign the ledger as it is with the key of the day, and keep that."""
        ledger, key = self.box.log.ledger, day_signer(self.day)
        log = name or notes.log_name(Origin(self.node, self.box.log.head.incarnation))
        public = bytes(key.verify_key)
        note = notes.sign_checkpoint(
            Checkpoint(log, ledger.size, ledger.root()),
            public,
            lambda data: bytes(key.sign(data).signature),
        )
        day_key = notes.certify_day_key(self.node, self.day, public, sign)

        def save(txn: Txn) -> None:
            notes.save_checkpoint(txn, ledger.origin, note, day_key)

        self.box.commit(save)
        return note

    def certificate(self, op: Op) -> str:
        place = (op.origin, op.id.seq)
        return self.box.read(lambda reader: certificate.build(self.box.log, reader, place))

    def export(self, origin: int = 0) -> str:
        number = origin or self.box.log.head.origin
        return self.box.read(lambda txn: "".join(export.lines(self.box.log, txn, number)))

    def certified(self, **changes: object) -> str:
        """Confirm a run, sign the ledger, and return the certificate."""
        op = self.confirm(**changes)
        self.checkpoint()
        return self.certificate(op)


def scope_text(run: int = 12) -> str:
    return "".join(export.scope(run, SCOPE_KEY, LEAVES))
