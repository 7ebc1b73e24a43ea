"""What befalls a branch in its life: its box is lost, its certificate expires, it has no time.

The numbers in the names are those of the table of failure cases in docs/architecture/sites.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import trio

from appliance import certificates
from appliance.context import SITE, Actor
from appliance.directory.requests import CHALLENGE_BYTES, canonical_json, canonical_request
from appliance.disposal.commands import AttestLost
from appliance.operations import Kind, SecretSlot, Signed, SiteRevoked
from appliance.sites import applying, lease, lines
from appliance.sites.commands import (
    NAMES,
    AdoptHeadquarters,
    GrantLease,
    RecordGrant,
    Reprovisioned,
    ReprovisionSite,
    RevokeSite,
)
from appliance.sites.lease import State
from appliance.sites.link_commands import TakePiece
from store.clocks import SystemClock, SystemEntropy
from sync.pieces import Lane, Piece
from tests.appliance.sites.cases import begin, home, new_organisation, say, texts
from tests.appliance.sites.compliance import HOMES, Authority, Ward
from tests.appliance.sites.harness import Organisation, Place
from tests.appliance.sites.test_applying import DAY_MS, enrolled, headquarters, new_site
from transports.wire import schema
from transports.wire.errors import Refusal

# --- 9: a lost box ------------------------------------------------------------------------------


@pytest.fixture
def sites() -> Iterator[Authority]:
    made = Authority()
    yield made
    made.close()


def ask(place: Ward, login: str, command: Any) -> Any:
    """Let somebody sign a command about branches."""
    person, name = place.people[login], NAMES[type(command)]
    text = canonical_json(command)
    data = canonical_request(place.node, bytes(CHALLENGE_BYTES), person, name, text)
    signature = place._keys[login].sign(data).signature
    return place.do(Actor(person, b"", Signed(data, bytes(signature))), command)


def lose(sites: Authority) -> Ward:
    """Let the first branch be stolen, and headquarters revoke it."""
    lost = sites.branches.pop(0)
    sites.hub.append(Kind.SITE_REVOKED, SiteRevoked(1, "stolen"))
    return lost


def test_09_a_lost_box_says_nothing_any_more_and_hears_nothing(sites: Authority) -> None:
    lost = lose(sites)
    try:
        origin = lost.core.log.own
        with pytest.raises(Refusal) as caught:
            sites.hub.do(SITE, TakePiece(lost.node, origin, Piece(Lane.CONTROL, 0, 1, (origin,))))
        assert caught.value.code == "site.unknown"
        asked = lease.ask(lost.core.reading(), lost.core.sites.applied)
        with pytest.raises(Refusal) as caught:
            sites.hub.do(SITE, RecordGrant(lost.node, asked))
        assert caught.value.code == "site.unknown"
    finally:
        lost.close()


def test_09_exactly_those_whom_a_lost_box_knew_enrol_anew(sites: Authority) -> None:
    hub, lost = sites.hub, lose(sites)
    lost.close()
    known = {login for login, at in HOMES.items() if at == 1}
    keys = {login: hub.core.directory.resolve(login).public_key for login in HOMES}
    told = ask(hub, "dave", ReprovisionSite("branch-1", len(known), "stolen"))
    assert told == Reprovisioned(tuple(sorted(known)))
    sites.settle()
    for login, key in keys.items():
        person = hub.core.directory.resolve(login)
        assert person.public_key == (b"" if login in known else key), login
        if login in known:
            assert person.home == b"", "they are at home at headquarters now"
            assert not person.devices
    assert hub.core.sites.revealed(lost.node) == []
    sites.compare()


def test_09_orders_wait_for_what_a_lost_box_held_until_it_is_attested(sites: Authority) -> None:
    conv = sites.hub.group("ann", "bea", "cat")
    sites.settle()
    sites.hub.send("ann", conv, "held by the lost box too")
    sites.settle()
    sites.pass_days(1)
    lost = lose(sites)
    lost.close()
    sites.destroy("ann")
    sites.follow_all()
    run = sites.run()
    assert run.state != "COMPLETE"
    assert {each.name: each.state for each in run.sites} == {
        "branch-1": "missing",
        "branch-2": "done",
    }
    sites.hub.officer("dave", AttestLost("branch-1", "the box was shredded"))
    sites.follow_all()
    run = sites.run()
    assert run.state == "COMPLETE"
    assert {each.name: each.state for each in run.sites} == {
        "branch-1": "lost",
        "branch-2": "done",
    }


# --- 16: certificates that expire while cut off ---------------------------------------------------


def test_16_a_certificate_that_expired_while_cut_off_is_renewed_at_the_return() -> None:
    async def main() -> None:
        async with headquarters() as hq:
            branch, now_ms = new_site("North"), SystemClock().wall_ms()
            await enrolled(hq, branch)
            _wear(hq.site.core, branch, now_ms - 400 * DAY_MS)
            judge = lines.authorise(hq.site.core, lambda: now_ms)
            assert judge(branch.core.secrets[SecretSlot.LINK_CERTIFICATE]) is None
            assert certificates.is_site_renewal_due(branch.core, now_ms)
            known = branch.core.sites.headquarters
            assert known is not None
            branch.run(SITE, await applying.renew(branch.core, known))
            certificate = branch.core.secrets[SecretSlot.LINK_CERTIFICATE]
            assert judge(certificate) == branch.core.log.node
            assert not certificates.is_site_renewal_due(branch.core, now_ms)
            branch.close()

    trio.run(main)


def test_16_one_that_expired_is_not_renewed_for_a_branch_that_was_revoked_meanwhile() -> None:
    async def main() -> None:
        async with headquarters() as hq:
            branch, now_ms = new_site("North"), SystemClock().wall_ms()
            await enrolled(hq, branch)
            _wear(hq.site.core, branch, now_ms - 400 * DAY_MS)
            await hq.sign(RevokeSite("north", "closed"))
            known = branch.core.sites.headquarters
            assert known is not None
            with pytest.raises(Refusal) as caught:
                await applying.renew(branch.core, known)
            assert caught.value.code == "site.revoked"
            branch.close()

    trio.run(main)


def _wear(hub: Any, branch: Any, issued_ms: int) -> None:
    """Give a branch a certificate that headquarters issued long ago."""
    known = branch.core.sites.headquarters
    key = hub.sites.branch_of(branch.core.log.node).public_key
    worn = certificates.site_certificate(hub, key, issued_ms, SystemEntropy())
    fields = (known.node, known.public_key, known.addresses, known.ca, known.organisation)
    tenant = branch.core.secrets[SecretSlot.TENANT]
    branch.run(SITE, AdoptHeadquarters(*fields, known.site, known.name, worn, tenant))


# --- 39: no time source -------------------------------------------------------------------------


@pytest.fixture
def organisation() -> Iterator[Organisation]:
    found = new_organisation()
    yield found
    found.close()


def forget_time(place: Place) -> None:
    """Let a machine without a clock that outlives a power cut start again: it is 1970."""
    place.clock.reboot()
    place.clock.set_wall_ms(0)
    place.reopen()


def grant(organisation: Organisation, branch: Place) -> None:
    asked = lease.ask(branch.core.reading(), branch.core.sites.applied)
    branch.do(SITE, GrantLease(organisation.hub.do(SITE, RecordGrant(branch.node, asked))))


def test_39_without_a_time_source_what_is_said_still_sorts_after_what_was_read(
    organisation: Organisation,
) -> None:
    conv = begin(organisation, "bea", "ann", "cat")
    said = [(login, f"{login} {number}") for number in range(3) for login in ("bea", "ann", "bob")]
    people = organisation.branches[0].ids("bob")
    organisation.branches[0].by("bea", _add(conv, people[0]))
    organisation.settle()
    for number, (login, text) in enumerate(said):
        if number == 4:
            forget_time(organisation.branches[0])
            organisation.branches[0].meet()
        say(organisation, login, conv, text)
        organisation.settle()
    for login in ("ann", "bea", "cat"):
        shown = texts(home(organisation, login), login, conv)
        assert shown == [text for _, text in said]
    organisation.compare()
    organisation.check()


def test_39_without_a_time_source_a_lease_is_over_and_a_new_one_counts_by_uptime(
    organisation: Organisation,
) -> None:
    branch = organisation.branches[0]
    grant(organisation, branch)
    assert _state(branch) is State.FRESH
    forget_time(branch)
    assert _state(branch) is State.EXPIRED
    grant(organisation, branch)
    assert _state(branch) is State.FRESH
    branch.clock.advance(DAY_MS)
    assert _state(branch) is State.AGED
    branch.clock.set_wall_ms(0)
    assert _state(branch) is State.AGED


def _state(place: Place) -> State:
    return lease.state_of(place.core.sites.mark, place.core.reading())


def _add(conv: Any, person: Any) -> Any:
    return schema.Conv(1, conv, "add", person=person)
