"""The client's state machine against a model server: nothing lost, nothing twice, order kept."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client.core import (
    ANSWER_SECONDS,
    GOT_SECONDS,
    GREETING_SECONDS,
    HOLD_SECONDS,
    PONG_SECONDS,
    TRANSITIONS,
    Core,
    Signal,
    State,
)
from client.errors import Closed, Interrupted, Refused
from client.notices import Answered, Ended, Failed, Hangup, Notice, Welcomed
from client.outbox import Entry
from tests.client.model_server import ModelConnection, ModelServer
from transports.wire import schema
from transports.wire.codec import JSON, MSGPACK, Codec
from transports.wire.schema import Auth, Body, Id

TOKEN = Auth(method="token", token="token-of-alice")
ROOM = Id(b"C" * 16)


class World:
    """One client and the model server, joined by a line that can be cut anywhere."""

    def __init__(self, codec: Codec = MSGPACK, **settings: int) -> None:
        self.server = ModelServer()
        self.core = Core(TOKEN, **settings)  # type: ignore[arg-type]
        self.codec = codec
        self.line: ModelConnection | None = None
        self.now = 0.0
        self.notices: list[Notice] = []

    def connect(self) -> None:
        if self.line is None and self.core.state is State.OFFLINE:
            self.line = ModelConnection(self.server, self.codec)
            self.core.connected(self.codec, self.now)

    def cut(self) -> None:
        if self.line is not None:
            self.line.close()
            self.line = None
            if self.core.state is not State.ENDED:
                self.notices += self.core.cut()

    def upload(self, payloads: int = 1_000) -> None:
        """Deliver what the client sends; all but the first ``payloads`` is lost."""
        for payload in self.core.data_to_send()[:payloads]:
            if self.line is not None:
                self.line.receive(payload)

    def download(self, payloads: int = 1_000) -> None:
        line = self.line
        while line is not None and line.out and payloads:
            payloads -= 1
            self.take(self.core.receive(line.out.pop(0), self.now))

    def take(self, notices: list[Notice]) -> None:
        self.notices += notices
        if any(isinstance(notice, Hangup | Ended) for notice in notices):
            self.cut()

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.take(self.core.tick(self.now))

    def settle(self) -> None:
        """Let everything be delivered."""
        for _ in range(200):
            self.connect()
            self.upload()
            self.download()
            is_quiet = self.line is not None and not self.line.out and not len(self.core.outbox)
            if is_quiet and self.core.state is not State.GREETING:
                break
            self.wait(HOLD_SECONDS)
        self.upload()
        self.download()

    def send(self, text: str, conv: Id = ROOM) -> Entry:
        return self.core.queue(_send(text, conv), bytes(conv), self.now)

    def of(self, kind: type[Notice]) -> list[Notice]:
        return [notice for notice in self.notices if isinstance(notice, kind)]

    def events(self) -> list[schema.Event]:
        return [notice for notice in self.notices if isinstance(notice, schema.Event)]

    def live(self) -> World:
        self.connect()
        self.upload()
        self.download()
        self.upload()
        assert self.core.state is State.LIVE
        return self


def _send(text: str, conv: Id) -> Callable[[int, int], schema.Send]:
    def make(request: int, n: int) -> schema.Send:
        return schema.Send(id=request, n=n, conv=conv, body=Body(kind="text", text=text))

    return make


ACTIONS = st.one_of(
    st.tuples(st.just("send"), st.integers(0, 2)),
    st.tuples(st.just("connect"), st.just(0)),
    st.tuples(st.just("cut"), st.just(0)),
    st.tuples(st.just("upload"), st.integers(0, 2)),
    st.tuples(st.just("download"), st.integers(0, 3)),
    st.tuples(st.just("wait"), st.integers(0, 20)),
    st.tuples(st.just("refuse"), st.just(0)),
    st.tuples(st.just("say"), st.just(0)),
    st.tuples(st.just("turn away"), st.just(0)),
)


@settings(max_examples=150)
@given(st.lists(ACTIONS, max_size=60), st.sampled_from([1, 4]), st.sampled_from([MSGPACK, JSON]))
def test_whatever_is_cut_nothing_is_lost_or_twice_and_order_is_kept(
    actions: list[tuple[str, int]], window: int, codec: Codec
) -> None:
    world = World(codec, window=window)
    world.live()
    rooms = [Id(bytes([65 + n]) * 16) for n in range(3)]
    sent: dict[Id, list[str]] = {room: [] for room in rooms}
    entries: list[Entry] = []
    has_refused = False
    for number, (what, how) in enumerate(actions):
        if what == "send":
            sent[rooms[how]].append(str(number))
            entries.append(world.send(str(number), rooms[how]))
        elif what == "refuse":
            has_refused = True
            world.server.refusals.append(
                schema.Err(code="rate.limited", message="", retryable=True)
            )
        elif what == "turn away":
            has_refused = True
            refusal = schema.Err(code="server.overloaded", message="", retryable=True)
            world.server.refusals.append(refusal)
        elif what == "say":
            world.server.say("bob", str(number))
        elif what in ("upload", "download"):
            getattr(world, what)(how)
            if what == "upload" and how < 2:
                world.cut()  # a line loses an end of what was sent, never a middle
        elif what == "wait":
            world.wait(how)
        else:
            getattr(world, what)()
    world.server.refusals.clear()
    world.settle()
    assert world.events() == world.server.log
    assert sorted(notice.id for notice in world.of(Answered)) == [each.id for each in entries]  # type: ignore[union-attr]
    for room, texts in sent.items():
        stored = _texts(world.server, room)
        assert (
            stored == texts if window == 1 or not has_refused else sorted(stored) == sorted(texts)
        )


def _texts(server: ModelServer, room: Id) -> list[str]:
    found = []
    for event in server.log:
        op = event.op
        if event.conv == room and isinstance(op, schema.MessageOp) and op.n:
            found.append(op.body.text)
    return found


@pytest.mark.parametrize(("state", "signal"), list(itertools.product(State, Signal)))
def test_each_signal_in_each_state_is_legal_or_refused(state: State, signal: Signal) -> None:
    core = Core(TOKEN)
    core.state = state
    if (state, signal) in TRANSITIONS:
        core._move(signal)
        assert core.state is TRANSITIONS[state, signal]
    else:
        with pytest.raises(RuntimeError):
            core._move(signal)
        assert core.state is state


def test_hello_and_auth_come_first_and_resume_after_the_welcome() -> None:
    world = World()
    world.connect()
    frames = [frame for data in world.core.data_to_send() for frame in MSGPACK.client.decode(data)]
    assert [type(frame) for frame in frames] == [schema.Hello, schema.Auth]
    assert world.core.state is State.GREETING


def test_requests_wait_for_the_welcome() -> None:
    world = World()
    world.send("early")
    request = world.core.request(lambda id: schema.List(id=id, what="people"), 0.0)
    world.settle()
    assert world.server.texts() == ["early"]
    assert request in [notice.id for notice in world.of(Answered)]  # type: ignore[union-attr]


def test_a_session_without_a_position_begins_now() -> None:
    world = World()
    world.server.say("bob", "old")
    world.live()
    world.download()
    assert world.events() == []
    world.cut()
    world.server.say("bob", "while away")
    world.settle()
    assert [event.op.body.text for event in world.events()] == ["while away"]  # type: ignore[union-attr]


def test_a_restored_server_is_followed_from_where_it_is() -> None:
    world = World().live()
    world.server.say("bob", "one")
    world.download()
    world.cut()
    world.server.restore_backup()
    world.server.say("bob", "after the restore")
    world.settle()
    world.server.say("bob", "news")
    world.settle()
    assert [notice.is_resynced for notice in world.of(Welcomed)] == [False, True]  # type: ignore[union-attr]
    assert [event.op.body.text for event in world.events()] == ["one", "news"]  # type: ignore[union-attr]


def test_a_position_the_server_has_forgotten_is_given_up() -> None:
    world = World()
    world.core.pos = "i0:00000007"
    world.live()
    world.download()
    world.upload()
    world.server.say("bob", "news")
    world.download()
    assert [notice.is_resynced for notice in world.of(Welcomed)] == [False, True]  # type: ignore[union-attr]
    assert len(world.events()) == 1


def test_an_event_that_comes_twice_counts_once() -> None:
    world = World().live()
    event = world.server.say("bob", "once")
    assert world.line is not None
    world.line.send(event, event)
    world.download()
    assert world.events() == [event]


def test_a_gap_is_told_and_passed() -> None:
    world = World().live()
    assert world.line is not None
    world.line.send(schema.Gap(from_="i1:00000001", to="i1:00000009"))
    world.download()
    assert world.of(schema.Gap)
    assert world.core.pos == "i1:00000009"


def test_an_overrun_session_resumes_where_it_stopped() -> None:
    world = World().live()
    world.server.say("bob", "taken")
    world.download()
    world.core.overrun()
    world.server.say("bob", "ignored at first")
    world.send("replies still pass")
    world.upload()
    world.download()
    assert len(world.events()) == 1
    assert len(world.of(Answered)) == 1
    world.cut()
    world.settle()
    assert world.events() == world.server.log


def test_what_was_received_is_told_at_most_once_a_second() -> None:
    world = World().live()
    for _ in range(5):
        world.server.say("bob", "x")
        world.download()
        world.wait(GOT_SECONDS / 10)
        world.upload()
    gots = [frame for frame in world.server.told if isinstance(frame, schema.Got)]
    assert [got.pos for got in gots] == ["i1:00000001"]
    world.wait(GOT_SECONDS)
    world.upload()
    gots = [frame for frame in world.server.told if isinstance(frame, schema.Got)]
    assert gots[-1].pos == "i1:00000005"


def test_an_answer_that_was_cut_off_is_not_guessed() -> None:
    world = World().live()
    rename = world.core.request(
        lambda id: schema.Conv(id=id, conv=ROOM, op="rename", title="x"), world.now
    )
    listing = world.core.request(
        lambda id: schema.List(id=id, what="people"), world.now, is_repeatable=True
    )
    world.core.data_to_send()
    world.cut()
    (failed,) = world.of(Failed)
    assert isinstance(failed, Failed)
    assert failed.id == rename
    assert isinstance(failed.error, Interrupted)
    world.settle()
    assert [notice.id for notice in world.of(Answered)] == [listing]  # type: ignore[union-attr]


def test_a_final_refusal_fails_one_request_and_lets_the_next_pass() -> None:
    world = World().live()
    world.server.refusals.append(schema.Err(code="send.too_large", message=""))
    bad, good = world.send("bad"), world.send("good")
    world.settle()
    (failed,) = world.of(Failed)
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, Refused)
    assert (failed.id, failed.error.code, failed.error.retryable) == (
        bad.id,
        "send.too_large",
        False,
    )
    assert [notice.id for notice in world.of(Answered)] == [good.id]  # type: ignore[union-attr]


def test_not_now_holds_everything_back_for_as_long_as_advised() -> None:
    world = World().live()
    refusal = schema.Err(code="rate.limited", message="", retryable=True, after=3.0)
    world.server.refusals.append(refusal)
    world.send("patience")
    world.upload()
    world.download()
    world.send("another", Id(b"E" * 16))
    world.wait(2.9)
    assert world.core.data_to_send() == []
    assert world.core.next_deadline() == pytest.approx(3.0)
    world.wait(0.1)
    world.upload()
    assert world.server.texts() == ["patience", "another"]


@pytest.mark.parametrize("code", ["auth.failed", "auth.revoked", "auth.expired"])
def test_a_refusal_to_let_in_ends_the_session(code: str) -> None:
    world = World()
    world.connect()
    world.send("never")
    assert world.line is not None
    world.line.send(schema.Err(code=code, message=""))
    world.download()
    assert world.core.state is State.ENDED
    assert len(world.of(Failed)) == 1
    (ended,) = world.of(Ended)
    assert isinstance(ended, Ended)
    assert ended.error.code == code
    with pytest.raises(Closed):
        world.send("too late")


@pytest.mark.parametrize(
    ("frame", "outcome"),
    [
        (schema.Bye(reason="server.draining", after=2.0), Hangup(2.0)),
        (schema.Bye(reason="auth.revoked"), Ended),
        (schema.Err(code="auth.expired", message=""), Ended),
        (schema.Err(code="server.overloaded", message="", retryable=True, after=1.0), None),
        (schema.Pong(), None),
    ],
)
def test_a_frame_about_the_session_itself(frame: schema.Frame, outcome: object) -> None:
    world = World().live()
    assert world.line is not None
    world.line.send(frame)
    before = len(world.notices)
    world.download()
    found = world.notices[before:]
    if outcome is None:
        assert found == []
    elif isinstance(outcome, type):
        assert isinstance(found[-1], outcome)
    else:
        assert found == [outcome]


@pytest.mark.parametrize(
    "payload", [b"", b"\xc1", b"\x81", MSGPACK.encode(schema.Pong()), b"\x91\x81\xa1t\xa3new"]
)
def test_a_payload_that_cannot_be_read_is_hung_up_on_or_passed_over(payload: bytes) -> None:
    world = World().live()
    outcome = world.core.receive(payload, 0.0)
    is_array = payload[:1] == b"\x91"
    assert outcome == ([] if is_array else [Hangup()])
    assert world.core.state is State.LIVE


@given(st.binary(max_size=200))
def test_no_payload_raises(payload: bytes) -> None:
    World().live().core.receive(payload, 0.0)


def test_a_silent_server_is_pinged_then_given_up() -> None:
    world = World().live()
    world.wait(world.server.keepalive)
    pings = [frame for data in world.core.data_to_send() for frame in MSGPACK.client.decode(data)]
    assert [type(frame) for frame in pings] == [schema.Ping]
    assert world.core.next_deadline() == world.now + PONG_SECONDS
    world.wait(PONG_SECONDS)
    assert world.of(Hangup)


@pytest.mark.parametrize("is_numbered", [True, False])
def test_a_server_that_owes_an_answer_is_pinged_soon(*, is_numbered: bool) -> None:
    world = World().live()
    world.now = 20.0
    if is_numbered:
        world.send("x")
    else:
        world.core.request(lambda key: schema.List(id=key, what="people"), world.now)
    world.core.data_to_send()
    assert world.core.next_deadline() == world.now + ANSWER_SECONDS
    world.wait(ANSWER_SECONDS - 0.1)
    assert world.core.data_to_send() == []
    world.wait(0.1)
    (payload,) = world.core.data_to_send()
    assert [type(frame) for frame in MSGPACK.client.decode(payload)] == [schema.Ping]


def test_a_server_that_owes_nothing_is_left_in_peace() -> None:
    world = World().live()
    world.send("x")
    world.settle()
    world.wait(GOT_SECONDS)
    world.settle()
    assert world.core.next_deadline() > world.now + ANSWER_SECONDS


def test_a_server_that_never_welcomes_is_given_up() -> None:
    world = World()
    world.connect()
    world.core.data_to_send()
    world.wait(GREETING_SECONDS)
    assert world.of(Hangup)
    assert world.core.state is State.OFFLINE


def test_a_token_that_came_with_an_invitation_is_used_from_then_on() -> None:
    world = World()
    world.server.invites["abc"] = "carol"
    world.core = Core(Auth(method="invite", code="abc"))
    world.live()
    world.cut()
    world.live()
    assert [notice.welcome.login for notice in world.of(Welcomed)] == ["carol", "carol"]  # type: ignore[union-attr]


def test_long_output_is_cut_into_payloads() -> None:
    world = World(window=64).live()
    for _ in range(10):
        world.send("x" * 8_000)
    payloads = world.core.data_to_send()
    assert len(payloads) > 1
    assert max(map(len, payloads)) < 40_000


def test_a_forgotten_message_that_has_not_left_never_leaves() -> None:
    world = World()
    entry = world.send("no")
    world.send("yes")
    world.core.forget(entry.id)
    world.settle()
    assert world.server.texts() == ["yes"]


def test_closing_fails_what_waits() -> None:
    world = World().live()
    entry = world.send("x")
    (failed,) = world.core.close()
    assert isinstance(failed, Failed)
    assert failed.id == entry.id
    assert isinstance(failed.error, Closed)
    assert world.core.data_to_send() == []
