"""A program tells where it comes from: what its build recorded, or the checkout it runs from."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from appliance import version

RECORDED = version.Origin("9.9.9", "c0ffee", 1_700_000_000, {"lmdb": "3"})


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    """Let each test look anew, and the next module too."""
    cached = (version._recorded, version.program_version)
    for function in cached:
        function.cache_clear()
    yield
    for function in cached:
        function.cache_clear()


def test_a_checkout_tells_its_commit_and_the_libraries_it_asks_for() -> None:
    root = Path(version.__file__).parents[1]
    head = ["git", "-c", f"safe.directory={root}", "-C", str(root), "rev-parse", "HEAD"]
    commit = subprocess.run(head, capture_output=True, text=True, check=True).stdout.strip()
    told = version.describe()
    assert (told["commit"].removesuffix("-dirty"), told["build"]) == (commit, "checkout")
    assert told["version"] == version.program_version()
    assert told["libraries"]["trio"] == importlib.metadata.version("trio")
    assert told["suites"]["1"].startswith("AES-256-GCM")


def test_what_the_build_recorded_goes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / version.RECORD).write_bytes(msgspec.json.encode(RECORDED))
    monkeypatch.setattr(version, "files", lambda _package: tmp_path)
    assert version.origin() == RECORDED
    assert version.program_version() == "9.9.9"
    told = version.describe()
    assert (told["commit"], told["made_at"]) == ("c0ffee", 1_700_000_000_000)


def test_outside_of_git_the_commit_is_not_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(version, "_CHECKOUT", tmp_path)
    assert version.describe()["commit"] is None
    (tmp_path / ".git").mkdir()
    assert version.describe()["commit"] is None
    monkeypatch.setenv("PATH", "")
    assert version.describe()["made_at"] is None


@pytest.mark.parametrize(
    ("unpacked", "kind"), [("/opt/x/_internal", "directory"), ("/tmp/_MEI1", "file")]
)
def test_the_kind_of_build_is_told_by_where_it_is_unpacked(
    monkeypatch: pytest.MonkeyPatch, unpacked: str, kind: str
) -> None:
    monkeypatch.setattr(sys, "_MEIPASS", unpacked, raising=False)
    monkeypatch.setattr(sys, "executable", "/opt/x/strongroom")
    assert version.build_kind() == kind
