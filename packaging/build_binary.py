"""Build dist/strongroom/strongroom with PyInstaller, after naming what the machine lacks for it."""

import argparse
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from PyInstaller import __main__ as pyinstaller
from PyInstaller.depend import bindepend
from PyInstaller.exceptions import PythonLibraryNotFoundError

ROOT = Path(__file__).resolve().parent.parent
SPEC = ROOT / "packaging" / "strongroom.spec"

SMOKE_TIMEOUT_SECONDS = 60


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


def build(dist: Path, work: Path) -> Path:
    """Build the program and return its path."""
    arguments = ["--noconfirm", "--log-level", "ERROR"]
    arguments += ["--distpath", str(dist), "--workpath", str(work), str(SPEC)]
    pyinstaller.run(arguments)
    return dist / "strongroom" / "strongroom"


def main() -> int:
    """Build and start the program once; return 0, or 1 after saying what is missing."""
    parser = argparse.ArgumentParser(description="Build the program as one directory.")
    parser.add_argument("--dist", type=Path, default=ROOT / "dist", help="where the program goes")
    parser.add_argument("--work", type=Path, default=ROOT / "build", help="for files of the build")
    arguments = parser.parse_args()
    if missing := missing_packages():
        print("strongroom: cannot build, missing Debian packages:", file=sys.stderr)
        print(*(f"  {package}" for package in missing), sep="\n", file=sys.stderr)
        return 1
    program = build(arguments.dist, arguments.work)
    subprocess.run([program, "version"], check=True, timeout=SMOKE_TIMEOUT_SECONDS)
    print(f"built {program}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
