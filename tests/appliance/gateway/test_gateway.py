"""Check the gateway in a simulated appliance: slow readers, quiet mode, presence, revocation."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
import trio.testing

from appliance.context import SITE, Actor
from appliance.directory.commands import RevokeDevice, SetPassword, SetState
from appliance.gateway import catchup
from appliance.gateway.limits import BACKGROUND_SECONDS, STRANGER_ERRORS
from appliance.server import Appliance
from tests.appliance.simulation import Person, World, found, running
from transports.carrier import CloseReason
from transports.memory import MemoryNetwork
from transports.wire import schema
from transports.wire.schema import Body, Id

PATIENCE_SECONDS = 4_000.0
"""Virtual time that a scene may take."""

LOGINS = ("alice", "bob", "carol")


class Ward:
    """An appliance with three people, who are online."""

    def __init__(self, appliance: Appliance, people: dict[str, Person]) -> None:
        self.appliance = appliance
        self.people = people
        self.alice, self.bob, self.carol = (people[login] for login in LOGINS)

    def id_of(self, login: str) -> Id:
        person = self.appliance.site.core.directory.resolve(login)
        assert person is not None
        return Id(person.id)

    async def group(self) -> Id:
        """Open a group of all three; everybody has heard of it."""
        members = (self.id_of("bob"), self.id_of("carol"))
        opened = await self.alice.ask(schema.Open, kind="group", members=members, title="Ward")
        assert isinstance(opened, schema.Ok)
        assert opened.conv is not None
        return opened.conv


def play(act: Callable[[Ward], Awaitable[None]], *, online: bool = True) -> None:
    """Run a scene in virtual time."""

    async def main() -> None:
        world = World(3)
        tokens = found(world, *LOGINS)
        with trio.fail_after(PATIENCE_SECONDS):
            await scene(world, tokens)

    async def scene(world: World, tokens: dict[str, str]) -> None:
        async with running(world) as appliance:
            assert isinstance(appliance.network, MemoryNetwork)
            people = {login: Person(appliance.network, tokens[login]) for login in LOGINS}
            for person in people.values() if online else ():
                await person.sign_in()
            await act(Ward(appliance, people))

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def texts(person: Person) -> list[str]:
    """Return the messages somebody was told, in order."""
    return [e.op.body.text for e in person.events if isinstance(e.op, schema.MessageOp)]


def test_a_slow_reader_is_bounded_and_loses_nothing() -> None:
    async def act(ward: Ward) -> None:
        conv = await ward.group()
        said = [f"{number} " + "x" * 8_000 for number in range(200)]
        assert ward.carol.peer is not None
        for text in said:
            await ward.alice.say(conv, text)
            assert ward.carol.peer.carrier.queued_bytes() < 512 * 1024
        await ward.carol.until_text(said[-1])
        assert texts(ward.carol) == said
        assert ward.carol.peer.carrier.reason is None

    play(act)


@pytest.mark.parametrize("mode", ["active", "background"])
def test_a_burst_in_one_turn_reaches_everybody_in_pieces(mode: str) -> None:
    async def act(ward: Ward) -> None:
        conv = await ward.group()
        ward.bob.send(schema.Mode(mode))
        await trio.sleep(1)
        said = [f"{number} " + "x" * 15_000 for number in range(200)]
        sends = [schema.Send(n, n, Body("text", text), conv=conv) for n, text in enumerate(said, 9)]
        ward.alice.send(*sends)
        await ward.bob.until_text(said[-1])
        assert texts(ward.bob) == said

    play(act)


def test_who_is_too_far_behind_is_told_of_the_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catchup, "GAP_EVENTS", 20)

    async def act(ward: Ward) -> None:
        for person in (ward.alice, ward.bob):
            await person.sign_in()
        conv = await ward.group()
        for number in range(40):
            await ward.alice.say(conv, f"message {number}")
        await ward.carol.sign_in("1")
        gap = await ward.carol.until(schema.Gap)
        assert gap.from_ == "1"
        sent = await ward.alice.say(conv, "now")
        assert (await ward.carol.until_text("now")).pos == sent.pos
        assert texts(ward.carol) == ["now"]

    play(act, online=False)


def test_background_mode_holds_back_all_but_urgent_messages() -> None:
    async def act(ward: Ward) -> None:
        conv = await ward.group()
        ward.bob.send(schema.Mode("background"))
        await trio.sleep(1)
        began = trio.current_time()
        await ward.alice.say(conv, "later")
        await ward.bob.until_text("later")
        assert BACKGROUND_SECONDS <= trio.current_time() - began < BACKGROUND_SECONDS + 3
        began = trio.current_time()
        await ward.alice.say(conv, "quiet")
        await ward.alice.say(conv, "at once", priority="urgent")
        await ward.bob.until_text("at once")
        assert trio.current_time() - began < 1
        assert texts(ward.bob) == ["later", "quiet", "at once"]

    play(act)


def test_typing_and_presence_reach_the_others_only() -> None:
    async def act(ward: Ward) -> None:
        conv = await ward.group()
        ward.alice.send(schema.Typing(conv), schema.Presence("busy"))
        for person in (ward.bob, ward.carol):
            assert await person.until(schema.TypingNotice, person=ward.id_of("alice"))
            notice = await person.until(schema.PresenceNotice, state="busy")
            assert notice.person == ward.id_of("alice")
        assert not [f for f in ward.alice.others if isinstance(f, schema.TypingNotice)]
        assert ward.alice.peer is not None
        ward.alice.peer.close()
        assert await ward.bob.until(schema.PresenceNotice, state="offline")
        people = await ward.bob.ask(schema.List, what="people")
        assert isinstance(people, schema.Ok)
        assert people.items is not None
        states = {item["login"]: item.get("presence") for item in people.items}
        assert states == {"alice": "offline", "bob": "available", "carol": "available"}

    play(act)


@pytest.mark.parametrize("how", ["device", "person"])
def test_revoking_ends_sessions_at_once(how: str) -> None:
    async def act(ward: Ward) -> None:
        assert ward.bob.welcome is not None
        command: Any = (
            RevokeDevice("bob", bytes(ward.bob.welcome.device))
            if how == "device"
            else SetState("bob", "disabled", "left")
        )
        await ward.appliance.execute(SITE, command)
        error = await ward.bob.until(schema.Err)
        assert error.code == "auth.revoked"
        with pytest.raises(trio.EndOfChannel):
            await ward.bob.receive()
        assert ward.bob.peer is not None
        assert ward.bob.peer.carrier.reason is CloseReason.REVOKED
        again = Person(ward.bob.network, ward.bob.token)
        again.peer = again.network.connect()
        again.send(schema.Hello(1), schema.Auth("token", token=again.token))
        assert (await again.until(schema.Err)).code == "auth.revoked"

    play(act)


def test_a_password_session_ends_when_idle_and_its_token_with_it() -> None:
    async def act(ward: Ward) -> None:
        await set_password(ward, "carol", "correct horse battery staple")
        ward.carol.peer = ward.carol.network.connect()
        auth = schema.Auth("password", login="carol", password="correct horse battery staple")
        ward.carol.send(schema.Hello(1), auth)
        welcome = await ward.carol.until(schema.Welcome)
        ward.carol.send(schema.Resume())
        began = trio.current_time()
        assert (await ward.carol.until(schema.Err)).code == "auth.expired"
        assert 1_800 <= trio.current_time() - began < 1_803
        again = Person(ward.carol.network, welcome.token)
        again.peer = again.network.connect()
        again.send(schema.Hello(1), schema.Auth("token", token=welcome.token))
        assert (await again.until(schema.Err)).code in ("auth.expired", "auth.revoked")

    play(act, online=False)


async def set_password(ward: Ward, login: str, password: str) -> None:
    """Give somebody a password, as the site does at first."""
    from appliance.credentials import hash_password

    verifier = hash_password(password, bytes(16))
    await ward.appliance.execute(SITE, SetPassword(verifier, who=login))


def test_a_password_is_changed_after_the_old_one_was_checked() -> None:
    old, new = "correct horse battery staple", "seventeen purple walruses dance"

    async def act(ward: Ward) -> None:
        await set_password(ward, "alice", old)
        ward.alice.send(schema.Password(50, "wrong wrong wrong", new))
        assert (await ward.alice.until(schema.Err, re=50)).code == "auth.failed"
        ward.alice.send(schema.Password(51, old, "password"))
        assert (await ward.alice.until(schema.Err, re=51)).code == "auth.password_weak"
        ward.alice.send(schema.Password(52, old, new))
        assert await ward.alice.until(schema.Ok, re=52)
        other = Person(ward.alice.network, "")
        other.peer = other.network.connect()
        other.send(schema.Hello(1), schema.Auth("password", login="alice", password=new))
        assert (await other.until(schema.Welcome)).token

    play(act)


def test_wrong_credentials_end_the_connection_after_a_few() -> None:
    async def act(ward: Ward) -> None:
        mallory = Person(ward.alice.network, "")
        mallory.peer = mallory.network.connect()
        mallory.send(schema.Hello(1))
        for _ in range(STRANGER_ERRORS):
            mallory.send(schema.Auth("token", token="00" * 32))
            assert (await mallory.until(schema.Err)).code == "auth.failed"
        with pytest.raises(trio.EndOfChannel):
            await mallory.receive()

    play(act, online=False)


@pytest.mark.parametrize("method", ["certificate", "magic"])
def test_other_methods_are_not_offered(method: str) -> None:
    async def act(ward: Ward) -> None:
        ward.alice.peer = ward.alice.network.connect()
        ward.alice.send(schema.Hello(1), schema.Auth(method))
        assert (await ward.alice.until(schema.Err)).code == "auth.method_unavailable"

    play(act, online=False)


def test_a_command_queued_behind_its_revocation_is_refused() -> None:
    async def act(ward: Ward) -> None:
        conv = await ward.group()
        assert ward.bob.welcome is not None
        device = bytes(ward.bob.welcome.device)
        frame = schema.Send(9, 9, Body("text", "too late"), conv=conv)
        await ward.appliance.execute(SITE, RevokeDevice("bob", device))
        with pytest.raises(Exception, match=r"auth\.revoked"):
            await ward.appliance.execute(Actor(bytes(ward.id_of("bob")), device), frame)

    play(act)


def test_a_drain_says_bye_and_when_to_come_back() -> None:
    async def main() -> None:
        world = World(4)
        tokens = found(world, *LOGINS)
        async with running(world) as appliance:
            assert isinstance(appliance.network, MemoryNetwork)
            alice = Person(appliance.network, tokens["alice"])
            await alice.sign_in()
        bye = await alice.until(schema.Bye)
        assert bye.reason == "draining"
        assert bye.after > 0
        with pytest.raises(trio.EndOfChannel):
            await alice.receive()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
