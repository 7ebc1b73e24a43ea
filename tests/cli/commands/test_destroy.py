"""Destruction on the command line: asked for, followed to its end, certified."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from appliance.disposal.replies import (
    Approved,
    Certificate,
    Requested,
    RequestItem,
    Requests,
    RunItem,
    Runs,
    RunStarted,
)
from cli import runs
from tests.cli.recorded import BOB, Asked, Recorded
from tests.cli.test_requests import KEY, item
from tests.store.test_verifier import CERTIFICATE

AT_MS = 1_795_509_000_000
STATUS: dict[str, Any] = {
    "run": 0,
    "cause": "order",
    "state": "WAITING",
    "request": 7,
    "expected": 12,
    "records": 0,
    "parts": 0,
    "held_back": 0,
    "devices_asked": 0,
    "devices_answered": 0,
    "started_at": AT_MS,
    "confirmed_at": 0,
    "over": False,
}
HALF = STATUS | {"run": 3, "state": "RUNNING", "records": 6, "parts": 9}
DONE = HALF | {
    "state": "COMPLETE",
    "records": 12,
    "parts": 30,
    "held_back": 2,
    "devices_asked": 4,
    "devices_answered": 1,
    "confirmed_at": AT_MS,
    "over": True,
}
RUN = ("destroy", "run", "7", "--as", "dave")


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "POLL_SECONDS", 0.0)


def will_take_a_request(server: Recorded, made: RequestItem) -> None:
    server.will_answer("user.show", BOB)
    asked = Requested(7, made.digest, 12, 2, 1, 86_400, made.expires_ms)
    server.will_answer("destroy.request", asked)
    server.will_answer("request.list", Requests((made,)))
    server.will_answer("audit.key", KEY)
    server.will_answer("request.sign", Approved(7, done=False, ready_ms=0))


def test_a_request_says_what_it_would_do_and_what_comes_next(server: Recorded) -> None:
    will_take_a_request(server, item(7))
    options = ("--person", "bob", "--erase", "--reason", "asked", "--as", "dave")
    lines = server.ok("destroy", "request", *options).splitlines()
    assert lines == [
        "Request 7 waits for a second officer.",
        "  would end now   12 records",
        "  kept by holds   2 records",
        "  kept by minima  1 record",
        "  cooling-off     1 day after the approval",
        "  expires         2026-12-01 08:30:00 UTC",
        f"  digest          {item(7).digest}",
        "next: strongroom destroy approve 7 --as SECOND_OFFICER",
    ]
    selection = {"persons": ["id:" + BOB["person"]]}
    arguments = {"selection": selection, "reason": "asked", "erase": True}
    asked, _, signed = server.signed()
    assert asked.arguments == arguments
    assert signed == Asked("request.sign", {"request": 7, "digest": item(7).digest}, "dave")


def test_nobody_signs_a_digest_of_something_else(server: Recorded) -> None:
    will_take_a_request(server, item(7, digest="ab" * 32))
    done = server.run("destroy", "request", "--person", "bob", "--reason", "x", "--as", "dave")
    assert done.exit_code == 5
    assert [each.command for each in server.signed()] == ["destroy.request", "request.list"]


def test_an_erasure_names_a_person(server: Recorded) -> None:
    options = ("--unit", "Ward 3", "--erase", "--reason", "x", "--as", "dave")
    done = server.run("destroy", "request", *options)
    assert done.exit_code == 2
    assert "--erase needs --person" in done.stderr


def test_a_run_is_followed_until_it_is_confirmed(server: Recorded) -> None:
    server.will_answer("destroy.run", RunStarted(7, outgrown=False))
    server.will_answer("run.status", STATUS, HALF, DONE)
    lines = server.ok(*RUN).splitlines()
    assert lines[0] == "Run 3, order of two officers: destroyed everywhere."
    assert lines[1:3] == ["  keys destroyed  30 sealed parts", "  held back       2 records"]
    assert "  devices         1 of 4 have dropped their copies" in lines
    assert lines[-1] == "next: strongroom destroy certificate 3 --as dave"
    asked = [each.arguments for each in server.asked if each.command == "run.status"]
    assert asked == [{"request": 7}] * 3


@pytest.mark.parametrize("state", ["LOCAL", "REPLICAS"])
def test_what_is_not_complete_is_not_called_destroyed_everywhere(
    server: Recorded, state: str
) -> None:
    server.will_answer("destroy.run", RunStarted(7, outgrown=False))
    server.will_answer("run.status", DONE | {"state": state})
    told = server.ok(*RUN)
    assert "still wait" in told
    assert "everywhere" not in told


@pytest.mark.parametrize(
    ("status", "exit_status", "said"),
    [
        (STATUS | {"over": True, "held_back": 12}, 6, "holds or minimums keep 12 records"),
        (STATUS | {"over": True}, 1, "nothing came of request 7"),
    ],
)
def test_a_run_that_destroys_nothing_says_why(
    server: Recorded, status: dict[str, Any], exit_status: int, said: str
) -> None:
    server.will_answer("destroy.run", RunStarted(7, outgrown=False))
    server.will_answer("run.status", status)
    done = server.run(*RUN)
    assert done.exit_code == exit_status
    assert said in done.stderr


def test_an_order_that_would_reach_further_is_over(server: Recorded) -> None:
    server.will_answer("destroy.run", RunStarted(7, outgrown=True))
    done = server.run(*RUN)
    assert done.exit_code == 6
    assert "records that nobody approved" in done.stderr


def test_waiting_ends_with_7_and_the_run_goes_on(server: Recorded) -> None:
    server.will_answer("destroy.run", RunStarted(7, outgrown=False))
    server.will_answer("run.status", HALF)
    done = server.run(*RUN, "--timeout", "0")
    assert done.exit_code == 7
    assert "It goes on by itself" in done.stderr


def test_progress_takes_no_signature(server: Recorded) -> None:
    server.will_answer("run.status", HALF)
    assert "running" in server.ok("destroy", "progress", "3")
    assert server.json("destroy", "progress", "3")["records"] == 6
    assert server.signed() == []
    assert server.asked[0].arguments == {"run": 3}


def test_runs_are_listed_newest_first(server: Recorded) -> None:
    newer = RunItem(4, "expiry", "LOCAL", 0, 30, 0, 0, 0, AT_MS, AT_MS)
    older = RunItem(3, "order", "RUNNING", 7, 9, 0, 0, 0, AT_MS, 0)
    server.will_answer("run.list", Runs((newer, older)), Runs(()))
    told = server.ok("destroy", "runs", "--limit", "9", "--as", "frank")
    assert [line.split()[0] for line in told.splitlines()] == ["RUN", "4", "3"]
    assert "end of retention" in told
    assert server.signed()[0].arguments == {"limit": 9}
    assert server.ok("destroy", "runs", "--as", "frank") == "Nothing was ever destroyed.\n"


def test_a_certificate_is_printed_or_written(server: Recorded, tmp_path: Path) -> None:
    server.will_answer("run.certificate", Certificate(3, CERTIFICATE))
    fetch = ("destroy", "certificate", "3", "--as", "frank")
    assert server.ok(*fetch) == CERTIFICATE
    text, page = tmp_path / "c.txt", tmp_path / "c.html"
    told = server.ok(*fetch, "-o", str(text), "--html", str(page))
    assert text.read_text("utf-8") == CERTIFICATE
    assert page.read_text("utf-8").startswith("<!DOCTYPE html>")
    assert told.count("Certificate of run 3 is in") == 2
