"""A session over lines that break: calls, events, reconnecting, the end."""

from __future__ import annotations

import pytest
import trio

import client
from client import Closed, Offline, Online, Refused, Resynced, Session, Unreachable, Untrusted
from client import events as events_module
from client.notices import AppEvent
from tests.client.memory_line import MemoryDialer, alice, run
from tests.client.model_server import ModelServer, person
from transports.wire import schema
from transports.wire.schema import Id

ROOM = Id(b"C" * 16)


async def take(session: Session, count: int) -> list[str]:
    """Return the texts of the next messages."""
    texts: list[str] = []
    async for event in session.events():
        if isinstance(event, schema.Event) and isinstance(event.op, schema.MessageOp):
            texts.append(event.op.body.text)
        if len(texts) == count:
            break
    return texts


def test_a_message_is_sent_and_comes_back_as_an_event() -> None:
    async def main() -> None:
        server = ModelServer()
        async with alice(server) as (me, _):
            room = await me.open_direct("bob")
            sent = await room.send("bed 12: potassium 6.1", priority="urgent")
            assert sent.conv == room.id
            assert sent.n == 2
            assert server.texts() == ["bed 12: potassium 6.1"]
            assert await take(me, 1) == ["bed 12: potassium 6.1"]
            assert (me.person, me.carrier, me.is_online) == (person("alice"), "memory", True)

    run(main)


def test_calls_made_while_the_line_is_down_are_carried_out_when_it_is_back() -> None:
    async def main() -> None:
        server = ModelServer()
        async with alice(server) as (me, dialer):
            dialer.vanish()
            async with trio.open_nursery() as nursery:
                room = me.conversation(ROOM)
                for text in ("one", "two", "three"):
                    nursery.start_soon(room.send, text)
                    await trio.testing.wait_all_tasks_blocked()
                await trio.sleep(20)
                assert server.texts() == []
                assert not me.is_online
                dialer.error = None
            assert server.texts() == ["one", "two", "three"]

    run(main)


def test_events_go_on_where_they_stopped_however_often_the_line_breaks() -> None:
    async def main() -> None:
        server = ModelServer()
        async with alice(server) as (me, dialer):
            for number in range(20):
                server.say("bob", str(number))
                if number % 3 == 0:
                    dialer.cut()
                    await me.wait_online()
                if number % 5 == 0:
                    await trio.sleep(1)
            assert await take(me, 20) == [str(number) for number in range(20)]

    run(main)


def test_the_application_sees_the_line_come_and_go() -> None:
    async def main() -> None:
        server = ModelServer()
        async with alice(server) as (me, dialer):
            dialer.cut()
            server.restore_backup()
            seen: list[AppEvent] = [await me.next_event() for _ in range(4)]
            assert [type(each) for each in seen] == [Online, Offline, Online, Resynced]

    run(main)


def test_pauses_between_attempts_grow_up_to_a_bound() -> None:
    async def main() -> None:
        async with alice(ModelServer()) as (me, dialer):
            dialer.vanish()
            await trio.sleep(1_000)
            few = dialer.attempts
            assert 1_000 / 30 < few < 200
            dialer.error = None
            await trio.sleep(60)
            assert me.is_online

    run(main)


def test_a_server_that_says_bye_is_left_alone_for_as_long_as_it_says() -> None:
    async def main() -> None:
        server = ModelServer()
        async with alice(server) as (me, dialer):
            server.connections[0].send(schema.Bye(reason="server.draining", after=100.0))
            await trio.sleep(99)
            assert dialer.attempts == 1
            await trio.sleep(32)
            assert me.is_online

    run(main)


def test_a_silent_line_is_noticed_and_replaced() -> None:
    async def main() -> None:
        server = ModelServer()
        async with alice(server) as (me, dialer):
            dialer.carriers[0].is_muted = True
            async with trio.open_nursery() as nursery:
                nursery.start_soon(me.conversation(ROOM).send, "through")
            assert len(dialer.carriers) == 2
            assert server.texts() == ["through"]

    run(main)


def test_an_application_that_takes_no_events_still_gets_answers_and_loses_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def main() -> None:
        server = ModelServer()
        async with alice(server) as (me, _):
            me._events = events_module.EventQueue(capacity=10)
            room = me.conversation(ROOM)
            for number in range(50):
                await room.send(str(number))
            assert len(me._events) == 10
            assert await take(me, 50) == [str(number) for number in range(50)]

    run(main)


def test_only_one_task_takes_the_events() -> None:
    async def main() -> None:
        async with alice(ModelServer()) as (me, _), trio.open_nursery() as nursery:
            nursery.start_soon(take, me, 1)
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(RuntimeError):
                await me.next_event()
            nursery.cancel_scope.cancel()

    run(main)


def test_a_revoked_device_ends_everything_with_the_reason() -> None:
    async def main() -> None:
        server = ModelServer()
        async with alice(server) as (me, dialer):
            dialer.vanish()
            async with trio.open_nursery() as nursery:

                async def wait_in_vain() -> None:
                    with pytest.raises(Refused) as refused:
                        await me.conversation(ROOM).send("never")
                    assert refused.value.code == "auth.failed"

                nursery.start_soon(wait_in_vain)
                await trio.testing.wait_all_tasks_blocked()
                server.tokens.clear()
                dialer.error = None
            with pytest.raises(Refused):
                await take(me, 1)
            with pytest.raises(Closed):
                await me.people()

    run(main)


@pytest.mark.parametrize("error", [Unreachable(), Untrusted()])
def test_connecting_fails_at_once_when_nobody_answers(error: client.ClientError) -> None:
    async def main() -> None:
        dialer = MemoryDialer(ModelServer())
        dialer.error = error
        with pytest.raises(type(error)):
            async with client.connect("strongroom://server", token="x", dialer=dialer):
                pytest.fail("connected")
        assert trio.current_time() < 1_000_000
        assert dialer.attempts == 1

    run(main)


def test_connecting_with_a_wrong_token_is_refused() -> None:
    async def main() -> None:
        with pytest.raises(Refused) as refused:
            async with client.connect(
                "strongroom://server", token="wrong", dialer=MemoryDialer(ModelServer())
            ):
                pytest.fail("connected")
        assert refused.value.code == "auth.failed"
        assert str(refused.value) == "auth.failed: The credentials were not accepted."

    run(main)


def test_an_overloaded_server_is_tried_again_until_the_time_is_up() -> None:
    async def main() -> None:
        server = ModelServer()
        server.refusals = [
            schema.Err(code="server.overloaded", message="", retryable=True, after=1.0)
        ] * 3
        async with alice(server) as (me, dialer):
            assert me.is_online
            assert dialer.attempts == 4
        server.refusals = [
            schema.Err(code="server.overloaded", message="", retryable=True, after=60.0)
        ]
        with pytest.raises(Unreachable):
            async with alice(server):
                pytest.fail("connected")

    run(main)


def test_what_the_block_raises_comes_out_as_it_is() -> None:
    async def main() -> None:
        with pytest.raises(LookupError, match="mine"):
            async with alice(ModelServer()):
                raise LookupError("mine")
        with trio.move_on_after(5) as scope:
            async with alice(ModelServer()):
                await trio.sleep_forever()
        assert scope.cancelled_caught

    run(main)


def test_leaving_the_block_closes_the_session_and_fails_what_waits() -> None:
    async def main() -> None:
        server = ModelServer()
        failures: list[BaseException] = []

        async def send(me: Session) -> None:
            try:
                await me.conversation(ROOM).send("x")
            except Closed as error:
                failures.append(error)

        async with trio.open_nursery() as nursery, alice(server) as (me, dialer):
            dialer.vanish()
            nursery.start_soon(send, me)
            await trio.testing.wait_all_tasks_blocked()
        assert len(failures) == 1
        assert server.connections == []

    run(main)


def test_a_cancelled_send_that_has_not_left_never_leaves() -> None:
    async def main() -> None:
        server = ModelServer()
        async with alice(server) as (me, dialer):
            dialer.vanish()
            with trio.move_on_after(1) as scope:
                await me.conversation(ROOM).send("no")
            assert scope.cancelled_caught
            dialer.error = None
            await me.conversation(ROOM).send("yes")
            assert server.texts() == ["yes"]

    run(main)


def test_every_call_of_a_conversation_reaches_the_server() -> None:
    async def main() -> None:
        server = ModelServer()
        async with alice(server) as (me, _):
            room = await me.open_group("ward", ["bob", person("carol")])
            sent = await room.send("text", reply=Id(b"r" * 32), mentions=[person("bob")])
            await room.edit(sent.msg, "better")
            await room.react(sent.msg, "+1")
            await room.recall(sent.msg)
            await room.read(me.pos)
            await room.typing()
            await room.rename("ward 2")
            await room.add(person("carol"))
            await room.role(person("carol"), "owner")
            await room.remove(person("carol"))
            await room.archive()
            await room.leave()
            await me.confirm(sent.msg)
            await me.presence("busy")
            await me.mode("background")
            await me.hand_over("on-call", "bob")
            await me.change_password("old", "new")
            assert await room.history() == []
            assert await me.conversations() == []
            assert [each.login for each in await me.people()] == ["alice", "bob", "carol"]
            assert await me.migrate()
            told = [frame for frame in server.told if not isinstance(frame, schema.Got)]
            assert [getattr(frame, "op", type(frame).__name__) for frame in told] == [
                *("React", "Recall", "Read", "Typing", "rename", "add", "role", "remove"),
                *("archive", "leave", "Presence", "Mode", "Duty", "Password", "History"),
            ]
            with pytest.raises(Refused):
                await me.open_direct("nobody")

    run(main)


def test_nothing_secret_is_in_a_repr() -> None:
    async def main() -> None:
        async with alice(ModelServer()) as (me, _):
            assert repr(me) == "<session live>"
            assert repr(me.conversation(ROOM)) == f"<conversation {ROOM.hex()}>"

    run(main)
