"""Where the data directory and the profiles are looked for."""

from pathlib import Path

import pytest

from cli import places


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("STRONGROOM_DATA", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def test_the_data_directory_is_looked_for_in_four_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert places.data_directory(None) == Path("/var/lib/strongroom")
    (tmp_path / "demo-data").mkdir()
    assert places.data_directory(None) == tmp_path / "demo-data"
    monkeypatch.setenv("STRONGROOM_DATA", "elsewhere")
    assert places.data_directory(None) == tmp_path / "elsewhere"
    assert places.data_directory(Path("given")) == tmp_path / "given"


def test_a_profile_is_the_one_given_the_demos_or_ones_own(tmp_path: Path) -> None:
    data = tmp_path / "demo-data"
    own = tmp_path / "config" / "strongroom" / "profiles" / "alice"
    assert places.profile_directory(None, "alice", data) == own
    (data / "profiles" / "alice").mkdir(parents=True)
    assert places.profile_directory(None, "alice", data) == data / "profiles" / "alice"
    assert places.profile_directory(Path("mine"), "alice", data) == tmp_path / "mine"
