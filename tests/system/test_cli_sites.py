"""A branch is opened, seen to, stolen and closed, by the program on real servers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system.cli_program import COMMAND_SECONDS, Demo, Office, Strongroom, finish, free_port

TRIES = 400
"""How often a branch is asked whether it is linked; each time takes about a tenth of a second."""

REASON = ("--reason", "stolen")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    made = Demo(tmp_path_factory.mktemp("headquarters"), free_port())
    yield made
    assert made.stop() == 0, made.log.read_text()


@pytest.fixture
def headquarters(demo: Demo) -> Strongroom:
    return Office(demo.strongroom.folder)


class Branch:
    """A new machine, which is to be a branch."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.strongroom = Strongroom(folder)
        self.data = folder / "data"
        self.port = free_port()
        listen = ("--host", "127.0.0.1", "--port", str(self.port))
        made = self.run("init", "--branch", "--name", "Branch", *listen, "--json")
        assert json.loads(made)["invitations"] == []

    def run(self, *arguments: str, stdin: str = "") -> str:
        return self.strongroom.ok(*arguments, "--data", str(self.data), stdin=stdin)

    def join(self, invitation: str, *, status: int = 0) -> tuple[str, str]:
        """Join without waiting; return what was told, and what was told beside it."""
        command = ("site", "join", "--invitation-file", "-", "--timeout", "0", "--json")
        where = ("--data", str(self.data))
        done = self.strongroom.run(*command, *where, stdin=invitation + "\n")
        assert done.returncode == status, (done.stdout, done.stderr)
        return done.stdout, done.stderr

    def until(self, **fields: object) -> dict[str, Any]:
        """Return how the branch stands once it stands so."""
        found: dict[str, Any] = {}
        for _ in range(TRIES):
            found = json.loads(self.run("site", "status", "--json"))
            if fields.items() <= {name: found[name] for name in fields}.items():
                return found
        raise AssertionError(found)

    def fingerprint(self, invitation: str) -> str:
        """Apply, and return the six words that the machine shows."""
        _, told = self.join(invitation, status=7)
        assert json.loads(told.splitlines()[-1])["code"] == "site.waiting"
        return told.splitlines()[0].removeprefix("Fingerprint of this machine: ")


def invite(headquarters: Strongroom, demo: Demo, name: str, form: str = "link") -> str:
    address = f"127.0.0.1:{demo.port}"
    answer = headquarters.json("site", "invite", name, "--address", address, "--as", "grace")
    return str(answer[form])


def refused(strongroom: Strongroom, *arguments: str) -> tuple[int, str]:
    done = strongroom.run(*arguments, "--json")
    return done.returncode, json.loads(done.stderr.splitlines()[-1])["code"]


def opened(headquarters: Strongroom, demo: Demo, folder: Path, name: str) -> Branch:
    branch = Branch(folder / name)
    invitation = invite(headquarters, demo, name)
    words = branch.fingerprint(invitation)
    headquarters.ok("site", "approve", name, "--fingerprint", words, "--as", "grace")
    branch.join(invitation)
    return branch


def test_a_branch_joins_once_both_sides_show_the_same_words(
    headquarters: Strongroom, demo: Demo, tmp_path: Path
) -> None:
    branch = Branch(tmp_path / "north")
    spoken = invite(headquarters, demo, "north", "words")
    words = branch.fingerprint(spoken)
    (row,) = headquarters.json("site", "list")["sites"]
    assert (row["name"], row["state"], row["fingerprint"]) == ("north", "joined", words)
    approve = ("site", "approve", "north", "--as", "grace", "--fingerprint")
    assert refused(headquarters, *approve, "a b c d e f") == (6, "site.fingerprint")
    headquarters.ok(*approve, words.upper())
    told, _ = branch.join(spoken)
    answer = json.loads(told)
    assert (answer["schema"], answer["name"]) == ("strongroom.site.join/1", "north")
    assert answer["fingerprint"] == words
    assert headquarters.json("site", "show", "north")["state"] == "approved"
    acts = [line["act"] for line in headquarters.lines("audit", "tail", "--as", "frank")]
    kept = [act for act in acts if act.startswith("site.")]
    assert kept[-3:] == ["site.invited", "site.joined", "site.approved"]


def test_a_branch_is_made_and_joins_in_one_command(
    headquarters: Strongroom, demo: Demo, tmp_path: Path
) -> None:
    strongroom, data = Strongroom(tmp_path), tmp_path / "data"
    (tmp_path / "invitation").write_text(invite(headquarters, demo, "harbour") + "\n")
    named = ("--name", "Harbour", "--host", "127.0.0.1", "--data", str(data), "--json")
    init = strongroom.start("init", *named, "--invitation-file", "invitation")
    assert init.stderr is not None
    while not (line := init.stderr.readline()).startswith("Fingerprint of this machine: "):
        assert line
    words = line.removeprefix("Fingerprint of this machine: ")
    headquarters.ok("site", "approve", "harbour", "--fingerprint", words, "--as", "grace")
    told, _ = init.communicate(timeout=COMMAND_SECONDS)
    assert init.returncode == 0
    answer = json.loads(told)
    assert (answer["schema"], answer["invitations"]) == ("strongroom.init/1", [])
    assert answer["joined"]["name"] == "harbour"
    assert answer["joined"]["fingerprint"] == words.strip()


def test_a_branch_serves_and_tells_how_it_stands(
    headquarters: Strongroom, demo: Demo, tmp_path: Path
) -> None:
    branch = opened(headquarters, demo, tmp_path, "west")
    server = branch.strongroom.start("serve", "--data", str(branch.data))
    try:
        branch.run("wait", "ready", "--timeout", "40")
        found = branch.until(lease="fresh", waiting=0)
        assert (found["role"], found["name"]) == ("branch", "west")
        assert found["addresses"][0] == f"127.0.0.1:{demo.port}"
        assert (found["line"], found["refused"]) == ("reachable", [])
        shown = headquarters.json("site", "show", "west")
        assert shown["linked"]
        assert shown["lease_granted_at"] > 0
        told = branch.run("site", "address", "127.0.0.1:1")
        assert told == f"Headquarters is tried at 127.0.0.1:1, {found['addresses'][0]}.\n"
        finish(server)
        server = branch.strongroom.start("serve", "--data", str(branch.data))
        branch.run("wait", "ready", "--timeout", "40")
        branch.until(line="reachable")  # the first address is dead, the second is not
        headquarters.ok("site", "revoke", "west", *REASON, "--as", "grace")
        cut = branch.until(line="unreachable")
        assert (cut["lease"], cut["role"]) == ("fresh", "branch")
    finally:
        finish(server)
    assert "role:" in headquarters.ok("site", "status")


def test_a_stolen_branch_is_closed_and_exactly_its_people_enrol_anew(
    headquarters: Strongroom, demo: Demo, tmp_path: Path
) -> None:
    branch = opened(headquarters, demo, tmp_path, "south")
    create = ("user", "create", "sue", "--name", "Sue", "--site", "south", "--invite")
    link = headquarters.json(*create, "--as", "grace")["invitation"]["link"]
    ca = headquarters.json("site", "show", "south")["ca"]
    assert link.startswith(f"strongroom://127.0.0.1:{branch.port}/join?pin={ca}#")
    headquarters.ok("user", "move", "carol", "south", "--as", "grace")
    headquarters.ok("user", "move", "carol", "--as", "grace")
    told = headquarters.ok("site", "revoke", "south", *REASON, "--as", "grace")
    assert "It knew the credentials of 2: carol, sue." in told
    assert refused(headquarters, "site", "reprovision", "south", *REASON, "--as", "grace") == (
        4,
        "permission.denied",
    )
    done = headquarters.json("site", "reprovision", "south", *REASON, "--as", "dave")
    assert done["logins"] == ["carol", "sue"]
    users = {user["login"]: user for user in headquarters.json("user", "list")["users"]}
    assert (users["sue"]["site"], users["sue"]["enrolled"]) == ("", False)
    assert (users["carol"]["enrolled"], users["bob"]["enrolled"]) == (False, True)
    again = invite(headquarters, demo, "south")
    _, error = branch.join(again, status=4)
    assert json.loads(error)["code"] == "site.revoked"


@pytest.mark.parametrize(
    ("invitation", "status", "code"),
    [
        ("not an invitation", 2, "site.invitation"),
        ("strongroom://127.0.0.1:1/site#" + "A" * 43, 3, "site.unreachable"),
    ],
)
def test_an_invitation_that_leads_nowhere_changes_nothing(
    tmp_path: Path, invitation: str, status: int, code: str
) -> None:
    branch = Branch(tmp_path / "east")
    _, error = branch.join(invitation, status=status)
    assert json.loads(error)["code"] == code


def test_a_site_with_people_becomes_no_branch(
    headquarters: Strongroom, demo: Demo, tmp_path: Path
) -> None:
    folder = tmp_path / "grown"
    folder.mkdir()
    grown = Strongroom(folder)
    grown.ok("init", "--name", "Grown", "--data", str(folder / "data"))
    invitation = invite(headquarters, demo, "grown")
    join = ("site", "join", "--invitation-file", "-", "--data", str(folder / "data"))
    done = grown.run(*join, "--json", stdin=invitation)
    assert json.loads(done.stderr)["code"] == "site.occupied"
    assert headquarters.json("site", "show", "grown")["state"] == "invited"


def test_a_stick_carries_what_the_line_would(
    headquarters: Strongroom, demo: Demo, tmp_path: Path
) -> None:
    branch = opened(headquarters, demo, tmp_path, "island")
    server = branch.strongroom.start("serve", "--data", str(branch.data))
    try:
        branch.run("wait", "ready", "--timeout", "40")
        up, down = str(tmp_path / "up.parcel"), str(tmp_path / "down.parcel")
        sent = json.loads(branch.run("site", "export", up, "--json"))
        assert sent["bytes"] == Path(up).stat().st_size
        taken = headquarters.json("site", "import", up)
        assert (taken["sender"], taken["operations"]) == ("island", sent["operations"])
        assert headquarters.json("site", "import", up)["new"] == 0
        headquarters.json("site", "export", down, "--to", "island")
        assert json.loads(branch.run("site", "import", down, "--json"))["sender"] == ""
        assert branch.until(lease="fresh")["lease"] == "fresh"
        assert refused(headquarters, "site", "import", down) == (6, "site.parcel_addressee")
        assert refused(headquarters, "site", "export", down, "--to", "island") == (
            6,
            "site.parcel_exists",
        )
        Path(up).write_bytes(Path(up).read_bytes()[:-1])
        assert refused(headquarters, "site", "import", up) == (5, "site.parcel")
        assert refused(headquarters, "site", "import", up + ".absent") == (1, "site.parcel_file")
    finally:
        finish(server)
