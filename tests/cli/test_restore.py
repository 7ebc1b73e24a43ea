"""A restore by command line, from nothing but a backup and a key replica."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from tests.cli.organisation import Organisation, code_of, run


@pytest.fixture
def organisation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Organisation:
    monkeypatch.setenv("STRONGROOM_STORE_MAP_BYTES", str(1 << 26))
    made = Organisation(tmp_path)
    made.add()
    made.json("backup", "create", str(tmp_path / "backup"))
    return made


def restore(organisation: Organisation, *more: str) -> Result:
    path = organisation.path
    arguments = ("--replica", str(organisation.replica), "--keys", str(path / "newkeys"))
    where = ("--data", str(path / "new"))
    return run("restore", str(path / "backup"), *arguments, *where, *more)


def told(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.stderr
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def test_a_site_comes_back_after_losing_data_and_keys(organisation: Organisation) -> None:
    before = {path.name for path in organisation.path.iterdir()}
    rehearsed = told(restore(organisation, "--dry-run", "--json"))
    assert {path.name for path in organisation.path.iterdir()} == before
    shutil.rmtree(organisation.data)
    shutil.rmtree(f"{organisation.data}-keys")
    report = told(restore(organisation, "--json"))
    assert report["schema"] == "strongroom.restore/1"
    assert (rehearsed["dry_run"], report["dry_run"]) == (True, False)
    for same in ("operations", "surviving", "node", "backup"):
        assert report[same] == rehearsed[same]
    assert report["operations"] == report["surviving"] > 0
    assert report["rto_seconds"] > 0
    assert report["replica"]["directory"] == str(organisation.replica)
    new = organisation.path / "new"
    assert new.stat().st_mode & 0o777 == 0o700
    checked = run("check", "--data", str(new), "--json")
    assert checked.exit_code == 0, checked.stdout
    shown = json.loads(run("key-replica", "sync", "--data", str(new), "--json").stdout)
    assert shown["replicas"][0]["in_step"]


def test_people_are_told_each_step_and_what_comes_next(organisation: Organisation) -> None:
    result = restore(organisation)
    assert result.exit_code == 0
    assert "replaying what was destroyed" in result.stderr
    assert "time taken (RTO)" in result.stdout
    assert f"strongroom serve --data {organisation.path / 'new'}" in result.stdout


def test_a_used_directory_and_a_missing_replica_are_refused(organisation: Organisation) -> None:
    (organisation.path / "newkeys").mkdir()
    (organisation.path / "newkeys" / "root.0").touch()
    assert code_of(restore(organisation, "--json")) == (6, "restore.not_empty")
    (organisation.path / "newkeys" / "root.0").unlink()
    missing = ("--replica", str(organisation.path / "nowhere"), "--json")
    assert code_of(restore(organisation, *missing)) == (6, "replica.unusable")


def test_a_changed_backup_ends_with_5(organisation: Organisation) -> None:
    manifest = organisation.path / "backup" / "manifest"
    manifest.write_text(manifest.read_text().replace("program ", "program x"))
    assert code_of(restore(organisation, "--json")) == (5, "store.integrity")


def test_what_protects_the_keys_protects_replica_and_new_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STRONGROOM_STORE_MAP_BYTES", str(1 << 26))
    (tmp_path / "credential").write_bytes(bytes(range(64)))
    credential = ("--credential-file", str(tmp_path / "credential"))
    made = Organisation(tmp_path, *credential)
    made.add()
    made.json("backup", "create", str(tmp_path / "backup"))
    assert restore(made, "--json").exit_code == 2
    told(restore(made, *credential, "--json"))
    settings = (tmp_path / "new" / "strongroom.toml").read_text()
    assert 'wrap = "credential"' in settings
    assert run("check", "--data", str(tmp_path / "new"), "--json").exit_code == 0
