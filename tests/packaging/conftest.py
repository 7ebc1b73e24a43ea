"""One build of the program for all tests here, and machines to run it on."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import TEST_ALL, lacking
from tests.packaging.machine import Machine, make_root

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "packaging" / "build_binary.py"
BUILD_DEB = ROOT / "packaging" / "build_deb.py"
BUILD_SECONDS = 300

NewMachine = Callable[..., Machine]


@dataclass(frozen=True)
class Built:
    """What a build left: ``dist/strongroom``, ``dist/strongroom-onefile``, its by-products."""

    dist: Path
    work: Path

    @property
    def folder(self) -> Path:
        """The product: the folder that is installed as /opt/strongroom."""
        return self.dist / "strongroom"

    @property
    def one_file(self) -> Path:
        """The program for trying out."""
        return self.dist / "strongroom-onefile"


def build(folder: Path) -> Built:
    """Build both programs below a folder."""
    made = Built(folder / "dist", folder / "work")
    run_build(BUILD, made)
    return made


def run_build(script: Path, built: Built) -> None:
    """Run one of the builds in the folders of ``built``."""
    command = [sys.executable, str(script), "--dist", str(built.dist), "--work", str(built.work)]
    done = subprocess.run(  # noqa: PLW1510 (the status is looked at)
        command, capture_output=True, text=True, timeout=BUILD_SECONDS
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Build once. Takes half a minute, so only with STRONGROOM_TEST_ALL=1."""
    if not TEST_ALL:
        pytest.skip("builds the program: only with STRONGROOM_TEST_ALL=1, as .ci/run sets it")
    if shutil.which("objdump") is None:
        lacking("objdump is not installed (Debian package binutils)")
    return build(tmp_path_factory.mktemp("built"))


@pytest.fixture(scope="session")
def deb(built: Built) -> Path:
    """Pack what was built once."""
    run_build(BUILD_DEB, built)
    (package,) = built.dist.glob("*.deb")
    return package


@pytest.fixture(scope="session")
def bare_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with the C library alone."""
    return make_root(tmp_path_factory.mktemp("root"))


@pytest.fixture
def machine(
    built: Built, bare_root: Path, tmp_path: Path, requires: Callable[[str, str], str]
) -> Machine:
    """A machine without Python that has the built folder as /opt."""
    program = Path("/opt/strongroom/strongroom")
    bwrap = requires("bwrap", "bubblewrap")
    return Machine(bare_root, tmp_path, program, bwrap, {Path("/opt"): built.dist})
