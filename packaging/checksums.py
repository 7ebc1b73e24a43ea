"""Write dist/SHA256SUMS of what is handed out; the release key signs this one file.

    python packaging/checksums.py
    python packaging/minisign.py sign strongroom-release.key dist/SHA256SUMS "strongroom 0.1.0"

Who got the folder checks it with `minisign -V -p strongroom-release.pub -m SHA256SUMS` and
`sha256sum -c SHA256SUMS`.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import sys
from pathlib import Path
from typing import Final

import licences
import sbom
from build_binary import PROGRAM

ROOT: Final = Path(__file__).resolve().parent.parent
FILE_NAME: Final = "SHA256SUMS"


def handed_out(dist: Path) -> list[Path]:
    """Return the files of a release, with the bill and the licences laid beside the program."""
    for name in (sbom.FILE_NAME, licences.FILE_NAME):
        shutil.copyfile(dist / PROGRAM / name, dist / name)
    unsigned = {FILE_NAME, f"{FILE_NAME}.minisig"}
    return sorted(path for path in dist.iterdir() if path.is_file() and path.name not in unsigned)


def write(dist: Path) -> None:
    """Write the sums in the form of sha256sum(1)."""
    lines = []
    for path in handed_out(dist):
        with path.open("rb") as file:
            lines.append(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {path.name}\n")
    (dist / FILE_NAME).write_text("".join(lines), "ascii")


def main() -> int:
    """Write the sums; return 0."""
    parser = argparse.ArgumentParser(description="Write the checksums of a release.")
    parser.add_argument("--dist", type=Path, default=ROOT / "dist", help="the release's folder")
    write(parser.parse_args().dist)
    return 0


if __name__ == "__main__":
    sys.exit(main())
