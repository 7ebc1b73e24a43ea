"""Holds on the command line: placed by one officer, released by two."""

from __future__ import annotations

import pytest

from appliance.disposal.commands import Selection
from appliance.disposal.replies import HoldChanged, HoldItem, Holds
from tests.cli.recorded import BOB, Recorded

AT_MS = 1_795_509_000_000
RELEASE = ("hold", "release", "3", "--reason", "over", "--as", "dave")


def item(number: int, *, active: bool = True, name: str = "Case 17") -> HoldItem:
    selection = Selection(persons=("bob",), from_ms=AT_MS)
    released_ms = 0 if active else AT_MS
    return HoldItem(number, name, active, "dave", "a letter", selection, AT_MS, released_ms)


def test_a_hold_is_signed_with_what_it_covers(server: Recorded) -> None:
    server.will_answer("user.show", BOB)
    server.will_answer("hold.place", HoldChanged(3, 0, active=True))
    options = ("--person", "bob", "--label", "x", "--until", "2026-11-24T08:30Z")
    told = server.ok("hold", "place", "Case 17", *options, "--reason", "a", "--as", "dave")
    assert told == "Hold 3 is in force.\n"
    (asked,) = server.signed()
    selection = {"persons": ["id:" + BOB["person"]], "labels": ["x"], "until_ms": AT_MS}
    assert asked.arguments == {"name": "Case 17", "selection": selection, "reason": "a"}
    assert (asked.command, asked.by) == ("hold.place", "dave")


def test_a_hold_that_names_nothing_is_refused(server: Recorded) -> None:
    assert server.run("hold", "place", "all", "--reason", "a", "--as", "dave").exit_code == 2
    assert server.asked == []


def test_holds_are_listed_in_words(server: Recorded) -> None:
    server.will_answer("hold.list", Holds((item(3), item(4, active=False))))
    told = server.ok("hold", "list", "--released", "--as", "frank")
    assert "person bob, from 2026-11-24 08:30:00 UTC" in told
    assert [line.split()[0] for line in told.splitlines()] == ["HOLD", "3", "4"]
    assert "in force" in told
    assert "released" in told
    assert server.signed()[0].arguments == {"released": True}
    assert len(server.json("hold", "list", "--as", "frank")["holds"]) == 2


@pytest.mark.parametrize(
    ("released", "said"), [((), "No hold is in force.\n"), (("--released",), "No hold.\n")]
)
def test_no_hold_is_said(server: Recorded, released: tuple[str, ...], said: str) -> None:
    server.will_answer("hold.list", Holds(()))
    assert server.ok("hold", "list", *released, "--as", "dave") == said


def test_one_hold_is_shown_also_when_it_is_released(server: Recorded) -> None:
    server.will_answer("hold.list", Holds((item(3), item(4, active=False))))
    told = server.ok("hold", "show", "4", "--as", "dave")
    assert "Hold 4: Case 17" in told
    assert "released  2026-11-24 08:30:00 UTC" in told
    missing = server.run("hold", "show", "5", "--as", "dave")
    assert missing.exit_code == 1
    assert "there is no hold 5 (hold.unknown)" in missing.stderr


def test_nobodys_words_pass_for_ours(server: Recorded) -> None:
    server.will_answer("hold.list", Holds((item(3, name="x\n  state     released\x1b[2J"),)))
    told = server.ok("hold", "show", "3", "--as", "dave")
    assert [line for line in told.splitlines() if line.startswith("  state")] == [
        "  state     in force"
    ]
    assert "\x1b" not in told


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (HoldChanged(3, 7, active=True), "until a second officer releases it too"),
        (HoldChanged(3, 7, active=True, ready_ms=AT_MS), "it ends 2026-11-24 08:30:00 UTC"),
        (HoldChanged(3, 7, active=False), "Hold 3 is released"),
    ],
)
def test_a_release_says_how_far_it_is(server: Recorded, answer: HoldChanged, said: str) -> None:
    server.will_answer("hold.release", answer)
    assert said in server.ok(*RELEASE)


def test_a_refusal_keeps_its_code_and_status(server: Recorded) -> None:
    server.will_refuse("hold.release", "approval.same_person")
    done = server.run(*RELEASE)
    assert done.exit_code == 6
    assert "(approval.same_person)" in done.stderr
