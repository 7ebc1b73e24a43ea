"""The tool makes a bundle of a built program that the upgrade takes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from appliance.upgrade.bundle import opened
from appliance.version import RELEASE
from store.minisign import SignatureError, read_public
from store.schema import SCHEMA
from tests.appliance.upgrade.trees import make_tree
from tests.packaging.scripts import PACKAGING


def run(script: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, PACKAGING / script, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_bundle_says_version_release_and_schema_and_is_signed(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "strongroom", "0.1.0")
    assert run("minisign.py", "generate", tmp_path / "release").returncode == 0
    made = run("bundle.py", tree, "--key", tmp_path / "release.key", "-o", tmp_path / "bundle")
    assert made.returncode == 0, made.stderr
    with opened(tmp_path / "bundle", read_public((tmp_path / "release.pub").read_text())) as found:
        release = found.release
        found.check()
        assert found.comment == f"strongroom 0.1.0 release {RELEASE}"
    assert (release.version, release.counter) == ("0.1.0", RELEASE)
    assert (release.oldest_schema, release.newest_schema) == (0, SCHEMA)
    assert {file.name for file in release.files} == {"strongroom", "_internal/library.so"}


def test_a_bundle_is_never_overwritten_and_not_made_without_a_key(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "strongroom", "0.1.0")
    run("minisign.py", "generate", tmp_path / "release")
    arguments = (tree, "--key", tmp_path / "release.key", "-o", tmp_path / "bundle")
    (tmp_path / "bundle").write_bytes(b"mine")
    assert run("bundle.py", *arguments).returncode != 0
    assert (tmp_path / "bundle").read_bytes() == b"mine"
    assert run("bundle.py", tree, "--key", tmp_path / "none", "-o", tmp_path / "b").returncode != 0
    assert not (tmp_path / "b").exists()


def test_the_key_of_another_release_does_not_open_it(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "strongroom", "0.1.0")
    for name in ("one", "two"):
        run("minisign.py", "generate", tmp_path / name)
    run("bundle.py", tree, "--key", tmp_path / "one.key", "-o", tmp_path / "bundle")
    other = read_public((tmp_path / "two.pub").read_text())
    with pytest.raises(SignatureError), opened(tmp_path / "bundle", other):
        pass
