"""Nothing is shipped that nobody locked, or under a licence that nobody looked at."""

from __future__ import annotations

import importlib
import importlib.metadata
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def scripts() -> tuple[ModuleType, ModuleType]:
    """The scripts contents.py and licences.py, which import one another by name."""
    sys.path.insert(0, str(ROOT / "packaging"))
    try:
        return importlib.import_module("contents"), importlib.import_module("licences")
    finally:
        sys.path.remove(str(ROOT / "packaging"))


Scripts = tuple[ModuleType, ModuleType]


def installed(name: str) -> Path:
    """Return a module's file of an installed package."""
    files = importlib.metadata.files(name) or []
    return Path(str(next(file for file in files if file.name == "__init__.py").locate()))


def test_a_locked_package_is_taken_and_its_native_files_are_noted(
    scripts: Scripts, tmp_path: Path
) -> None:
    sources = scripts[0].Sources(tmp_path)
    sources.take("trio", installed("trio"), is_native=False)
    sources.take("x.so", installed("h11"), is_native=True)
    assert sources.met["pypi", "trio"].version == importlib.metadata.version("trio")
    assert sources.met["pypi", "trio"].files == {}
    assert list(sources.met["pypi", "h11"].files) == ["x.so"]


def test_a_tool_of_the_developers_stops_the_build(scripts: Scripts, tmp_path: Path) -> None:
    with pytest.raises(scripts[0].ContentsError, match=r"pytest .* is not locked"):
        scripts[0].Sources(tmp_path).take("pytest", installed("pytest"), is_native=False)
    assert {"pytest", "_pytest", "mypy", "hypothesis"} <= set(scripts[0].modules_of_tools())
    assert not {"trio", "cryptography", "cli", "store"} & set(scripts[0].modules_of_tools())


def test_a_file_of_nobody_stops_the_build_and_our_own_does_not(
    scripts: Scripts, tmp_path: Path
) -> None:
    made, stray = tmp_path / "made", tmp_path / "stray.so"
    made.mkdir()
    (made / "build.json").touch()
    stray.touch()
    sources = scripts[0].Sources(made)
    sources.take("build.json", made / "build.json", is_native=False)
    sources.take("cli/main.py", ROOT / "cli" / "main.py", is_native=False)
    assert sources.met == {}
    with pytest.raises(scripts[0].ContentsError, match=r"stray\.so"):
        sources.take("stray.so", stray, is_native=True)


def test_every_locked_package_has_a_licence_that_may_be_shipped(scripts: Scripts) -> None:
    contents, licences = scripts
    for name, pin in contents.read_lock().items():
        found = importlib.metadata.distribution(name)
        source = contents.Source("pypi", name, pin.version, found)
        assert licences.expression(source)
        assert list(licences.texts(source))


@pytest.mark.parametrize("licence", ["AGPL-3.0-only", "GPL-3.0-or-later"])
def test_a_licence_that_may_not_be_shipped_stops_the_build(
    scripts: Scripts, monkeypatch: pytest.MonkeyPatch, licence: str
) -> None:
    contents, licences = scripts
    monkeypatch.setitem(licences.OF_SYSTEM, "libreadline8", licence)
    with pytest.raises(contents.ContentsError, match="not for us to ship"):
        licences.expression(contents.Source("deb", "libreadline8", "8.2"))
    with pytest.raises(contents.ContentsError, match="not known"):
        licences.expression(contents.Source("deb", "libnobody1", "1"))


def test_a_debian_package_of_python_counts_as_python(
    scripts: Scripts, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents, licences = scripts
    answer = "libpython3.11-minimal:amd64: /etc/python3.11/sitecustomize.py\n"
    done = subprocess.CompletedProcess([], 0, stdout=answer)
    monkeypatch.setattr(contents.subprocess, "run", lambda *_, **__: done)
    source = contents._of_debian(Path("/etc/python3.11/sitecustomize.py"))
    assert (source.kind, licences.expression(source)) == ("python", "Python-2.0")
