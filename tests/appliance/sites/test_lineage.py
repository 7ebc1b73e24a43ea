"""Lineages come back from their notes, and nobody is told of another site's log."""

from __future__ import annotations

from collections.abc import Iterator
from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.sites import lineage
from appliance.sites.lineage import ANSWERED, MISSING, Lineage
from store.errors import FormatError
from store.ids import Origin
from tests.appliance.sites.cases import begin, new_organisation, say
from tests.appliance.sites.harness import Organisation

NUMBER = st.integers(0, (1 << 64) - 1)
FOUND = st.tuples(st.binary(min_size=32, max_size=32), NUMBER)
LINEAGES = st.builds(
    Lineage,
    st.builds(Origin, st.binary(min_size=16, max_size=16), NUMBER),
    st.integers(1, 1 << 60),
    NUMBER,
    NUMBER,
    st.lists(FOUND, max_size=8).map(tuple),
)


@pytest.fixture(scope="module")
def organisation() -> Iterator[Organisation]:
    found = new_organisation()
    conv = begin(found, "bea", "ann", "cat")
    for number in range(5):
        say(found, "bea", conv, f"{number}")
    found.settle()
    yield found
    found.close()


def answer(organisation: Organisation, node: bytes, origin: Origin, first: int) -> Lineage:
    """Ask headquarters as a branch."""
    body = pack(">16sQQ", *origin, first)
    with organisation.hub.reading() as reader:
        return lineage.answer(organisation.hub.core, reader, node, body)


@given(LINEAGES)
def test_an_answer_comes_back(told: Lineage) -> None:
    assert lineage.read_told(told.pack()) == told


@given(LINEAGES, st.integers(1, 39))
def test_an_answer_cut_short_is_refused(told: Lineage, cut: int) -> None:
    with pytest.raises(FormatError):
        lineage.read_told(told.pack()[:-cut])


def test_an_answer_longer_than_any_is_refused() -> None:
    told = Lineage(Origin(bytes(16), 1), 1, 0, 0, ((MISSING, 0),) * (ANSWERED + 1))
    with pytest.raises(FormatError):
        lineage.read_told(told.pack())


@given(LINEAGES, st.integers(0, 8))
def test_two_answers_that_meet_are_one(told: Lineage, cut: int) -> None:
    cut = min(cut, len(told.found))
    later = told._replace(first=told.first + cut, found=told.found[cut:])
    assert told._replace(found=told.found[:cut]).joined(later) == told


def test_a_branch_is_told_of_its_own_log_and_headquarters(organisation: Organisation) -> None:
    branch, hub = organisation.branches[0], organisation.hub
    for place in (branch, hub):
        told = answer(organisation, branch.node, place.core.log.own, 2)
        assert told.last == told.whole == place.core.log.head.seq
        assert len(told.found) == told.last - 1
        assert MISSING not in {digest for digest, _pos in told.found}


def test_of_an_unknown_incarnation_there_is_nothing(organisation: Organisation) -> None:
    branch = organisation.branches[0]
    told = answer(organisation, branch.node, Origin(branch.node, 7), 1)
    assert (told.whole, told.last, told.found) == (0, 0, ())


def test_nobody_is_told_of_another_branch(organisation: Organisation) -> None:
    first, second = organisation.branches
    with pytest.raises(FormatError):
        answer(organisation, first.node, second.core.log.own, 1)
