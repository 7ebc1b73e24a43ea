"""Where sites are reached changes: each tells the other, and a branch can be told by hand."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey

from appliance.context import SITE
from appliance.operations import Kind
from appliance.sites import addresses
from appliance.sites.commands import AdoptHeadquarters, MeetHeadquarters, MoveSite
from appliance.sites.limits import ADDRESSES
from store import canonical
from store.errors import FormatError
from store.skeleton import node_id
from store.tables import TENANT
from tests.appliance.directory.harness import Town, kinds, refused
from tests.appliance.sites.federation import Federation
from tests.appliance.sites.test_leasing import play

HOSTS = st.from_regex(r"[a-z]{1,8}\.example:[1-9][0-9]{0,3}", fullmatch=True)
HEADQUARTERS = bytes(SigningKey(b"q" * 32).verify_key)
NEWER = "newer.example:8443"


@given(st.lists(HOSTS, max_size=ADDRESSES).map(tuple), st.sampled_from((b"", b"c" * 32)))
def test_a_note_is_read_as_it_was_written(told: tuple[str, ...], ca: bytes) -> None:
    assert addresses.read(addresses.write(told, ca)) == (told, ca)


@pytest.mark.parametrize(
    "fields",
    [
        ("strongroom/address/2", ["hq.example:1"], b""),
        ("strongroom/address/1", ["hq.example:1"], b"short"),
        ("strongroom/address/1", ["hq.example:1"] * (ADDRESSES + 1), b""),
        ("strongroom/address/1", ["no address"], b""),
        ("strongroom/address/1", ["a" * 300 + ":1"], b""),
        ("strongroom/address/1", [1], b""),
        ("strongroom/address/1",),
    ],
)
def test_what_no_honest_site_tells_is_refused(fields: tuple[Any, ...]) -> None:
    with pytest.raises(FormatError):
        addresses.read(canonical.encode(fields))


@pytest.fixture
def branch() -> Town:
    town = Town()
    known = tuple(f"old{number}.example:443" for number in range(ADDRESSES))
    node = node_id(TENANT, HEADQUARTERS)
    fields = (node, HEADQUARTERS, known, b"", "Hospital", 3, "north", b"", b"s" * 32)
    town.run(SITE, AdoptHeadquarters(*fields))
    return town


def reached(town: Town) -> tuple[str, ...]:
    headquarters = town.sites.headquarters
    assert headquarters is not None
    return headquarters.addresses


def test_addresses_that_somebody_names_come_first_and_the_last_go(branch: Town) -> None:
    before = reached(branch)
    branch.run(SITE, MeetHeadquarters((NEWER, before[3]), is_first=True))
    assert reached(branch) == (NEWER, before[3], *before[:3], *before[4:-1])
    branch.reopen()
    assert reached(branch)[0] == NEWER


def test_addresses_that_headquarters_tells_come_last_and_the_first_go(branch: Town) -> None:
    before = reached(branch)
    told = (NEWER, before[0], "newest.example:1")
    branch.run(SITE, MeetHeadquarters(told))
    assert reached(branch) == (before[0], *before[3:], NEWER, "newest.example:1")
    assert len(reached(branch)) == ADDRESSES


def test_what_is_known_already_is_no_news(branch: Town) -> None:
    outcome = branch.outcome(SITE, MeetHeadquarters(reached(branch)[:2]))
    assert kinds(outcome) == []


def test_nobody_but_the_site_says_where_a_site_is() -> None:
    town = Town()
    town.add("bob")
    for command in (MeetHeadquarters((NEWER,)), MoveSite(b"n" * 16, NEWER, b"")):
        assert refused(town, town.session("bob"), command) == "permission.denied"
    assert refused(town, SITE, MeetHeadquarters((NEWER,))) == "site.not_branch"
    assert refused(town, SITE, MoveSite(b"n" * 16, NEWER, b"")) == "site.unknown"


def test_each_side_hears_of_the_others_new_address_as_the_line_comes_up() -> None:
    async def act(federation: Federation) -> None:
        hub, branch = federation.houses
        assert hub.appliance is not None
        assert branch.appliance is not None
        hub.appliance.told_addresses._own = lambda: (NEWER,)
        branch.appliance.told_addresses._own = lambda: ("north.example:1", "other.example:1")
        federation.lines[0].link.cut()
        federation.lines[0].link.heal()
        await federation.settle()
        headquarters = branch.site.core.sites.headquarters
        assert headquarters is not None
        assert headquarters.addresses == ("hub:443", NEWER)
        known = hub.site.core.sites.branches[1]
        assert (known.address, known.is_approved) == ("north.example:1", True)
        assert len(known.ca) == 32
        head = hub.site.core.log.head.pos
        federation.lines[0].link.cut()
        federation.lines[0].link.heal()
        await federation.settle()
        assert not _moved(hub.site, head), "nothing new is not said again"

    play(act)


def _moved(site: Any, after: int) -> list[Any]:
    with site.ports.engine.snapshot() as reader:
        found = [entry for entry in site.core.log.replay(reader) if entry.pos > after]
    return [each for each in found if getattr(each, "kind", 0) == Kind.SITE_MOVED]
