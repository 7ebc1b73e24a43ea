"""`strongroom config` tells mistakes, values and where they come from, with no server up."""

from __future__ import annotations

import json
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from appliance.config import SETTINGS, Config
from appliance.config_text import effective
from cli.main import root
from transports import certificates as x509s


def run(data: Path, *arguments: str, **environ: str) -> Result:
    command = ["config", *arguments, "--data", str(data)]
    return CliRunner().invoke(root, command, env=environ)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    made = tmp_path / "data"
    made.mkdir()
    (made / "strongroom.toml").write_text("[listen]\nport = 9000\n")
    return made


def settings(result: Result) -> dict[str, tuple[Any, str]]:
    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)["settings"]
    return {each["name"]: (each["value"], each["source"]) for each in told}


def test_what_is_set_is_shown_with_its_source(data: Path) -> None:
    shown = settings(run(data, "show", "--json", STRONGROOM_LOG_LEVEL="error"))
    assert shown == {"listen.port": (9000, "file"), "log.level": ("error", "environment")}


def test_the_environment_goes_before_the_file(data: Path) -> None:
    shown = settings(run(data, "show", "--json", STRONGROOM_LISTEN_PORT="9001"))
    assert shown == {"listen.port": (9001, "environment")}


def test_effective_shows_every_setting(data: Path) -> None:
    shown = settings(run(data, "show", "--effective", "--json"))
    assert set(shown) == set(SETTINGS)
    assert shown["quic.enabled"] == (True, "default")
    text = run(data, "show", "--effective").stdout
    assert 'log.format = "auto"    # default' in text
    assert "listen.port = 9000    # file" in text


@pytest.mark.parametrize("as_json", [True, False])
def test_all_mistakes_are_told_with_status_78(data: Path, as_json: bool) -> None:
    (data / "strongroom.toml").write_text("[listen]\nprot = 1\n[log]\nlevel = 'loud'\n")
    result = run(data, "check", *(["--json"] if as_json else []))
    assert result.exit_code == 78
    assert "did you mean listen.port?" in result.stdout
    assert "log.level" in result.stdout
    if as_json:
        told = json.loads(result.stdout)
        assert (told["ok"], len(told["problems"])) == (False, 2)


def test_a_right_configuration_is_right(data: Path) -> None:
    result = run(data, "check", "--json")
    assert json.loads(result.stdout) == {
        "schema": "strongroom.config.check/1",
        "ok": True,
        "problems": [],
    }


def identity(life: timedelta = timedelta(days=30)) -> x509s.Identity:
    key, now = x509s.derive_key(b"k" * 48), datetime.now(UTC)
    ca = x509s.make_ca(key, "IT", now, b"s" * 16)
    return x509s.issue_leaf(key, ca, key, ["chat.example"], now, b"n" * 16, life)


@pytest.mark.parametrize(
    ("life", "key", "problem"),
    [
        (timedelta(days=30), "own", ""),
        (timedelta(minutes=-1), "own", "is not valid now"),
        (timedelta(days=30), "other", "does not belong"),
        (timedelta(days=30), "none", "cannot be read"),
    ],
)
def test_the_certificate_is_looked_at_too(
    data: Path, life: timedelta, key: str, problem: str
) -> None:
    known = identity(life)
    (data / "tls").mkdir()
    (data / "tls" / "chain.pem").write_bytes(known.chain_pem)
    if key != "none":
        other = x509s._key_pem(x509s.derive_key(b"o" * 48))
        (data / "tls" / "key.pem").write_bytes(known.key_pem if key == "own" else other)
    text = "[tls]\ncertificate = 'tls/chain.pem'\nkey = 'tls/key.pem'\n"
    (data / "strongroom.toml").write_text(text)
    result = run(data, "check")
    assert result.exit_code == (78 if problem else 0)
    assert problem in result.stdout


def test_a_credential_that_only_the_service_has_is_no_mistake(data: Path, tmp_path: Path) -> None:
    text = "[tls]\ncertificate = 'strongroom-chain'\nkey = 'strongroom-key'\n"
    (data / "strongroom.toml").write_text(text)
    assert run(data, "check").exit_code == 0
    for name in ("strongroom-chain", "strongroom-key"):
        (tmp_path / name).write_text("nonsense")
    result = run(data, "check", CREDENTIALS_DIRECTORY=str(tmp_path))
    assert result.exit_code == 78
    assert "is not PEM" in result.stdout


def test_the_example_and_the_schema_are_printed(data: Path) -> None:
    example = run(data, "example").stdout
    assert tomllib.loads(example) == {name: {} for name in effective(Config())}
    schema = json.loads(run(data, "schema").stdout)
    assert schema["$schema"].startswith("https://json-schema.org/")
    assert json.loads(run(data, "schema", "--json").stdout)["json_schema"] == schema


def test_a_file_that_is_not_there_is_a_wrong_command_line(data: Path) -> None:
    assert run(data, "check", "--file", str(data / "nothing")).exit_code == 2
    assert run(data, "diff", str(data / "nothing")).exit_code == 2


def test_without_a_server_a_difference_to_it_cannot_be_told(data: Path) -> None:
    assert run(data, "diff").exit_code == 3
    assert run(data, "show", "--running").exit_code == 3
