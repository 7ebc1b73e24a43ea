"""What is signed here verifies with Debian's minisign, and the other way round."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from store.minisign import SignatureError, read_public, verify
from tests.packaging.scripts import PACKAGING, script

minisign = script("minisign")
Requires = Callable[[str, str], str]


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """A folder with a key made by the script, and a file signed with it."""
    (tmp_path / "file").write_bytes(b"the release")
    tool = (sys.executable, PACKAGING / "minisign.py")
    assert run(*tool, "generate", tmp_path / "release").returncode == 0
    signing = run(*tool, "sign", tmp_path / "release.key", tmp_path / "file", "version 1")
    assert signing.returncode == 0, signing.stderr
    return tmp_path


def test_minisign_verifies_what_the_script_signs(release: Path, requires: Requires) -> None:
    program = requires("minisign", "minisign")
    command = (program, "-V", "-p", release / "release.pub", "-m", release / "file")
    good = run(*command)
    assert good.returncode == 0, good.stderr
    assert "Trusted comment: version 1" in good.stdout
    (release / "file").write_bytes(b"another release")
    assert run(*command).returncode == 1


@pytest.mark.parametrize("kind", ["-H", "-l"])
def test_what_minisign_signs_verifies_here(tmp_path: Path, requires: Requires, kind: str) -> None:
    program = requires("minisign", "minisign")
    (tmp_path / "file").write_bytes(b"the release")
    keys = ("-p", tmp_path / "key.pub", "-s", tmp_path / "key.key")
    assert run(program, "-G", "-W", *keys).returncode == 0
    made = run(program, "-S", kind, *keys[2:], "-m", tmp_path / "file", "-t", "version 2")
    assert made.returncode == 0, made.stderr
    public = read_public((tmp_path / "key.pub").read_text())
    text = (tmp_path / "file.minisig").read_text()
    assert verify(public, b"the release", text) == "version 2"
    secret = minisign.read_secret((tmp_path / "key.key").read_text())
    assert secret.public == public
    again = minisign.sign(secret, b"the release", "mine")
    assert verify(public, b"the release", again) == "mine"


def test_minisign_signs_with_a_key_of_the_script(release: Path, requires: Requires) -> None:
    program = requires("minisign", "minisign")
    made = run(program, "-S", "-s", release / "release.key", "-m", release / "file", "-t", "two")
    assert made.returncode == 0, made.stderr
    public = read_public((release / "release.pub").read_text())
    assert verify(public, b"the release", (release / "file.minisig").read_text()) == "two"


def test_the_secret_key_is_for_its_owner_alone_and_never_overwritten(release: Path) -> None:
    assert (release / "release.key").stat().st_mode & 0o777 == 0o600
    before = (release / "release.key").read_bytes()
    again = run(sys.executable, PACKAGING / "minisign.py", "generate", release / "release")
    assert again.returncode != 0
    assert (release / "release.key").read_bytes() == before


def test_a_comment_of_two_lines_is_not_signed() -> None:
    with pytest.raises(ValueError, match="one line"):
        minisign.sign(minisign.generate(), b"", "one\ntwo")


def test_a_damaged_secret_key_is_refused() -> None:
    text = minisign.generate().text()
    flipped = "A" if text[-100] != "A" else "B"
    with pytest.raises(ValueError, match="secret key"):
        minisign.read_secret(text[:-100] + flipped + text[-99:])


def test_another_key_with_the_same_id_does_not_pass() -> None:
    secret = minisign.generate()
    other = minisign.SecretKey(secret.id, minisign.generate().seed)
    with pytest.raises(SignatureError, match="wrong"):
        verify(secret.public, b"data", minisign.sign(other, b"data", ""))
