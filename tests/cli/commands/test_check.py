"""`strongroom check` looks at the pages before it trusts them, and leaves with what it found."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cli.main import root
from store.engine.lmdb import DATA_NAME, PAGE_BYTES


def check(data: Path) -> Result:
    return CliRunner().invoke(root, ["check", "--data", str(data), "--json"])


@pytest.fixture
def data(tmp_path: Path) -> Path:
    made = tmp_path / "org"
    result = CliRunner().invoke(root, ["init", "--data", str(made), "--name", "X", "--json"])
    assert result.exit_code == 0, result.output
    return made


def test_a_sound_site_has_nothing_but_notices(data: Path) -> None:
    result = check(data)
    found = json.loads(result.stdout)["findings"]
    assert result.exit_code == 0
    assert {each["severity"] for each in found} == {"notice"}


def test_damaged_pages_are_told_and_not_opened(data: Path) -> None:
    file = data / "store" / DATA_NAME
    content = bytearray(file.read_bytes())
    for page in range(2, len(content) // PAGE_BYTES):
        struct.pack_into("=Q", content, page * PAGE_BYTES, 1 << 40)
    file.write_bytes(content)
    result = check(data)
    (found,) = json.loads(result.stdout)["findings"]
    assert (result.exit_code, found["id"], found["severity"]) == (5, "store.pages", "integrity")
    assert file.read_bytes() == content


def test_where_there_is_no_store_that_is_said(tmp_path: Path) -> None:
    result = check(tmp_path)
    assert json.loads(result.stderr)["code"] == "store.absent"
