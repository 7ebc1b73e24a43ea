"""Branches on the command line: what is signed, what is said, and what is asked before."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from appliance.sites import enrolment
from appliance.sites.commands import Invited, Reprovisioned
from tests.cli.recorded import Recorded

NODE, WORDS = "0a" * 16, "abandon ability able about above absent"
HEADQUARTERS = {
    "role": "headquarters",
    "organisation": "Hospital",
    "pin": "0b" * 16,
    "addresses": ["hq.example:443"],
    "branches": 0,
}


def branch(**fields: Any) -> dict[str, Any]:
    known = {"name": "north", "node": NODE, "fingerprint": WORDS, "revealed": []}
    return known | fields


def test_an_invitation_carries_what_its_hash_was_signed_for(server: Recorded) -> None:
    server.will_answer("site.status", HEADQUARTERS)
    server.will_answer("site.invite", Invited(3, "north", 5))
    told = server.json("site", "invite", "north", "--as", "dave")
    invitation = enrolment.read_invitation(told["link"])
    assert invitation == enrolment.read_invitation(told["words"])
    assert invitation.server.authority == "hq.example:443"
    assert invitation.pin.hex() == HEADQUARTERS["pin"]
    (asked,) = server.signed()
    hashed = asked.arguments["token_hash"]
    assert base64.b64decode(hashed) == enrolment.token_hash(invitation.token)
    assert (asked.command, asked.arguments["name"]) == ("site.invite", "north")


@pytest.mark.parametrize(
    ("status", "options", "exit_code"),
    [
        (HEADQUARTERS | {"addresses": []}, (), 2),
        (HEADQUARTERS, ("--address", "not an address"), 2),
        (HEADQUARTERS | {"role": "branch"}, (), 6),
    ],
)
def test_nothing_is_signed_when_no_branch_could_use_it(
    server: Recorded, status: dict[str, Any], options: tuple[str, ...], exit_code: int
) -> None:
    server.will_answer("site.status", status)
    done = server.run("site", "invite", "north", *options, "--as", "dave")
    assert done.exit_code == exit_code, done.output
    assert server.signed() == []


def test_an_approval_names_the_key_whose_words_were_compared(server: Recorded) -> None:
    server.will_answer("site.show", branch())
    server.will_answer("site.approve", {})
    spoken = WORDS.upper().replace(" ", "  ")
    told = server.ok("site", "approve", "north", "--fingerprint", spoken, "--as", "dave")
    assert told == "north is a branch now.\n"
    assert server.signed()[0].arguments["name"] == "north"


@pytest.mark.parametrize(
    ("found", "options", "exit_code"),
    [
        (branch(), ("--fingerprint", WORDS + " x"), 6),
        (branch(), (), 2),
        (branch(node="", fingerprint=""), ("--fingerprint", ""), 6),
    ],
)
def test_nothing_is_approved_without_the_right_words(
    server: Recorded, found: dict[str, Any], options: tuple[str, ...], exit_code: int
) -> None:
    server.will_answer("site.show", found)
    done = server.run("site", "approve", "north", *options, "--as", "dave")
    assert done.exit_code == exit_code, done.output
    assert server.signed() == []


def test_reprovisioning_signs_how_many_people_it_is_about(server: Recorded) -> None:
    people = [{"login": "bob", "name": "Bob", "at_home": True}]
    server.will_answer("site.show", branch(revealed=people))
    server.will_answer("site.reprovision", Reprovisioned(("bob",)))
    options = ("--reason", "stolen", "--as", "dave")
    told = server.ok("site", "reprovision", "north", *options)
    assert told == "To be invited again: bob.\n"
    asked = server.signed()[0].arguments
    assert asked == {"name": "north", "people": 1, "reason": "stolen"}


def test_a_headquarters_without_branches_says_how_to_begin(server: Recorded) -> None:
    server.will_answer("site.list", {"sites": []})
    assert "strongroom site invite" in server.ok("site", "list")


@pytest.mark.parametrize(
    ("options", "name", "is_all"),
    [((), "", False), (("--to", "north"), "north", False), (("--all",), "", True)],
)
def test_a_file_is_asked_for_by_its_whole_path(
    server: Recorded,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    name: str,
    is_all: bool,
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "north.parcel"
    server.will_answer("site.export", {"file": str(file), "operations": 3, "bytes": 900})
    told = server.json("site", "export", file.name, *options)
    assert told["operations"] == 3
    (asked,) = [each for each in server.asked if each.command == "site.export"]
    assert asked.arguments == {"file": str(file), "name": name, "all": is_all}


@pytest.mark.parametrize(("sender", "shown"), [("north", "north"), ("", "headquarters")])
def test_it_is_told_how_much_of_a_file_was_new(
    server: Recorded, tmp_path: Path, sender: str, shown: str
) -> None:
    server.will_answer("site.import", {"sender": sender, "operations": 1_200, "new": 7})
    done = server.run("site", "import", str(tmp_path / "file"))
    assert done.stdout == f"7 of 1,200 operations of {shown} were new.\n"


def test_only_addresses_are_sent_as_addresses(server: Recorded) -> None:
    assert server.run("site", "address", "not an address").exit_code == 2
    server.will_answer("site.address", {"addresses": ["hq.example:443", "old.example:443"]})
    done = server.run("site", "address", "hq.example:443")
    assert done.stdout == "Headquarters is tried at hq.example:443, old.example:443.\n"
