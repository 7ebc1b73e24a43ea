"""Build the program with PyInstaller, as a directory and as one file.

dist/strongroom/            the product: strongroom, its libraries, bill of materials, licences
dist/strongroom-onefile     the same program in one file, for trying it out

Two builds of one commit with one Python are the same, byte for byte.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import contents
import licences
import msgspec
import sbom
from PyInstaller.depend import bindepend
from PyInstaller.exceptions import PythonLibraryNotFoundError

from appliance.version import RECORD, Origin, origin_of_checkout

ROOT = Path(__file__).resolve().parent.parent
SPEC = ROOT / "packaging" / "strongroom.spec"
PROGRAM = "strongroom"
ONE_FILE = "strongroom-onefile"

SMOKE_TIMEOUT_SECONDS = 60
BUILD_TIMEOUT_SECONDS = 600

UNDATED_SECONDS = 315_532_800
"""1980-01-01, the first day that archives can tell: the date of a build outside of git."""


def missing_packages() -> list[str]:
    """List the Debian packages that the build lacks, each with what is wanted from it."""
    missing = []
    if tools := [name for name in ("objdump", "objcopy") if shutil.which(name) is None]:
        missing.append(f"binutils ({', '.join(tools)})")
    try:
        bindepend.get_python_library_path()
    except PythonLibraryNotFoundError:
        version = sysconfig.get_python_version()
        missing.append(f"libpython{version} (the shared library of {sys.base_exec_prefix})")
    return missing


def build(dist: Path, work: Path, origin: Origin) -> None:
    """Build both programs into ``dist``, with ``work`` for by-products."""
    work.mkdir(parents=True, exist_ok=True)
    record = work / RECORD
    record.write_bytes(msgspec.json.encode(origin))
    environ = {
        **os.environ,
        "PYI_LOG_LEVEL": "ERROR",
        "PYTHONHASHSEED": "0",
        "SOURCE_DATE_EPOCH": str(origin.made_at or UNDATED_SECONDS),
        "STRONGROOM_BUILD_RECORD": str(record),
    }
    command = [sys.executable, "-m", "PyInstaller", "--clean", "--noconfirm"]
    command += ["--distpath", str(dist), "--workpath", str(work), str(SPEC)]
    subprocess.run(command, env=environ, check=True, timeout=BUILD_TIMEOUT_SECONDS)


def document(dist: Path, work: Path, origin: Origin) -> None:
    """Put the bill of materials and the licences of what was built beside it."""
    sources = contents.read(work)
    folder = dist / PROGRAM
    (folder / sbom.FILE_NAME).write_text(sbom.render(sources, origin), "utf-8")
    (folder / licences.FILE_NAME).write_text(licences.render(sources), "utf-8")


def main() -> int:
    """Build, and start what was built once; return 0, or 1 after saying what is missing."""
    parser = argparse.ArgumentParser(description="Build the program, as a directory and one file.")
    parser.add_argument("--dist", type=Path, default=ROOT / "dist", help="where the program goes")
    parser.add_argument("--work", type=Path, default=ROOT / "build", help="for files of the build")
    arguments = parser.parse_args()
    if missing := missing_packages():
        print("strongroom: cannot build, missing Debian packages:", file=sys.stderr)
        print(*(f"  {package}" for package in missing), sep="\n", file=sys.stderr)
        return 1
    dist, work, origin = arguments.dist.absolute(), arguments.work.absolute(), origin_of_checkout()
    build(dist, work, origin)
    document(dist, work, origin)
    for program in (dist / PROGRAM / PROGRAM, dist / ONE_FILE):
        subprocess.run([program, "version"], check=True, timeout=SMOKE_TIMEOUT_SECONDS)
        print(f"built {program}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
