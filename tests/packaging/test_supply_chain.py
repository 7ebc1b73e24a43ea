"""What is handed out can be checked: the same bytes again, a bill, licences, one signature."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from tests.packaging.conftest import BUILD_DEB, ROOT, Built, build, run_build

PACKAGING = ROOT / "packaging"


def hashes(folder: Path) -> dict[str, tuple[int, str]]:
    """Return the mode and hash of every file below a folder, and where its links lead."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            found[str(path.relative_to(folder))] = (0, str(path.readlink()))
        elif path.is_file():
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            found[str(path.relative_to(folder))] = (path.stat().st_mode, digest)
    return found


def test_two_builds_of_one_commit_are_the_same_byte_for_byte(
    built: Built, deb: Path, tmp_path: Path
) -> None:
    again = build(tmp_path)
    run_build(BUILD_DEB, again)
    first, second = hashes(built.dist), hashes(again.dist)
    assert deb.name in first
    assert {
        name for name in first.keys() | second.keys() if first.get(name) != second.get(name)
    } == set()


@pytest.fixture
def bill(built: Built) -> dict[str, Any]:
    """The bill of materials of the built program."""
    document: dict[str, Any] = json.loads((built.folder / "sbom.cdx.json").read_text("utf-8"))
    return document


def test_the_bill_of_materials_is_valid_cyclonedx(built: Built) -> None:
    validator = JsonStrictValidator(SchemaVersion.V1_6)
    text = (built.folder / "sbom.cdx.json").read_text("utf-8")
    assert validator.validate_str(text) is None
    assert validator.validate_str(text.replace('"bomFormat"', '"bomFormatt"')) is not None


def test_the_bill_names_what_is_shipped_with_its_hashes(built: Built, bill: dict[str, Any]) -> None:
    named = {each["name"]: each for each in bill["components"]}
    assert {"cpython", "libssl3", "aioquic", "lmdb", "pynacl", "pyinstaller"} <= named.keys()
    (wheels,) = named["lmdb"]["externalReferences"]
    lock = (ROOT / "requirements" / "runtime.txt").read_text("utf-8")
    assert wheels["hashes"]
    assert all(f"--hash=sha256:{each['content']}" in lock for each in wheels["hashes"])
    listed = {
        file["name"]: file["hashes"][0]["content"]
        for each in bill["components"]
        for file in each.get("components", ())
        if file["type"] == "file"
    }
    native = {
        str(path.relative_to(built.folder / "_internal")): path
        for path in (built.folder / "_internal").rglob("*.so*")
        if not path.is_symlink()
    }
    assert listed.keys() == native.keys()
    for name, path in native.items():
        assert listed[name] == hashlib.sha256(path.read_bytes()).hexdigest()
    needs = {each["ref"]: each.get("dependsOn", []) for each in bill["dependencies"]}
    assert named["h11"]["bom-ref"] in needs[named["wsproto"]["bom-ref"]]
    assert named["cryptography"]["bom-ref"] in needs[named["aioquic"]["bom-ref"]]
    inside = {each["name"] for each in named["cryptography"]["components"]}
    assert "openssl" in inside


def test_each_thing_shipped_has_its_licence_and_the_text_of_it(
    built: Built, bill: dict[str, Any]
) -> None:
    text = (built.folder / "LICENCES.txt").read_text("utf-8")
    table = text.partition("-" * 80)[0]
    for each in bill["components"]:
        (licence,) = each["licenses"]
        row = next(line for line in table.splitlines() if line.startswith(f"{each['name']} "))
        assert row.split()[1] == each["version"]
        assert row.endswith(licence["expression"])
        assert f"\n{each['name']} {each['version']}: " in text


def run(*command: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*map(str, command)], cwd=folder, capture_output=True, text=True, check=False
    )


def test_one_signature_covers_all_that_is_handed_out(
    built: Built, deb: Path, tmp_path: Path, requires: Callable[[str, str], str]
) -> None:
    program = requires("minisign", "minisign")
    handed = {"LICENCES.txt", "sbom.cdx.json", "strongroom-onefile", deb.name}
    for name in ("strongroom-onefile", deb.name):
        (tmp_path / name).hardlink_to(built.dist / name)
    (tmp_path / "strongroom").symlink_to(built.folder)
    sums = (sys.executable, PACKAGING / "checksums.py", "--dist", ".")
    assert run(*sums, folder=tmp_path).returncode == 0
    assert set((tmp_path / "SHA256SUMS").read_text("ascii").split()[1::2]) == handed
    signer = (sys.executable, PACKAGING / "minisign.py")
    assert run(*signer, "generate", "release", folder=tmp_path.parent).returncode == 0
    key, public = tmp_path.parent / "release.key", tmp_path.parent / "release.pub"
    assert run(*signer, "sign", key, "SHA256SUMS", "0.1.0", folder=tmp_path).returncode == 0
    check = (program, "-V", "-p", public, "-m", "SHA256SUMS")
    assert run(*check, folder=tmp_path).returncode == 0
    assert run("sha256sum", "-c", "SHA256SUMS", folder=tmp_path).returncode == 0
    with (tmp_path / "LICENCES.txt").open("a") as file:
        file.write("x")
    assert run("sha256sum", "-c", "SHA256SUMS", folder=tmp_path).returncode == 1
    with (tmp_path / "SHA256SUMS").open("a") as file:
        file.write("x")
    assert run(*check, folder=tmp_path).returncode == 1
