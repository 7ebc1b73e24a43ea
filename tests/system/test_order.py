"""Have devices of one person and retries race against each other: one order, nothing twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from client import Session
from client.carriers import Carrier, quic, websocket
from tests.system import harness
from tests.system.harness import Organisation, Person, Ways
from transports.wire import schema
from transports.wire.schema import Body, Id

SECONDS = 30.0
MESSAGES = 40
NUMBERS = range(1, 21)
RETRIES = 3


@pytest.fixture
def organisation(tmp_path: Path) -> Organisation:
    settings: dict[str, dict[str, object]] = {"limits": {"sends_per_second": 1_000.0}}
    found = harness.found(tmp_path, ["alice", "bob"], settings=settings)
    with harness.opened(found) as site:
        people = found.people
        people["alice on the phone"] = harness.add_device(site, "alice", "phone")
        found.conversations["pair"] = harness.open_direct(site, people["alice"], people["bob"])
    return found


async def heard(session: Session, count: int) -> list[schema.MessageOp]:
    """Return the first messages that the session hears of."""
    found: list[schema.MessageOp] = []
    async for event in session.events():
        if isinstance(event, schema.Event) and isinstance(event.op, schema.MessageOp):
            found.append(event.op)
            if len(found) == count:
                break
    return found


def test_two_devices_of_one_person_and_another_see_one_order(organisation: Organisation) -> None:
    async def main() -> None:
        conv = Id(organisation.conversations["pair"])
        told: dict[str, list[schema.MessageOp]] = {}

        async def use(login: str, session: Session) -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(listen, login, session)
                for number in range(MESSAGES):
                    await session.conversation(conv).send(f"{login}/{number}")

        async def listen(login: str, session: Session) -> None:
            told[login] = await heard(session, 3 * MESSAGES)

        async with (
            harness.serving(organisation),
            harness.online(organisation, "alice", "quic") as desk,
            harness.online(organisation, "alice on the phone", "websocket") as phone,
            harness.online(organisation, "bob", "quic") as bob,
        ):
            with trio.fail_after(SECONDS):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(use, "alice", desk)
                    nursery.start_soon(use, "alice on the phone", phone)
                    nursery.start_soon(use, "bob", bob)
            assert desk.person == phone.person
        orders = list(told.values())
        assert orders[0] == orders[1] == orders[2]
        keys = [op.key for op in orders[0]]
        assert keys == sorted(set(keys))
        for login in told:
            own = [op.body.text for op in orders[0] if op.body.text.startswith(f"{login}/")]
            assert own == [f"{login}/{number}" for number in range(MESSAGES)]

    trio.run(main)


@asynccontextmanager
async def signed_in(
    organisation: Organisation, person: Person, carrier: str
) -> AsyncIterator[Carrier]:
    """Open a bare carrier and sign in with the person's token."""
    address, trust = organisation.address, organisation.trust
    openers = {
        "quic": quic.opener(address, trust),
        "msgpack": websocket.opener(address, trust, "strongroom.v1.msgpack"),
        "json": websocket.opener(address, trust, "strongroom.v1.json"),
    }
    async with trio.open_nursery() as nursery:
        opened = await openers[carrier](nursery)
        auth = schema.Auth("token", token=person.token)
        await opened.send(opened.codec.payload(schema.Hello(1, "test"), auth))
        (welcome,) = opened.codec.server.decode(await opened.receive())
        assert isinstance(welcome, schema.Welcome)
        yield opened
        await opened.aclose()
        nursery.cancel_scope.cancel()


async def answers(carrier: Carrier, sends: list[schema.Send]) -> dict[int, schema.Frame]:
    """Send everything at once; return the answer for each message number, errors included."""
    await carrier.send(carrier.codec.payload(*sends))
    numbers = {send.id: send.n for send in sends}
    found: dict[int, schema.Frame] = {}
    while len(found) < len(sends):
        for frame in carrier.codec.server.decode(await carrier.receive()):
            if isinstance(frame, schema.Ok | schema.Err) and frame.re is not None:
                found[numbers[frame.re]] = frame
    return found


def named(answer: schema.Frame) -> tuple[bytes, str, str, int]:
    """Return what an acknowledgement says about the message."""
    assert isinstance(answer, schema.Ok), answer
    assert answer.msg is not None
    return bytes(answer.msg), answer.pos, answer.key, answer.at


def test_the_same_number_over_every_carrier_is_one_message(organisation: Organisation) -> None:
    """One device says the same again and again, at the same time, by three ways."""

    async def main() -> None:
        conv = Id(organisation.conversations["pair"])
        alice = organisation.people["alice"]
        sends = [schema.Send(n, n, Body("text", f"message {n}"), conv=conv) for n in NUMBERS]
        told: list[dict[int, schema.Frame]] = []

        async def insist(carrier: str) -> None:
            async with signed_in(organisation, alice, carrier) as opened:
                told.extend([await answers(opened, sends) for _ in range(RETRIES)])

        bob = organisation.people["bob"]
        ways = Ways(organisation.address, organisation.trust, "websocket")
        with trio.fail_after(SECONDS):
            async with harness.serving(organisation), harness.session_of(bob, ways) as listener:
                await listener.wait_online()
                async with trio.open_nursery() as nursery:
                    for carrier in ("quic", "msgpack", "json"):
                        nursery.start_soon(insist, carrier)
                ops = await heard(listener, len(sends))
                history = await listener.conversation(conv).history(limit=100)
        assert len(told) == 3 * RETRIES
        for n in NUMBERS:
            assert len({named(each[n]) for each in told}) == 1
        assert Counter(op.n for op in ops) == Counter(NUMBERS)
        assert len([item for item in history if isinstance(item.op, schema.MessageOp)]) == len(
            sends
        )

    trio.run(main)


def test_a_number_used_for_other_content_is_refused(organisation: Organisation) -> None:
    async def main() -> None:
        conv = Id(organisation.conversations["pair"])
        alice = organisation.people["alice"]
        first = [schema.Send(n, n, Body("text", "one"), conv=conv) for n in NUMBERS]
        other = [schema.Send(n, n, Body("text", "two"), conv=conv) for n in NUMBERS]
        with trio.fail_after(SECONDS):
            async with (
                harness.serving(organisation),
                signed_in(organisation, alice, "quic") as by_quic,
                signed_in(organisation, alice, "json") as by_json,
            ):
                accepted = await answers(by_quic, first)
                refused = await answers(by_json, other)
        assert all(isinstance(each, schema.Ok) for each in accepted.values())
        for answer in refused.values():
            assert isinstance(answer, schema.Err)
            assert (answer.code, answer.retryable) == ("send.conflict", False)

    trio.run(main)
