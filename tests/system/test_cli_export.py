"""Exports from a real server: two officers agree, one exports, an outsider verifies."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.cli_program import Demo, Strongroom, free_port


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    made = Demo(tmp_path_factory.mktemp("export"), free_port())
    yield made
    assert made.stop() == 0, made.log.read_text()


@pytest.fixture
def strongroom(demo: Demo) -> Strongroom:
    return demo.strongroom


def send(strongroom: Strongroom, text: str) -> str:
    return str(strongroom.json("chat", "--as", "alice", "--to", "bob", "--send", text)["msg"])


def review(strongroom: Strongroom) -> str:
    """Let dave ask to read what alice is in, and erin agree; return the request."""
    asked = ("review", "request", "--person", "alice", "--reason", "complaint 12", "--as", "dave")
    number = str(strongroom.json(*asked)["request"])
    strongroom.json("review", "approve", number, "--yes", "--as", "erin")
    return number


def test_an_export_is_made_encrypted_decrypted_and_verified(
    strongroom: Strongroom, tmp_path: Path
) -> None:
    message = send(strongroom, "CANARY text")
    request = review(strongroom)
    key, site, sealed = tmp_path / "auditor.key", tmp_path / "site.key", tmp_path / "sealed"
    strongroom.json("audit", "key", "-o", str(site))
    strongroom.json("export", "key", str(key))
    told = strongroom.json(
        *("export", str(sealed), "--request", request, "--format", "eml"),
        *("--recipient", f"{key}.pub", "--as", "dave"),
    )
    assert told["records"] >= 1
    assert all(b"CANARY" not in each.read_bytes() for each in sealed.iterdir())
    opened = tmp_path / "opened"
    strongroom.json("export", "decrypt", str(sealed), str(opened), "--key", str(key))
    verified = strongroom.json("export", "verify", str(opened), "--key", str(site))
    assert (verified["good"], verified["records"]) == (True, told["records"])
    shown = strongroom.json("audit", "reconstruct", message, "--request", request, "--as", "dave")
    (version,) = shown["record"]["versions"]
    assert version["content"]["text"] == "CANARY text"


def test_nobody_exports_alone(strongroom: Strongroom, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    asked = strongroom.json(
        *("review", "request", "--person", "bob", "--reason", "x", "--as", "dave")
    )
    for who in ("dave", "erin", "alice"):
        arguments = ("export", out, "--request", str(asked["request"]), "--as", who, "--json")
        refused = strongroom.run(*arguments)
        assert refused.returncode in (4, 6), json.loads(refused.stderr)
    assert not list(tmp_path.iterdir())
