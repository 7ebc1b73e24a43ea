"""The trail and the ledger on the command line; and verifying with nothing but files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from appliance.disposal.replies import LedgerPage, Requests, ScopeKey, Trail, TrailEntry
from appliance.operations import ReplicaState
from cli.commands import audit
from cli.main import root
from store import notes, verifier
from tests.appliance.disposal.proofbox import (
    LEAVES,
    OPS,
    SCOPE_KEY,
    SITE_PUBLIC,
    ProofBox,
    scope_text,
)
from tests.cli.commands.test_destroy import DONE
from tests.cli.recorded import NODE, Recorded
from tests.cli.test_requests import item
from tests.store.test_verifier import CERTIFICATE, LEDGER

AT_MS = 1_795_509_000_000
RUN = verifier.read_body(verifier.read(CERTIFICATE).body).run


def entry(index: int, act: str = "hold.placed", by: str = "dave") -> TrailEntry:
    return TrailEntry(index, "act", act, by, AT_MS, "", b"\xab" * 32)


def size(number: int) -> dict[str, object]:
    return {"log": "x", "size": number, "root": ""}


# --- the trail --------------------------------------------------------------------------------


def test_the_tail_begins_where_it_was_asked_to(server: Recorded) -> None:
    server.will_answer("audit.ledger", size(40))
    server.will_answer("audit.read", Trail((entry(38), entry(39)), 40))
    lines = server.ok("audit", "tail", "-n", "2", "--as", "frank").splitlines()
    assert lines == [
        "    38  2026-11-24 08:30:00 UTC  dave  hold.placed",
        "    39  2026-11-24 08:30:00 UTC  dave  hold.placed",
    ]
    assert [each.arguments for each in server.signed()] == [{"after": 37, "limit": 100}]


def test_a_long_tail_is_read_in_pages(server: Recorded) -> None:
    server.will_answer("audit.ledger", size(4))
    pages = (Trail((entry(0), entry(1)), 4), Trail((entry(2), entry(3)), 4))
    server.will_answer("audit.read", *pages)
    done = server.ok("audit", "tail", "-n", "9", "--as", "frank", "--json")
    printed = [json.loads(line) for line in done.splitlines()]
    assert [each["index"] for each in printed] == [0, 1, 2, 3]
    assert {each["schema"] for each in printed} == {"strongroom.audit.entry/1"}
    asked = [each.arguments for each in server.signed()]
    assert asked == [{"after": -1, "limit": audit.EVERYTHING}, {"after": 1, "limit": 100}]


def test_following_is_woken_by_others_and_not_by_itself(
    server: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.will_answer("audit.ledger", size(40), size(41), size(41), size(42))
    server.will_answer("audit.read", Trail((entry(39),), 40), Trail((entry(41, "x"),), 42))
    naps: Iterator[float] = iter((1.0, 2.0, 3.0))

    def nap(_seconds: float) -> None:
        if next(naps, None) is None:
            raise KeyboardInterrupt

    monkeypatch.setattr("cli.commands.audit.time.sleep", nap)
    done = server.run("audit", "tail", "-n", "1", "--follow", "--as", "frank")
    assert done.exit_code == 130
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["39", "41"]
    assert [each.arguments["after"] for each in server.signed()] == [38, 39]
    looks = "audit.ledger"
    first, again = [looks, "audit.read"], [looks, looks, looks, "audit.read"]
    assert [each.command for each in server.asked] == [*first, *again]


def test_a_segment_and_a_destroyed_entry_are_told(server: Recorded) -> None:
    server.will_answer("audit.ledger", size(2))
    segment = TrailEntry(0, "segment", "", "", 0, "", b"s")
    gone = TrailEntry(1, "act", "destroyed", "", 0, "", b"g")
    server.will_answer("audit.read", Trail((segment, gone), 2))
    told = server.ok("audit", "tail", "--as", "frank")
    assert "the site  segment" in told
    assert "destroyed" in told


def test_one_entry_is_shown(server: Recorded) -> None:
    server.will_answer("audit.read", Trail((entry(17),), 40))
    told = server.ok("audit", "show", "17", "--as", "frank")
    assert f"operation: {'ab' * 32}" in told
    assert server.signed()[0].arguments == {"after": 16, "limit": 1}
    missing = server.run("audit", "show", "18", "--as", "frank")
    assert (missing.exit_code, "(audit.unknown)" in missing.stderr) == (1, True)


def test_the_first_entry_is_shown(server: Recorded) -> None:
    server.will_answer("audit.read", Trail((entry(0), entry(1)), 2))
    assert server.json("audit", "show", "0", "--as", "frank")["index"] == 0


def test_a_run_is_shown_with_the_request_behind_it(server: Recorded) -> None:
    server.will_answer("run.status", DONE, DONE | {"request": 0})
    server.will_answer("request.list", Requests((item(7),)))
    server.will_answer("user.show", {"login": "bob"})
    told = server.ok("audit", "show", "--run", "3", "--as", "frank")
    assert "Run 3, order of two officers" in told
    assert "asked by:    dave" in told
    alone = server.json("audit", "show", "--run", "3", "--as", "frank")
    assert alone["asked"] is None


@pytest.mark.parametrize("arguments", [(), ("17", "--run", "3")])
def test_an_entry_or_a_run_is_shown(server: Recorded, arguments: tuple[str, ...]) -> None:
    assert server.run("audit", "show", *arguments, "--as", "frank").exit_code == 2


# --- what auditors are given ------------------------------------------------------------------


def test_the_ledger_is_exported_page_by_page(server: Recorded, tmp_path: Path) -> None:
    lines = tuple(LEDGER.splitlines())
    server.will_answer("ledger.export", LedgerPage(lines[:5], "cursor"), LedgerPage(lines[5:], ""))
    path = tmp_path / "ledger.txt"
    told = server.ok("audit", "export", "-o", str(path), "--as", "frank")
    assert path.read_text("utf-8") == LEDGER
    assert f"({len(lines)} lines)" in told
    assert [each.arguments for each in server.signed()] == [{"after": ""}, {"after": "cursor"}]


def test_an_export_that_fails_leaves_no_half_of_it(server: Recorded, tmp_path: Path) -> None:
    refusal = {"error": {"code": "permission.denied", "message": "no"}}
    server.will_answer("ledger.export", LedgerPage(("a",), "cursor"), refusal)
    path = tmp_path / "ledger.txt"
    done = server.run("audit", "export", "-o", str(path), "--as", "dave")
    assert done.exit_code == 4
    assert list(tmp_path.glob("ledger*")) == []


def test_the_key_is_what_the_verifier_reads(server: Recorded, tmp_path: Path) -> None:
    key = notes.verifier_key("strongroom/x", SITE_PUBLIC)
    answer = {"node": NODE.hex(), "public_key": SITE_PUBLIC.hex(), "key": key}
    server.will_answer("audit.key", answer)
    assert server.ok("audit", "key") == f"{key}\n"
    path = tmp_path / "site.key"
    server.ok("audit", "key", "-o", str(path))
    assert path.read_text() == f"{key}\n"
    assert server.signed() == []


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what an auditor has, and no data directory."""
    folder = tmp_path_factory.mktemp("desk")
    (folder / "certificate.txt").write_text(CERTIFICATE, "utf-8")
    (folder / "ledger.txt").write_text(LEDGER, "utf-8")
    (folder / "site.key").write_text(SITE_PUBLIC.hex() + "\n")
    (folder / "scope.txt").write_text(scope_text(RUN))
    return folder


def verify(desk: Path, *arguments: str, certificate: str | None = "certificate.txt") -> Result:
    files = ["--ledger", str(desk / "ledger.txt"), "--key", str(desk / "site.key")]
    named = [str(desk / certificate)] if certificate else []
    return CliRunner().invoke(root, ["audit", "verify", *named, *files, *arguments])


def test_a_certificate_is_verified_without_a_server(desk: Path) -> None:
    done = verify(desk)
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert lines[0].startswith("ok: The certificate is well-formed")
    assert f"The certificate of run {RUN} holds." in lines
    document = json.loads(verify(desk, "--json").stdout)
    assert document["schema"] == "strongroom.audit.verify/1"
    assert (document["verified"], document["run"], document["covered"]) == (True, RUN, None)
    assert document["state"] in CERTIFICATE


@pytest.mark.parametrize(("state", "generation"), [("COMPLETE", 44), ("LOCAL", 43)])
def test_only_complete_says_destroyed(desk: Path, state: str, generation: int) -> None:
    site = ProofBox("another")
    text = site.certified(state=state, replicas=(ReplicaState("hq", generation),))
    (desk / "other.txt").write_text(text, "utf-8")
    (desk / "other-ledger.txt").write_text(site.export(), "utf-8")
    done = verify(desk, "--ledger", str(desk / "other-ledger.txt"), certificate="other.txt")
    assert done.exit_code == 0
    assert f"  state    {state}" in done.stdout
    is_said = "Only a certificate with state COMPLETE" in done.stdout
    assert is_said is (state != "COMPLETE")


def test_the_ledger_is_verified_alone(desk: Path) -> None:
    done = verify(desk, certificate=None)
    assert done.exit_code == 0
    assert done.stdout.endswith("The ledger holds.\n")


@pytest.mark.parametrize("name", ["certificate.txt", "ledger.txt", "site.key"])
def test_any_change_is_told_with_status_5(desk: Path, tmp_path: Path, name: str) -> None:
    for path in desk.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    content = (tmp_path / name).read_bytes()
    middle = len(content) // 2
    forged = content[:middle] + bytes((content[middle] ^ 1,)) + content[middle + 1 :]
    (tmp_path / name).write_bytes(forged)
    done = verify(tmp_path)
    assert done.exit_code == 5
    assert "(audit.broken)" in done.stderr
    assert "holds." not in done.stdout


def test_bytes_that_are_no_text_are_no_certificate(desk: Path, tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_bytes(b"\xff" + CERTIFICATE.encode())
    done = verify(desk, certificate=str(tmp_path / "c.txt"))
    assert (done.exit_code, "a file is no text" in done.stderr) == (5, True)


@pytest.mark.parametrize(
    ("message", "status", "said"),
    [(OPS[3].hex(), 0, "The message is among"), ("ab" * 32, 1, "The message is NOT among")],
)
def test_a_message_is_among_what_was_destroyed_or_not(
    desk: Path, message: str, status: int, said: str
) -> None:
    done = verify(desk, "--scope", str(desk / "scope.txt"), "--message", message)
    assert done.exit_code == status
    assert said in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [("--message", "ab" * 32), ("--scope", "scope.txt"), ("--scope", "x", "--message", "zz")],
)
def test_a_question_that_is_none_is_wrong_usage(desk: Path, arguments: tuple[str, ...]) -> None:
    given = [str(desk / "scope.txt") if each in ("x", "scope.txt") else each for each in arguments]
    assert verify(desk, *given).exit_code == 2


def test_a_scope_asks_about_its_own_run_and_certificate(desk: Path, tmp_path: Path) -> None:
    other = tmp_path / "scope.txt"
    other.write_text((desk / "scope.txt").read_text().replace(f"run: {RUN}\n", "run: 4\n"))
    question = ("--scope", str(other), "--message", OPS[0].hex())
    assert verify(desk, *question).exit_code == 2
    assert verify(desk, *question, certificate=None).exit_code == 2


def test_a_scope_is_written_for_its_owner_as_the_verifier_reads_it(
    server: Recorded, desk: Path, tmp_path: Path
) -> None:
    server.will_answer("run.scope", ScopeKey(RUN, SCOPE_KEY, tuple(LEAVES)))
    path = tmp_path / "scope-3.txt"
    told = server.ok("audit", "scope", str(RUN), "-o", str(path), "--as", "frank")
    assert f"({len(LEAVES)} parts)" in told
    assert path.stat().st_mode & 0o077 == 0
    assert path.read_text() == (desk / "scope.txt").read_text()
