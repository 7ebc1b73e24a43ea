"""A site ends on two people's word, after everything that must be kept, and then for ever."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from appliance.context import SITE
from appliance.disposal import export, scope
from appliance.disposal.commands import (
    ApproveRequest,
    EndFound,
    FileConversation,
    KeepLedger,
    NameReplica,
    PlaceHold,
    ReleaseHold,
    RequestDecommission,
    RequestReview,
    RetireReplica,
    RunDecommission,
    Selection,
    Settle,
    SignRequest,
)
from appliance.disposal.ending import EFFACED, RETIRED, Ending
from appliance.disposal.prepare import prepare
from appliance.disposal.replies import Ended, Requested
from appliance.replicas import Place, Replicas, ReplicaStatus
from appliance.server import Appliance
from appliance.site import Site
from store import merkle, verifier
from store.clocks import SeededEntropy
from store.disk import MemoryDisk
from store.engine.memory import Medium
from store.errors import VaultLockedError
from store.oplog import Op
from store.replica import KeyReplica
from store.vault import NoWrap, RootSlots
from store.vault.errors import EffaceError
from tests.appliance import simulation
from tests.appliance.disposal.harness import Hospital
from tests.appliance.test_replicas import Device, inline
from transports.memory import MemoryNetwork
from transports.wire.errors import Refusal

POLICY = """
cooling_off = "1h"
approval_expires = "7d"
[[class]]
name = "record"
[[rule]]
name = "chat"
class = "standard"
max = "30d"
[[rule]]
name = "record"
class = "record"
min = "10d"
"""
CANARY = "the canary of ward nine"
COOLED_MS = 3_601_000
"""A cooling-off of an hour, and what proven time lags in it."""


class OwnDevice(Device):
    """A device whose replica has an identity of its own."""

    def __init__(self, node: bytes, name: str) -> None:
        self.medium, self.disk = Medium(), MemoryDisk()
        self.is_there, self.opened = True, 0
        KeyReplica.create(self.engine(), self.disk, NoWrap(), SeededEntropy(name), node=node)


def end_of(house: Hospital, devices: Sequence[Device] = ()) -> Ending:
    places = [Place(f"replica {at}", device.open) for at, device in enumerate(devices)]
    ports = house.site.ports

    async def met(status: ReplicaStatus) -> None:
        house.do(SITE, NameReplica(status.name, status.identity))

    replicas = Replicas(
        places, ports.engine, house.site.vault, ports.clock, blocking=inline, met=met
    )
    return Ending(house.site, replicas, inline, None)


def code(function: Callable[[], object]) -> str:
    with pytest.raises(Refusal) as caught:
        function()
    return caught.value.code


def asked(house: Hospital, *, transferred: bool = False) -> Requested:
    reply = house.officer("dave", RequestDecommission("we close", transferred))
    assert isinstance(reply, Requested)
    house.officer("dave", SignRequest(reply.request, reply.digest))
    return reply


def agreed(house: Hospital, *, transferred: bool = False) -> int:
    reply = asked(house, transferred=transferred)
    house.officer("erin", ApproveRequest(reply.request, reply.digest))
    return reply.request


def run(house: Hospital, number: int, login: str = "dave") -> Ended:
    reply = house.officer(login, RunDecommission(number))
    assert isinstance(reply, Ended)
    return reply


def decided(house: Hospital) -> Ended:
    number = agreed(house)
    house.clock.advance(COOLED_MS)
    return run(house, number)


def ledger_of(house: Hospital) -> str:
    core = house.core
    with house.reading() as reader:
        return "".join(export.lines(core.log, reader, core.log.head.origin))


def site_key(house: Hospital) -> bytes:
    log = house.core.log
    return bytes(log.origins[log.head.origin].verify_key)


@pytest.fixture
def house() -> Hospital:
    made = Hospital("alice", "bob", policy=POLICY, retain=True)
    made.send("alice", made.group("alice", "bob"), CANARY)
    made.anchor()
    return made


# --- what must be kept ------------------------------------------------------------------------


def test_a_hold_outlives_the_request_for_the_end_and_its_approval(house: Hospital) -> None:
    hold = PlaceHold("Case", Selection(persons=("bob",)), "court")
    number = agreed(house)
    house.clock.advance(COOLED_MS)
    placed = house.officer("erin", hold).hold
    assert code(lambda: asked(house)) == "hold.active"
    assert code(lambda: run(house, number)) == "hold.active"
    for login in ("dave", "erin"):
        house.officer(login, ReleaseHold(placed, "settled"))
    house.pass_days(1)
    house.do(SITE, Settle())
    assert run(house, number).run == 1


def test_a_minimum_that_runs_is_law_until_both_say_that_it_was_handed_over(
    house: Hospital,
) -> None:
    room = house.group("alice")
    house.officer("dave", FileConversation(room.hex(), "record"))
    house.send("alice", room, "chart")
    house.anchor()
    assert code(lambda: asked(house)) == "decommission.minimum"
    reply = asked(house, transferred=True)
    body = house.core.disposal.requests[reply.request].body
    assert body.arguments == '{"transferred":true}'
    house.pass_days(9)
    assert code(lambda: asked(house)) == "decommission.minimum"
    house.pass_days(3)
    assert asked(house).records >= 2


def test_a_minimum_that_came_after_the_approval_counts(house: Hospital) -> None:
    number = agreed(house)
    house.clock.advance(COOLED_MS)
    room = house.group("alice")
    house.officer("dave", FileConversation(room.hex(), "record"))
    house.send("alice", room, "chart")
    house.anchor()
    assert code(lambda: run(house, number)) == "decommission.minimum"


def test_minimums_of_the_audit_count_as_well() -> None:
    kept = '[[rule]]\nname = "trail"\nclass = "audit"\nmin = "10d"\n'
    house = Hospital(policy=kept)
    asked(house)
    assert code(lambda: asked(house)) == "decommission.minimum"
    number = agreed(house, transferred=True)
    house.pass_days(1.001)
    assert run(house, number).run == 1


# --- two people -------------------------------------------------------------------------------


def test_one_officer_alone_ends_nothing_and_two_wait_for_the_cooling_off(house: Hospital) -> None:
    reply = asked(house)
    assert reply.cooling_seconds == 3_600
    approve = ApproveRequest(reply.request, reply.digest)
    assert code(lambda: run(house, reply.request)) == "approval.unapproved"
    assert code(lambda: house.officer("dave", approve)) == "approval.same_person"
    assert code(lambda: house.officer("frank", RequestDecommission("x"))) == "permission.denied"
    house.officer("erin", approve)
    assert code(lambda: run(house, reply.request)) == "approval.cooling"
    assert house.core.disposal.decommissioned is None
    house.clock.advance(COOLED_MS)
    assert code(lambda: house.officer("frank", RunDecommission(reply.request))) == (
        "permission.denied"
    )
    assert run(house, reply.request, "erin").run == 1


def test_no_site_ends_while_its_clock_jumps(house: Hospital) -> None:
    number = agreed(house)
    house.clock.set_wall_ms(house.clock.wall_ms() + 30 * COOLED_MS)
    assert code(lambda: run(house, number)) == "clock.unproven"
    assert code(lambda: asked(house)) == "clock.unproven"


def test_a_request_for_something_else_ends_no_site(house: Hospital) -> None:
    review = RequestReview(Selection(persons=("bob",)), 1, "x")
    other = house.officer("dave", review).request
    assert code(lambda: run(house, other)) == "approval.unknown"


# --- the decision -----------------------------------------------------------------------------


def test_the_certificate_is_about_every_operation_that_was_there(house: Hospital) -> None:
    number = agreed(house)
    house.clock.advance(COOLED_MS)
    with house.reading() as reader:
        before = prepare(house.core, reader, RunDecommission(number))
        assert isinstance(before, EndFound)
        present = sorted(op.id.pack() for op in house.core.log.replay(reader) if isinstance(op, Op))
    ended = run(house, number)
    body = verifier.read_body(verifier.read(ended.text).body)
    assert (body.cause, body.state, body.request) == ("decommission", "CLOSING", number)
    assert body.parts == body.scope_size == len(present)
    assert before.size == len(present)
    intent = house.core.disposal.runs[ended.run].intent
    with house.reading() as reader:
        leaves = [
            scope.leaf(intent.scope_key, op.id)
            for op in house.core.log.scan(reader, house.core.log.head.origin)
            if op.id.pack() in present
        ]
    assert merkle.root(leaves) == body.scope_root
    assert dict.fromkeys(each[0] for each in body.counts).keys() >= {"standard"}
    assert house.problems() == []
    verifier.verify(ended.text, ledger_of(house), site_key(house))


def test_what_came_between_the_survey_and_the_decision_is_counted_too(house: Hospital) -> None:
    number = agreed(house)
    house.clock.advance(COOLED_MS)
    room = house.group("alice", "bob")
    seen: list[int] = []

    def late(core: Any, reader: Any, command: Any) -> Any:
        found = prepare(core, reader, command)
        assert isinstance(found, EndFound)
        seen.append(found.size)
        house.send("alice", room, "in between")
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.appliance.disposal.harness.prepare", late)
        ended = run(house, number)
    body = verifier.read_body(verifier.read(ended.text).body)
    assert body.parts > seen[0]


def test_a_destruction_meanwhile_has_the_survey_done_again(house: Hospital) -> None:
    house.pass_days(31)
    number = agreed(house)
    house.clock.advance(COOLED_MS)

    def late(core: Any, reader: Any, command: Any) -> Any:
        found = prepare(core, reader, command)
        house.expire()
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.appliance.disposal.harness.prepare", late)
        assert code(lambda: run(house, number)) == "decommission.moved"
    assert run(house, number).run == 2


def test_after_it_nothing_else_is_decided_and_it_can_be_said_again(house: Hospital) -> None:
    room = house.group("alice", "bob")
    ended = decided(house)
    assert code(lambda: house.say("alice", room, "too late")) == "decommission.decided"
    assert code(lambda: house.do(SITE, KeepLedger())) == "decommission.decided"
    size = house.core.log.ledger.size
    trio.run(house.service.tick)
    trio.run(house.service.end)
    again = house.officer("erin", RunDecommission(1))
    assert again == ended
    assert house.core.log.ledger.size == size
    house.reopen()
    trio.run(house.service.begin)
    assert house.officer("dave", RunDecommission(1)) == ended


# --- the end ----------------------------------------------------------------------------------


def test_the_root_goes_everywhere_and_the_note_continues_the_certificate(house: Hospital) -> None:
    devices = [OwnDevice(house.core.log.node, name) for name in ("first", "second")]
    ending = end_of(house, devices)
    trio.run(ending.expect_replicas)
    ended, ledger, key = decided(house), ledger_of(house), site_key(house)
    note = trio.run(ending.finish)
    said = list(verifier.steps(ended.text, ledger, key, note))
    assert any("closed it there" in step for step in said)
    told = [line for line in note.split("\n") if line.startswith(("here: ", "replica: "))]
    assert told == [
        f"here: generation {house.core.vault.generation}: {EFFACED}",
        f"replica: replica 0: {EFFACED}",
        f"replica: replica 1: {EFFACED}",
    ]
    assert ending.is_over
    for disk in (house.devices[2], *(device.disk for device in devices)):
        assert RootSlots(disk).load() == (None, None)
    assert trio.run(ending.finish) == note
    house.site.close()
    with pytest.raises(VaultLockedError):
        Site.open(house._ports(), NoWrap())


def test_nobody_opens_anything_with_every_byte_that_was_ever_stored(house: Hospital) -> None:
    decided(house)
    trio.run(end_of(house).finish)
    assert CANARY.encode() not in house.medium.every_byte()
    with pytest.raises(VaultLockedError):
        house.core.vault.seal_root_into(RootSlots(house.devices[2]), 0, NoWrap())
    with house.reading() as reader, pytest.raises(VaultLockedError):
        next(iter(house.core.log.replay(reader)))


def test_nothing_ends_before_it_was_decided(house: Hospital) -> None:
    ending = end_of(house)
    assert code(lambda: trio.run(ending.finish)) == "decommission.undecided"
    assert house.core.vault.generation >= 1
    assert not ending.is_over


def test_a_replica_that_is_away_is_waited_for_until_two_officers_retire_it(
    house: Hospital,
) -> None:
    near, lost = (OwnDevice(house.core.log.node, name) for name in ("near", "lost"))
    ending = end_of(house, [near, lost])
    trio.run(ending.expect_replicas)
    lost.pull_out()
    assert code(lambda: trio.run(ending.expect_replicas)) == "decommission.replica"
    ended = decided(house)
    ledger, key = ledger_of(house), site_key(house)
    assert code(lambda: trio.run(ending.finish)) == "decommission.replica"
    assert any(RootSlots(near.disk).load())
    house.officer("dave", RetireReplica("replica 1", "stolen"))
    house.officer("erin", RetireReplica("replica 1", "stolen"))
    without = end_of(house, [near])
    note = trio.run(without.finish)
    assert f"replica: replica 1: {RETIRED}\n" in note
    assert f"replica: replica 0: {EFFACED}\n" in note
    assert list(verifier.steps(ended.text, ledger, key, note))


def test_an_effacement_that_fails_is_no_end_and_can_be_said_again(house: Hospital) -> None:
    near = OwnDevice(house.core.log.node, "near")
    ending = end_of(house, [near])
    trio.run(ending.expect_replicas)
    decided(house)

    def fail(step: str) -> None:
        raise EffaceError("the device does not show it")

    house.devices[2].probe = fail
    with pytest.raises(EffaceError):
        trio.run(ending.finish)
    assert not ending.is_over
    house.devices[2].probe = None
    assert f"here: generation 1: {EFFACED}" in trio.run(ending.finish)
    assert RootSlots(house.devices[2]).load() == (None, None)


def test_a_server_that_was_cut_off_before_the_end_starts_again_and_goes_on(
    house: Hospital, tmp_path: Path
) -> None:
    ended, ledger, key = decided(house), ledger_of(house), site_key(house)
    house.close()

    async def main() -> str:
        site = Site.open(house._ports(), NoWrap())
        network = MemoryNetwork()
        appliance = Appliance(
            site,
            simulation.CONFIG,
            network=network,
            data_dir=tmp_path,
            replica_places=[],
            inline=True,
        )
        async with trio.open_nursery() as nursery:
            await nursery.start(appliance.run)
            note = await appliance.finish()
            assert await appliance.finish() == note
            await appliance.drain()
        return note

    note = trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    assert list(verifier.steps(ended.text, ledger, key, note))
    assert (tmp_path / "decommissioned").read_text() == note
    assert (tmp_path / "decommissioned.certificate").read_text() == ended.text
    assert RootSlots(house.devices[2]).load() == (None, None)
