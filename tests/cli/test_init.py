"""Making an organisation on a real disk, and what check and the process lock say of it."""

from __future__ import annotations

import json
import multiprocessing
import os
import tomllib
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from appliance.certificates import ca_fingerprint
from appliance.config import Config, load_file
from appliance.context import SITE
from appliance.directory.codes import code_hash
from cli.errors import CliError
from cli.main import root
from cli.offline import invite, open_site, process_lock, server_for_links
from store.vault import PassphraseWrap
from transports.wire.links import parse_invitation


def run(*arguments: str) -> Result:
    return CliRunner().invoke(root, list(arguments))


def init(data: Path, *more: str) -> dict[str, Any]:
    result = run("init", "--data", str(data), "--name", "City hospital", "--json", *more)
    assert result.exit_code == 0, result.stderr
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def test_an_organisation_is_made_with_three_invitations(tmp_path: Path) -> None:
    data = tmp_path / "data"
    told = init(data, "--host", "chat.example", "--port", "9443", "--administrator", "root.admin")
    assert told["schema"] == "strongroom.init/1"
    roles = {each["login"]: each["role"] for each in told["invitations"]}
    assert roles == {
        "root.admin": "administrator",
        "officer": "security_officer",
        "auditor": "auditor",
    }
    site = open_site(Config(), data)
    try:
        assert site.core.site_name == "City hospital"
        assert told["ca"] == ca_fingerprint(site.core)
        for each in told["invitations"]:
            link = parse_invitation(each["link"])
            assert (link.server.host, link.server.port) == ("chat.example", 9443)
            assert link.pin == told["ca"]
            found = site.core.directory.invite(code_hash(link.code))
            assert found is not None
            person = site.core.directory.person(found.person)
            assert person is not None
            assert person.roles == {"member", each["role"]}
    finally:
        site.close()


def test_what_is_made_is_private_and_configured(tmp_path: Path) -> None:
    data, keys = tmp_path / "data", tmp_path / "vault" / "keys"
    keys.parent.mkdir()
    init(data, "--keys", str(keys), "--host", "10.0.0.5")
    for path in (data, keys, data / "strongroom.toml"):
        assert path.stat().st_mode & 0o077 == 0, path
    told = tomllib.loads((data / "strongroom.toml").read_text())
    assert told["keys"]["directory"] == os.path.relpath(keys, data)
    assert told["listen"]["names"] == ["10.0.0.5"]
    assert sorted(path.name for path in keys.iterdir()) == ["root.0", "root.1"]


def test_a_directory_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "file").write_text("mine")
    result = run("init", "--data", str(data), "--name", "X", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stderr)["code"] == "store.not_empty"
    assert [path.name for path in data.iterdir()] == ["file"]
    assert not (tmp_path / "data-keys").exists()


def test_a_key_directory_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.mkdir()
    (keys / "root.0").write_bytes(b"precious")
    result = run("init", "--data", str(tmp_path / "d"), "--keys", str(keys), "--name", "X")
    assert result.exit_code == 1
    assert (keys / "root.0").read_bytes() == b"precious"
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize(
    "wrong",
    [
        ["--administrator", "Not A Login"],
        ["--administrator", "same", "--auditor", "same"],
        ["--credential-file", "/nonexistent"],
        ["--passphrase-file", "/nonexistent"],
        ["--wrap", "passphrase"],
    ],
)
def test_what_is_wrong_is_told_before_anything_is_made(tmp_path: Path, wrong: list[str]) -> None:
    result = run("init", "--data", str(tmp_path / "d"), "--name", "X", *wrong)
    assert result.exit_code != 0
    assert list(tmp_path.iterdir()) == []


def test_without_a_terminal_a_missing_name_is_wrong_usage(tmp_path: Path) -> None:
    assert run("init", "--data", str(tmp_path / "d")).exit_code == 2


def test_people_get_links_and_the_next_step(tmp_path: Path) -> None:
    data = tmp_path / "data"
    result = run("init", "--data", str(data), "--name", "City hospital", "--qr", "--host", "h")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.count("strongroom chat --join 'strongroom://h:8443/join?pin=sha256:") == 3
    assert "▄" in result.stdout
    assert f"Next: strongroom serve --data {data}" in result.stdout
    assert "one device" in result.stderr


def test_a_passphrase_from_a_file_opens_what_it_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from store.vault import Argon2Cost

    cheap = Argon2Cost(memory_kib=64, passes=1, lanes=1)
    monkeypatch.setattr("store.vault.PassphraseWrap", lambda secret: PassphraseWrap(secret, cheap))
    secret = tmp_path / "secret"
    secret.write_text("open sesame\n")
    data = tmp_path / "data"
    init(data, "--passphrase-file", str(secret))
    config = load_file(data / "strongroom.toml", environ={}).config
    assert config.keys.wrap == "passphrase"
    open_site(config, data).close()
    secret.write_text("open barley\n")
    result = run("check", "--data", str(data), "--json")
    assert result.exit_code == 4
    assert json.loads(result.stderr)["code"] == "vault.locked"


def test_a_systemd_credential_is_named_in_the_settings_and_found_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    credentials, data = tmp_path / "credentials", tmp_path / "data"
    credentials.mkdir()
    (credentials / "strongroom.wrap").write_bytes(bytes(range(64)))
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    init(data, "--credential-file", "strongroom.wrap")
    config = load_file(data / "strongroom.toml", environ={}).config
    assert config.keys.credential_file == "strongroom.wrap"
    open_site(config, data).close()
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    result = run("check", "--data", str(data), "--json")
    assert (result.exit_code, json.loads(result.stderr)["code"]) == (4, "vault.locked")


def test_root_leaves_no_files_in_a_directory_of_the_services_account(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.geteuid() == 0:
        os.chown(tmp_path, 65_534, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 0)
    result = run("init", "--data", str(tmp_path), "--name", "City hospital", "--json")
    told = json.loads(result.stderr)
    assert (result.exit_code, told["code"]) == (1, "cli.owner")
    assert "runuser -u " in told["hint"]
    assert list(tmp_path.iterdir()) == []


def test_a_new_organisation_passes_its_check(tmp_path: Path) -> None:
    data = tmp_path / "data"
    init(data)
    result = run("check", "--data", str(data), "--json")
    assert result.exit_code == 0, result.stdout
    assert {each["severity"] for each in json.loads(result.stdout)["findings"]} <= {"notice"}


def test_a_check_without_an_organisation_says_so(tmp_path: Path) -> None:
    result = run("check", "--data", str(tmp_path), "--json")
    assert result.exit_code == 1
    assert json.loads(result.stderr)["code"] == "store.absent"


def test_a_damaged_log_ends_with_5(tmp_path: Path) -> None:
    from store.tables import LOG

    data = tmp_path / "data"
    init(data)
    site = open_site(Config(), data)
    with site.ports.engine.snapshot() as reader:
        key, row = list(reader.range(*LOG.span()))[7]
    damaged = bytes([*row[:-1], row[-1] ^ 1])
    site.ports.engine.batch({key: damaged}, site.ports.engine.acquire())
    site.writer.stop()
    site.vault.close()
    site.ports.engine.close()
    result = run("check", "--data", str(data), "--json")
    assert result.exit_code == 5


def hold(data: Path, held: Any, done: Any) -> None:
    with process_lock(data):
        held.set()
        done.wait(30)


def test_one_process_works_on_a_data_directory_and_a_dead_one_is_no_obstacle(
    tmp_path: Path,
) -> None:
    context = multiprocessing.get_context("spawn")
    held, done = context.Event(), context.Event()
    other = context.Process(target=hold, args=(tmp_path, held, done))
    other.start()
    try:
        assert held.wait(30)
        assert (tmp_path / "run" / "pid").read_text() == f"{other.pid}\n"
        with pytest.raises(CliError, match=f"process {other.pid}"), process_lock(tmp_path):
            pytest.fail("two at once")
        other.kill()
        other.join(30)
        with process_lock(tmp_path):
            assert (tmp_path / "run" / "pid").read_text() == f"{os.getpid()}\n"
    finally:
        other.kill()
        other.join(30)


def test_links_name_the_host_that_clients_use() -> None:
    from appliance.config import ListenSection

    named = Config(listen=ListenSection(port=1, names=("a.example",)))
    bound = Config(listen=ListenSection(host="10.0.0.5", port=2))
    anywhere = server_for_links(Config())
    assert server_for_links(named) == ("a.example", 1)
    assert server_for_links(bound) == ("10.0.0.5", 2)
    assert anywhere[0] not in ("", Config().listen.host)


def test_a_further_invitation_can_be_made_while_the_server_is_down(tmp_path: Path) -> None:
    from appliance.directory.commands import CreatePerson

    data = tmp_path / "data"
    init(data)
    site = open_site(Config(), data)
    try:
        site.run(SITE, CreatePerson("zoe", "Zoe"))
        made = invite(site, Config(), "zoe", "member", 1)
        assert parse_invitation(made.link).pin == ca_fingerprint(site.core)
    finally:
        site.close()


# --- key replicas -------------------------------------------------------------------------------


def test_a_key_replica_is_made_with_the_organisation_and_is_in_step(tmp_path: Path) -> None:
    data, replica = tmp_path / "data", tmp_path / "replica"
    told = init(data, "--replica", str(replica), "--allow-same-device")
    assert told["replica"] == str(replica)
    status = run("key-replica", "status", "--data", str(data), "--json")
    assert status.exit_code == 0, status.output
    (known,) = json.loads(status.stdout)["replicas"]
    assert (known["directory"], known["in_step"]) == (str(replica), True)
    found = json.loads(run("check", "--data", str(data), "--json").stdout)["findings"]
    assert "keys.no_replica" not in {each["id"] for each in found}


def test_people_are_told_of_the_replica_or_that_there_is_none(tmp_path: Path) -> None:
    with_one = ("--replica", str(tmp_path / "replica"), "--allow-same-device", "--name", "X")
    made = run("init", "--data", str(tmp_path / "one"), *with_one)
    assert f"key replica   {tmp_path / 'replica'}" in made.stdout
    assert "key-replica add" not in made.stderr
    none = run("init", "--data", str(tmp_path / "two"), "--name", "X")
    assert "strongroom key-replica add DIR" in none.stderr
    assert init(tmp_path / "three")["replica"] == ""


@pytest.mark.parametrize(
    ("replica", "more", "code"),
    [
        ("replica", (), "replica.same_device"),
        ("data/replica", ("--allow-same-device",), "replica.place"),
        ("data-keys", ("--allow-same-device",), "replica.place"),
        ("absent/replica", ("--allow-same-device",), "replica.place"),
        ("full", ("--allow-same-device",), "store.not_empty"),
    ],
)
def test_where_a_replica_cannot_lie_is_told_before_anything_is_made(
    tmp_path: Path, replica: str, more: tuple[str, ...], code: str
) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "file").touch()
    place = str(tmp_path / replica)
    options = ("--name", "X", "--json", "--replica", place, *more)
    result = run("init", "--data", str(tmp_path / "data"), *options)
    assert result.exit_code != 0
    assert json.loads(result.stderr)["code"] == code
    assert list(tmp_path.iterdir()) == [full]


def test_a_replica_that_fails_costs_nobody_their_invitation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("appliance.replicas.MAP_BYTES", 8_192)
    options = ("--replica", str(tmp_path / "replica"), "--allow-same-device", "--json")
    result = run("init", "--data", str(tmp_path / "data"), "--name", "X", *options)
    assert result.exit_code == 1
    told = json.loads(result.stdout)
    assert told["replica"] == ""
    assert len(told["invitations"]) == 3
    assert json.loads(result.stderr)["code"].startswith("store.")
    assert "replicas" not in (tmp_path / "data" / "strongroom.toml").read_text()
