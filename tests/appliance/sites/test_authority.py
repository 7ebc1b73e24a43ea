"""What a cut-off branch still decides, and who signs in there: decisions on the real log."""

from __future__ import annotations

import pytest

from appliance.context import SITE
from appliance.directory.commands import (
    AcceptInvite,
    AddDevice,
    Command,
    CreateInvite,
    CreatePerson,
    Done,
    ResetAccess,
    RevokeDevice,
    SetRoles,
    SetState,
)
from appliance.directory.limits import DAY_MS, HOUR_MS
from appliance.directory.model import ACTIVE, DISABLED, REMOVED
from appliance.operations import Kind, LeaseGranted
from appliance.sites import lease
from appliance.sites.commands import GrantLease, MarkLease
from appliance.sites.lease import Grant, Profile
from store.engine.txn import Txn
from tests.appliance.directory.harness import (
    VERIFIER,
    Town,
    body_of,
    code_hash,
    denied,
    kinds,
    refused,
)

INVITE = CreateInvite("carol", code_hash(77))
PASSWORD = b"p" * 32


def grant(town: Town) -> bool:
    asked = lease.ask(town.reading(), 1)
    better = town.run(SITE, GrantLease(Grant(asked, town.now, 1)))
    assert isinstance(better, bool)
    return better


@pytest.fixture
def branch() -> Town:
    """A branch with a fresh lease: Grace administers, Dave is officer, Bob writes, Cy is out."""
    town = Town()
    town.become_branch()
    town.add("grace", "administrator")
    town.add("dave", "security_officer")
    town.add("bob")
    town.add("cy")
    town.run(SITE, CreatePerson("carol", "Carol"))
    town.run(SITE, INVITE)
    town.ask("grace", SetState("cy", DISABLED))
    return town


def login(town: Town, name: str = "bob") -> AddDevice:
    return AddDevice(town.person(name).id, VERIFIER, PASSWORD)


GRANTS: list[tuple[str, Command]] = [
    ("grace", CreatePerson("new", "New")),
    ("grace", SetState("cy", ACTIVE)),
    ("grace", CreateInvite("carol", code_hash(78))),
    ("bob", CreateInvite("bob", code_hash(79))),
]


@pytest.mark.parametrize(("who", "command"), GRANTS)
def test_a_fresh_branch_grants_and_one_cut_off_for_a_day_does_not(
    branch: Town, who: str, command: Command
) -> None:
    branch.clock.advance(DAY_MS)
    assert denied(branch, who, command) == "site.lease"
    assert grant(branch)
    branch.ask(who, command)


def test_a_role_is_given_back_under_a_fresh_lease_only(branch: Town) -> None:
    branch.ask("grace", SetRoles("grace", ("administrator",)))
    branch.clock.advance(DAY_MS)
    again = SetRoles("grace", ("administrator", "member"))
    assert denied(branch, "grace", again) == "site.lease"
    assert grant(branch)
    branch.ask("grace", again)


def test_nobody_enrols_at_a_branch_that_was_cut_off_for_a_day(branch: Town) -> None:
    branch.clock.advance(DAY_MS)
    accept = AcceptInvite(INVITE.code_hash, b"t" * 32)
    assert refused(branch, SITE, accept) == "site.lease"
    grant(branch)
    branch.run(SITE, accept)


@pytest.mark.parametrize(
    ("who", "command"),
    [
        ("grace", SetState("bob", DISABLED)),
        ("grace", SetRoles("grace", ("administrator",))),
        ("dave", ResetAccess("bob")),
    ],
)
def test_what_preserves_or_hides_is_always_allowed(
    branch: Town, who: str, command: Command
) -> None:
    branch.clock.advance(100 * DAY_MS)
    assert branch.ask(who, command) == Done()


def test_a_device_is_revoked_however_long_the_line_is_cut(branch: Town) -> None:
    branch.clock.advance(100 * DAY_MS)
    device = next(iter(branch.person("bob").devices))
    assert branch.ask("grace", RevokeDevice("bob", device)) == Done()


def test_nobody_is_removed_for_ever_without_a_lease(branch: Town) -> None:
    branch.clock.advance(7 * DAY_MS)
    assert denied(branch, "grace", SetState("bob", REMOVED)) == "site.lease"


@pytest.mark.parametrize(("profile", "told"), [("hospital", ""), ("bank", "site.lease")])
def test_after_a_week_a_bank_lets_nobody_in_and_a_hospital_does(
    branch: Town, profile: Profile, told: str
) -> None:
    branch.sites.profile = profile
    branch.clock.advance(7 * DAY_MS - 1)
    branch.run(SITE, login(branch))
    branch.clock.advance(HOUR_MS)
    if told:
        assert refused(branch, SITE, login(branch)) == told
    else:
        branch.run(SITE, login(branch))


def test_only_people_at_home_here_sign_in(branch: Town) -> None:
    headquarters = Town()
    headquarters.add("ann")
    headquarters.run(SITE, CreateInvite("ann", code_hash(5)))
    headquarters.become_branch()
    assert refused(headquarters, SITE, login(headquarters, "ann")) == "auth.elsewhere"
    accept = AcceptInvite(code_hash(5), b"t" * 32)
    assert refused(headquarters, SITE, accept) == "auth.elsewhere"


def test_headquarters_needs_no_lease() -> None:
    town = Town()
    town.add("bob")
    town.clock.advance(1_000 * DAY_MS)
    town.run(SITE, CreatePerson("new", "New"))
    town.run(SITE, login(town))
    assert refused(town, SITE, MarkLease()) == "permission.denied"


# --- the lease itself ---------------------------------------------------------------------------


def test_a_grant_is_recorded_and_one_that_is_no_better_is_not(branch: Town) -> None:
    branch.clock.advance(HOUR_MS)
    asked = lease.ask(branch.reading(), 8)
    command = GrantLease(Grant(asked, branch.now, 9))
    outcome = branch.outcome(SITE, command)
    assert kinds(outcome) == [Kind.LEASE_GRANTED]
    assert body_of(outcome.ops[0]) == LeaseGranted(*asked, branch.now, 9)
    assert kinds(branch.outcome(SITE, command)) == []


def test_the_age_outlives_a_restart_with_the_clock_set_back(branch: Town) -> None:
    branch.clock.advance(2 * DAY_MS)
    branch.run(SITE, MarkLease())
    branch.clock.reboot()
    branch.clock.set_wall_ms(branch.now - 3 * DAY_MS)
    with branch.engine.snapshot() as reader:
        branch.sites.load(reader)
    command = SetState("bob", REMOVED)
    assert denied(branch, "grace", command) == "site.lease"
    grant(branch)
    branch.ask("grace", command)


def test_a_rollback_puts_the_lease_back(branch: Town) -> None:
    before = branch.sites.mark
    with branch.engine.snapshot() as reader:
        txn = Txn(reader)
        assert before is not None
        branch.sites.set_mark(txn, before._replace(age_ms=5))
        assert branch.sites.mark != before
        txn.rollback(0)
    assert branch.sites.mark == before


@pytest.mark.parametrize(
    ("who", "command"),
    [
        ("grace", SetRoles("bob", ("member", "administrator"))),
        ("dave", SetRoles("bob", ("member", "auditor"))),
        ("grace", CreatePerson("new", "New", roles=("administrator",))),
    ],
)
def test_an_office_is_given_at_headquarters_only(branch: Town, who: str, command: Command) -> None:
    before = branch.person("bob").roles
    assert denied(branch, who, command) == "site.not_headquarters"
    assert branch.person("bob").roles == before
