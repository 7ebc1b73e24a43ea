"""What operators may know of policy, clock, runs and ledger, on a site that destroys."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple, cast

import pytest
import trio

from appliance.administration import disposal
from appliance.administration.contract import Host
from appliance.disposal.commands import (
    ApproveRequest,
    PlaceHold,
    RequestDestruction,
    RunDestruction,
    Selection,
    SetPolicy,
    SignRequest,
)
from appliance.disposal.runs import Progress
from appliance.disposal.service import Disposal
from appliance.policy.presets import PRESETS
from appliance.policy.text import read_policy
from appliance.site import Site
from store import verifier
from tests.appliance.disposal.harness import DAY_MS, Hospital
from transports.wire.errors import Refusal

POLICY = """
clock = "system"
cooling_off = "0"

[[rule]]
name = "chat"
min = "0"
max = "30d"
"""
LONGER = POLICY.replace("30d", "60d")
BOB = Selection(persons=("bob",))


class HospitalHost(NamedTuple):
    """A hospital as administration sees an appliance."""

    site: Site
    disposal: Disposal


@pytest.fixture
def hospital() -> Hospital:
    return Hospital("alice", "bob", policy=POLICY)


def ask(house: Hospital, name: str, **arguments: Any) -> dict[str, Any]:
    operation = disposal.OPERATIONS[name]
    host = cast("Host", HospitalHost(house.site, house.service))
    return trio.run(operation.function, host, operation.arguments(**arguments))


def refused(house: Hospital, name: str, **arguments: Any) -> str:
    with pytest.raises(Refusal) as caught:
        ask(house, name, **arguments)
    return caught.value.code


def ordered(house: Hospital, *texts: str) -> int:
    """Let bob write, and two officers order that it be destroyed; return the request."""
    conversation = house.direct("bob", "alice")
    for text in texts:
        house.send("bob", conversation, text)
    house.pass_days(1)
    made = house.officer("dave", RequestDestruction(BOB, "asked for"))
    house.officer("dave", SignRequest(made.request, made.digest))
    house.officer("erin", ApproveRequest(made.request, made.digest))
    return int(made.request)


# --- policy -----------------------------------------------------------------------------------


def test_every_preset_is_listed_with_what_it_rests_on(hospital: Hospital) -> None:
    answer = ask(hospital, "policy.list")
    assert [each["preset"] for each in answer["presets"]] == list(PRESETS)
    assert "confirmed by counsel" in answer["notice"]
    rules = [rule for preset in answer["presets"] for rule in preset["rules"]]
    assert all(rule["basis"] for rule in rules)
    (audit,) = (rule for rule in answer["presets"][1]["rules"] if rule["class"] == "audit")
    assert (audit["min"], audit["max"]) == ("6y", "10y")


def test_the_policy_in_force_reads_back_as_it_is(hospital: Hospital) -> None:
    shown = ask(hospital, "policy.show")
    known = hospital.core.disposal.policies
    assert read_policy(shown["text"], known.class_numbers()) == known.current
    assert (shown["version"], shown["in_force"], shown["notice"]) == (1, True, "")
    assert len(shown["hash"]) == 64


def test_an_earlier_version_stays_to_be_seen(hospital: Hospital) -> None:
    first = ask(hospital, "policy.show")
    hospital.officer("dave", SetPolicy(LONGER, 1, "longer"))
    assert ask(hospital, "policy.show")["version"] == 2
    assert ask(hospital, "policy.show", version=2)["in_force"]
    earlier = ask(hospital, "policy.show", version=1)
    assert earlier == first | {"in_force": False}


def test_a_site_without_a_policy_says_so() -> None:
    shown = ask(Hospital("alice"), "policy.show")
    assert (shown["version"], shown["in_force"]) == (0, True)


def test_a_preset_is_shown_with_its_caution(hospital: Hospital) -> None:
    shown = ask(hospital, "policy.show", preset="clinic")
    assert read_policy(shown["text"]) == PRESETS["clinic"]
    assert shown["notice"]
    assert shown["in_force"] is False


@pytest.mark.parametrize("which", [{"version": 9}, {"preset": "none"}])
def test_what_there_is_not_is_refused(hospital: Hospital, which: dict[str, Any]) -> None:
    assert refused(hospital, "policy.show", **which) == "policy.unknown"


def test_a_plan_counts_what_would_end_and_changes_nothing(hospital: Hospital) -> None:
    conversation = hospital.direct("alice", "bob")
    hospital.send("alice", conversation, "old")
    hospital.pass_days(40)
    hospital.send("alice", conversation, "new")
    before = hospital.core.log.head
    found = ask(hospital, "policy.plan")
    (row,) = found["rows"]
    assert (row["retention_class"], row["outcome"], row["records"]) == ("standard", "destroy", 1)
    assert [each["records"] for each in found["oldest"]] == [2]
    assert found["proven_at"] >= hospital.clock.wall_ms() - DAY_MS
    assert found["suspended"] is False
    assert hospital.core.log.head == before


def test_a_plan_for_another_policy_tells_what_that_one_would_do(hospital: Hospital) -> None:
    hospital.send("alice", hospital.direct("alice", "bob"), "old")
    hospital.pass_days(40)
    assert ask(hospital, "policy.plan", text=LONGER)["rows"] == []
    assert len(ask(hospital, "policy.plan")["rows"]) == 1
    assert refused(hospital, "policy.plan", text="[[rule]]\n") == "policy.invalid"


# --- runs -------------------------------------------------------------------------------------


def test_a_run_is_waited_for_by_its_request(hospital: Hospital) -> None:
    request = ordered(hospital, "one", "two")
    waiting = ask(hospital, "run.status", request=request)
    assert (waiting["run"], waiting["state"], waiting["expected"]) == (0, "WAITING", 2)
    assert (waiting["over"], waiting["confirmed_at"]) == (False, 0)
    hospital.officer("dave", RunDestruction(request))
    hospital.serve()
    done = ask(hospital, "run.status", request=request)
    assert (done["run"], done["request"], done["records"], done["over"]) == (1, request, 2, True)
    assert (done["state"], done["cause"], done["held_back"]) == ("COMPLETE", "order", 0)
    assert done["confirmed_at"] >= done["started_at"] > 0
    assert ask(hospital, "run.status", run=1) == done


def test_a_run_that_a_hold_stopped_is_over_with_what_it_held_back(hospital: Hospital) -> None:
    request = ordered(hospital, "one", "two")
    hospital.officer("dave", PlaceHold("Case 17", BOB, "letter"))
    hospital.officer("dave", RunDestruction(request))
    hospital.serve()
    status = ask(hospital, "run.status", request=request)
    assert (status["run"], status["over"], status["held_back"]) == (0, True, 2)


@pytest.mark.parametrize(("done", "is_over", "expected"), [(3, False, False), (5, True, False)])
def test_a_run_is_not_over_before_it_is_confirmed(
    hospital: Hospital, done: int, is_over: bool, expected: bool
) -> None:
    request = ordered(hospital, "one")
    hospital.officer("dave", RunDestruction(request))
    hospital.serve()
    run = hospital.core.disposal.runs[1]
    hospital.core.disposal.runs = {1: replace(run, confirmed=None)}
    progress = Progress("order", request, 5, done=done, run=1, is_over=is_over)
    hospital.service.progress.append(progress)
    status = ask(hospital, "run.status", request=request)
    assert (status["over"], status["records"], status["expected"]) == (expected, done, 5)
    assert status["state"] == "RUNNING"


def test_a_run_that_there_is_not_is_refused(hospital: Hospital) -> None:
    assert refused(hospital, "run.status", run=9) == "run.unknown"
    assert refused(hospital, "run.status", request=9) == "run.unknown"
    assert refused(hospital, "run.status") == "run.unknown"


# --- clock, key, ledger -----------------------------------------------------------------------


def jump(house: Hospital) -> None:
    house.clock.set_wall_ms(house.clock.wall_ms() + DAY_MS)


@pytest.mark.parametrize(
    ("change", "state"), [(lambda _house: None, "running"), (jump, "suspended")]
)
def test_the_clock_says_whether_it_is_believed(
    hospital: Hospital, change: Callable[[Hospital], None], state: str
) -> None:
    change(hospital)
    hospital.anchor()
    told = ask(hospital, "clock.status")
    assert (told["source"], told["state"]) == ("system", state)
    assert told["wall_at"] == hospital.clock.wall_ms()
    assert (told["ahead_seconds"] > 80_000) is (state == "suspended")


def test_the_key_is_what_a_verifier_reads(hospital: Hospital) -> None:
    told = ask(hospital, "audit.key")
    assert verifier.read_key(told["key"]).hex() == told["public_key"]
    assert told["node"] == hospital.core.log.node.hex()


def test_the_ledger_tells_its_size_and_root(hospital: Hospital) -> None:
    told = ask(hospital, "audit.ledger")
    ledger = hospital.core.log.ledger
    assert (told["size"], told["root"]) == (ledger.size, ledger.root().hex())
    hospital.officer("dave", PlaceHold("Case 17", BOB, "letter"))
    assert ask(hospital, "audit.ledger")["size"] == told["size"] + 1


def test_no_name_and_no_word_of_anybody_is_told(hospital: Hospital) -> None:
    ordered(hospital, "secret words")
    answers = [
        ask(hospital, name)
        for name in ("policy.list", "policy.show", "policy.plan", "clock.status", "audit.ledger")
    ]
    answers.append(ask(hospital, "run.status", request=1))
    for word in ("secret", "asked for", "dave", "bob"):
        assert word not in str(answers)
