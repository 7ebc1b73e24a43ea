"""Key replicas by command line while no server runs: added, followed, shown, removed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.cli.organisation import Organisation, code_of


@pytest.fixture
def organisation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Organisation:
    monkeypatch.setenv("STRONGROOM_STORE_MAP_BYTES", str(1 << 26))
    return Organisation(tmp_path)


def test_a_replica_is_added_named_and_in_step(organisation: Organisation) -> None:
    before = organisation.settings()
    added = organisation.add()
    (replica,) = added["replicas"]
    assert added["schema"] == "strongroom.key-replica.add/1"
    assert (replica["directory"], replica["in_step"], replica["own_device"]) == (
        str(organisation.replica),
        True,
        False,
    )
    assert (replica["generation"], replica["error"]) == (added["generation"], "")
    assert len(bytes.fromhex(replica["identity"])) == 16
    expected = {**before, "replicas": {"directories": [str(organisation.replica)]}}
    assert organisation.settings() == expected


def test_the_status_says_what_replicas_say_themselves(organisation: Organisation) -> None:
    assert organisation.json("key-replica", "status")["replicas"] == []
    added = organisation.add()
    shown = organisation.json("key-replica", "status")
    assert shown["generation"] == added["generation"]
    assert shown["replicas"][0]["identity"] == added["replicas"][0]["identity"]
    assert shown["replicas"][0]["in_step"]
    text = organisation.run("key-replica", "status").stdout
    assert text.startswith("DIRECTORY")
    assert str(organisation.replica) in text


def test_a_device_that_is_gone_is_told_and_the_rest_follows(organisation: Organisation) -> None:
    organisation.add()
    organisation.replica.rename(organisation.path / "away")
    for command in ("status", "sync"):
        told = organisation.json("key-replica", command, status=1)
        assert told["replicas"][0]["error"] == "replica.unusable"
    (organisation.path / "away").rename(organisation.replica)
    assert organisation.json("key-replica", "sync")["replicas"][0]["error"] == ""


def test_a_replica_is_not_put_beside_what_it_is_for(organisation: Organisation) -> None:
    same = organisation.run("key-replica", "add", str(organisation.replica), "--json")
    assert code_of(same) == (6, "replica.same_device")
    inside = str(organisation.data / "replica")
    refused = organisation.run("key-replica", "add", inside, "--allow-same-device", "--json")
    assert code_of(refused) == (6, "replica.place")
    organisation.add()
    again = str(organisation.replica)
    refused = organisation.run("key-replica", "add", again, "--allow-same-device", "--json")
    assert code_of(refused) == (6, "replica.place")


def test_a_removed_replica_has_no_root_and_can_come_back(organisation: Organisation) -> None:
    organisation.add()
    removed = organisation.json("key-replica", "remove", str(organisation.replica))
    assert removed["directory"] == str(organisation.replica)
    for name in ("root.0", "root.1"):
        assert (organisation.replica / name).read_bytes() == bytes(4_096)
    assert organisation.settings()["replicas"] == {"directories": []}
    unknown = organisation.run("key-replica", "remove", str(organisation.replica), "--json")
    assert code_of(unknown) == (1, "replica.unknown")
    assert organisation.add()["replicas"][0]["in_step"]


def test_another_sites_replica_is_not_taken(organisation: Organisation, tmp_path: Path) -> None:
    organisation.add()
    other = Organisation(tmp_path / "other")
    refused = other.run(
        "key-replica", "add", str(organisation.replica), "--allow-same-device", "--json"
    )
    assert code_of(refused) == (6, "replica.foreign")
    assert "replicas" not in other.settings()


def test_check_notes_that_there_is_no_replica(organisation: Organisation) -> None:
    ids = {each["id"] for each in organisation.json("check")["findings"]}
    assert "keys.no_replica" in ids
    organisation.add()
    ids = {each["id"] for each in organisation.json("check")["findings"]}
    assert "keys.no_replica" not in ids


def test_a_lost_key_directory_is_made_anew(organisation: Organisation) -> None:
    organisation.add()
    keys = organisation.path / "data-keys"
    rescue = ("key-replica", "rescue", str(organisation.replica))
    used = organisation.run(*rescue, "--json")
    assert code_of(used) == (6, "restore.not_empty")
    shutil.rmtree(keys)
    assert organisation.run("check", "--json").exit_code != 0
    told = organisation.json(*rescue)
    assert told == {
        "schema": "strongroom.key-replica.rescue/1",
        "keys": str(keys),
        "generation": 1,
    }
    assert organisation.json("check")["findings"]
    shutil.rmtree(keys)
    assert "is made anew" in organisation.run(*rescue).stdout
