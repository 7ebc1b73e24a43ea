"""Access: invitations, devices, passwords and keys, decided on the real log."""

from typing import Any

import pytest
from nacl.signing import SigningKey

from appliance.context import SITE, Actor
from appliance.directory import limits
from appliance.directory.codes import token_hash
from appliance.directory.commands import (
    Accepted,
    AcceptInvite,
    AddDevice,
    CreateInvite,
    CreatePerson,
    Invited,
    RenewToken,
    ResetAccess,
    RevokeDevice,
    RevokeInvite,
    SetKey,
    SetPassword,
    SetState,
)
from appliance.directory.limits import DAY_MS, HOUR_MS
from appliance.operations import Kind
from tests.appliance.directory.harness import (
    OTHER_VERIFIER,
    VERIFIER,
    Town,
    code,
    code_hash,
    denied,
    key_of,
    kinds,
    refused,
    signature_of,
    snapshot,
    token_of,
)
from transports.wire import schema
from transports.wire.errors import Refusal
from transports.wire.schema import Id

SOMEBODY = Actor()


@pytest.fixture
def town() -> Town:
    """Grace administers, Dave is security officer, Bob writes, Carol has not enrolled yet."""
    town = Town()
    town.add("grace", "administrator")
    town.add("dave", "security_officer")
    town.add("bob")
    town.add("carol", enrolled=False)
    return town


def accept(number: int = 0, token: str = "carol", **changes: Any) -> AcceptInvite:
    fields: dict[str, Any] = {
        "code_hash": code_hash(number),
        "token_hash": token_hash(token_of(token)),
        "name": "phone",
        "verifier": VERIFIER,
        "public_key": bytes(key_of("carol").verify_key),
    }
    return AcceptInvite(**(fields | changes))


# --- invitations ------------------------------------------------------------------------------


def test_an_invitation_is_accepted_once_and_enrols(town: Town) -> None:
    command = CreateInvite("carol", code_hash(), valid_hours=1)
    actor = town.signed("grace", command)
    invited = town.outcome(actor, command)
    assert invited.reply == Invited(
        town.directory.invite(code_hash()).id,  # type: ignore[union-attr]
        town.person("carol").id,
        town.now + HOUR_MS,
    )
    assert signature_of(invited.ops[0]) == actor.signed
    town.clock.advance(HOUR_MS - 1)
    outcome = town.outcome(SOMEBODY, accept())
    carol = town.person("carol")
    (device,) = carol.live_devices(town.now)
    assert outcome.reply == Accepted(carol.id, device.id, town.now + 180 * DAY_MS)
    assert kinds(outcome) == [
        Kind.INVITE_CLOSED,
        Kind.DEVICE_ADDED,
        Kind.PERSON_PASSWORD,
        Kind.PERSON_KEY,
    ]
    assert {(op.actor, op.device) for op in outcome.ops} == {(carol.id, device.id)}
    assert (carol.verifier, carol.is_enrolled) == (VERIFIER, True)
    assert carol.public_key == bytes(key_of("carol").verify_key)
    assert town.directory.authenticate_token(token_of("carol"), town.now) == (carol, device)
    assert refused(town, SOMEBODY, accept(token="again")) == "auth.invite_invalid"
    assert snapshot(town.reopen()) == snapshot(town.directory)


@pytest.mark.parametrize("hours", [0, -1, limits.INVITE_HOURS_MAX + 1])
def test_an_invitation_is_valid_for_a_sensible_time(town: Town, hours: int) -> None:
    assert denied(town, "grace", CreateInvite("carol", code_hash(), hours)) == "request.invalid"


def test_an_expired_or_unknown_or_revoked_invitation_is_invalid(town: Town) -> None:
    town.ask("grace", CreateInvite("carol", code_hash(1), valid_hours=1))
    invited = town.ask("grace", CreateInvite("carol", code_hash(2)))
    town.ask("grace", RevokeInvite(invited.invite))
    town.clock.advance(HOUR_MS)
    for number in (1, 2, 3):
        assert refused(town, SOMEBODY, accept(number)) == "auth.invite_invalid"
    assert denied(town, "grace", RevokeInvite(invited.invite)) == "invite.unknown"
    assert denied(town, "bob", RevokeInvite(b"x" * 16)) == "permission.denied"


def test_a_code_stands_for_one_invitation(town: Town) -> None:
    town.ask("grace", CreateInvite("carol", code_hash()))
    town.add("dora", enrolled=False)
    assert denied(town, "grace", CreateInvite("dora", code_hash())) == "request.invalid"
    assert denied(town, "grace", CreateInvite("carol", b"short")) == "request.invalid"


def test_open_invitations_of_a_person_are_few_and_expired_ones_do_not_count(town: Town) -> None:
    for number in range(limits.INVITES_PER_PERSON):
        town.ask("grace", CreateInvite("carol", code_hash(number), valid_hours=1))
    one_more = CreateInvite("carol", code_hash(99))
    assert denied(town, "grace", one_more) == "invite.limit"
    town.clock.advance(HOUR_MS)
    town.ask("grace", one_more)
    assert len(town.person("carol").open_invites(town.now)) == 1


def test_invitations_remembered_are_bounded_and_those_that_end_first_make_room(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "INVITES_KEPT", 3)
    for number in range(5):
        town.ask("grace", CreateInvite("carol", code_hash(number), valid_hours=1))
        town.clock.advance(HOUR_MS)
    assert len(town.person("carol").invites) == 3
    assert town.directory.invite(code_hash(1)) is None
    assert town.directory.invite(code_hash(4)) is not None
    assert snapshot(town.reopen()) == snapshot(town.directory)


def test_an_administrator_keeps_no_spare_key_to_an_account(town: Town) -> None:
    """Two invitations, one accepted: the other must not let anybody in afterwards."""
    town.ask("grace", CreateInvite("carol", code_hash(1)))
    town.ask("grace", CreateInvite("carol", code_hash(2)))
    town.run(SOMEBODY, accept(1))
    assert refused(town, SOMEBODY, accept(2, "mallory")) == "auth.invite_invalid"
    town.ask("grace", CreatePerson("dora", "Dora"))
    town.ask("grace", CreateInvite("dora", code_hash(3)))
    town.run(SITE, RenewToken("dora", token_hash(token_of("dora"))))
    assert refused(town, SOMEBODY, accept(3, "mallory")) == "auth.invite_invalid"


def test_an_enrolled_person_invites_their_own_next_device(town: Town) -> None:
    town.ask("bob", CreateInvite("bob", code_hash(1)))
    unsigned = town.session("bob")
    assert refused(town, unsigned, CreateInvite("bob", code_hash(2))) == "request.signature"
    key = bytes(key_of("bob").verify_key)
    outcome = town.outcome(SOMEBODY, accept(1, "tablet", verifier="", public_key=key))
    assert kinds(outcome) == [Kind.INVITE_CLOSED, Kind.DEVICE_ADDED]
    assert code(town, "bob") == code(town, "tablet") == "ok"
    assert town.person("bob").verifier == VERIFIER


def test_an_invitation_does_not_replace_a_signing_key(town: Town) -> None:
    town.ask("bob", CreateInvite("bob", code_hash(1)))
    assert refused(town, SOMEBODY, accept(1)) == "person.key"
    assert town.directory.invite(code_hash(1)) is not None


@pytest.mark.parametrize(
    "changes",
    [
        {"verifier": "plain"},
        {"verifier": "$argon2id$" + "x" * 300},
        {"public_key": b"k" * 31},
        {"public_key": bytes(32)},
        {"token_hash": b""},
        {"name": "a\nb"},
    ],
)
def test_a_wrong_part_of_an_acceptance_leaves_the_invitation_open(
    town: Town, changes: dict[str, Any]
) -> None:
    town.ask("grace", CreateInvite("carol", code_hash()))
    assert refused(town, SOMEBODY, accept(**changes)) == "request.invalid"
    assert town.directory.invite(code_hash()) is not None


def test_a_person_who_was_disabled_meanwhile_does_not_come_in(town: Town) -> None:
    town.ask("grace", CreateInvite("carol", code_hash()))
    town.ask("grace", SetState("carol", "disabled"))
    assert refused(town, SOMEBODY, accept()) == "auth.invite_invalid"


# --- devices and tokens -------------------------------------------------------------------------


def login(town: Town, who: str, token: str, **changes: Any) -> AddDevice:
    fields: dict[str, Any] = {
        "person": town.person(who).id,
        "checked": town.person(who).verifier,
        "token_hash": token_hash(token_of(token)),
    }
    return AddDevice(**(fields | changes))


def test_a_password_login_adds_a_device_for_half_a_day(town: Town) -> None:
    accepted = town.run(SOMEBODY, login(town, "bob", "desk"))
    assert accepted.expires_ms == town.now + 12 * HOUR_MS
    assert code(town, "desk") == "ok"
    town.clock.advance(12 * HOUR_MS)
    assert code(town, "desk") == "auth.expired"
    assert code(town, "bob") == "ok"
    town.clock.advance(180 * DAY_MS)
    assert code(town, "bob") == "auth.expired"
    assert code(town, "nobody") == "auth.failed"


def test_a_shared_device_has_its_half_day_also_by_invitation(town: Town) -> None:
    town.ask("grace", CreateInvite("carol", code_hash()))
    accepted = town.run(SOMEBODY, accept(shared=True))
    assert accepted.expires_ms == town.now + 12 * HOUR_MS


def test_a_login_with_a_verifier_of_yesterday_is_refused(town: Town) -> None:
    old = login(town, "bob", "desk")
    town.run(SITE, SetPassword(OTHER_VERIFIER, who="bob"))
    for command in (old, login(town, "carol", "desk"), login(town, "bob", "x", person=b"x" * 16)):
        assert refused(town, SOMEBODY, command) == "auth.failed"
    town.ask("grace", SetState("bob", "disabled"))
    assert refused(town, SOMEBODY, login(town, "bob", "desk")) == "person.disabled"


def test_a_device_keeps_its_id_only_if_it_is_the_persons_and_live(town: Town) -> None:
    first = town.run(SOMEBODY, login(town, "bob", "one"))
    again = town.run(SOMEBODY, login(town, "bob", "two", device=first.device))
    assert again.device == first.device
    assert code(town, "one") == "auth.failed"
    assert code(town, "two") == "ok"
    other = town.run(SOMEBODY, login(town, "grace", "three", device=first.device))
    assert other.device != first.device
    town.run(town.session("bob"), schema.Revoke(id=1, device=Id(first.device)))
    third = town.run(SOMEBODY, login(town, "bob", "four", device=first.device))
    assert third.device != first.device
    assert snapshot(town.reopen()) == snapshot(town.directory)


def test_devices_of_a_person_are_bounded_and_expired_ones_are_forgotten(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    town.anchor()
    monkeypatch.setattr(limits, "DEVICES_PER_PERSON", 3)
    known = [town.run(SOMEBODY, login(town, "bob", f"desk {n}")).device for n in range(2)]
    assert refused(town, SOMEBODY, login(town, "bob", "desk 3")) == "device.limit"
    town.run(SOMEBODY, login(town, "bob", "desk 4", device=known[0]))
    town.clock.advance(12 * HOUR_MS)
    town.anchor()
    town.run(SOMEBODY, login(town, "bob", "desk 5"))
    assert len(town.person("bob").devices) == 2
    assert snapshot(town.reopen()) == snapshot(town.directory)


@pytest.mark.parametrize("days", [400, -400])
def test_a_wrong_clock_signs_nobody_out(town: Town, days: int) -> None:
    """Neither while it is wrong, nor once it is right again; nor does adding a device then."""
    town.anchor()
    town.run(SOMEBODY, login(town, "bob", "desk"))
    right_ms = town.now
    for _ in range(3):
        town.clock.set_wall_ms(right_ms + days * 24 * HOUR_MS)
        town.anchor()
        town.run(SOMEBODY, login(town, "bob", f"wrong {town.now}"))
        town.clock.set_wall_ms(right_ms)
        town.anchor()
        town.run(SOMEBODY, login(town, "bob", f"right {town.now}"))
        assert [code(town, each) for each in ("bob", "desk")] == ["ok", "ok"]
        town.clock.advance(HOUR_MS)
        right_ms += HOUR_MS
    assert snapshot(town.reopen()) == snapshot(town.directory)


def test_where_no_time_is_proven_the_devices_that_end_first_make_room(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "DEVICES_KEPT", 3)
    known = []
    for number in range(5):
        known.append(town.run(SOMEBODY, login(town, "bob", f"desk {number}")).device)
        town.clock.advance(12 * HOUR_MS)
        assert len(town.person("bob").devices) <= 3
    assert town.person("bob").devices.keys() >= set(known[-2:])
    assert code(town, "bob") == "ok"
    assert snapshot(town.reopen()) == snapshot(town.directory)


def test_a_new_password_ends_also_sessions_that_a_wrong_clock_calls_over(town: Town) -> None:
    town.run(SOMEBODY, login(town, "bob", "ward"))
    right_ms = town.now
    town.clock.set_wall_ms(right_ms + 13 * HOUR_MS)
    desk = town.run(SOMEBODY, login(town, "bob", "desk"))
    actor = Actor(town.person("bob").id, desk.device)
    town.run(actor, SetPassword(OTHER_VERIFIER, VERIFIER, id=3))
    town.clock.set_wall_ms(right_ms)
    assert code(town, "ward") == "auth.revoked"


def test_who_enrols_closes_also_invitations_that_a_wrong_clock_calls_over(town: Town) -> None:
    town.add("erin", enrolled=False)
    town.run(SITE, CreateInvite("erin", code_hash(70)))
    right_ms = town.now
    town.clock.set_wall_ms(right_ms + 100 * HOUR_MS)
    town.enrol("erin")
    town.clock.set_wall_ms(right_ms)
    assert town.directory.invite(code_hash(70)) is None


def test_one_revokes_ones_own_device_in_a_session(town: Town) -> None:
    actor = town.session("bob")
    revoke = schema.Revoke(id=7, device=Id(actor.device))
    assert town.run(actor, revoke) == schema.Ok(re=7)
    assert code(town, "bob") == "auth.revoked"
    assert kinds(town.outcome(actor, revoke)) == []
    other = schema.Revoke(id=8, device=Id(town.session("grace").device))
    assert refused(town, actor, other) == "device.unknown"


def test_an_administrator_revokes_anybodys_device_and_signs_it(town: Town) -> None:
    device = town.session("bob").device
    command = RevokeDevice("bob", device, "lost")
    assert denied(town, "dave", command) == "permission.denied"
    actor = town.signed("grace", command)
    outcome = town.outcome(actor, command)
    assert signature_of(outcome.ops[0]) == actor.signed
    assert code(town, "bob") == "auth.revoked"
    town.ask("dave", RevokeDevice("dave", town.session("dave").device))
    assert code(town, "dave") == "auth.revoked"


def test_only_the_site_renews_tokens(town: Town) -> None:
    command = RenewToken("bob", token_hash(token_of("demo")), town.session("bob").device, "demo")
    assert refused(town, town.session("bob"), command) == "permission.denied"
    assert refused(town, town.session("grace"), command) == "permission.denied"
    renewed = town.run(SITE, command)
    assert renewed.device == command.device
    assert (code(town, "bob"), code(town, "demo")) == ("auth.failed", "ok")
    town.ask("grace", SetState("bob", "disabled"))
    assert refused(town, SITE, command) == "person.disabled"


# --- passwords and keys -------------------------------------------------------------------------


def test_a_new_password_ends_the_sessions_of_the_old_one(town: Town) -> None:
    desk = town.run(SOMEBODY, login(town, "bob", "desk"))
    town.run(SOMEBODY, login(town, "bob", "ward"))
    actor = Actor(town.person("bob").id, desk.device)
    assert town.run(actor, SetPassword(OTHER_VERIFIER, VERIFIER, id=3)) == schema.Ok(re=3)
    assert town.person("bob").verifier == OTHER_VERIFIER
    assert [code(town, each) for each in ("bob", "desk", "ward")] == ["ok", "ok", "auth.revoked"]
    again = SetPassword(VERIFIER, VERIFIER)
    assert refused(town, actor, again) == "auth.failed"
    assert refused(town, actor, SetPassword("plain", OTHER_VERIFIER)) == "request.invalid"


def test_who_has_no_password_cannot_replace_it(town: Town) -> None:
    actor = Actor(town.person("carol").id, b"d" * 16)
    assert refused(town, actor, SetPassword(VERIFIER, "")) == "auth.failed"
    nobody = Actor(b"x" * 16, b"d" * 16)
    assert refused(town, nobody, SetPassword(VERIFIER, "")) == "permission.denied"


def test_a_key_is_replaced_with_the_old_ones_signature(town: Town) -> None:
    fresh = SigningKey(b"f" * 32)
    command = SetKey(bytes(fresh.verify_key))
    assert refused(town, town.session("bob"), command) == "request.signature"
    actor = town.signed("bob", command, key=fresh)
    assert refused(town, actor, command) == "request.signature"
    town.ask("bob", command)
    assert town.person("bob").public_key == bytes(fresh.verify_key)
    assert denied(town, "bob", SetKey(bytes(32))) == "request.signature"


def test_nobody_sets_somebody_elses_key_but_the_site(town: Town) -> None:
    key = bytes(SigningKey(b"f" * 32).verify_key)
    assert denied(town, "grace", SetKey(key, "dave")) == "permission.denied"
    town.run(SITE, SetKey(key, "dave"))
    assert town.person("dave").public_key == key
    assert refused(town, SITE, SetKey(bytes(32), "dave")) == "request.invalid"


def test_after_a_reset_an_invitation_brings_a_new_key(town: Town) -> None:
    town.add("erin", "security_officer")
    town.ask("erin", ResetAccess("dave", "key lost"))
    town.ask("grace", CreateInvite("dave", code_hash()))
    fresh = bytes(SigningKey(b"f" * 32).verify_key)
    town.run(SOMEBODY, accept(token="dave new", public_key=fresh))
    assert town.person("dave").public_key == fresh
    assert town.person("dave").roles == {"security_officer"}


def test_a_token_in_the_log_is_only_a_hash(town: Town) -> None:
    stored = b"".join(key + value for key, value in town.medium.rows.items())
    for secret in (token_of("bob"), VERIFIER.encode(), token_hash(token_of("bob"))):
        assert secret not in stored
    with pytest.raises(Refusal):
        town.directory.authenticate_token(token_hash(token_of("bob")), town.now)
