"""Requests of two officers on the command line: nobody signs what they were not shown."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from appliance.disposal.replies import Approved, RequestItem, Requests
from appliance.policy.approvals import digest
from cli import requests
from tests.cli.recorded import NODE, Recorded

AT_MS = 1_795_509_000_000
LATER_MS = 4_102_444_800_000
BOB = "0b" * 16
PREDICATE = json.dumps({"predicate": {"persons": [BOB]}}, separators=(",", ":"))
KEY = {"node": NODE.hex(), "public_key": "", "key": ""}


def item(number: int = 7, act: str = "destroy", **changes: Any) -> RequestItem:
    made = RequestItem(
        request=number,
        act=act,
        state="open",
        by="dave",
        approver="",
        reason="order of the court",
        arguments=PREDICATE,
        dry_run="dd" * 32,
        records=12,
        cooling_seconds=86_400,
        digest="",
        made_ms=AT_MS,
        approved_ms=0,
        ready_ms=0,
        expires_ms=AT_MS + 604_800_000,
        closed_ms=0,
    )
    made = msgspec.structs.replace(made, **changes)
    return made if made.digest else msgspec.structs.replace(made, digest=digest_of(made))


def digest_of(made: RequestItem) -> str:
    return digest(
        made.act,
        made.arguments,
        bytes.fromhex(made.dry_run),
        made.records,
        made.cooling_seconds * 1_000,
        made.expires_ms,
        made.request,
        NODE,
    ).hex()


def prepared(server: Recorded, *items: RequestItem) -> None:
    server.will_answer("request.list", Requests(items))
    server.will_answer("audit.key", KEY)
    server.will_answer("user.show", {"login": "bob"})
    server.will_answer("request.approve", Approved(7, done=False, ready_ms=LATER_MS))


def test_an_approval_shows_everything_and_signs_the_digest(server: Recorded) -> None:
    prepared(server, item())
    told = server.ok("destroy", "approve", "7", "--yes", "--as", "erin")
    for line in (
        "Request 7:   waits for a second officer",
        "asks to:     destroy records",
        "asked by:    dave, 2026-11-24 08:30:00 UTC",
        "reason:      order of the court",
        "records of:  person bob",
        "records:     12 when it was asked",
        "cooling-off: 1 day",
        f"digest:      {item().digest}",
        "expires:     2026-12-01 08:30:00 UTC",
        "Request 7 is approved; its cooling-off ends 2100-01-01 00:00:00 UTC.",
        "next: strongroom destroy run 7 --as OFFICER",
    ):
        assert line in told.splitlines()
    asked = server.signed()[-1]
    assert asked.arguments == {"request": 7, "digest": item().digest}
    assert (asked.command, asked.by) == ("request.approve", "erin")


@pytest.mark.parametrize(
    "change",
    [
        {"arguments": PREDICATE.replace(BOB, "0a" * 16)},
        {"records": 11},
        {"act": "erase"},
        {"cooling_seconds": 0},
        {"dry_run": "de" * 32},
        {"expires_ms": AT_MS},
        {"request": 8},
    ],
)
def test_what_was_shown_is_what_the_digest_says_or_nothing_is_signed(
    server: Recorded, change: dict[str, Any]
) -> None:
    shown = msgspec.structs.replace(item(), **change)
    prepared(server, shown)
    done = server.run("destroy", "approve", str(shown.request), "--yes", "--as", "erin")
    assert done.exit_code == 5
    assert "is not what its digest says" in done.stderr
    assert [each.command for each in server.signed()] == ["request.list"]


def test_without_a_terminal_nothing_is_approved_unless_told_so(server: Recorded) -> None:
    prepared(server, item())
    done = server.run("destroy", "approve", "7", "--as", "erin")
    assert done.exit_code == 2
    assert "say --yes" in done.stderr
    assert [each.command for each in server.signed()] == ["request.list"]


@pytest.mark.parametrize(("answer", "status"), [("y\n", 0), ("n\n", 130), ("\n", 130)])
def test_on_a_terminal_somebody_is_asked(
    server: Recorded, monkeypatch: pytest.MonkeyPatch, answer: str, status: int
) -> None:
    prepared(server, item())
    original = requests.confirm

    def on_a_terminal(question: str, *, yes: bool) -> None:
        monkeypatch.setattr("sys.stdin.isatty", lambda: True)
        original(question, yes=yes)

    monkeypatch.setattr(requests, "confirm", on_a_terminal)
    done = server.run("destroy", "approve", "7", "--as", "erin", stdin=answer)
    assert done.exit_code == status
    assert "Do you approve this?" in done.stderr
    is_signed = server.signed()[-1].command == "request.approve"
    assert is_signed is (status == 0)


def test_whoever_thinks_it_over_finds_the_server_again(server: Recorded) -> None:
    prepared(server, item())
    server.ok("destroy", "approve", "7", "--yes", "--as", "erin")
    assert server.connections == 2


def test_a_text_of_several_lines_is_shown_in_lines(server: Recorded) -> None:
    arguments = json.dumps({"base": 3, "text": "a = 1\nb = 2"})
    prepared(server, item(act="policy.set", arguments=arguments))
    lines = server.ok("request", "show", "7", "--as", "erin").splitlines()
    assert lines[lines.index("text:        a = 1") + 1] == "             b = 2"


def test_a_request_of_another_kind_is_not_approved_by_mistake(server: Recorded) -> None:
    prepared(server, item(act="review"))
    done = server.run("destroy", "approve", "7", "--yes", "--as", "erin")
    assert done.exit_code == 1
    assert "request 7 asks to read other people's messages" in done.stderr
    server.ok("request", "approve", "7", "--yes", "--as", "erin")


def test_requests_are_listed_by_what_they_ask_for(server: Recorded) -> None:
    prepared(server, item(7), item(8, "review"), item(9, "erase", state="ready", ready_ms=AT_MS))
    told = server.ok("destroy", "list", "--as", "frank")
    assert [line.split()[0] for line in told.splitlines()] == ["REQUEST", "7", "9"]
    assert "approved, may be carried out" in told
    listed = server.json("request", "list", "--closed", "--as", "frank")
    assert [each["request"] for each in listed["requests"]] == [7, 8, 9]
    assert [each.arguments for each in server.signed()] == [{"closed": False}, {"closed": True}]


def test_no_request_is_said(server: Recorded) -> None:
    prepared(server)
    assert server.ok("destroy", "list", "--as", "dave") == "No request is open.\n"
    missing = server.run("destroy", "show", "7", "--as", "dave")
    assert (missing.exit_code, "there is no request 7" in missing.stderr) == (1, True)


def test_a_closed_request_tells_how_it_ended(server: Recorded) -> None:
    ended = item(state="done", approver="erin", approved_ms=AT_MS, ready_ms=AT_MS, closed_ms=AT_MS)
    prepared(server, ended)
    told = server.ok("destroy", "show", "7", "--as", "dave")
    assert "approved by: erin, 2026-11-24 08:30:00 UTC" in told
    assert "closed:      2026-11-24 08:30:00 UTC" in told
    assert "expires" not in told
    assert server.json("destroy", "show", "7", "--as", "dave")["state"] == "done"


def test_nobodys_words_pass_for_ours(server: Recorded) -> None:
    prepared(server, item(reason="fine\nrecords:     0 when it was asked\x1b[1A"))
    lines = server.ok("destroy", "show", "7", "--as", "erin").splitlines()
    assert [line for line in lines if line.startswith("records:")] == [
        "records:     12 when it was asked"
    ]
    assert not any("\x1b" in line for line in lines)


@pytest.mark.parametrize(
    ("arguments", "rows"),
    [
        ('{"hold":3}', [("hold", "3")]),
        ('{"base":3,"text":"a = 1\\nb = 2"}', [("base", "3"), ("text", "a = 1\nb = 2")]),
        (PREDICATE, [("records of", f"person {BOB}")]),
        ('{"hours":2,"predicate":{"units":["x"]}}', [("hours", "2"), ("records of", "unit x")]),
        ("{}", []),
        ('{"predicate":{"units":["x"],"more":1}}', [("predicate", "{'units': ['x'], 'more': 1}")]),
        ('{"hold":3,"hold":4}', [("arguments", '{"hold":3,"hold":4}')]),
        ("nonsense", [("arguments", "nonsense")]),
        ("[1]", [("arguments", "[1]")]),
    ],
)
def test_arguments_are_shown_whatever_they_are(arguments: str, rows: list[tuple[str, str]]) -> None:
    assert requests._arguments(arguments, {}) == rows


def test_people_who_are_gone_are_shown_by_id(server: Recorded) -> None:
    prepared(server, item())
    server.will_refuse("user.show", "person.unknown")
    assert f"records of:  person {BOB}" in server.ok("destroy", "show", "7", "--as", "erin")


def test_a_request_is_rejected_with_a_reason(server: Recorded) -> None:
    prepared(server, item())
    server.will_answer("request.reject", Approved(7, done=False, ready_ms=0))
    arguments = ("destroy", "reject", "7", "--reason", "-", "--as", "erin")
    assert "nothing comes of it" in server.ok(*arguments, stdin="not bob\n")
    assert server.signed()[-1].arguments == {"request": 7, "reason": "not bob"}


@pytest.mark.parametrize(
    ("act", "following"),
    [("review", "\nnext: strongroom review open 7 --as OFFICER\n"), ("policy.set", "\n")],
)
def test_an_approval_says_what_comes_next(server: Recorded, act: str, following: str) -> None:
    prepared(server, item(act=act, dry_run=""))
    server.will_answer("request.approve", Approved(7, done=False, ready_ms=1))
    told = server.ok("request", "approve", "7", "--yes", "--as", "erin")
    assert told.endswith(f"Request 7 is approved.{following}")
    assert "when it was asked" not in told


def test_an_approval_may_be_all_it_takes(server: Recorded) -> None:
    prepared(server, item(act="hold.release", arguments='{"hold":3}'))
    server.will_answer("request.approve", Approved(7, done=True, ready_ms=0))
    told = server.ok("request", "approve", "7", "--yes", "--as", "erin")
    assert told.endswith("Request 7 is approved and carried out.\n")
