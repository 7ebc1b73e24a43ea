"""The directory in memory follows every operation, and back; registers alone rebuild it."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from appliance.context import SITE
from appliance.directory.codes import token_hash
from appliance.directory.commands import (
    AcceptInvite,
    AddDevice,
    CreateInvite,
    CreatePerson,
    RenewToken,
    ResetAccess,
    RevokeDevice,
    RevokeInvite,
    SetPassword,
    SetProfile,
    SetRoles,
    SetState,
)
from appliance.directory.decide import DECISIONS
from appliance.directory.limits import HOUR_MS
from appliance.directory.model import ACTIVE, DISABLED, REMOVED
from appliance.directory.state import Directory
from appliance.operations import BodyStruct, DeviceAdded, Kind, PersonProfile, SiteSecret
from store.engine.txn import Txn
from store.ids import Stream, StreamKind
from tests.appliance.directory.harness import (
    OTHER_VERIFIER,
    VERIFIER,
    Town,
    code,
    code_hash,
    snapshot,
    token_of,
)
from transports.wire.errors import Refusal

LOGINS = ("ann", "ben", "cat")
WHO = st.sampled_from(LOGINS)


def test_a_rolled_back_command_leaves_memory_as_it_was() -> None:
    town = Town()
    town.add("bob")
    before = snapshot(town.directory)
    with closing(town.engine.snapshot()) as reader:
        txn = Txn(reader)
        context = town.context(txn, SITE, town.now)
        for command in (
            CreatePerson("carol", "Carol"),
            CreateInvite("carol", code_hash(1)),
            RenewToken("bob", token_hash(token_of("new")), town.session("bob").device),
            SetState("bob", DISABLED),
            SetProfile("bob", login="bobby"),
        ):
            DECISIONS[type(command)](context, command)
        assert town.directory.resolve("bob") is None
        assert town.directory.invite(code_hash(1)) is not None
        txn.rollback(0)
    assert snapshot(town.directory) == before
    assert town.directory.resolve("carol") is None


def test_operations_of_other_rooms_change_nothing() -> None:
    town = Town()
    town.add("bob")
    before = snapshot(town.directory)
    op: Any = town.logged[0]
    other = op.__class__(**{**{f: getattr(op, f) for f in op.__struct_fields__}, "kind": 2})
    assert other.kind == Kind.SITE_SECRET
    town.directory.fold(other, SiteSecret(3, b"s"), None)
    assert snapshot(town.directory) == before


def append(town: Town, login: str, kind: Kind, body: BodyStruct) -> None:
    """Append what no decision here would: it may come from another site one day."""
    stream = Stream(StreamKind.PERSON, town.person(login).id)
    with closing(town.engine.snapshot()) as reader:
        txn = Txn(reader)
        town.context(txn, SITE, town.now).append(kind, body, stream=stream)
        town.engine.batch(txn.writes, town.token)


def test_a_device_that_was_added_while_its_owner_was_disabled_lets_nobody_in() -> None:
    town = Town()
    town.add("bob")
    town.run(SITE, SetState("bob", DISABLED))
    added = DeviceAdded(b"d" * 16, "", token_hash(token_of("late")), 0, False, "invite")
    append(town, "bob", Kind.DEVICE_ADDED, added)
    assert code(town, "late") == "auth.revoked"
    town.run(SITE, SetState("bob", ACTIVE))
    assert code(town, "late") == "auth.revoked"


def test_a_name_that_two_people_took_at_two_sites_is_not_lost_with_one_of_them() -> None:
    town = Town()
    town.add("bob")
    ben = town.add("ben")
    append(town, "ben", Kind.PERSON_PROFILE, PersonProfile("bob", "Ben", ""))
    (bob,) = (each for each in town.directory.people() if each.id != ben.id)
    assert town.directory.resolve("bob") == bob  # who had it here first
    town.run(SITE, SetProfile(f"id:{bob.id.hex()}", login="bobby"))
    assert town.person("bob").id == ben.id
    assert town.person("bobby").id == bob.id


@pytest.mark.parametrize("who", ["", "id:", "id:zz", "id:" + "00" * 16, "BOBB", "x" * 10_000])
def test_who_is_not_there_is_nobody(who: str) -> None:
    town = Town()
    town.add("bob")
    assert town.directory.refer(who) is None


def test_a_person_is_found_by_any_spelling_and_by_id() -> None:
    town = Town()
    bob = town.add("bob")
    for who in ("bob", "BOB", "ｂｏｂ", f"id:{bob.id.hex()}"):
        assert town.directory.refer(who) == bob
    assert town.directory.people() == [bob]
    assert len(town.directory) == 1


class Years(RuleBasedStateMachine):
    """Years of a small site: memory, the whole log and the registers alone always agree."""

    def __init__(self) -> None:
        super().__init__()
        self.town = Town()
        self.tokens = 0
        self.invites: list[bytes] = []

    def attempt(self, command: Any) -> Any:
        before = snapshot(self.town.directory)
        try:
            return self.town.run(SITE, command)
        except Refusal:
            assert snapshot(self.town.directory) == before
            return None

    def fresh(self) -> bytes:
        self.tokens += 1
        return token_hash(token_of(f"t{self.tokens}"))

    def device(self, who: str, which: int) -> bytes:
        person = self.town.directory.resolve(who)
        devices = sorted(person.devices) if person is not None else []
        return devices[which % len(devices)] if devices else b"?" * 16

    @rule(who=WHO)
    def create(self, who: str) -> None:
        self.attempt(CreatePerson(who, who.title()))

    @rule(who=WHO, to=WHO)
    def rename(self, who: str, to: str) -> None:
        self.attempt(SetProfile(who, login=to))

    @rule(who=WHO, roles=st.sets(st.sampled_from(["member", "administrator", "auditor"])))
    def give(self, who: str, roles: set[str]) -> None:
        self.attempt(SetRoles(who, tuple(roles)))

    @rule(who=WHO, state=st.sampled_from([ACTIVE, ACTIVE, DISABLED, DISABLED, REMOVED]))
    def set_state(self, who: str, state: str) -> None:
        self.attempt(SetState(who, state))

    @rule(who=WHO)
    def reset(self, who: str) -> None:
        self.attempt(ResetAccess(who))

    @rule(who=WHO, hours=st.sampled_from([1, 72]))
    def invite(self, who: str, hours: int) -> None:
        hashed = code_hash(len(self.invites) + 1)
        if self.attempt(CreateInvite(who, hashed, hours)) is not None:
            self.invites.append(hashed)

    @rule(data=st.data(), password=st.booleans())
    def accept(self, data: st.DataObject, password: bool) -> None:
        if self.invites:
            hashed = data.draw(st.sampled_from(self.invites))
            verifier = VERIFIER if password else ""
            self.attempt(AcceptInvite(hashed, self.fresh(), verifier=verifier))

    @rule(data=st.data())
    def close_invite(self, data: st.DataObject) -> None:
        if self.invites:
            known = self.town.directory.invite(data.draw(st.sampled_from(self.invites)))
            if known is not None:
                self.attempt(RevokeInvite(known.id))

    @rule(who=WHO, verifier=st.sampled_from([VERIFIER, OTHER_VERIFIER]))
    def password(self, who: str, verifier: str) -> None:
        self.attempt(SetPassword(verifier, who=who))

    @rule(who=WHO, which=st.integers(0, 3), shared=st.booleans())
    def login(self, who: str, which: int, shared: bool) -> None:
        person = self.town.directory.resolve(who)
        if person is not None:
            device = self.device(who, which)
            self.attempt(AddDevice(person.id, person.verifier, self.fresh(), device, shared=shared))

    @rule(who=WHO, which=st.integers(0, 3))
    def renew(self, who: str, which: int) -> None:
        self.attempt(RenewToken(who, self.fresh(), self.device(who, which)))

    @rule(who=WHO, which=st.integers(0, 3))
    def revoke(self, who: str, which: int) -> None:
        self.attempt(RevokeDevice(who, self.device(who, which)))

    @rule(hours=st.sampled_from([1, 13, 24 * 200]))
    def wait(self, hours: int) -> None:
        self.town.clock.advance(hours * HOUR_MS)

    @invariant()
    def registers_alone_rebuild_everything(self) -> None:
        assert snapshot(self.town.reopen()) == snapshot(self.town.directory)

    @invariant()
    def the_indices_say_what_the_people_say(self) -> None:
        directory: Directory = self.town.directory
        people = directory.people()
        whole = snapshot(directory)
        assert whole["_by_login"] == {each.login: (each.id,) for each in people}
        assert whole["_by_token"] == {
            device.token_hash: (each.id, device.id)
            for each in people
            for device in each.devices.values()
        }
        assert whole["_by_code"] == {
            invite.code_hash: (each.id, invite.id)
            for each in people
            for invite in each.invites.values()
        }

    @invariant()
    def tokens_are_good_for_active_people_only(self) -> None:
        directory, now = self.town.directory, self.town.now
        for number in range(1, self.tokens + 1):
            try:
                person, device = directory.authenticate_token(token_of(f"t{number}"), now)
            except Refusal:
                continue
            assert person.is_active
            assert now < device.expires_ms
            assert directory.is_live(person.id, device.id, now)
            assert not directory.is_live(b"?" * 16, device.id, now)


TestYears = Years.TestCase
TestYears.settings = settings(max_examples=25, stateful_step_count=30)
