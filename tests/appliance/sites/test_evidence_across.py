"""What a branch keeps for a hold alone is read by reviews and exports, and by nobody else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from appliance.context import SITE
from appliance.directory.commands import SetRoles
from appliance.disposal.commands import ApproveRequest, PlaceHold, RequestReview, Selection
from appliance.evidence import bundle, lines
from appliance.evidence.decide import Page, Reconstruct
from appliance.evidence.proofs import verify_export
from appliance.messaging.commands import AssignDuty, CreateDuty, SetChain
from appliance.sites.limits import AGED_MS
from store.errors import PartGoneError
from store.records import PartState
from sync.pieces import Lane
from tests.appliance.sites.compliance import Authority, Ward
from tests.appliance.sites.test_leaving import remove
from tests.appliance.sites.test_orders_across import carry_orders, room, said, states
from transports.wire.errors import Refusal
from transports.wire.schema import Id


@pytest.fixture
def sites() -> Iterator[Authority]:
    """Three sites; bea is an officer of the first branch, as olaf is."""
    made = Authority()
    made.hub.do(SITE, SetRoles("bea", ("member", "security_officer")))
    made.settle()
    yield made
    for place in made.places:
        assert place.problems() == []
        place.reopen()
        assert place.problems() == []
    made.close()


def review(branch: Ward, login: str) -> int:
    """Let the branch's two officers agree that what somebody wrote or read may be read."""
    command = RequestReview(Selection(persons=(login,)), 2, "case")
    asked = branch.officer("olaf", command)
    branch.officer("bea", ApproveRequest(asked.request, asked.digest))
    return int(asked.request)


def export(branch: Ward, request: int) -> list[Any]:
    """Return the lines of a whole export; it verifies."""
    found: list[bytes] = []
    after = ""
    while True:
        selected = branch.officer("olaf", Page(request, after=after))
        sheet = bundle.page(branch.site.ports.engine, branch.core, selected)
        found += sheet.lines
        after = sheet.after
        if not after:
            break
    log = branch.core.log
    verdict = verify_export(found, log.origins[log.head.origin].verify_key)
    assert verdict.is_good, verdict.findings
    return [lines.decode(line) for line in found]


def records(branch: Ward, request: int) -> list[lines.Record]:
    return [line for line in export(branch, request) if isinstance(line, lines.Record)]


def hidden(sites: Authority) -> tuple[Id, Id, int]:
    """Let the first branch keep for its own hold what all others have destroyed.

    Returns the conversation, the message, and the number of the hold.
    """
    conv = room(sites)
    north = sites.branches[0]
    message = said(sites, "ann", sites.hub, conv, "evidence")
    sites.hub.edit("ann", message, "better evidence")
    sites.settle()
    north.react("bea", message, "👍")
    sites.settle()
    sites.pass_days(1)
    number = sites.hold(north, "olaf", "ann")
    sites.destroy("ann")
    while sites.carry(north, Lane.CONTROL, is_up=False):
        pass
    sites.grant(north)
    sites.follow(north)
    sites.follow_all()
    assert states(sites, message)[:2] == [PartState.DESTROYED, PartState.ESCROWED]
    return conv, message, number


def test_an_export_has_what_is_kept_for_a_hold_with_its_versions_and_proofs(
    sites: Authority,
) -> None:
    _, message, _ = hidden(sites)
    (record,) = records(sites.branches[0], review(sites.branches[0], "ann"))
    assert (record.id, record.state) == (bytes(message).hex(), "escrowed")
    assert [(each.content or {})["text"] for each in record.versions] == [
        "evidence",
        "better evidence",
    ]
    assert [each.kind for each in record.events] == ["reaction"]
    assert record.lost == 0


def test_a_message_that_is_kept_for_a_hold_is_reconstructed_byte_by_byte(sites: Authority) -> None:
    _, message, _ = hidden(sites)
    north = sites.branches[0]
    request = review(north, "ann")
    chosen = north.officer("bea", Reconstruct(bytes(message).hex(), request))
    gathered = bundle.reconstruct(north.site.ports.engine, north.core, chosen)
    assert len(gathered.record.versions) == 2
    assert b"better evidence" in (gathered.record.versions[1].proof.body or b"")


def test_who_is_in_the_conversation_is_shown_nothing_of_it(sites: Authority) -> None:
    conv, message, _ = hidden(sites)
    north = sites.branches[0]
    assert north.texts("bea", conv) == []
    with pytest.raises(Refusal):
        north.react("bea", message, "x")


def test_nothing_is_read_of_it_once_no_hold_keeps_it(sites: Authority) -> None:
    """Also where the order has not come to it yet."""
    _, message, number = hidden(sites)
    north = sites.branches[0]
    request = review(north, "ann")
    assert len(records(north, request)) == 1
    sites.release(number)
    while sites.carry(north, Lane.CONTROL, is_up=False):
        pass
    assert north.state(message) is PartState.ESCROWED
    found = export(north, request)
    assert [each.state for each in found if isinstance(each, lines.Destroyed)] == ["expired"]
    assert not [each for each in found if isinstance(each, lines.Record)]
    with pytest.raises(PartGoneError):
        north.officer("bea", Reconstruct(bytes(message).hex(), request))
    sites.grant(north)
    sites.follow(north)
    assert north.state(message) is PartState.DESTROYED
    assert not records(north, request)


def test_a_branch_that_was_cut_off_for_a_day_hands_out_no_records(sites: Authority) -> None:
    room(sites)
    north = sites.branches[0]
    request = review(north, "ann")
    assert north.officer("olaf", Page(request)).started_ms
    north.clock.advance(AGED_MS)
    again = review(north, "ann")
    with pytest.raises(Refusal, match=r"site\.lease"):
        north.officer("olaf", Page(again))


def test_what_left_with_its_scope_and_is_held_is_read_as_well(sites: Authority) -> None:
    conv = room(sites)
    north = sites.branches[0]
    message = said(sites, "ann", sites.hub, conv, "of another ward")
    sites.hub.edit("ann", message, "of quite another ward")
    sites.settle()
    sites.hold(sites.hub, "dave", "ann")
    remove(sites, conv, "bea")
    sites.settle()
    sites.grant(north)
    sites.leave(north)
    assert north.state(message) is PartState.ESCROWED
    (record,) = records(north, review(north, "ann"))
    assert record.state == "escrowed"
    assert len(record.versions) == 2


def test_a_hold_on_a_copy_alone_lets_the_message_be_read_that_it_passed_on(
    sites: Authority,
) -> None:
    """What goes together is kept together, so it is read together."""
    north = sites.branches[0]
    sites.hub.do(SITE, CreateDuty("on-call", "On call"))
    sites.hub.do(SITE, AssignDuty("on-call", "bea"))
    sites.hub.do(SITE, SetChain("on-call", ("olaf",), 60))
    message = sites.hub.say("ann", None, "come", to="duty:on-call", priority="urgent").msg
    assert message is not None
    sites.hub.tick(61)
    sites.settle()
    sites.pass_days(1)
    copied = north.direct("olaf", "ann")
    assert north.texts("olaf", copied) == ["come"]
    hold = PlaceHold("case", Selection(conversations=(copied.hex(),)), "a letter")
    north.officer("olaf", hold)
    sites.destroy("ann")
    carry_orders(sites, north)
    assert north.state(message) is PartState.ESCROWED
    found = records(north, review(north, "ann"))
    assert [each.state for each in found] == ["escrowed"] * 2
    assert [each.copy_of for each in found if each.copy_of] == [bytes(message).hex()]
    assert [event.kind for each in found for event in each.events] == ["message", "escalation"]
    sites.hold(north, "olaf", "cat")  # other holds, so that the order is looked at again
    sites.follow(north)
    assert north.state(message) is PartState.ESCROWED
