"""Check the session protocol's table: every state with every frame, budgets and strangers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.gateway.limits import SIGNALS_PER_SECOND, STRANGER_ERRORS
from appliance.gateway.session import (
    RULES,
    Bucket,
    Check,
    End,
    Follow,
    Nothing,
    Query,
    Quiet,
    Reply,
    Run,
    Session,
    Signal,
    State,
)
from transports.wire import schema
from transports.wire.codec import Rejected
from transports.wire.schema import Body, ClientFrame, Id

PERSON = Id(b"p" * 16)
CONV = Id(b"c" * 16)
MSG = Id(b"m" * 32)

FRAMES: dict[type, ClientFrame] = {
    type(frame): frame
    for frame in (
        schema.Hello(1),
        schema.Auth("token", token="00"),
        schema.Resume(),
        schema.Send(1, 1, Body("text", "hi"), conv=CONV),
        schema.Edit(1, 1, MSG, Body("text", "hi")),
        schema.Recall(1, 1, MSG),
        schema.React(1, 1, MSG, "x"),
        schema.Read(CONV, "1"),
        schema.Confirm(1, MSG),
        schema.Typing(CONV),
        schema.Presence("busy"),
        schema.Open(1, "direct", (PERSON,)),
        schema.Conv(1, CONV, "leave"),
        schema.History(1, CONV),
        schema.List(1, "people"),
        schema.Got("1"),
        schema.Wiped(7),
        schema.Mode("background"),
        schema.Revoke(1, PERSON),
        schema.Duty(1, "duty:x", PERSON),
        schema.Password(1, "old", "new"),
        schema.Ping(3),
    )
}

EFFECTS: dict[type, type] = {
    schema.Hello: Nothing,
    schema.Auth: Check,
    schema.Resume: Follow,
    schema.Password: Check,
    schema.History: Query,
    schema.List: Query,
    schema.Typing: Signal,
    schema.Presence: Signal,
    schema.Mode: Quiet,
    schema.Ping: Reply,
}


def session_in(state: State) -> Session:
    """Return a session in a state, with a generous budget."""
    session = Session(1_000.0)
    session.state = state
    return session


def test_every_client_frame_has_a_rule() -> None:
    assert set(RULES) == set(ClientFrame.__args__) == set(FRAMES)


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("kind", FRAMES)
def test_each_state_takes_exactly_the_frames_of_the_table(state: State, kind: type) -> None:
    session = session_in(state)
    effect = session.receive(FRAMES[kind], 0.0)
    if state in RULES[kind].states:
        assert isinstance(effect, EFFECTS.get(kind, Run))
    else:
        assert isinstance(effect, Reply | End)
        assert isinstance(effect.frame, schema.Err)
        expected = "auth.required" if state in (State.NEW, State.GREETED) else "frame.unexpected"
        assert effect.frame.code == expected
        assert session.state is state


def test_a_session_goes_from_hello_to_following() -> None:
    session = Session(10.0)
    assert session.receive(FRAMES[schema.Hello], 0.0) == Nothing()
    assert isinstance(session.receive(FRAMES[schema.Auth], 0.0), Check)
    session.refused()
    assert isinstance(session.receive(FRAMES[schema.Auth], 0.0), Check)
    session.accepted()
    assert session.is_known
    assert isinstance(session.receive(FRAMES[schema.Resume], 0.0), Follow)
    assert session.state is State.FOLLOWING
    again = session.receive(FRAMES[schema.Resume], 0.0)
    assert isinstance(again, Reply)
    assert isinstance(again.frame, schema.Err)


def test_another_version_ends_the_session() -> None:
    effect = Session(10.0).receive(schema.Hello(2), 0.0)
    assert isinstance(effect, End)
    assert isinstance(effect.frame, schema.Err)
    assert effect.frame.code == "auth.version"


def test_errors_are_in_the_language_of_the_hello() -> None:
    session = Session(10.0)
    session.receive(schema.Hello(1, lang="zh-CN"), 0.0)
    assert session.error("auth.failed").message == "凭据无效。"


def test_a_stranger_gets_few_errors() -> None:
    session = Session(10.0)
    effects = [session.receive(FRAMES[schema.Send], 0.0) for _ in range(STRANGER_ERRORS)]
    assert [type(effect) for effect in effects] == [Reply] * (STRANGER_ERRORS - 1) + [End]


def test_credentials_can_be_wrong_a_few_times() -> None:
    session = session_in(State.CHECKING)
    answers = [session.refused() for _ in range(STRANGER_ERRORS)]
    assert answers == [True] * (STRANGER_ERRORS - 1) + [False]


def test_a_known_peer_keeps_its_connection_whatever_it_sends() -> None:
    session = session_in(State.READY)
    for _ in range(10 * STRANGER_ERRORS):
        effect = session.receive(Rejected("frame.invalid", 7), 0.0)
        assert isinstance(effect, Reply)
        assert isinstance(effect.frame, schema.Err)
        assert effect.frame.re == 7


def test_commands_beyond_the_rate_are_told_when_to_come_back() -> None:
    session = Session(1.0)
    session.state = State.READY
    effects = [session.receive(FRAMES[schema.Send], 5.0) for _ in range(3)]
    assert [type(effect) for effect in effects] == [Run, Run, Reply]
    refusal = effects[-1]
    assert isinstance(refusal, Reply)
    assert isinstance(refusal.frame, schema.Err)
    assert (refusal.frame.code, refusal.frame.after) == ("rate.limited", 1.0)
    assert isinstance(session.receive(FRAMES[schema.Send], 6.0), Run)


def test_the_wait_told_is_never_nothing() -> None:
    session = Session(1_000.0)
    session.state = State.READY
    for step in range(2_500):
        effect = session.receive(FRAMES[schema.Send], step * 1e-6)
        if isinstance(effect, Reply):
            assert isinstance(effect.frame, schema.Err)
            assert effect.frame.after >= 0.001


def test_signals_beyond_their_rate_are_dropped_in_silence() -> None:
    session = session_in(State.FOLLOWING)
    burst = int(2 * SIGNALS_PER_SECOND)
    effects = [session.receive(FRAMES[schema.Typing], 0.0) for _ in range(burst + 1)]
    assert effects[-1] == Nothing()
    assert all(isinstance(effect, Signal) for effect in effects[:-1])


@given(st.lists(st.floats(0, 2), max_size=60), st.floats(0.5, 20), st.floats(1, 10))
def test_a_bucket_never_lets_through_more_than_burst_and_rate(
    pauses: list[float], rate: float, burst: float
) -> None:
    bucket, now, taken = Bucket(rate, burst), 0.0, 0
    for pause in pauses:
        now += pause
        wait = bucket.take(now)
        taken += not wait
        assert wait == 0 or 0 < wait <= 1 / rate + 1e-9
    assert taken <= burst + rate * now + 1e-6


@given(st.floats(0.5, 20), st.floats(1, 10))
def test_waiting_as_told_is_enough(rate: float, burst: float) -> None:
    bucket, now = Bucket(rate, burst), 0.0
    for _ in range(20):
        now += bucket.take(now) + 1e-9
    assert bucket.take(now + 1 / rate) == 0
