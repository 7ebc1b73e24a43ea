"""Data of a newer program is refused by every command, and stays as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from store.engine.lmdb import LmdbEngine
from store.schema import SCHEMA
from store.tables import meta_key
from tests.cli.organisation import Organisation, code_of


def test_newer_data_is_refused_with_6_and_not_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STRONGROOM_STORE_MAP_BYTES", str(1 << 26))
    organisation = Organisation(tmp_path)
    engine = LmdbEngine(organisation.data / "store", map_bytes=1 << 26)
    engine.batch({meta_key("schema"): (SCHEMA + 1).to_bytes(2, "big")}, engine.acquire())
    engine.close()
    before = (organisation.data / "store" / "data.mdb").read_bytes()
    for command in (["check"], ["serve"], ["backup", "create", str(tmp_path / "backup")]):
        result = organisation.run(*command, "--json")
        assert code_of(result) == (6, "store.newer_schema"), command
        assert "rollback" in result.stderr
    assert (organisation.data / "store" / "data.mdb").read_bytes() == before
    assert not (tmp_path / "backup").exists()
