"""Tell which packages a build took its files from: of the lock, of Debian, and Python itself."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import (
    Distribution,
    distribution,
    distributions,
    packages_distributions,
)
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RUNTIME_LOCK = ROOT / "requirements" / "runtime.txt"

OWN = "strongroom"
OWN_PACKAGES = ("appliance", "transports", "store", "sync", "cli", "client")
BOOTLOADER = "pyinstaller"
"""Its bootloader starts the program, and its run-time hooks are modules of the program."""


class ContentsError(Exception):
    """Something would be shipped that nobody locked."""


@dataclass(frozen=True)
class Locked:
    """One package of a lock file: its version and the sha256 digests that are good."""

    name: str
    version: str
    sha256: tuple[str, ...]


@dataclass
class Source:
    """Where shipped files come from.

    Attributes:
        kind: "pypi", "deb" or "python".
        distribution: the installed package, for those from PyPI.
        files: the shipped native files, by their place in the program, with their sources.
    """

    kind: str
    name: str
    version: str
    distribution: Distribution | None = None
    files: dict[str, Path] = field(default_factory=dict)


def normal(name: str) -> str:
    """Return a package's name as indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read_lock(path: Path = RUNTIME_LOCK) -> dict[str, Locked]:
    """Return what a lock file pins, by name."""
    text = path.read_text("utf-8")
    pattern = r"^([\w.-]+)==(\S+)((?:\s*\\\s*--hash=sha256:\w+)+)"
    found = re.findall(pattern, text, re.M)
    return {
        normal(name): Locked(normal(name), version, tuple(re.findall(r"sha256:(\w+)", hashes)))
        for name, version, hashes in found
    }


def modules_of_tools() -> list[str]:
    """List the top-level modules of what is installed and not locked for running: build tools."""
    allowed = {*read_lock(), OWN, BOOTLOADER}
    return sorted(
        module
        for module, owners in packages_distributions().items()
        if not allowed.intersection(map(normal, owners))
    )


class Sources:
    """Finds each file's source; collects those that were met.

    Args:
        made: the folder of the build's by-products, which are ours.
    """

    def __init__(self, made: Path) -> None:
        self._own = [made.resolve(), *(ROOT / folder for folder in (*OWN_PACKAGES, "packaging"))]
        self._lock = read_lock()
        self._owners = {
            Path(str(found.locate_file(file))).resolve(): found
            for found in distributions()
            for file in found.files or ()
        }
        self._standard = Path(sysconfig.get_path("stdlib")).resolve()
        self.met: dict[tuple[str, str], Source] = {}

    def take(self, place: str, path: Path, *, is_native: bool) -> None:
        """Note one shipped file, by its place in the program and its path on this machine.

        Raises:
            ContentsError: it comes from no locked package, no Debian package and not from Python.
        """
        real = path.resolve()
        if any(real.is_relative_to(folder) for folder in self._own):
            return
        source = self._of_python(real) or self._of_pypi(real) or _of_debian(real)
        if source is None:
            raise ContentsError(f"{place} is from {path}, which belongs to no known package")
        kept = self.met.setdefault((source.kind, source.name), source)
        if is_native:
            kept.files[place] = real

    def _of_pypi(self, path: Path) -> Source | None:
        found = self._owners.get(path)
        if found is None:
            return None
        name = normal(found.metadata["Name"])
        locked = self._lock.get(name)
        if name != BOOTLOADER and (locked is None or locked.version != found.version):
            raise ContentsError(f"{name} {found.version} would be shipped and is not locked")
        return Source("pypi", name, found.version, found)

    def _of_python(self, path: Path) -> Source | None:
        is_library = path.name.startswith("libpython")
        in_standard = path.is_relative_to(self._standard) and "site-packages" not in path.parts
        return _python() if is_library or in_standard else None


def _python() -> Source:
    return Source("python", "cpython", sys.version.split()[0])


def _of_debian(path: Path) -> Source | None:
    """Ask dpkg whose a system file is; merged /usr makes two names for one file."""
    names = [str(path), str(path).removeprefix("/usr")]
    done = subprocess.run(["dpkg", "-S", *names], capture_output=True, text=True, check=False)
    if not done.stdout:
        return None
    package = done.stdout.partition(": ")[0].split(",")[0]
    if package.startswith(("libpython3", "python3")):
        return _python()
    shape = "${source:Package}\t${Version}"
    asked = ["dpkg-query", "-W", "-f", shape, package]
    answer = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    return Source("deb", package.partition(":")[0], answer.split("\t")[1])


def read(work: Path) -> list[Source]:
    """Return the sources of a build in order, from ``work``, the folder of its by-products.

    Raises:
        ContentsError: see ``Sources.take``.
    """
    rows = json.loads(work.joinpath(OWN, "contents.json").read_text("utf-8"))
    sources = Sources(work)
    for table, place, path in _rows(rows):
        sources.take(place, Path(path), is_native=table == "binaries")
    sources.met["pypi", BOOTLOADER] = _bootloader()
    return [sources.met[key] for key in sorted(sources.met)]


def _bootloader() -> Source:
    """Return the source of the program's first instructions, which no table lists."""
    found = distribution(BOOTLOADER)
    return Source("pypi", BOOTLOADER, found.version, found)


def _rows(rows: dict[str, list[tuple[str, str]]]) -> Iterator[tuple[str, str, str]]:
    for table, entries in rows.items():
        for place, path in entries:
            if path not in ("-", "") and Path(path).is_file():
                yield table, place, path
