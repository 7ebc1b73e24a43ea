"""`strongroom export` against a real socket: whole, interrupted anywhere, encrypted, verified."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from appliance.evidence import decide, limits, walk
from cli import evidence, exports
from cli.commands.export import export
from cli.errors import CliError
from cli.main import root
from cli.signing import Person
from tests.appliance.evidence.archive import REVIEW, Archive
from tests.cli.archive_server import ArchiveServer
from transports.wire import schema
from transports.wire.schema import Id

DAY_SECONDS = 86_400


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ArchiveServer]:
    archive = Archive(monkeypatch, "alice", "bob", "carol")
    ward, pair = archive.group("alice", "bob", title="Ward 3"), archive.direct("bob", "carol")
    for day in range(2):
        for conv in (ward, pair):
            for number in range(2):
                archive.say("bob", conv, f"CANARY {day} {number}")
        archive.tick(DAY_SECONDS)
    gone = archive.say("bob", pair, "gone").msg
    assert gone is not None
    archive.destroy(gone)
    archive.approve(persons=(archive.person("bob"),))
    monkeypatch.setattr(decide, "PAGE_RECORDS", 1)
    monkeypatch.setattr(walk, "PAGE_WALKED", 3)
    with ArchiveServer(archive, tmp_path / "data") as made:
        yield made


class Shell:
    """Runs commands in a folder, as dave."""

    def __init__(self, server: ArchiveServer, folder: Path) -> None:
        self.server = server
        self.folder = folder

    def path(self, name: str) -> Path:
        return self.folder / name

    def run(self, *arguments: str) -> Result:
        given = [*arguments, "--data", str(self.server.data)]
        return CliRunner().invoke(root, ["export", *given])

    def export(self, out: str, *options: str) -> Result:
        asked = ("--request", str(REVIEW), "--as", "dave")
        return self.run(str(self.path(out)), *asked, *options)

    def done(self, out: str, *options: str) -> dict[str, Any]:
        result = self.export(out, *options, "--json")
        assert result.exit_code == 0, result.stderr
        told: dict[str, Any] = json.loads(result.stdout)
        assert not exports.state_file(self.path(out)).exists()
        return told

    def verify(self, name: str) -> Result:
        return self.run("verify", str(self.path(name)), "--key", self.site_key())

    def site_key(self) -> str:
        """Write the site's public key for auditors; return where it is."""
        path = self.path("site.key")
        path.write_text(self.server.archive.site_key.hex() + "\n")
        return str(path)

    def key(self) -> str:
        """Make a key pair; return the option that encrypts to it."""
        assert self.run("key", str(self.path("auditor.key"))).exit_code == 0
        return str(self.path("auditor.key.pub"))

    def decrypt(self, name: str, to: str) -> Result:
        key = str(self.path("auditor.key"))
        return self.run("decrypt", str(self.path(name)), str(self.path(to)), "--key", key)


@pytest.fixture
def shell(server: ArchiveServer, tmp_path: Path) -> Shell:
    return Shell(server, tmp_path)


def test_a_file_of_lines_is_whole_private_and_verifies(shell: Shell) -> None:
    told = shell.done("out.jsonl")
    assert told["schema"] == "strongroom.export/1"
    assert (told["records"], told["destroyed"], told["format"]) == (8, 1, "jsonl")
    path = shell.path("out.jsonl")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    kinds = [json.loads(line)["type"] for line in path.read_bytes().splitlines()]
    assert (kinds[0], kinds[-1], kinds.count("record")) == ("header", "end", 8)
    verified = shell.verify("out.jsonl")
    assert (verified.exit_code, "Good: 8 records" in verified.stdout) == (0, True)


def test_the_name_of_the_first_command_may_be_said(shell: Shell) -> None:
    asked = ("--request", str(REVIEW), "--as", "dave")
    assert shell.run(*asked, str(shell.path("one"))).exit_code == 0
    assert shell.run("write", str(shell.path("two")), *asked).exit_code == 0
    assert shell.run("nothing").exit_code == 2


def test_message_files_are_one_for_each_conversation_and_day(shell: Shell) -> None:
    told = shell.done("out", "--format", "eml")
    assert (told["records"], told["format"]) == (8, "eml")
    names = sorted(each.name for each in shell.path("out").iterdir())
    days = [name[:10] for name in names if name[:2] == "20"]
    assert sorted(days) == ["2025-06-15", "2025-06-15", "2025-06-16", "2025-06-16"]
    assert {name for name in names if name[:2] != "20"} == {"destroyed.eml", "manifest.jsonl"}
    assert all(stat.S_IMODE((shell.path("out") / name).stat().st_mode) == 0o600 for name in names)
    assert stat.S_IMODE(shell.path("out").stat().st_mode) == 0o700
    verified = shell.verify("out")
    assert (verified.exit_code, "Good: 8 records" in verified.stdout) == (0, True)


@pytest.mark.parametrize("form", ["jsonl", "eml"])
@pytest.mark.parametrize("sealed", [False, True])
def test_an_export_goes_on_exactly_wherever_it_was_interrupted(
    shell: Shell, form: str, sealed: bool
) -> None:
    options = ["--format", form]
    if sealed:
        options += ["--recipient", shell.key()]
    shell.done("whole", *options)
    pages = shell.server.pages
    for cut in range(2, pages + 1):
        shell.server.pages, shell.server.fail_at = 0, cut
        name = f"cut{cut}"
        failed = shell.export(name, *options)
        assert failed.exit_code == 1
        assert "--resume goes on" in failed.stderr
        shell.server.fail_at = 0
        again = shell.export(name, *options)
        assert (again.exit_code, "(cli.exists)" in again.stderr) == (1, True)
        told = shell.done(name, *options, "--resume")
        assert (told["records"], told["destroyed"]) == (8, 1)
        # What was durable is not asked for again: at most the pages of one day.
        assert shell.server.pages <= pages + (1 if form == "jsonl" else 6)
        if sealed:
            assert shell.decrypt(name, f"{name}-open").exit_code == 0
            name += "-open"
        assert shell.verify(name).exit_code == 0, name


def test_a_day_with_too_many_lines_goes_on_in_further_files(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "EML_BYTES", 1)
    shell.done("whole", "--format", "eml")
    pages = shell.server.pages
    names = sorted(each.name for each in shell.path("whole").glob("20*"))
    assert len(names) == 8
    assert sum(name.endswith(".2.eml") for name in names) == 4
    assert shell.verify("whole").exit_code == 0
    for cut in range(2, pages + 1, 3):
        shell.server.pages, shell.server.fail_at = 0, cut
        assert shell.export(f"cut{cut}", "--format", "eml").exit_code == 1
        shell.server.fail_at = 0
        shell.done(f"cut{cut}", "--format", "eml", "--resume")
        assert shell.verify(f"cut{cut}").exit_code == 0


def contents(path: Path) -> dict[str, bytes]:
    files = path.iterdir() if path.is_dir() else [path]
    return {each.name: each.read_bytes() for each in files}


@pytest.mark.parametrize("form", ["jsonl", "eml"])
def test_what_an_interruption_left_half_written_is_cut_off(shell: Shell, form: str) -> None:
    shell.server.fail_at = 4
    assert shell.export("out", "--format", form).exit_code == 1
    tape = shell.path("out") if form == "jsonl" else shell.path("out") / exports.MANIFEST
    with tape.open("ab") as file:
        file.write(b"half a line" * 100_000)
    shell.done("out", "--format", form, "--resume")
    assert shell.verify("out").exit_code == 0


def test_only_the_same_export_is_gone_on_with(shell: Shell) -> None:
    shell.server.fail_at = 3
    assert shell.export("out", "--person", "bob").exit_code == 1
    for options in ([], ["--person", "carol"], ["--person", "bob", "--format", "eml"]):
        refused = shell.export("out", *options, "--resume")
        assert "(cli.resume)" in refused.stderr
    nothing = shell.export("other", "--resume")
    assert (nothing.exit_code, "(cli.resume)" in nothing.stderr) == (1, True)
    os.truncate(shell.path("out"), 5)
    short = shell.export("out", "--person", "bob", "--resume")
    assert "(cli.resume)" in short.stderr


def test_a_refusal_leaves_nothing_behind(shell: Shell) -> None:
    refused = shell.run(str(shell.path("out")), "--request", "99", "--as", "dave")
    assert refused.exit_code == 4
    assert not shell.path("out").exists()
    assert not exports.state_file(shell.path("out")).exists()


def test_one_export_writes_a_file_at_one_time(shell: Shell) -> None:
    state = exports.State("0" * 64)
    sink = exports.open_sink("jsonl", shell.path("out"), None, state)
    try:
        with pytest.raises(CliError) as caught:
            exports.open_sink("jsonl", shell.path("out"), None, state)
        assert caught.value.code == "cli.running"
    finally:
        sink.close()


@pytest.mark.parametrize("form", ["jsonl", "eml"])
def test_an_encrypted_export_holds_nothing_in_clear_at_any_time(shell: Shell, form: str) -> None:
    recipient = shell.key()
    for cut in (3, 5, 0):
        shell.server.pages, shell.server.fail_at = 0, cut
        name = f"out{cut}"
        shell.export(name, "--format", form, "--recipient", recipient)
        written = contents(shell.path(name))
        state = exports.state_file(shell.path(name))
        if state.exists():
            written["state"] = state.read_bytes()
        assert written
        for data in written.values():
            assert b"CANARY" not in data
            assert b"Ward 3" not in data
    assert shell.decrypt("out0", "open").exit_code == 0
    opened = contents(shell.path("open"))
    assert any(b"Ward 3" in data for data in opened.values())
    assert stat.S_IMODE(shell.path("auditor.key").stat().st_mode) == 0o600
    assert shell.verify("open").exit_code == 0


def test_what_does_not_open_leaves_nothing_behind(shell: Shell) -> None:
    shell.done("out", "--recipient", shell.key())
    whole = shell.path("out").read_bytes()
    shell.path("short").write_bytes(whole[:-1])
    refused = shell.decrypt("short", "open")
    assert (refused.exit_code, "(evidence.sealed)" in refused.stderr) == (5, True)
    assert not shell.path("open").exists()
    shell.path("open").write_text("mine")
    assert shell.decrypt("out", "open").exit_code == 1
    assert shell.path("open").read_text() == "mine"


def test_keys_are_told_apart_and_never_replaced(shell: Shell) -> None:
    recipient = shell.key()
    pair = shell.path("auditor.key")
    assert evidence.recipient_key(pair) == evidence.recipient_key(Path(recipient))
    assert shell.run("key", str(pair)).exit_code == 1
    with pytest.raises(CliError):
        evidence.private_key(Path(recipient))
    for text in ("", "{}", '{"schema":"strongroom.export-key/1","public":"00"}'):
        shell.path("bad").write_text(text)
        with pytest.raises(CliError):
            evidence.recipient_key(shell.path("bad"))
    assert repr(evidence.KeyFile("x", "00", "11")) == "<KeyFile>"


@pytest.mark.parametrize("change", ["text", "rehashed", "hash", "drop", "manifest", "gone"])
def test_a_changed_message_file_is_found(shell: Shell, change: str) -> None:
    shell.done("out", "--format", "eml")
    first, *_ = sorted(shell.path("out").glob("20*.eml"))
    if change in ("rehashed", "hash"):
        before = first.read_bytes()
        after = before.replace(b"Subject: ", b"Subject: Re: ", 1)
        if change == "rehashed":
            first.write_bytes(after)
        manifest = shell.path("out") / exports.MANIFEST
        old, new = (sha256(each).hexdigest().encode() for each in (before, after))
        manifest.write_bytes(manifest.read_bytes().replace(old, new))
        assert shell.verify("out").exit_code == 5
        return
    if change == "text":
        first.write_bytes(
            first.read_bytes().replace(b"Ward", b"Warf", 1).replace(b"2025", b"2024", 1)
        )
    elif change == "gone":
        first.unlink()
    else:
        manifest = shell.path("out") / exports.MANIFEST
        lines = manifest.read_bytes().splitlines(keepends=True)
        changed = [*lines[:1], *lines[2:]] if change == "drop" else [*lines[:1], lines[2], lines[1]]
        manifest.write_bytes(b"".join([*changed, *lines[3:]] if change == "manifest" else changed))
    verified = shell.verify("out")
    assert (verified.exit_code, "NOT GOOD" in verified.stdout) == (5, True)


def test_a_changed_line_is_told_with_its_number(shell: Shell) -> None:
    shell.done("out")
    path = shell.path("out")
    path.write_bytes(path.read_bytes().replace(b"CANARY 0 1", b"CANARY 0 9", 1))
    verified = shell.run("verify", str(path), "--key", shell.site_key(), "--json")
    told = json.loads(verified.stdout)
    assert (verified.exit_code, told["good"]) == (5, False)
    assert {each["problem"] for each in told["findings"]} == {"content", "digest"}


@pytest.mark.parametrize("key", ["zz", "00", "", "é"])
def test_what_is_no_public_key_is_told(shell: Shell, key: str) -> None:
    shell.path("out").write_bytes(b"")
    shell.path("site.key").write_text(key)
    wrong = shell.run("verify", str(shell.path("out")), "--key", str(shell.path("site.key")))
    assert (wrong.exit_code, "(cli.usage)" in wrong.stderr) == (2, True)


def test_dates_out_of_order_are_wrong_usage(shell: Shell) -> None:
    result = shell.export("out", "--from", "2026-02-01", "--until", "2026-01-01")
    assert result.exit_code == 2


def test_a_selection_narrows_what_was_approved(shell: Shell) -> None:
    told = shell.done("out", "--person", "carol", "--from", "2025-06-16")
    assert told["records"] == 2
    assert told["destroyed"] == 1


def test_a_bar_shows_progress_on_a_terminal_only(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "exporting" not in shell.export("one").stderr
    monkeypatch.setattr("cli.commands.export._is_terminal", lambda: True)
    assert "exporting" in shell.export("two").stderr


# --- reconstruction ------------------------------------------------------------------------------


def tell(shell: Shell, message: bytes, *, as_json: bool = False) -> Result:
    @click.command()
    def reconstruct() -> None:
        who = Person("dave")
        evidence.reconstruct(
            who, shell.server.data, message.hex(), REVIEW, "complaint", as_json=as_json
        )

    return CliRunner().invoke(reconstruct)


def edited(archive: Archive, *texts: str) -> Id:
    conv = archive.direct("bob", "carol")
    msg = archive.say("bob", conv, texts[0]).msg
    assert msg is not None
    for text in texts[1:]:
        archive.by("bob", schema.Edit(1, archive.number("bob"), msg, schema.Body("text", text)))
    archive.by("bob", schema.Recall(1, archive.number("bob"), msg))
    return msg


def test_after_edits_and_a_recall_every_version_comes_back(shell: Shell) -> None:
    msg = edited(shell.server.archive, "one", "two\n2026  version 9", "three", "four")
    told = tell(shell, msg).stdout
    for expected in ("version 1 of 4", "  | one", "  | two\n", "version 4 of 4", "  | four"):
        assert expected in told
    assert "\n2026" not in told
    assert "state         recalled" in told
    assert "recall  " in told
    document = json.loads(tell(shell, msg, as_json=True).stdout)
    assert document["schema"] == "strongroom.audit.reconstruct/1"
    assert len(document["record"]["versions"]) == 4


def test_after_destruction_it_says_so(shell: Shell) -> None:
    msg = edited(shell.server.archive, "one", "two")
    shell.server.archive.destroy(msg)
    error = tell(shell, msg).exception
    assert isinstance(error, CliError)
    assert error.code == "store.part_gone"


def test_the_group_is_what_the_program_runs() -> None:
    context = click.Context(root)
    assert root.get_command(context, "export") is export
