"""Data of every released format is opened, read, checked, verified and restored by this program."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from store.engine.lmdb import LmdbEngine
from store.schema import SCHEMA, schema_of
from tests.system.cli_program import Demo, Strongroom, free_port
from tests.system.formats import DESTROYED, FORMATS, KEPT, unpack

RELEASED = sorted(path.name for path in FORMATS.iterdir() if path.is_dir())


@pytest.fixture(params=RELEASED)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    unpack(request.param, tmp_path)
    return tmp_path


def schema(folder: Path) -> int:
    engine = LmdbEngine(folder / "demo-data" / "store", readonly=True)
    try:
        with engine.snapshot() as reader:
            return schema_of(reader)
    finally:
        engine.close()


def graver(program: Strongroom) -> list[str]:
    found = json.loads(program.run("check", "--data", "demo-data", "--json").stdout)["findings"]
    return [each["id"] for each in found if each["severity"] != "notice"]


def test_there_is_data_of_every_schema() -> None:
    assert [str(number) for number in range(1, SCHEMA + 1)] == RELEASED


def test_it_is_brought_up_and_agrees_with_its_log(
    folder: Path, request: pytest.FixtureRequest
) -> None:
    assert schema(folder) == int(request.node.callspec.params["folder"])
    assert graver(Strongroom(folder)) == []
    assert schema(folder) == SCHEMA


@pytest.fixture
def demo(folder: Path) -> Iterator[Demo]:
    made = Demo(folder, free_port())
    yield made
    assert made.stop() == 0, made.log.read_text()
    assert graver(made.strongroom) == []


def test_it_is_served_and_people_go_on(demo: Demo) -> None:
    program = demo.strongroom
    for (sender, receiver), text in KEPT.items():
        assert text in program.ok("chat", "--as", receiver, "--with", sender, "--history", "9")
    gone = program.run("chat", "--as", "alice", "--with", "ivan", "--history", "9")
    assert DESTROYED not in gone.stdout
    program.ok("chat", "--as", "alice", "--to", "bob", "--send", "years later")
    assert "years later" in program.ok("chat", "--as", "bob", "--with", "alice", "--history", "9")
    holds = program.json("hold", "list", "--as", "dave")["holds"]
    assert [hold["name"] for hold in holds] == ["Case 7"]


def test_what_an_auditor_got_is_still_proof(folder: Path) -> None:
    given = ("certificate.txt", "--ledger", "ledger.txt", "--key", "site.key")
    assert "The certificate of run 1 holds." in Strongroom(folder).ok("audit", "verify", *given)


def test_its_backup_is_verified_and_restored_with_its_key_replica(folder: Path) -> None:
    program = Strongroom(folder)
    assert program.json("backup", "verify", "backup", "--key", "site.key")["ok"]
    report = program.json("drill", "restore", "backup", "--data", "demo-data")
    assert report["findings"] == []
    assert report["destroyed"] > 0
    assert report["revived"] == 0
    new = ("--data", "new", "--keys", "new-keys")
    shutil.rmtree(folder / "demo-data")
    program.ok("restore", "backup", "--replica", "replica", "--key", "site.key", *new)
    os.rename(folder / "new", folder / "demo-data")
    os.rename(folder / "new-keys", folder / "new-keys-kept")
    settings = folder / "demo-data" / "strongroom.toml"
    settings.write_text(settings.read_text().replace("../new-keys", "../new-keys-kept"))
    assert graver(program) == ["clock.suspended"]  # until two officers have looked
