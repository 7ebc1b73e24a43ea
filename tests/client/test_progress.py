"""What was destroyed is answered for: when the application is done with it, until it is heard."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from client import Closed, Profile, Refused, Session
from client.outbox import Entry, Outbox
from client.profile import Account
from tests.client.memory_line import alice, run
from tests.client.model_server import ModelConnection, ModelServer, person
from transports.wire import schema
from transports.wire.schema import Body, Id, Send

ROOM = Id(b"C" * 16)
RANGE = ("0" * 16, "f" * 16)
MOMENT_SECONDS = 3.0
"""Longer than anything on a good line takes."""


@pytest.fixture
def profile(tmp_path: Path) -> Profile:
    made = Profile(tmp_path / "profile")
    account = Account(
        server="strongroom://alice@server",
        login="alice",
        person=bytes(person("alice")),
        device=b"alice".ljust(16, b"#"),
        token="token-of-alice",
    )
    made.save(account)
    return made


async def wipes(me: Session, count: int = 1) -> list[int]:
    """Take events until so many wipes have come; return their certificates."""
    found: list[int] = []
    while len(found) < count:
        event = await me.next_event()
        if isinstance(event, schema.Event) and isinstance(event.op, schema.WipeOp):
            found.append(event.op.certificate)
    return found


async def forever(me: Session) -> None:
    """Be an application that deals with each event and asks for the next."""
    async for _ in me.events():
        pass


@asynccontextmanager
async def going_on(me: Session) -> AsyncIterator[None]:
    """Let the application ask for the next event, and for all that come."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(forever, me)
        await trio.sleep(MOMENT_SECONDS)
        yield
        nursery.cancel_scope.cancel()


def test_the_answer_comes_when_the_next_event_is_asked_for_and_not_before() -> None:
    async def main() -> None:
        server = ModelServer()
        async with alice(server) as (me, _):
            server.wipe(7, RANGE)
            assert await wipes(me) == [7]
            await trio.sleep(MOMENT_SECONDS)
            assert server.wiped == []
            async with going_on(me):
                assert server.wiped == [7]
            server.say("bob", "news")
            async with going_on(me):
                assert server.wiped == [7]

    run(main)


def test_one_answer_does_for_all_of_a_certificate() -> None:
    async def main() -> None:
        server = ModelServer()
        async with alice(server) as (me, _):
            for _ in range(20):
                server.wipe(7, RANGE)
            await trio.sleep(MOMENT_SECONDS)
            await wipes(me, 19)
            await me.conversation(ROOM).send("an answer to something else")
            await trio.sleep(MOMENT_SECONDS)
            assert server.wiped == []
            async with going_on(me):
                assert server.wiped == [7]
            server.wipe(7, RANGE)
            async with going_on(me):
                assert server.wiped == [7, 7]

    run(main)


def test_one_answer_is_under_way_at_a_time_and_the_newest_covers_the_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken: list[tuple[ModelConnection, schema.Wiped]] = []

    def take_note(self: ModelConnection, frame: schema.Wiped) -> None:
        taken.append((self, frame))

    async def main() -> None:
        server = ModelServer()
        async with alice(server) as (me, _), going_on(me):
            for certificate in (7, 8, 9, 10):
                server.wipe(certificate, RANGE)
            await trio.sleep(MOMENT_SECONDS)
            for certificate in (7, 10):
                ((line, frame),) = taken
                assert frame.certificate == certificate
                taken.clear()
                line.send(schema.Ok(frame.id))
                await trio.sleep(MOMENT_SECONDS)
            assert taken == []

    monkeypatch.setattr(ModelConnection, "_wiped", take_note)
    run(main)


def test_an_answer_is_given_again_until_the_server_has_taken_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    original = ModelConnection._wiped

    def cut_before_the_reply(self: ModelConnection, frame: schema.Wiped) -> None:
        if len(self.server.wiped) < 2:
            self.server.wiped.append(frame.certificate)
            self.close()
        else:
            original(self, frame)

    async def main() -> None:
        server = ModelServer()
        async with alice(server) as (me, _):
            server.wipe(7, RANGE)
            async with going_on(me):
                await trio.sleep(60)
            assert server.wiped == [7, 7, 7]

    monkeypatch.setattr(ModelConnection, "_wiped", cut_before_the_reply)
    run(main)


def test_an_answer_the_server_cannot_take_now_is_given_on_the_next_connection() -> None:
    async def main() -> None:
        server = ModelServer()
        failed = schema.Err("server.failed", "", retryable=True)
        server.wiped_refusals = [failed, failed]
        async with alice(server) as (me, dialer):
            server.wipe(7, RANGE)
            async with going_on(me):
                await me.conversation(ROOM).send("x")
                await trio.sleep(600)
                assert server.wiped == [7]
                dialer.cut()
                await trio.sleep(60)
                assert server.wiped == [7, 7]
                server.wipe(8, RANGE)
                await trio.sleep(60)
                assert server.wiped == [7, 7, 8]

    run(main)


def test_an_answer_the_server_will_never_take_is_given_up(profile: Profile) -> None:
    async def main() -> None:
        server = ModelServer()
        server.wiped_refusals = [schema.Err("run.unknown", "")]
        async with alice(server, profile=profile) as (me, dialer):
            server.wipe(7, RANGE)
            async with going_on(me):
                dialer.cut()
                await trio.sleep(60)
            assert server.wiped == [7]
            assert profile.owed() == 0

    run(main)


def test_a_wipe_the_application_was_not_done_with_comes_again(profile: Profile) -> None:
    async def main() -> None:
        server = ModelServer()
        async with alice(server, profile=profile) as (me, _):
            server.say("bob", "before")
            server.wipe(7, RANGE)
            assert await wipes(me) == [7]
        assert (server.wiped, profile.owed()) == ([], 0)
        async with alice(server, profile=profile) as (me, _):
            assert await wipes(me) == [7]
            async with going_on(me):
                assert server.wiped == [7]
        async with alice(server, profile=profile) as (me, _):
            server.wipe(8, RANGE)
            assert await wipes(me) == [8]

    run(main)


@pytest.mark.parametrize("resume", [True, False])
def test_an_answer_that_is_owed_is_given_by_the_next_session(
    profile: Profile, *, resume: bool
) -> None:
    async def main() -> None:
        server = ModelServer()
        async with alice(server, profile=profile) as (me, dialer):
            server.wipe(7, RANGE)
            assert await wipes(me) == [7]
            dialer.vanish()
            async with going_on(me):
                assert profile.owed() == 7
        assert server.wiped == []
        assert Profile(profile.path).owed() == 7
        async with alice(server, profile=profile, resume=resume) as (me, _):
            await trio.sleep(MOMENT_SECONDS)
            assert server.wiped == [7]
        assert profile.owed() == 0
        async with alice(server, profile=profile, resume=resume) as (me, _):
            await trio.sleep(MOMENT_SECONDS)
        assert server.wiped == [7]

    run(main)


def test_the_answer_waits_for_what_may_be_stored_already(
    profile: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message without an answer may be just what was destroyed: its copy must go first."""
    original: Any = ModelConnection._send
    unanswered: list[tuple[ModelConnection, schema.Send]] = []

    def hold_back(self: ModelConnection, frame: schema.Send) -> None:
        unanswered.append((self, frame))

    async def main() -> None:
        server = ModelServer()
        async with alice(server, profile=profile) as (me, _):
            await me.queue(me.conversation(ROOM), "canary-of-the-outbox")
            server.wipe(7, RANGE)
            async with going_on(me):
                assert profile.waiting()
                assert server.wiped == []
                original(*unanswered[-1])
                await trio.sleep(MOMENT_SECONDS)
                assert server.wiped == [7]
                assert profile.waiting() == []

    monkeypatch.setattr(ModelConnection, "_send", hold_back)
    run(main)


def test_what_an_earlier_run_left_unsent_goes_first(
    profile: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = Send(id=1, n=profile.next(0), conv=ROOM, body=Body(kind="text", text="left"))
    profile.keep(Entry(frame, bytes(ROOM), is_durable=True))
    profile.owe(7)
    original: Any = ModelConnection._send
    unanswered: list[tuple[ModelConnection, schema.Send]] = []
    monkeypatch.setattr(ModelConnection, "_send", lambda *sent: unanswered.append(sent))

    async def main() -> None:
        server = ModelServer()
        async with alice(server, profile=profile):
            await trio.sleep(MOMENT_SECONDS)
            assert server.wiped == []
            original(*unanswered[-1])
            await trio.sleep(MOMENT_SECONDS)
        assert (server.texts(), server.wiped, profile.waiting()) == (["left"], [7], [])

    run(main)


@pytest.mark.parametrize("how", ["revoked", "closed"])
def test_the_end_of_a_session_leaves_the_answer_owed(profile: Profile, how: str) -> None:
    async def main() -> None:
        server = ModelServer()
        async with alice(server, profile=profile) as (me, dialer):
            server.wipe(7, RANGE)
            server.wipe(8, RANGE)
            await trio.sleep(MOMENT_SECONDS)
            assert await wipes(me) == [7]
            dialer.carriers[-1].is_muted = how == "closed"
            if how == "revoked":
                server.connections[0].send(schema.Bye(reason="auth.revoked"))
                await trio.sleep(MOMENT_SECONDS)
            assert await wipes(me) == [8]
            if how == "closed":
                await me.close()
            with pytest.raises((Refused, Closed)):
                await forever(me)
        assert server.wiped == []
        assert profile.owed() == 8

    run(main)


def test_an_outbox_knows_whether_what_was_added_first_is_answered() -> None:
    outbox = Outbox()
    assert outbox.is_clear_up_to(5)
    for request in (2, 4):
        frame = Send(id=request, n=request, conv=ROOM, body=Body(kind="text", text="x"))
        outbox.add(Entry(frame, bytes(ROOM)))
    assert all(outbox.is_clear_up_to(request) for request in (0, 1))
    assert not any(outbox.is_clear_up_to(request) for request in (2, 3, 4))
    outbox.take()
    outbox.put_back(2)
    assert not outbox.is_clear_up_to(2)
    outbox.answered(2)
    assert [outbox.is_clear_up_to(request) for request in (2, 3, 4)] == [True, True, False]
