"""The drill by command line: what it prints, and with which status it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.organisation import Organisation, code_of


@pytest.fixture
def organisation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Organisation:
    monkeypatch.setenv("STRONGROOM_STORE_MAP_BYTES", str(1 << 26))
    made = Organisation(tmp_path)
    made.add()
    (tmp_path / "backups").mkdir()
    made.json("backup", "create", str(tmp_path / "backups" / "one"))
    return made


def test_a_good_backup_ends_with_0_and_one_document(organisation: Organisation) -> None:
    report = organisation.json("drill", "restore", str(organisation.path / "backups"))
    assert report["schema"] == "strongroom.drill.restore/1"
    assert report["ok"] is True
    assert report["backup"]["directory"] == str(organisation.path / "backups" / "one")
    assert report["replica"]["directory"] == str(organisation.replica)
    assert (report["missing"], report["rpo_seconds"], report["revived"]) == (0, 0, 0)
    assert report["operations"] == report["live_operations"] > 0
    assert 0 < report["ledger_size"] <= report["live_ledger_size"]
    assert report["findings"] == []
    assert not (organisation.data / "drill").exists()


def test_people_are_told_each_step_and_both_figures(organisation: Organisation) -> None:
    result = organisation.run("drill", "restore", str(organisation.path / "backups"))
    assert result.exit_code == 0
    assert "comparing with the live site" in result.stderr
    assert "(RPO)" in result.stdout
    assert "(RTO)" in result.stdout
    assert "Nothing found." in result.stdout


def test_the_setting_names_the_backups_if_nobody_else_does(organisation: Organisation) -> None:
    assert organisation.run("drill", "restore", "--json").exit_code == 2
    settings = organisation.data / "strongroom.toml"
    named = f'\n[backup]\ndirectory = "{organisation.path / "backups"}"\n'
    settings.write_text(settings.read_text() + named)
    assert organisation.json("drill", "restore")["ok"]


def test_a_damaged_backup_ends_with_5(organisation: Organisation) -> None:
    store = organisation.path / "backups" / "one" / "store" / "data.mdb"
    store.write_bytes(store.read_bytes()[:-4096])
    result = organisation.run("drill", "restore", str(organisation.path / "backups"), "--json")
    assert code_of(result) == (5, "store.integrity")


def test_what_contradicts_the_live_site_ends_with_5_and_says_what(
    organisation: Organisation, monkeypatch: pytest.MonkeyPatch
) -> None:
    from appliance import drill

    monkeypatch.setattr(drill, "verify_consistency", lambda *_: False)
    result = organisation.run("drill", "restore", str(organisation.path / "backups"), "--json")
    assert result.exit_code == 5
    report = json.loads(result.stdout)
    assert report["ok"] is False
    assert [each["id"] for each in report["findings"]] == ["drill.ledger"]


def test_without_a_backup_or_a_replica_there_is_nothing_to_rehearse(
    organisation: Organisation, tmp_path: Path
) -> None:
    (tmp_path / "none").mkdir()
    result = organisation.run("drill", "restore", str(tmp_path / "none"), "--json")
    assert code_of(result) == (6, "backup.absent")
    alone = Organisation(tmp_path / "none")
    result = alone.run("drill", "restore", str(tmp_path / "backups"), "--json")
    assert code_of(result) == (6, "replica.unusable")
