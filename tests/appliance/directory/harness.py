"""A site that has people only: the real log, vault and directory on the simulated engine."""

from __future__ import annotations

import struct
from contextlib import closing
from typing import Any

import msgspec
import pytest
from nacl.signing import SigningKey

from appliance.context import SITE, Actor, Context, Outcome
from appliance.directory import codes
from appliance.directory.commands import (
    Accepted,
    AcceptInvite,
    Command,
    CreateInvite,
    CreatePerson,
    request_of,
)
from appliance.directory.decide import DECISIONS as DIRECTORY
from appliance.directory.model import Person
from appliance.directory.requests import canonical_json, canonical_request
from appliance.directory.state import Directory
from appliance.operations import (
    SPECS,
    BodyStruct,
    Kind,
    Signed,
    SiteApproved,
    SiteHeadquarters,
    SiteInvited,
    SiteJoined,
    decode,
)
from appliance.policy.clock import Reading
from appliance.sites import decide_lease, decide_sites, lease
from appliance.sites.commands import NAMES, GrantLease
from appliance.sites.lease import Grant
from appliance.sites.registry import Sites
from store.clocks import ManualClock, SeededEntropy
from store.disk import MemoryDisk
from store.engine.memory import Medium, MemoryEngine
from store.engine.txn import Txn
from store.fence import Fence
from store.ids import SITE_STREAM, Stream, StreamKind
from store.oplog import Draft, Op, OpLog
from store.streams import Streams
from store.tables import REGISTER
from store.vault import NoWrap, Vault
from transports.wire.errors import Refusal

NODE = b"n" * 16
VERIFIER = "$argon2id$v=19$m=65536,t=3,p=1$c2FsdHNhbHRzYWx0c2FsdA$aGFzaA"
OTHER_VERIFIER = VERIFIER + "AA"

DECISIONS = {**DIRECTORY, **decide_sites.DECISIONS, **decide_lease.DECISIONS}

_PLACE = struct.Struct(">IQ")
_SITE_KEY = SigningKey(bytes(range(32)))


def sign(message: bytes) -> bytes:
    return bytes(_SITE_KEY.sign(message).signature)


def key_of(login: str) -> SigningKey:
    return SigningKey(login.encode().ljust(32, b"."))


def code_hash(number: int = 0) -> bytes:
    return codes.code_hash(codes.make_code(number.to_bytes(codes.CODE_ENTROPY_BYTES, "big")))


def token_of(text: str) -> bytes:
    return text.encode().ljust(codes.TOKEN_BYTES, b".")


class Town:
    """One site's people; ``run`` decides and commits, ``reopen`` starts the process again."""

    def __init__(self, seed: int = 0) -> None:
        self.medium = Medium()
        self.disks = (MemoryDisk(), MemoryDisk())
        self.entropy = SeededEntropy(seed)
        self.clock = ManualClock()
        self.engine = MemoryEngine(self.medium)
        self.token = self.engine.acquire()
        self.directory = Directory()
        self.sites = Sites(self.directory)
        self.logged: list[Op] = []
        with closing(self.engine.snapshot()) as snapshot:
            txn = Txn(snapshot)
            self.vault = Vault.create(txn, self.disks[0], self.entropy, NoWrap())
            self.streams = Streams(self.vault, self.entropy)
            self.log = OpLog.create(
                txn,
                self.vault,
                self.streams,
                Fence(self.disks[1]),
                entropy=self.entropy,
                sign=sign,
                verify_key=bytes(_SITE_KEY.verify_key),
            )
            self.engine.batch(txn.writes, self.token)
        self.sites.node = self.log.node

    @property
    def now(self) -> int:
        return self.clock.wall_ms()

    def reopen(self) -> Directory:
        """Load a second directory from the registers alone, as a start does."""
        loaded = Directory()
        with closing(self.engine.snapshot()) as reader:
            rows = {_PLACE.unpack(value) for _, value in reader.range(*REGISTER.span())}
            ops = [self.log.read(reader, *place) for place in rows]
            for op in sorted(ops, key=lambda op: op.pos):
                loaded.fold(op, decode(op.kind, op.body or b""), None)
        return loaded

    def run(self, actor: Actor, command: Any) -> Any:
        """Decide one command and commit it; a refusal leaves nothing behind."""
        return self.outcome(actor, command).reply

    def outcome(self, actor: Actor, command: Any) -> Outcome:
        now = self.now
        with closing(self.engine.snapshot()) as snapshot:
            txn = Txn(snapshot)
            context = self.context(txn, actor, now)
            try:
                reply = DECISIONS[type(command)](context, command)
            except BaseException:
                txn.rollback(0)
                raise
            self.log.before_commit(txn, now)
            self.engine.batch(txn.writes, self.token)
        self.logged += context.ops
        return Outcome(reply, tuple(context.ops))

    def context(self, txn: Txn, actor: Actor, now: int) -> Context:
        return Context(
            txn,
            actor,
            now,
            self.directory,
            None,  # type: ignore[arg-type]  # there are no conversations here
            self.sites,
            self.entropy,
            self._append,
            lambda origin, seq: self.log.read(txn, origin, seq),
            self.reading,
        )

    def _append(self, txn: Txn, draft: Draft, body: BodyStruct, now_ms: int) -> Op:
        op = self.log.append(txn, draft, now_ms)
        spec = SPECS[Kind(op.kind)]
        item = getattr(body, spec.item) if spec.item else 0
        if not isinstance(item, int):
            item = self.streams.ensure(txn, Stream(StreamKind.DEVICE, item), now_ms)
        row = REGISTER.key(op.pseudonym, op.kind, item)
        txn.put(row, _PLACE.pack(op.origin, op.id.seq))
        self.directory.apply(txn, op, body)
        self.sites.fold(op, body, txn.on_rollback)
        return op

    def record(self, *bodies: tuple[Kind, BodyStruct]) -> None:
        """Append operations to the site's stream as they are."""
        with closing(self.engine.snapshot()) as snapshot:
            txn = Txn(snapshot)
            context = self.context(txn, SITE, self.now)
            for kind, body in bodies:
                context.append(kind, body, stream=SITE_STREAM)
            self.log.before_commit(txn, self.now)
            self.engine.batch(txn.writes, self.token)

    def reading(self) -> Reading:
        return Reading(self.clock.wall_ms(), self.clock.boot(), self.clock.uptime_ms())

    def branch(self, number: int, name: str) -> bytes:
        """Add an approved branch; return its NodeId."""
        node = name.encode().ljust(16, b".")
        self.record(
            (Kind.SITE_INVITED, SiteInvited(number, name, b"t" * 32, self.now)),
            (Kind.SITE_JOINED, SiteJoined(number, node, b"k" * 32)),
            (Kind.SITE_APPROVED, SiteApproved(number, node)),
        )
        return node

    def become_branch(self) -> None:
        """Make this site the branch "here" of some headquarters, with a fresh lease."""
        body = SiteHeadquarters(b"q" * 16, b"k" * 32, ("hq:443",), b"", "Hospital", 1, "here")
        self.record((Kind.SITE_HEADQUARTERS, body))
        self.run(SITE, GrantLease(Grant(lease.ask(self.reading(), 1), self.now, 1)))

    # --- people ----------------------------------------------------------------------------------

    def person(self, login: str) -> Person:
        person = self.directory.resolve(login)
        assert person is not None
        return person

    def add(self, login: str, *roles: str, enrolled: bool = True) -> Person:
        """Add a person as the site does at init, with a key, a password and a device."""
        self.run(SITE, CreatePerson(login, login.title(), "", roles or ("member",)))
        if enrolled:
            self.enrol(login)
        return self.person(login)

    def enrol(self, login: str, token: str = "") -> Accepted:
        hashed = code_hash(len(self.logged))
        self.run(SITE, CreateInvite(login, hashed))
        accept = AcceptInvite(
            hashed,
            codes.token_hash(token_of(token or login)),
            name="phone",
            verifier=VERIFIER,
            public_key=bytes(key_of(login).verify_key),
        )
        accepted = self.run(SITE, accept)
        assert isinstance(accepted, Accepted)
        return accepted

    def session(self, login: str) -> Actor:
        """Return the person on their oldest live device, without any signature."""
        person = self.person(login)
        return Actor(person.id, person.live_devices(self.now)[0].id)

    def signed(self, login: str, command: Command, key: SigningKey | None = None) -> Actor:
        """Return the person as actor who signed this command."""
        person = self.person(login).id
        name = NAMES.get(type(command))
        request = (name, canonical_json(command)) if name else request_of(command)
        data = canonical_request(NODE, b"c" * 16, person, *request)
        signature = (key or key_of(login)).sign(data).signature
        return Actor(person, b"", Signed(data, bytes(signature)))

    def ask(self, login: str, command: Command) -> Any:
        """Run a command that the person signs."""
        return self.run(self.signed(login, command), command)


def snapshot(directory: Directory) -> dict[str, Any]:
    """Return everything a directory knows, for comparing."""
    fields = ("_persons", "_by_login", "_by_token", "_by_code", "_by_invite")
    return {field: dict(getattr(directory, field)) for field in fields}


def kinds(outcome: Outcome) -> list[Kind]:
    return [Kind(op.kind) for op in outcome.ops]


def body_of(op: Op) -> BodyStruct:
    return decode(op.kind, op.body or b"")


def signature_of(op: Op) -> Signed:
    body = body_of(op)
    assert isinstance(body, msgspec.Struct)
    signed = getattr(body, "signed", Signed())
    assert isinstance(signed, Signed)
    return signed


def refused(town: Town, actor: Actor, command: Any) -> str:
    """Run a command that must be refused without a trace; return the code."""
    before, rows = snapshot(town.directory), dict(town.medium.rows)
    with pytest.raises(Refusal) as caught:
        town.run(actor, command)
    assert snapshot(town.directory) == before
    assert dict(town.medium.rows) == rows
    return caught.value.code


def denied(town: Town, login: str, command: Any) -> str:
    """As ``refused``, for a command that the person signs."""
    return refused(town, town.signed(login, command), command)


def code(town: Town, login: str) -> str:
    """Return the refusal's code of a token made from this text, or "ok"."""
    try:
        town.directory.authenticate_token(token_of(login), town.now)
    except Refusal as refusal:
        return refusal.code
    return "ok"
