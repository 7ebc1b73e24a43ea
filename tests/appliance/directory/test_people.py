"""People: who may create, change, disable and reset whom, decided on the real log."""

import pytest

from appliance.context import SITE, Actor
from appliance.directory.commands import (
    Command,
    CreateInvite,
    CreatePerson,
    Done,
    Known,
    ResetAccess,
    SetProfile,
    SetRoles,
    SetState,
    request_of,
)
from appliance.directory.model import ACTIVE, DISABLED, REMOVED
from appliance.directory.requests import canonical_request
from appliance.operations import Kind, Signed
from tests.appliance.directory.harness import (
    NODE,
    Town,
    code,
    code_hash,
    denied,
    key_of,
    kinds,
    refused,
    signature_of,
    snapshot,
)
from transports.wire.errors import Refusal


@pytest.fixture
def town() -> Town:
    """Grace administers, Dave and Erin are security officers, Frank audits, Bob writes."""
    town = Town()
    town.add("grace", "administrator")
    town.add("dave", "security_officer")
    town.add("erin", "security_officer", "member")
    town.add("frank", "auditor")
    town.add("bob")
    return town


def test_an_administrator_adds_a_person_and_signs_every_part_of_it(town: Town) -> None:
    command = CreatePerson("Carol", "Carol Stone", "Ward 3")
    actor = town.signed("grace", command)
    outcome = town.outcome(actor, command)
    carol = town.person("carol")
    assert outcome.reply == Known(carol.id)
    assert kinds(outcome) == [Kind.PERSON_CREATED, Kind.PERSON_PROFILE, Kind.PERSON_ROLES]
    assert {signature_of(op) for op in outcome.ops} == {actor.signed}
    assert {op.actor for op in outcome.ops} == {town.person("grace").id}
    assert (carol.login, carol.name, carol.unit) == ("carol", "Carol Stone", "Ward 3")
    assert carol.roles == {"member"}
    assert (carol.state, carol.is_enrolled) == (ACTIVE, False)


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (CreatePerson("BOB", "Another"), "person.exists"),
        (CreatePerson("a b", "Another"), "person.login"),
        (CreatePerson("carol", ""), "person.name"),
        (CreatePerson("carol", "Carol", "x" * 101), "request.invalid"),
        (CreatePerson("carol", "Carol", "", ()), "person.roles"),
        (CreatePerson("carol", "Carol", "", ("administrator", "auditor")), "person.roles"),
        (CreatePerson("carol", "Carol", "", ("auditor",)), "permission.denied"),
        (SetProfile("nobody", name="x"), "person.unknown"),
        (SetProfile("bob", login="frank"), "person.exists"),
        (SetRoles("bob", ("root",)), "person.roles"),
        (SetRoles("bob", ("member", "security_officer")), "permission.denied"),
        (SetRoles("erin", ("member",)), "permission.denied"),
        (SetRoles("grace", ("member",)), "person.last_administrator"),
        (SetState("grace", DISABLED), "person.last_administrator"),
        (SetState("bob", "asleep"), "request.invalid"),
        (SetState("bob", DISABLED, "x" * 501), "request.invalid"),
        (ResetAccess("bob"), "permission.denied"),
    ],
)
def test_what_an_administrator_is_refused(town: Town, command: Command, code: str) -> None:
    assert denied(town, "grace", command) == code


@pytest.mark.parametrize("login", ["bob", "dave", "frank"])
@pytest.mark.parametrize(
    "command",
    [
        CreatePerson("carol", "Carol"),
        SetProfile("bob", name="Robert"),
        SetRoles("bob", ("administrator",)),
        SetState("bob", DISABLED),
        CreateInvite("grace", code_hash()),
    ],
    ids=lambda each: type(each).__name__,
)
def test_nobody_else_does_what_administrators_do(town: Town, login: str, command: Command) -> None:
    assert denied(town, login, command) == "permission.denied"


def test_the_site_may_give_every_role_at_init() -> None:
    town = Town()
    town.run(SITE, CreatePerson("frank", "Frank", "", ("auditor",)))
    assert town.person("frank").roles == {"auditor"}


# --- signatures ---------------------------------------------------------------------------------


def test_a_session_without_a_signature_changes_nothing(town: Town) -> None:
    command = SetState("bob", DISABLED)
    assert refused(town, town.session("grace"), command) == "request.signature"


def test_a_signature_is_good_for_its_own_words_only(town: Town) -> None:
    actor = town.signed("grace", SetState("bob", DISABLED))
    for other in (
        SetState("bob", REMOVED),
        SetState("frank", DISABLED),
        SetState("bob", DISABLED, "why"),
        SetRoles("bob", ("administrator",)),
    ):
        assert refused(town, actor, other) == "request.signature"


def test_arguments_that_were_left_out_are_their_defaults_and_nothing_else(town: Town) -> None:
    actor = town.signed("grace", CreatePerson("carol", "Carol"))
    asked = CreatePerson("carol", "Carol", "", ("administrator",))
    assert refused(town, actor, asked) == "request.signature"


def test_a_signature_of_another_key_or_person_is_refused(town: Town) -> None:
    command = SetState("bob", DISABLED)
    actor = town.signed("grace", command, key=key_of("bob"))
    assert refused(town, actor, command) == "request.signature"
    stolen = Actor(town.person("grace").id, b"", town.signed("bob", command).signed)
    assert refused(town, stolen, command) == "request.signature"
    broken = Actor(town.person("grace").id, b"", Signed(b"\x90", b"s" * 64))
    assert refused(town, broken, command) == "request.signature"


def test_an_administrator_without_a_key_cannot_sign(town: Town) -> None:
    town.add("henry", "administrator", enrolled=False)
    assert denied(town, "henry", SetState("bob", DISABLED)) == "request.signature"


def test_a_disabled_administrator_is_none(town: Town) -> None:
    town.add("henry", "administrator")
    town.ask("grace", SetState("henry", DISABLED))
    assert denied(town, "henry", SetState("bob", DISABLED)) == "permission.denied"


def test_a_signature_names_the_command(town: Town) -> None:
    """The same arguments under another name were another request."""
    dave = town.person("dave").id
    command = ResetAccess("bob")
    data = canonical_request(NODE, b"c" * 16, dave, "person.profile", request_of(command)[1])
    signature = bytes(key_of("dave").sign(data).signature)
    actor = Actor(dave, b"", Signed(data, signature))
    assert refused(town, actor, command) == "request.signature"


# --- profile and roles ----------------------------------------------------------------------------


def test_a_profile_changes_in_parts_and_the_old_login_is_free(town: Town) -> None:
    bob = town.person("bob")
    town.ask("grace", SetProfile("bob", login="bobby"))
    town.ask("grace", SetProfile(f"id:{bob.id.hex()}", name="Bob B."))
    changed = town.person("bobby")
    assert (changed.id, changed.name) == (bob.id, "Bob B.")
    assert town.directory.resolve("bob") is None
    town.ask("grace", CreatePerson("bob", "Another Bob"))
    assert town.person("bob").id != bob.id


def test_nothing_is_written_when_nothing_changes(town: Town) -> None:
    for command in (
        SetProfile("bob", login="Bob"),
        SetRoles("bob", ("member",)),
        SetState("bob", ACTIVE),
    ):
        assert kinds(town.outcome(town.signed("grace", command), command)) == []


def test_a_security_officer_makes_officers_and_an_administrator_administrators(
    town: Town,
) -> None:
    town.ask("dave", SetRoles("bob", ("member", "auditor")))
    assert town.person("bob").roles == {"member", "auditor"}
    assert denied(town, "grace", SetRoles("bob", ("member",))) == "permission.denied"
    town.ask("erin", SetRoles("bob", ("member",)))
    town.ask("grace", SetRoles("bob", ("administrator",)))
    assert town.person("bob").roles == {"administrator"}
    swap = SetRoles("bob", ("security_officer",))
    assert denied(town, "grace", swap) == denied(town, "dave", swap) == "permission.denied"


def test_the_last_of_an_office_stays(town: Town) -> None:
    town.add("henry", "administrator")
    town.ask("grace", SetState("grace", DISABLED))
    for command in (
        SetState("henry", DISABLED),
        SetState("henry", REMOVED),
        SetRoles("henry", ("member",)),
    ):
        assert denied(town, "henry", command) == "person.last_administrator"
    assert denied(town, "dave", ResetAccess("henry")) == "person.last_administrator"
    town.ask("henry", SetState("grace", ACTIVE))
    town.ask("dave", SetRoles("erin", ("member",)))
    assert denied(town, "dave", SetRoles("dave", ("auditor",))) == "person.last_officer"
    assert denied(town, "henry", SetState("dave", REMOVED)) == "person.last_officer"


# --- state ----------------------------------------------------------------------------------------


def test_a_disabled_person_is_out_at_once_and_stays_out_with_the_old_token(town: Town) -> None:
    session = town.session("bob")
    town.ask("grace", CreatePerson("carol", "Carol"))
    town.ask("grace", CreateInvite("carol", code_hash()))
    assert code(town, "bob") == "ok"
    assert town.directory.is_live(session.person, session.device, town.now)
    for login in ("bob", "carol"):
        town.ask("grace", SetState(login, DISABLED, "left the keys in the door"))
    assert code(town, "bob") == "auth.revoked"
    assert not town.directory.is_live(session.person, session.device, town.now)
    assert town.directory.invite(code_hash()) is None
    town.ask("grace", SetState("bob", ACTIVE))
    assert code(town, "bob") == "auth.revoked"
    assert town.person("bob").verifier
    town.enrol("bob", "fresh token")
    assert code(town, "fresh token") == "ok"
    assert snapshot(town.reopen()) == snapshot(town.directory)


def test_a_removed_person_never_comes_back_and_keeps_the_login(town: Town) -> None:
    town.ask("grace", SetState("bob", REMOVED))
    assert code(town, "bob") == "auth.revoked"
    for command in (
        SetState("bob", ACTIVE),
        SetState("bob", DISABLED),
        SetProfile("bob", name="Robert"),
        SetRoles("bob", ("administrator",)),
    ):
        assert denied(town, "grace", command) == "person.state"
    assert denied(town, "grace", CreateInvite("bob", code_hash())) == "person.disabled"
    assert denied(town, "grace", CreatePerson("bob", "New Bob")) == "person.exists"


# --- reset ----------------------------------------------------------------------------------------


def test_getting_into_an_account_takes_an_officer_and_an_administrator(town: Town) -> None:
    invite = CreateInvite("bob", code_hash())
    assert denied(town, "grace", invite) == "invite.enrolled"
    assert denied(town, "dave", invite) == "permission.denied"
    assert town.ask("dave", ResetAccess("bob", "lost the phone")) == Done()
    bob = town.person("bob")
    assert (bob.verifier, bob.public_key, bob.is_enrolled) == ("", b"", False)
    assert code(town, "bob") == "auth.revoked"
    town.ask("grace", invite)
    assert snapshot(town.reopen()) == snapshot(town.directory)


def test_disabling_and_enabling_is_no_way_into_an_account(town: Town) -> None:
    town.ask("grace", SetState("bob", DISABLED))
    town.ask("grace", SetState("bob", ACTIVE))
    assert denied(town, "grace", CreateInvite("bob", code_hash())) == "invite.enrolled"


def test_an_officer_cannot_reset_themselves(town: Town) -> None:
    assert denied(town, "dave", ResetAccess("dave")) == "permission.denied"


# --- bounds and secrets ---------------------------------------------------------------------------


def test_a_site_has_a_bounded_number_of_people(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("appliance.directory.limits.PERSONS", len(town.directory))
    assert denied(town, "grace", CreatePerson("carol", "Carol")) == "person.limit"


def test_names_and_reasons_are_in_no_row_repr_or_refusal(town: Town) -> None:
    canary = "canary-4711"
    command = CreatePerson("canary4711", canary, canary)
    actor = town.signed("grace", command)
    outcome = town.outcome(actor, command)
    town.ask("grace", SetState("canary4711", DISABLED, canary))
    with pytest.raises(Refusal) as caught:
        town.run(actor, command)
    shown = [repr(command), repr(outcome), repr(actor), repr(caught.value)]
    shown += [repr(town.person("canary4711")), repr(town.directory)]
    assert [text for text in shown if "4711" in text] == []
    stored = b"".join(key + value for key, value in town.medium.rows.items())
    assert b"4711" not in stored
