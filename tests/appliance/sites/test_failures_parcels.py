"""Parcels: a stick is a link. Files twice, out of order, older, damaged, of somebody else.

The numbers in the names are those of the table of failure cases in docs/architecture/sites.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from nacl.signing import SigningKey, VerifyKey

from appliance.context import SITE
from appliance.evidence.sealed import START, Sealer, open_sealed
from appliance.operations import (
    Kind,
    SecretSlot,
    SiteApproved,
    SiteInvited,
    SiteJoined,
    SiteRevoked,
)
from appliance.sites import lease, peers
from appliance.sites.link_commands import TakeIncarnation
from appliance.sites.parcel_file import HEAD_BYTES, MAGIC, OpenedFile
from store.attestation import proven
from tests.appliance.sites.cases import begin, new_organisation, say, texts
from tests.appliance.sites.harness import Organisation, OrganisationOf, Place, public_key
from tests.appliance.sites.parcels import Courier
from transports.wire import schema
from transports.wire.errors import Refusal

WORDS = "the patient of bed nine is allergic to penicillin"


@pytest.fixture
def organisation() -> Iterator[Organisation]:
    found = new_organisation()
    yield found
    found.close()


@pytest.fixture
def courier(organisation: Organisation, tmp_path: Path) -> Courier:
    return Courier(organisation, tmp_path)


def stranger(branches: int) -> OrganisationOf[Place]:
    """Return another organisation, with keys of its own."""
    return OrganisationOf(branches, lambda seed: Place(seed + 1_000))


def refused(courier: Courier, path: Path, place: Place) -> str:
    """Return why a site does not take a file; nothing may have changed."""
    before = place.core.log.head, rows(place)
    with pytest.raises(Refusal) as caught:
        courier.bring(path, place)
    assert (place.core.log.head, rows(place)) == before
    return caught.value.code


def rows(place: Place) -> list[Any]:
    with place.reading() as reader:
        return list(reader.range(b"", b"\xff"))


def test_two_sites_without_a_line_converge_by_parcels_alone(
    organisation: Organisation, courier: Courier
) -> None:
    conv = begin(organisation, "bea", "ann", "cat")
    for login in ("ann", "bea", "cat"):
        say(organisation, login, conv, f"by {login}")
    courier.settle()
    organisation.compare()
    organisation.check()
    assert sorted(texts(organisation.hub, "ann", conv)) == ["by ann", "by bea", "by cat"]
    assert courier.round(organisation.branches[0]) == 0, "nothing is carried twice"


def test_history_that_a_branch_asks_for_comes_with_the_next_parcel(
    organisation: Organisation, courier: Courier
) -> None:
    conv = begin(organisation, "ann", "cat")
    for number in range(12):
        say(organisation, "ann", conv, str(number))
    organisation.hub.by("ann", schema.Conv(1, conv, "add", person=organisation.hub.ids("bea")[0]))
    courier.settle()
    organisation.compare()
    organisation.check()


def test_a_parcel_holds_only_what_the_other_lacks(
    organisation: Organisation, courier: Courier
) -> None:
    conv = begin(organisation, "bea", "ann")
    hub, branch = organisation.hub, organisation.branches[0]
    courier.round(branch)
    courier.round(branch)
    say(organisation, "bea", conv, "new")
    path, sent = courier.sent(branch, hub)
    assert sent.operations == 1
    taken = courier.bring(path, hub)
    assert (taken.sender, taken.operations, taken.fresh) == (branch.node, 1, 1)
    _, whole = courier.sent(branch, hub, is_all=True)
    assert whole.operations == branch.core.log.head.seq


@pytest.mark.parametrize("times", [2, 3])
def test_38_a_parcel_that_comes_again_changes_nothing(
    organisation: Organisation, courier: Courier, times: int
) -> None:
    conv, hub = begin(organisation, "bea", "ann"), organisation.hub
    say(organisation, "bea", conv, "once")
    path = courier.export(organisation.branches[0], hub)
    first = courier.bring(path, hub)
    head = hub.core.log.head
    again = [courier.bring(path, hub) for _ in range(times - 1)]
    assert first.fresh > 0
    assert [each.fresh for each in again] == [0] * (times - 1)
    assert hub.core.log.head == head
    assert texts(hub, "ann", conv) == ["once"]


def test_38_parcels_out_of_order_and_older_ones_do_no_harm(
    organisation: Organisation, courier: Courier
) -> None:
    conv = begin(organisation, "bea", "ann")
    hub, branch = organisation.hub, organisation.branches[0]
    files = []
    for number in range(3):
        say(organisation, "bea", conv, str(number))
        files.append(courier.export(branch, hub))
    for path in (files[2], files[0], files[1], files[2]):
        courier.bring(path, hub)
    assert texts(hub, "ann", conv) == ["0", "1", "2"]
    backward = [courier.export(hub, branch)]
    say(organisation, "ann", conv, "answer")
    backward.append(courier.export(hub, branch))
    for path in (backward[1], backward[0], backward[1]):
        courier.bring(path, branch)
    assert texts(branch, "bea", conv) == ["0", "1", "2", "answer"]
    organisation.settle()
    organisation.compare()
    organisation.check()


def test_38_an_older_parcel_does_not_set_back_what_is_known_of_its_sender(
    organisation: Organisation, courier: Courier
) -> None:
    conv = begin(organisation, "bea", "ann")
    hub, branch = organisation.hub, organisation.branches[0]
    older = courier.export(branch, hub)
    say(organisation, "ann", conv, "to the branch")
    courier.bring(courier.export(hub, branch), branch)
    courier.bring(courier.export(branch, hub), hub)

    def known() -> Any:
        with hub.reading() as reader:
            return peers.get(reader, branch.node).standing.cursors

    before = known()
    courier.bring(older, hub)
    assert known() == before


def test_38_a_parcel_whose_forerunner_was_lost_is_refused(
    organisation: Organisation, courier: Courier
) -> None:
    conv = begin(organisation, "bea", "ann")
    hub, branch = organisation.hub, organisation.branches[0]
    courier.round(branch)
    courier.round(branch)
    with hub.reading() as reader:
        told = peers.get(reader, branch.node).standing
    say(organisation, "ann", conv, "lost on the way")
    lost = hub.core.log.head.pos
    ahead = told._replace(cursors=told.cursors._replace(control=lost, messages=lost))
    hub.do(SITE, peers.NotePeer(branch.node, ahead))
    say(organisation, "ann", conv, "after it")
    assert refused(courier, courier.export(hub, branch), branch) == "site.parcel_gap"
    courier.bring(courier.export(hub, branch, is_all=True), branch)
    assert texts(branch, "bea", conv) == ["lost on the way", "after it"]


def test_38_a_parcel_of_a_headquarters_that_was_restored_since_is_refused(
    organisation: Organisation, courier: Courier
) -> None:
    hub, branch = organisation.hub, organisation.branches[0]
    before = courier.export(hub, branch)
    courier.bring(before, branch)
    succeed(hub)
    assert refused(courier, courier.export(hub, branch), branch) == "site.parcel_unsettled"
    organisation.settle()
    assert refused(courier, before, branch) == "site.parcel_old"


def test_a_parcel_for_what_a_branch_was_before_its_restore_is_refused(
    organisation: Organisation, courier: Courier
) -> None:
    hub, branch = organisation.hub, organisation.branches[0]
    path = courier.export(hub, branch)
    succeed(branch)
    assert refused(courier, path, branch) == "site.parcel_old"
    with pytest.raises(Refusal, match=r"site\.parcel_unsettled"):
        courier.export(branch, hub)
    organisation.settle()
    courier.settle()
    organisation.compare()


def test_40_a_parcel_for_another_organisation_is_refused(
    organisation: Organisation, courier: Courier, tmp_path: Path
) -> None:
    other = stranger(1)
    try:
        courier_of_other = Courier(other, tmp_path / "other")
        courier_of_other.folder.mkdir()
        path = courier_of_other.export(other.branches[0], other.hub)
        assert refused(courier, path, organisation.hub) == "site.parcel_addressee"
        readdressed = bytearray(path.read_bytes())
        readdressed[len(MAGIC) : HEAD_BYTES] = organisation.hub.node
        path.write_bytes(readdressed)
        assert refused(courier, path, organisation.hub) == "site.parcel"
    finally:
        other.close()


def test_40_what_another_organisation_sealed_for_us_is_refused(
    organisation: Organisation, courier: Courier
) -> None:
    branch, other = organisation.branches[0], stranger(0)
    try:
        other.hub.append(Kind.SITE_INVITED, SiteInvited(1, "north", bytes(32), 0))
        other.hub.append(Kind.SITE_JOINED, SiteJoined(1, branch.node, public_key(branch.site)))
        other.hub.append(Kind.SITE_APPROVED, SiteApproved(1, branch.node))
        path = Courier(other, courier.folder).export(other.hub, branch)
        assert refused(courier, path, branch) == "site.parcel_sender"
    finally:
        other.close()


def test_a_parcel_that_was_opened_and_sealed_anew_for_another_site_is_refused(
    organisation: Organisation, courier: Courier
) -> None:
    hub, (one, two) = organisation.hub, organisation.branches
    path = courier.export(hub, one)
    with path.open("rb") as file:
        file.seek(HEAD_BYTES)
        seed = SigningKey(one.core.secrets[SecretSlot.SIGNING_SEED])
        key = bytes(seed.to_curve25519_private_key())
        plain = b"".join(open_sealed(file.read, key))
    parts: list[bytes] = [MAGIC + two.node]
    recipient = bytes(VerifyKey(public_key(two.site)).to_curve25519_public_key())
    sealer = Sealer(recipient, parts.append, START)
    sealer.add(plain)
    sealer.finish()
    path.write_bytes(b"".join(parts))
    assert refused(courier, path, two) == "site.parcel"


def test_a_parcel_of_a_revoked_branch_is_refused(
    organisation: Organisation, courier: Courier
) -> None:
    branch, hub = organisation.branches[0], organisation.hub
    path = courier.export(branch, hub)
    hub.append(Kind.SITE_REVOKED, SiteRevoked(1, "stolen"))
    assert refused(courier, path, hub) == "site.revoked"


def test_a_flipped_bit_anywhere_is_refused_and_changes_nothing(
    organisation: Organisation, courier: Courier
) -> None:
    conv, hub = begin(organisation, "bea", "ann"), organisation.hub
    say(organisation, "bea", conv, WORDS)
    path = courier.export(organisation.branches[0], hub)
    whole = path.read_bytes()
    for at in [*range(0, len(whole), max(1, len(whole) // 60)), len(whole) - 1]:
        broken = bytearray(whole)
        broken[at] ^= 1
        path.write_bytes(broken)
        wanted = "site.parcel_addressee" if len(MAGIC) <= at < HEAD_BYTES else "site.parcel"
        assert refused(courier, path, hub) == wanted, at
    path.write_bytes(whole)
    assert courier.bring(path, hub).fresh > 0


def test_a_file_that_is_cut_anywhere_is_refused_and_changes_nothing(
    organisation: Organisation, courier: Courier
) -> None:
    hub = organisation.hub
    path = courier.export(organisation.branches[0], hub)
    whole = path.read_bytes()
    for size in [*range(0, len(whole), max(1, len(whole) // 60)), len(whole) - 1]:
        path.write_bytes(whole[:size])
        assert refused(courier, path, hub) == "site.parcel", size
    path.write_bytes(whole + b"\0")
    assert refused(courier, path, hub) == "site.parcel"


def test_a_medium_that_shows_another_file_the_second_time_is_refused(
    organisation: Organisation, courier: Courier
) -> None:
    conv = begin(organisation, "bea", "ann")
    hub, branch = organisation.hub, organisation.branches[0]
    shown = courier.export(branch, hub)
    say(organisation, "bea", conv, "later")
    other = courier.export(branch, hub)
    file = OpenedFile(shown, hub.node, hub.core.secrets[SecretSlot.SIGNING_SEED])
    try:
        assert [*file.chunks()] == [*file.chunks()]
        shown.write_bytes(other.read_bytes())
        with pytest.raises(Refusal) as caught:
            list(file.chunks())
        assert caught.value.code == "site.parcel"
    finally:
        file.close()


def test_nothing_of_a_parcel_lies_in_clear(organisation: Organisation, courier: Courier) -> None:
    conv = begin(organisation, "bea", "ann")
    say(organisation, "bea", conv, WORDS)
    path = courier.export(organisation.branches[0], organisation.hub)
    data = path.read_bytes()
    assert WORDS.encode() not in data
    assert organisation.branches[0].node not in data
    assert path.stat().st_mode & 0o077 == 0
    assert [each.name for each in courier.folder.iterdir()] == [path.name], "no other file"


def test_a_file_that_is_there_is_not_overwritten(
    organisation: Organisation, courier: Courier
) -> None:
    (courier.folder / "0").write_text("mine")
    with pytest.raises(Refusal) as caught:
        courier.export(organisation.branches[0], organisation.hub)
    assert caught.value.code == "site.parcel_exists"
    assert (courier.folder / "0").read_text() == "mine"


def test_a_lease_travels_by_parcel_and_counts_from_its_asking(
    organisation: Organisation, courier: Courier
) -> None:
    hub, branch = organisation.hub, organisation.branches[0]
    courier.bring(courier.export(branch, hub), hub)
    branch.clock.advance(3_600_000)
    back = courier.export(hub, branch)
    courier.bring(back, branch)
    mark = branch.core.sites.mark
    assert mark is not None
    assert mark.at(branch.core.reading()).age_ms >= 3_600_000
    assert lease.state_of(mark, branch.core.reading()) is lease.State.FRESH
    assert hub.core.sites.granted[1].at_ms > 0, "headquarters knows how long it has to wait"


def test_headquarters_has_proof_of_what_came_by_parcel(
    organisation: Organisation, courier: Courier
) -> None:
    hub, branch = organisation.hub, organisation.branches[0]
    branch.clock.advance(120_000)
    say(organisation, "bea", begin(organisation, "bea", "ann"), "proved")
    courier.settle()
    number = hub.core.log.number_of(branch.core.log.own)
    with hub.reading() as reader:
        assert proven(reader, number) > 1


def succeed(place: Place) -> None:
    """Let a site go on under a new incarnation, as after a restore."""
    place.do(SITE, TakeIncarnation(place.core.log.own.incarnation, "test"))
