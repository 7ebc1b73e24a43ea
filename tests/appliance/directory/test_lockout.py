"""Lockout against a naive model that remembers every attempt for ever."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.directory.limits import (
    ADDRESS_WINDOW_SECONDS,
    FAILURES_PER_ADDRESS,
    FAILURES_PER_PAIR,
    LOCK_SECONDS,
    PAIR_WINDOW_SECONDS,
)
from appliance.directory.lockout import Attempt, Lockout, address_key
from transports.wire.errors import Refusal

HOME = "192.0.2.1"
AWAY = "192.0.2.2"


class Model:
    """The rules, told slowly: lists of failures, and when each key was locked until."""

    def __init__(self) -> None:
        self.failures: dict[object, list[float]] = {}
        self.locked: dict[object, float] = {}

    def rules(self, pair: tuple[str, str]) -> list[tuple[object, int, float]]:
        return [
            (pair, FAILURES_PER_PAIR, PAIR_WINDOW_SECONDS),
            (pair[1], FAILURES_PER_ADDRESS, ADDRESS_WINDOW_SECONDS),
        ]

    def begin(self, pair: tuple[str, str], now: float) -> bool:
        if any(self.locked.get(key, 0) > now for key, _, _ in self.rules(pair)):
            return False
        for key, limit, window in self.rules(pair):
            if key in self.locked:
                del self.locked[key]
                self.failures[key] = []
            recent = [at for at in self.failures.get(key, []) if at > now - window]
            self.failures[key] = [*recent, now]
            if len(self.failures[key]) >= limit:
                self.locked[key] = now + LOCK_SECONDS
        return True

    def succeeded(self, pair: tuple[str, str], at: float, now: float) -> None:
        self.failures.pop(pair, None)
        self.locked.pop(pair, None)
        address = pair[1]
        if address in self.locked and self.locked[address] <= now:
            return
        if at in self.failures.get(address, []):
            self.failures[address].remove(at)
            self.locked.pop(address, None)


def attempt(lockout: Lockout, account: str, address: str, now: float) -> Attempt | None:
    try:
        return lockout.begin(account, address, now)
    except Refusal as refusal:
        found = refusal
    assert found.code == "auth.locked"
    assert 0 < found.after <= LOCK_SECONDS
    return None


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["alice", "bob", "nobody"]),
        st.sampled_from([HOME, AWAY]),
        st.sampled_from([0.0, 1.0, 20.0, 400.0, 899.0, 900.0, 90_000.0]),
        st.sampled_from(["fail", "fail", "fail", "fail", "succeed", "late"]),
    ),
    max_size=90,
)


@given(STEPS)
def test_it_does_what_the_naive_model_does(steps: list[tuple[str, str, float, str]]) -> None:
    lockout, model, now = Lockout(), Model(), 0.0
    waiting: list[tuple[Attempt, tuple[str, str], float]] = []
    for account, address, pause, end in steps:
        now += pause
        pair = (account, address)
        begun = attempt(lockout, account, address, now)
        assert (begun is not None) is model.begin(pair, now)
        if begun is not None and end != "fail":
            waiting.append((begun, pair, now))
        if end == "succeed":
            for each, of_pair, at in waiting:
                lockout.succeeded(each, now)
                model.succeeded(of_pair, at, now)
            waiting.clear()


def test_the_sixth_attempt_is_refused_for_a_quarter_of_an_hour() -> None:
    lockout = Lockout()
    for second in range(5):
        assert attempt(lockout, "alice", HOME, float(second))
    with pytest.raises(Refusal) as caught:
        lockout.begin("ALICE", HOME, 5.0)
    assert caught.value.after == 4.0 + LOCK_SECONDS - 5.0
    assert attempt(lockout, "alice", AWAY, 5.0)
    assert attempt(lockout, "bob", HOME, 5.0)
    assert attempt(lockout, "alice", HOME, 4.0 + LOCK_SECONDS)


def test_attempts_at_the_same_time_do_not_slip_past() -> None:
    lockout = Lockout()
    begun = [attempt(lockout, "alice", HOME, 1.0) for _ in range(100)]
    assert sum(each is not None for each in begun) == FAILURES_PER_PAIR


def test_a_success_opens_the_pair_again() -> None:
    lockout = Lockout()
    begun = [attempt(lockout, "alice", HOME, 1.0) for _ in range(5)]
    assert begun[4] is not None
    assert attempt(lockout, "alice", HOME, 1.0) is None
    lockout.succeeded(begun[4], 1.5)
    assert all(attempt(lockout, "alice", HOME, 2.0) for _ in range(5))


def test_an_address_that_guesses_widely_is_locked_whatever_succeeds() -> None:
    lockout = Lockout()
    for number in range(49):
        assert attempt(lockout, f"user{number}", HOME, 1.0)
        own = attempt(lockout, "mallory", HOME, 1.0)
        assert own is not None
        lockout.succeeded(own, 1.0)
    assert attempt(lockout, "user49", HOME, 1.0)
    assert attempt(lockout, "mallory", HOME, 1.0) is None
    assert attempt(lockout, "mallory", AWAY, 1.0)


def test_failures_of_a_busy_address_count_for_a_quarter_of_an_hour_only() -> None:
    lockout = Lockout()
    spread = [number * 20.0 for number in range(200)]
    assert all(attempt(lockout, f"user{at}", HOME, at) for at in spread)


def test_a_failure_stops_counting_when_its_quarter_of_an_hour_is_over() -> None:
    for pause, still in ((ADDRESS_WINDOW_SECONDS - 0.5, False), (ADDRESS_WINDOW_SECONDS, True)):
        lockout = Lockout()
        for number in range(FAILURES_PER_ADDRESS - 1):
            attempt(lockout, f"user{number}", HOME, 0.0)
        assert attempt(lockout, "user49", HOME, pause)
        assert (attempt(lockout, "user50", HOME, pause) is not None) is still


def test_unlocking_an_account_lets_it_try_again_from_everywhere() -> None:
    lockout = Lockout()
    for _ in range(5):
        attempt(lockout, "alice", HOME, 1.0)
        attempt(lockout, "bob", HOME, 1.0)
    attempt(lockout, "alice", AWAY, 1.0)
    assert lockout.unlock("Alice") == 1
    assert lockout.unlock("alice") == 0
    assert all(attempt(lockout, "alice", AWAY, 2.0) for _ in range(5))
    assert attempt(lockout, "alice", HOME, 2.0)
    assert attempt(lockout, "bob", HOME, 2.0) is None


def test_memory_is_bounded_and_locks_are_the_last_to_go() -> None:
    lockout = Lockout(capacity=10)
    for _ in range(5):
        attempt(lockout, "alice", HOME, 1.0)
    for number in range(100):
        attempt(lockout, "bob", f"198.51.100.{number}", 2.0)
    assert attempt(lockout, "alice", HOME, 3.0) is None
    assert lockout.forgotten == 2 * 100 - 2 * 10 + 2
    for number in range(10):
        for _ in range(5):
            attempt(lockout, "bob", f"203.0.113.{number}", 3.0)
    assert attempt(lockout, "alice", HOME, 4.0) is not None


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("no address", "no address", True),
        ("no address", "another", False),
        ("", "192.0.2.1", False),
    ],
)
def test_an_address_is_one_subscriber(one: str, other: str, same: bool) -> None:
    assert (address_key(one) == address_key(other)) is same


@given(st.text(max_size=300))
def test_any_text_may_come_as_account_or_address(text: str) -> None:
    assert len(address_key(text)) <= 64
    assert attempt(Lockout(), text, text, 0.0)
