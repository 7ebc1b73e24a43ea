"""Say which program this is: version, commit, kind of build, and what is built into it."""

from __future__ import annotations

import functools
import re
import ssl
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import msgspec

RELEASE: Final = 1
"""Counts the releases; goes up by one with each, so that no older one passes for an upgrade."""

DISTRIBUTION: Final = "strongroom"
"""The installed package that a checkout asks for its version."""

UNKNOWN: Final = "0+unknown"
"""What a checkout calls itself that was never installed."""

RECORD: Final = "build.json"
"""The build's record of where the program comes from, beside this module; a checkout has none."""

GIT_SECONDS: Final = 5.0
"""How long git may take to name the commit of a checkout."""

_CHECKOUT: Final = Path(__file__).resolve().parent.parent


class Origin(msgspec.Struct, frozen=True):
    """Where the program comes from.

    Attributes:
        version: of the program.
        commit: hex, with ``-dirty`` when files differ from it; empty when it is not known.
        made_at: Unix seconds of the commit, by which the build dates everything; 0: unknown.
        libraries: the packages it asks for by name, and their versions.
    """

    version: str
    commit: str
    made_at: int
    libraries: dict[str, str]


def origin_of_checkout() -> Origin:
    """Ask the installed packages, and git, where this checkout comes from."""
    try:
        own, wanted = version(DISTRIBUTION), requires(DISTRIBUTION) or []
    except PackageNotFoundError:
        own, wanted = UNKNOWN, []
    names = sorted(found[0] for line in wanted if (found := re.match(r"[\w.-]+", line)))
    commit = _git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    made_at = int(_git("log", "-1", "--format=%ct") or 0)
    return Origin(own, commit, made_at, {name: version(name) for name in names})


def _git(*arguments: str) -> str:
    """Return what git says of the checkout; nothing when there is no git, or no checkout."""
    if not (_CHECKOUT / ".git").exists():
        return ""
    trust = ("-c", f"safe.directory={_CHECKOUT}")
    command = ["git", *trust, "-C", str(_CHECKOUT), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, timeout=GIT_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode("ascii", "replace").strip() if done.returncode == 0 else ""


@functools.cache
def _recorded() -> Origin | None:
    try:
        return msgspec.json.decode(files("appliance").joinpath(RECORD).read_bytes(), type=Origin)
    except FileNotFoundError:
        return None


def origin() -> Origin:
    """Return where this program comes from: what its build recorded, else the checkout's."""
    return _recorded() or origin_of_checkout()


@functools.cache
def program_version() -> str:
    """Return the version of this program."""
    recorded = _recorded()
    if recorded is not None:
        return recorded.version
    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:
        return UNKNOWN


def build_kind() -> str:
    """Return how this program was built: ``directory``, ``file``, or not: ``checkout``."""
    unpacked = getattr(sys, "_MEIPASS", None)
    if unpacked is None:
        return "checkout"
    is_beside = Path(unpacked).parent == Path(sys.executable).resolve().parent
    return "directory" if is_beside else "file"


def describe() -> dict[str, Any]:
    """Return what ``strongroom version --json`` tells; times in Unix ms."""
    import lmdb  # noqa: PLC0415 (only the command `version` pays for it)
    from cryptography.hazmat.backends.openssl import backend  # noqa: PLC0415

    from store.vault.suites import SUITES  # noqa: PLC0415

    found = origin()
    return {
        "version": found.version,
        "commit": found.commit or None,
        "build": build_kind(),
        "made_at": found.made_at * 1_000 or None,
        "suites": {str(number): suite.name for number, suite in SUITES.items()},
        "engines": {
            "lmdb": ".".join(map(str, lmdb.version())),
            "openssl of cryptography": backend.openssl_version_text(),
            "openssl of python": ssl.OPENSSL_VERSION,
            "python": sys.version.split()[0],
        },
        "libraries": found.libraries,
    }
