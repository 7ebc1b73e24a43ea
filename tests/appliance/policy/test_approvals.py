"""Two people for one act: every event in every state, the guards, and what the second signs."""

from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from typing import Any

import msgspec
import pytest

from appliance.directory.roles import SECURITY_OFFICER
from appliance.policy.approvals import (
    ACTS,
    ENDS,
    TRANSITIONS,
    Approval,
    Event,
    State,
    digest,
)
from transports.wire.errors import Refusal

ALICE, BOB = b"a" * 16, b"b" * 16
ALICE_KEY, BOB_KEY = b"A" * 32, b"B" * 32
SET, OTHER_SET = b"s" * 32, b"o" * 32
MADE, COOLING, EXPIRES = 1_000, 500, 9_000
AGREED = 2_000

OPEN = Approval(ALICE, ALICE_KEY, SET, 10, COOLING, EXPIRES)
APPROVED = OPEN.approve(BOB, BOB_KEY, AGREED)

HAPPEN: dict[Event, Callable[[Approval], Approval]] = {
    Event.APPROVE: lambda request: request.approve(BOB, BOB_KEY, AGREED),
    Event.REJECT: lambda request: request.reject(),
    Event.EXPIRE: lambda request: request.expire(EXPIRES),
    Event.RUN: lambda request: request.run(AGREED + COOLING, SET, 10),
    Event.FINISH: lambda request: request.finish(),
    Event.GROW: lambda request: request.grow(),
}

# Written out on purpose: what each event leads to in each state, or how it is refused.
TABLE: dict[State, list[State | str]] = {
    #                approve            reject            expire
    State.OPEN: [
        *(State.APPROVED, State.REJECTED, State.EXPIRED),
        *("approval.unapproved", "approval.state", "approval.state"),
    ],
    State.APPROVED: [
        *("approval.state", State.REJECTED, "approval.state"),
        *(State.RUNNING, "approval.state", State.OUTGROWN),
    ],
    State.RUNNING: [
        *("approval.state", "approval.state", "approval.state"),
        *(State.RUNNING, State.DONE, State.OUTGROWN),
    ],
    State.DONE: ["approval.state"] * 6,
    State.REJECTED: ["approval.state"] * 6,
    State.EXPIRED: ["approval.state"] * 6,
    State.OUTGROWN: ["approval.state"] * 6,
}
CELLS = [
    (state, event, leads)
    for state, row in TABLE.items()
    for event, leads in zip(Event, row, strict=True)
]


def refused(act: Callable[[], object]) -> Refusal:
    with pytest.raises(Refusal) as caught:
        act()
    return caught.value


def test_the_table_is_complete() -> None:
    assert len(CELLS) == len(State) * len(Event)


@pytest.mark.parametrize(("state", "event", "leads"), CELLS)
def test_every_event_in_every_state(state: State, event: Event, leads: State | str) -> None:
    request = replace(APPROVED, state=state)
    if isinstance(leads, State):
        assert HAPPEN[event](request).state is leads
    else:
        assert refused(lambda: HAPPEN[event](request)).code == leads


def test_nothing_leads_out_of_an_end() -> None:
    assert {state for state, _ in TRANSITIONS} & ENDS == set()
    for state in State:
        assert replace(OPEN, state=state).is_over is (state in ENDS)


def test_who_asked_cannot_approve_with_another_key() -> None:
    refusal = refused(lambda: OPEN.approve(ALICE, BOB_KEY, AGREED))
    assert refusal.code == "approval.same_person"


def test_the_key_that_asked_cannot_approve_for_another_person() -> None:
    assert refused(lambda: OPEN.approve(BOB, ALICE_KEY, AGREED)).code == "approval.same_key"


def test_an_approval_in_time_is_the_last_millisecond_before_expiry() -> None:
    agreed = OPEN.approve(BOB, BOB_KEY, EXPIRES - 1)
    assert (agreed.state, agreed.approver, agreed.approver_key) == (State.APPROVED, BOB, BOB_KEY)
    assert refused(lambda: OPEN.approve(BOB, BOB_KEY, EXPIRES)).code == "approval.expired"
    assert refused(lambda: OPEN.expire(EXPIRES - 1)).code == "approval.state"
    assert OPEN.expire(EXPIRES).state is State.EXPIRED


def test_what_was_approved_does_not_expire() -> None:
    assert APPROVED.run(EXPIRES + 1, SET, 10).state is State.RUNNING


def test_the_cooling_off_counts_from_the_approval() -> None:
    assert OPEN.ready_ms is None
    assert APPROVED.ready_ms == AGREED + COOLING
    refusal = refused(lambda: APPROVED.run(AGREED + COOLING - 250, SET, 10))
    assert (refusal.code, refusal.after, refusal.retryable) == ("approval.cooling", 0.25, True)
    assert APPROVED.run(AGREED + COOLING, SET, 10).state is State.RUNNING


@pytest.mark.parametrize("state", [State.APPROVED, State.RUNNING])
@pytest.mark.parametrize(
    ("dry_run", "records", "is_within", "leads"),
    [
        (SET, 10, False, State.RUNNING),
        (OTHER_SET, 9, True, State.RUNNING),
        (OTHER_SET, 10, True, State.RUNNING),
        (OTHER_SET, 9, False, State.OUTGROWN),
        (OTHER_SET, 10, False, State.OUTGROWN),
        (OTHER_SET, 11, True, State.OUTGROWN),
        (OTHER_SET, 11, False, State.OUTGROWN),
        (b"", 0, False, State.OUTGROWN),
    ],
)
def test_a_set_may_shrink_but_not_grow(
    state: State, dry_run: bytes, records: int, is_within: bool, leads: State
) -> None:
    request = replace(APPROVED, state=state)
    assert request.run(EXPIRES, dry_run, records, is_within=is_within).state is leads


def test_an_act_without_a_dry_run_needs_none() -> None:
    plain = Approval(ALICE, ALICE_KEY, b"", 0, 0, EXPIRES).approve(BOB, BOB_KEY, AGREED)
    assert plain.run(AGREED).state is State.RUNNING


def test_no_person_shows_in_a_log() -> None:
    assert repr(ALICE)[2:-1] not in repr(APPROVED)
    assert repr(BOB_KEY)[2:-1] not in repr(APPROVED)


# --- acts -----------------------------------------------------------------------------------------


def test_what_destroys_has_a_dry_run_and_a_cooling_off() -> None:
    weighty = {name for name, act in ACTS.items() if act.has_dry_run and act.has_cooling}
    assert weighty == {"policy.set", "hold.release", "destroy", "erase", "decommission"}
    plain = {name for name, act in ACTS.items() if not act.has_dry_run and not act.has_cooling}
    assert plain == {"review", "clock.resume", "replica.retire"}
    assert set(ACTS) == weighty | plain
    assert all(act.roles == (SECURITY_OFFICER,) for act in ACTS.values())


# --- the digest -----------------------------------------------------------------------------------

NODE = b"n" * 16
FIELDS: dict[str, Any] = {
    "act": "destroy",
    "arguments": "{}",
    "dry_run": SET,
    "records": 10,
    "cooling_ms": COOLING,
    "expires_ms": EXPIRES,
    "request": 4,
    "node": NODE,
}
CHANGES: dict[str, Any] = {
    "act": "erase",
    "arguments": '{"a":1}',
    "dry_run": OTHER_SET,
    "records": 11,
    "cooling_ms": 0,
    "expires_ms": EXPIRES + 1,
    "request": 5,
    "node": b"m" * 16,
}


def test_the_digest_is_over_these_bytes() -> None:
    fields = ["strongroom/approval/1", NODE, 4, "destroy", "{}", SET, 10, COOLING, EXPIRES]
    assert digest(**FIELDS) == sha256(msgspec.msgpack.encode(fields)).digest()


@pytest.mark.parametrize("field", FIELDS)
def test_the_digest_is_of_each_field(field: str) -> None:
    assert digest(**{**FIELDS, field: CHANGES[field]}) != digest(**FIELDS)
