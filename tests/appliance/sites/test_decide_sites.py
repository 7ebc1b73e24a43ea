"""Branches: who may invite, approve and revoke them, and reset what they held."""

from __future__ import annotations

import pytest
from nacl.signing import SigningKey

from appliance.context import SITE
from appliance.directory.commands import Command, Done, SetHome
from appliance.directory.limits import HOUR_MS
from appliance.operations import Kind, SecretSlot, SiteHeadquarters, SiteInvited, SiteSecret
from appliance.sites.commands import (
    AdoptHeadquarters,
    ApproveSite,
    Invited,
    InviteSite,
    JoinSite,
    Reprovisioned,
    ReprovisionSite,
    RevokeSite,
)
from appliance.sites.limits import INVITATION_HOURS
from appliance.sites.registry import State
from store.skeleton import node_id
from store.tables import TENANT
from tests.appliance.directory.harness import (
    Town,
    body_of,
    code,
    denied,
    kinds,
    refused,
    signature_of,
)

KEY = bytes(SigningKey(b"b" * 32).verify_key)
OTHER_KEY = bytes(SigningKey(b"x" * 32).verify_key)
NODE = node_id(TENANT, KEY)
HASH = b"h" * 32
HEADQUARTERS = bytes(SigningKey(b"q" * 32).verify_key)
ADOPT = AdoptHeadquarters(
    node_id(TENANT, HEADQUARTERS),
    HEADQUARTERS,
    ("hq:443",),
    b"ca",
    "Hospital",
    3,
    "north",
    b"certificate",
    b"s" * 32,
)


@pytest.fixture
def town() -> Town:
    """Headquarters: Grace and Henry administer, Dave and Erin are officers, Bob and Ann write."""
    town = Town()
    town.add("grace", "administrator")
    town.add("henry", "administrator")
    town.add("dave", "security_officer")
    town.add("erin", "security_officer")
    town.add("bob")
    town.add("ann")
    return town


def enrol(town: Town, name: str = "north", key: bytes = KEY, token: bytes = HASH) -> bytes:
    """Invite, join and approve a branch; return its NodeId."""
    town.ask("grace", InviteSite(name, token))
    town.run(SITE, JoinSite(token, key))
    town.ask("grace", ApproveSite(name, node_id(TENANT, key)))
    return node_id(TENANT, key)


# --- invite, join, approve ----------------------------------------------------------------------


def test_a_branch_is_invited_by_a_signed_request(town: Town) -> None:
    command = InviteSite("North", HASH)
    actor = town.signed("grace", command)
    outcome = town.outcome(actor, command)
    expires_ms = town.now + INVITATION_HOURS * HOUR_MS
    assert outcome.reply == Invited(1, "north", expires_ms)
    (op,) = outcome.ops
    assert body_of(op) == SiteInvited(1, "north", HASH, expires_ms, actor.signed)


def test_a_machine_joins_with_the_token_and_is_approved_by_its_key(town: Town) -> None:
    town.ask("grace", InviteSite("north", HASH))
    assert town.run(SITE, JoinSite(HASH, KEY)) == Done()
    assert town.sites.branches[1].state is State.JOINED
    command = ApproveSite("north", NODE)
    actor = town.signed("grace", command)
    (op,) = town.outcome(actor, command).ops
    assert signature_of(op) == actor.signed
    assert town.sites.branches[1].is_approved
    assert kinds(town.outcome(town.signed("grace", command), command)) == []


def test_joining_again_with_the_same_key_changes_nothing(town: Town) -> None:
    town.ask("grace", InviteSite("north", HASH))
    town.run(SITE, JoinSite(HASH, KEY))
    assert kinds(town.outcome(SITE, JoinSite(HASH, KEY))) == []
    town.clock.advance((INVITATION_HOURS + 1) * HOUR_MS)
    assert kinds(town.outcome(SITE, JoinSite(HASH, KEY))) == []


def test_a_token_lets_one_machine_join_and_only_in_its_time(town: Town) -> None:
    town.ask("grace", InviteSite("north", HASH))
    assert refused(town, SITE, JoinSite(b"x" * 32, KEY)) == "site.token"
    town.clock.advance(INVITATION_HOURS * HOUR_MS)
    assert refused(town, SITE, JoinSite(HASH, KEY)) == "site.token"
    town.ask("grace", InviteSite("north", HASH))
    town.run(SITE, JoinSite(HASH, KEY))
    assert refused(town, SITE, JoinSite(HASH, OTHER_KEY)) == "site.token"


def test_a_new_invitation_voids_the_old_token_and_who_used_it(town: Town) -> None:
    town.ask("grace", InviteSite("north", HASH))
    town.run(SITE, JoinSite(HASH, OTHER_KEY))
    assert town.ask("grace", InviteSite("north", b"n" * 32)).site == 1
    assert refused(town, SITE, JoinSite(HASH, OTHER_KEY)) == "site.token"
    town.run(SITE, JoinSite(b"n" * 32, KEY))
    town.ask("grace", ApproveSite("north", NODE))
    assert town.sites.branches[1].node == NODE


def test_an_approval_is_of_the_key_that_was_compared(town: Town) -> None:
    town.ask("grace", InviteSite("north", HASH))
    assert denied(town, "grace", ApproveSite("north", NODE)) == "site.state"
    town.run(SITE, JoinSite(HASH, OTHER_KEY))
    assert denied(town, "grace", ApproveSite("north", NODE)) == "site.fingerprint"


def test_a_key_belongs_to_one_branch_for_ever(town: Town) -> None:
    enrol(town)
    town.ask("grace", InviteSite("south", b"s" * 32))
    assert refused(town, SITE, JoinSite(b"s" * 32, KEY)) == "site.state"
    town.ask("grace", RevokeSite("north"))
    assert refused(town, SITE, JoinSite(b"s" * 32, KEY)) == "site.state"


def test_a_name_is_taken_until_its_branch_is_revoked(town: Town) -> None:
    enrol(town)
    assert denied(town, "grace", InviteSite("north", b"s" * 32)) == "site.exists"
    town.ask("grace", RevokeSite("north", "stolen"))
    assert town.ask("grace", InviteSite("north", b"s" * 32)).site == 2


@pytest.mark.parametrize("name", ["", "-", "a b", "nörd", "x" * 33, "site", "a@b", "-a", "a-"])
def test_a_name_is_short_and_plain(town: Town, name: str) -> None:
    assert denied(town, "grace", InviteSite(name, HASH)) == "site.name"


def test_headquarters_has_a_bounded_number_of_branches(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("appliance.sites.limits.SITES", 1)
    enrol(town)
    assert denied(town, "grace", InviteSite("south", HASH)) == "site.limit"


@pytest.mark.parametrize(
    "command",
    [InviteSite("south", HASH), ApproveSite("north", NODE), RevokeSite("north")],
    ids=lambda each: type(each).__name__,
)
def test_only_administrators_decide_about_branches(town: Town, command: Command) -> None:
    enrol(town)
    for login in ("bob", "dave"):
        assert denied(town, login, command) == "permission.denied"
    assert refused(town, town.session("grace"), command) == "request.signature"
    assert refused(town, SITE, command) == "permission.denied"


@pytest.mark.parametrize(
    "command", [ApproveSite("west", NODE), RevokeSite("west"), ReprovisionSite("west", 0)]
)
def test_an_unknown_branch_is_named_as_such(town: Town, command: Command) -> None:
    login = "dave" if isinstance(command, ReprovisionSite) else "grace"
    assert denied(town, login, command) == "site.unknown"


def test_nobody_joins_by_asking_as_a_person(town: Town) -> None:
    assert refused(town, town.session("grace"), JoinSite(HASH, KEY)) == "permission.denied"
    assert refused(town, town.session("grace"), ADOPT) == "permission.denied"


# --- revoke and reprovision -----------------------------------------------------------------------


def test_revoking_is_for_ever_and_said_once(town: Town) -> None:
    enrol(town)
    town.ask("grace", RevokeSite("north", "stolen"))
    assert town.sites.branches[1].is_revoked
    command = RevokeSite("north")
    assert kinds(town.outcome(town.signed("grace", command), command)) == []
    assert denied(town, "grace", ApproveSite("north", NODE)) == "site.state"


def test_exactly_those_whose_credentials_were_held_enrol_anew(town: Town) -> None:
    node = enrol(town)
    town.ask("grace", SetHome("bob", "north"))
    town.ask("grace", SetHome("henry", "north"))
    town.ask("grace", SetHome("henry"))
    town.ask("grace", RevokeSite("north", "stolen"))
    command = ReprovisionSite("north", 2, "stolen")
    actor = town.signed("dave", command)
    outcome = town.outcome(actor, command)
    assert outcome.reply == Reprovisioned(("bob", "henry"))
    assert kinds(outcome) == [
        Kind.SITE_REPROVISIONED,
        Kind.PERSON_HOME,
        Kind.PERSON_RESET,
        Kind.PERSON_RESET,
    ]
    assert {signature_of(op) for op in outcome.ops} == {actor.signed}
    assert [code(town, login) for login in ("bob", "henry", "ann")] == [
        "auth.revoked",
        "auth.revoked",
        "ok",
    ]
    assert (town.person("bob").home, town.person("bob").verifier) == (b"", "")
    assert town.sites.revealed(node) == []
    assert denied(town, "dave", command) == "site.people"


def test_a_list_that_changed_meanwhile_is_looked_at_again(town: Town) -> None:
    enrol(town)
    town.ask("grace", SetHome("bob", "north"))
    town.ask("grace", RevokeSite("north"))
    assert denied(town, "dave", ReprovisionSite("north", 0)) == "site.people"


def test_resetting_takes_an_officer_and_a_revoked_branch(town: Town) -> None:
    enrol(town)
    assert denied(town, "dave", ReprovisionSite("north", 0)) == "site.state"
    town.ask("grace", RevokeSite("north"))
    assert denied(town, "grace", ReprovisionSite("north", 0)) == "permission.denied"


def test_a_branch_that_never_joined_held_nothing(town: Town) -> None:
    town.ask("grace", InviteSite("north", HASH))
    town.ask("grace", RevokeSite("north"))
    assert denied(town, "dave", ReprovisionSite("north", 0)) == "site.state"


def test_somebody_is_left_who_can_invite_them_anew(town: Town) -> None:
    enrol(town)
    town.ask("grace", SetHome("henry", "north"))
    town.ask("grace", SetHome("henry"))
    town.ask("henry", SetHome("grace", "north"))
    town.ask("henry", SetHome("grace"))
    town.ask("grace", RevokeSite("north"))
    command = ReprovisionSite("north", 2)
    assert denied(town, "dave", command) == "person.last_administrator"


def test_nobody_resets_themselves(town: Town) -> None:
    enrol(town)
    town.ask("grace", SetHome("dave", "north"))
    town.ask("grace", SetHome("dave"))
    town.ask("grace", RevokeSite("north"))
    assert denied(town, "dave", ReprovisionSite("north", 1)) == "permission.denied"
    assert town.ask("erin", ReprovisionSite("north", 1)) == Reprovisioned(("dave",))


# --- becoming a branch ----------------------------------------------------------------------------


def test_a_site_without_people_becomes_a_branch() -> None:
    town = Town()
    outcome = town.outcome(SITE, ADOPT)
    assert kinds(outcome) == [Kind.SITE_HEADQUARTERS, Kind.SITE_SECRET, Kind.SITE_SECRET]
    headquarters, tenant, certificate = (body_of(op) for op in outcome.ops)
    assert isinstance(headquarters, SiteHeadquarters)
    assert (headquarters.node, headquarters.name) == (ADOPT.node, "north")
    assert tenant == SiteSecret(SecretSlot.TENANT, b"s" * 32)
    assert certificate == SiteSecret(SecretSlot.LINK_CERTIFICATE, b"certificate")
    assert town.sites.is_branch


def test_a_renewed_certificate_is_all_that_is_written() -> None:
    town = Town()
    town.run(SITE, ADOPT)
    assert kinds(town.outcome(SITE, ADOPT)) == [Kind.SITE_SECRET]


def test_a_branch_stays_its_headquarters_and_a_site_with_people_becomes_none(town: Town) -> None:
    assert refused(town, SITE, ADOPT) == "site.occupied"
    branch = Town()
    branch.run(SITE, ADOPT)
    other = AdoptHeadquarters(b"o" * 16, KEY, (), b"", "", 1, "x", b"", b"")
    assert refused(branch, SITE, other) == "site.occupied"
    assert refused(branch, SITE, JoinSite(HASH, KEY)) == "site.not_headquarters"


def test_a_branch_decides_about_no_branches(town: Town) -> None:
    enrol(town)
    town.become_branch()
    assert denied(town, "grace", RevokeSite("north")) == "permission.denied", "not at home here"
    town.add("gwen", "administrator")
    assert denied(town, "gwen", RevokeSite("north")) == "site.not_headquarters"
