"""Reviews on the command line: asked for in hours, read in pages, nobody's words are ours."""

from __future__ import annotations

import json
from typing import Any

import pytest

from appliance.disposal.replies import Requested
from tests.cli.recorded import BOB, Recorded

AT_MS = 1_795_509_000_000
HEADER = json.dumps({"type": "header", "schema": "strongroom.export/1"})
BY = {"person": "0b" * 16, "login": "bob", "name": "Bob"}


def version(text: str) -> dict[str, Any]:
    return {"id": "ee" * 32, "kind": "message", "by": BY, "at": AT_MS, "content": {"text": text}}


def record(number: int, *texts: str, state: str = "present") -> str:
    return json.dumps(
        {
            "type": "record",
            "id": f"{number:064x}",
            "conversation": "c0" * 16,
            "at": AT_MS,
            "state": state,
            "versions": [version(text) for text in texts],
            "events": [],
        }
    )


def page(*lines: str, after: str = "") -> dict[str, Any]:
    return {"lines": list(lines), "after": after, "progress": 1, "records": len(lines)}


def test_a_review_is_asked_for_in_hours(server: Recorded) -> None:
    server.will_answer("review.request", Requested(8, "ab" * 32, 0, 0, 0, 0, AT_MS))
    options = ("--unit", "Ward 3", "--hours", "48", "--reason", "complaint 12", "--as", "dave")
    told = server.ok("review", "request", *options)
    assert "next: strongroom review approve 8 --as SECOND_OFFICER" in told
    assert "would end" not in told
    arguments = {"selection": {"units": ["Ward 3"]}, "hours": 48, "reason": "complaint 12"}
    assert server.signed()[0].arguments == arguments
    assert server.run("review", "request", *options, "--hours", "721").exit_code == 2


def test_what_is_signed_names_nobody_by_login(server: Recorded) -> None:
    server.will_answer("user.show", BOB)
    server.will_answer("review.request", Requested(8, "ab" * 32, 0, 0, 0, 0, AT_MS))
    people = ("--person", "bob", "--person", "id:" + "0c" * 16)
    server.ok("review", "request", *people, "--reason", "complaint 12", "--as", "dave")
    (asked,) = server.signed()
    assert asked.arguments["selection"] == {"persons": ["id:" + "0b" * 16, "id:" + "0c" * 16]}


def test_records_are_read_to_the_end_with_every_version(server: Recorded) -> None:
    destroyed = json.dumps({"type": "destroyed", "id": "dd" * 32, "at": AT_MS})
    server.will_answer(
        "evidence.page",
        page(HEADER, record(1, "one", "two\nlines"), after="cursor"),
        page(record(2, "gone", state="recalled"), destroyed),
    )
    told = server.ok("review", "open", "8", "--as", "dave")
    for line in (
        "2026-11-24 08:30:00 UTC  bob",
        "  version 1, 2026-11-24 08:30:00 UTC",
        "  | one",
        "  | two",
        "  | lines",
        "2026-11-24 08:30:00 UTC  bob, recalled by its author",
        f"2026-11-24 08:30:00 UTC  destroyed; nothing is left of it  {'dd' * 32}",
    ):
        assert line in told.splitlines()
    asked = [each.arguments for each in server.signed()]
    assert [(each["request"], each["after"]) for each in asked] == [(8, ""), (8, "cursor")]


def test_records_are_lines_of_json(server: Recorded) -> None:
    server.will_answer("evidence.page", page(HEADER, record(1, "one"), record(2, "two")))
    done = server.run("review", "open", "8", "--as", "dave", "--json")
    printed = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each["schema"] for each in printed] == ["strongroom.review.record/1"] * 2
    assert printed[1]["versions"][0]["content"] == {"text": "two"}


def test_a_limit_stops_and_says_how_to_go_on(server: Recorded) -> None:
    server.will_answer("evidence.page", page(HEADER, record(1, "one"), after="cursor"))
    done = server.run("review", "open", "8", "--limit", "1", "--as", "dave")
    assert "There may be more: --after cursor" in done.stderr
    assert [each.arguments["limit"] for each in server.signed()] == [1]
    server.will_answer("evidence.page", page())
    server.ok("review", "open", "8", "--after", "cursor", "--as", "dave")
    assert server.signed()[-1].arguments["after"] == "cursor"


def test_no_record_is_said(server: Recorded) -> None:
    server.will_answer("evidence.page", page(HEADER))
    assert server.ok("review", "open", "8", "--as", "dave") == "No record matches.\n"


@pytest.mark.parametrize("text", ["x\n2026-11-24 08:30:00 UTC  carol", "\x1b[2J", "a\rb"])
def test_nobodys_words_pass_for_ours(server: Recorded, text: str) -> None:
    server.will_answer("evidence.page", page(HEADER, record(1, text)))
    told = server.ok("review", "open", "8", "--as", "dave")
    assert sum(line.startswith("2026") for line in told.splitlines()) == 1
    assert "\x1b" not in told
    assert "\r" not in told


def test_a_review_that_is_over_is_told(server: Recorded) -> None:
    server.will_refuse("evidence.page", "review.over")
    done = server.run("review", "open", "8", "--as", "dave")
    assert (done.exit_code, "(review.over)" in done.stderr) == (6, True)
