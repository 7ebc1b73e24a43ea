"""Backups by command line while no server runs: made, verified, and found out when changed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from cli import watching
from cli.commands.backup import read_key
from cli.errors import CliError
from cli.watching import watched
from tests.cli.organisation import Organisation, code_of, run


@pytest.fixture
def organisation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Organisation:
    monkeypatch.setenv("STRONGROOM_STORE_MAP_BYTES", str(1 << 26))
    return Organisation(tmp_path)


def back_up(organisation: Organisation) -> dict[str, Any]:
    return organisation.json("backup", "create", str(organisation.path / "backup"))


def verify(organisation: Organisation, *more: str) -> tuple[dict[str, Any], Result]:
    result = run("backup", "verify", str(organisation.path / "backup"), "--json", *more)
    return json.loads(result.stdout), result


def test_a_backup_is_made_and_verified_with_the_sites_key(organisation: Organisation) -> None:
    organisation.add()
    made = back_up(organisation)
    assert made["schema"] == "strongroom.backup.create/1"
    assert made["replicas"][0]["in_step"]
    found = {each["id"] for each in organisation.json("check")["findings"]}
    assert not found & {"backup.none", "backup.old"}
    key = organisation.path / "site.key"
    key.write_text(made["key"] + "\n")
    told, result = verify(organisation, "--key", str(key))
    assert result.exit_code == 0
    assert (told["ok"], told["pinned"], told["problems"]) == (True, True, [])
    assert {key: told["backup"][key] for key in ("node", "pos", "created_at", "chain")} == {
        key: made[key] for key in ("node", "pos", "created_at", "chain")
    }


def test_without_a_key_a_backup_is_not_pinned(organisation: Organisation) -> None:
    back_up(organisation)
    told, result = verify(organisation)
    assert (result.exit_code, told["pinned"]) == (0, False)
    text = run("backup", "verify", str(organisation.path / "backup"))
    assert "notice: the site's key was not given" in text.stderr


def test_without_a_replica_one_is_warned(organisation: Organisation) -> None:
    made = organisation.run("backup", "create", str(organisation.path / "backup"))
    assert made.exit_code == 0
    assert "can never be restored" in made.stderr


def test_a_changed_backup_ends_with_5(organisation: Organisation) -> None:
    back_up(organisation)
    path = organisation.path / "backup" / "store" / "data.mdb"
    content = path.read_bytes()
    path.write_bytes(content[:99] + bytes((content[99] ^ 1,)) + content[100:])
    told, result = verify(organisation)
    assert (result.exit_code, told["ok"]) == (5, False)
    assert told["problems"] == ["store/data.mdb is not what was backed up"]
    text = run("backup", "verify", str(organisation.path / "backup"))
    assert (text.exit_code, "store/data.mdb" in text.stdout) == (5, True)
    (organisation.path / "other.key").write_text("00" * 32)
    path.write_bytes(content)
    told, result = verify(organisation, "--key", str(organisation.path / "other.key"))
    assert (result.exit_code, "another key" in told["problems"][0]) == (5, True)


def test_a_backup_goes_to_a_new_place_apart(organisation: Organisation) -> None:
    back_up(organisation)
    again = organisation.run("backup", "create", str(organisation.path / "backup"), "--json")
    assert code_of(again) == (6, "backup.exists")
    inside = organisation.run("backup", "create", str(organisation.data / "backup"), "--json")
    assert code_of(inside) == (6, "backup.place")
    absent = run("backup", "verify", str(organisation.data), "--json")
    assert code_of(absent) == (6, "backup.absent")


def test_a_file_without_a_key_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.key").write_text("no key")
    with pytest.raises(CliError) as caught:
        read_key(tmp_path / "x.key")
    assert caught.value.code == "cli.usage"
    assert read_key(None) is None


class Terminal:
    """A stderr that somebody looks at."""

    def __init__(self) -> None:
        self.written = ""

    def write(self, text: str) -> int:
        self.written += text
        return len(text)

    def flush(self) -> None:
        """Nothing is buffered."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("fails", [False, True])
def test_long_work_shows_how_far_it_is(monkeypatch: pytest.MonkeyPatch, fails: bool) -> None:
    from threading import Event

    monkeypatch.setattr(watching, "SHOWN_AFTER_SECONDS", 0)
    monkeypatch.setattr(watching, "LOOK_SECONDS", 0.001)
    terminal, looked = Terminal(), Event()
    monkeypatch.setattr(sys, "stderr", terminal)

    def look() -> tuple[int, int]:
        looked.set()
        if fails:
            raise CliError("server.unreachable", "gone")
        return 50, 200

    def work() -> str:
        assert looked.wait(10)
        return "done"

    assert watched(work, look, "Copying", is_shown=True) == "done"
    assert "Copying" in terminal.written
    assert "100%" in terminal.written


def test_what_work_raises_is_raised() -> None:
    def work() -> None:
        raise CliError("backup.exists", "there")

    with pytest.raises(CliError):
        watched(work, lambda: (0, 0), "Copying", is_shown=False)
