"""Make the Debian package of a built program with nfpm, the same each time.

place in the package                       what
/opt/strongroom/                           the program, its bill of materials, its licences
/usr/bin/strongroom                        a link to it
/lib/systemd/system/strongroom.service     the unit; sysusers.d and tmpfiles.d beside it
/usr/share/man/man1/                       the manual page, made from the commands
bash-, zsh- and fish-completion            made by the program
/usr/share/doc/strongroom/                 the documentation, an example of the settings
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any, Final

from build_binary import PROGRAM, UNDATED_SECONDS

from appliance.config_text import example
from appliance.version import Origin, origin_of_checkout
from cli import manpage
from cli.commands.completion import script

ROOT: Final = Path(__file__).resolve().parent.parent
DEBIAN: Final = ROOT / "packaging" / "debian"
DOC: Final = "usr/share/doc/strongroom"
MAINTAINER: Final = "The authors of Strongroom <authors@strongroom.invalid>"
"""No address in a domain of ours: nobody could be reached there from a network without internet."""

DEPENDS: Final = ("libc6 (>= 2.36)", "zlib1g", "systemd")
RECOMMENDS: Final = ("libreadline8",)
NFPM_SECONDS: Final = 300

_SUMMARY: Final = "instant messaging for hospitals and banks"
_DESCRIPTION: Final = """\
People chat over QUIC and WebSocket; everything is stored encrypted on a
machine in the building, as long as the law says, and then provably gone.
No internet, no database server, no licence check."""


def stage(root: Path, dist: Path, origin: Origin) -> None:
    """Lay out the package's files below ``root``."""
    shutil.copytree(dist / PROGRAM, root / "opt" / "strongroom", symlinks=True)
    for name, place in (
        ("strongroom.service", "lib/systemd/system/strongroom.service"),
        ("sysusers.conf", "usr/lib/sysusers.d/strongroom.conf"),
        ("tmpfiles.conf", "usr/lib/tmpfiles.d/strongroom.conf"),
        ("lintian-overrides", "usr/share/lintian/overrides/strongroom"),
        ("copyright", f"{DOC}/copyright"),
    ):
        _write(root / place, (DEBIAN / name).read_bytes())
    for place, text in (
        (f"{DOC}/examples/strongroom.toml", example()),
        ("usr/share/bash-completion/completions/strongroom", script("bash")),
        ("usr/share/zsh/vendor-completions/_strongroom", script("zsh")),
        ("usr/share/fish/vendor_completions.d/strongroom.fish", script("fish")),
    ):
        _write(root / place, text.encode())
    page = manpage.page(origin.version, _dated(origin))
    _write(root / "usr/share/man/man1/strongroom.1.gz", _packed(page))
    _write(root / DOC / "changelog.gz", _packed(_changelog(origin)))
    for path in (ROOT / "docs").rglob("*.md"):
        _write(root / DOC / path.relative_to(ROOT), path.read_bytes())
    link = root / "usr" / "bin" / PROGRAM
    link.parent.mkdir(parents=True)
    link.symlink_to("/opt/strongroom/strongroom")


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _packed(text: str) -> bytes:
    return gzip.compress(text.encode(), compresslevel=9, mtime=0)


def _dated(origin: Origin) -> int:
    return origin.made_at or UNDATED_SECONDS


def _changelog(origin: Origin) -> str:
    when = format_datetime(datetime.fromtimestamp(_dated(origin), UTC))
    told = "  * What changed is told in CHANGELOG.md of the source."
    head = f"strongroom ({origin.version}) stable; urgency=medium"
    return f"{head}\n\n{told}\n\n -- {MAINTAINER}  {when}\n"


def settle(root: Path, seconds: int) -> None:
    """Give everything the modes and dates that do not depend on who builds, and when."""
    for path in [root, *root.rglob("*")]:
        if not path.is_symlink():
            is_run = path.is_dir() or path.relative_to(root) == Path("opt/strongroom/strongroom")
            path.chmod(0o755 if is_run else 0o644)
        os.utime(path, (seconds, seconds), follow_symlinks=False)


def description(root: Path, origin: Origin) -> dict[str, Any]:
    """Return what nfpm is told: JSON is YAML too."""
    return {
        "name": PROGRAM,
        "arch": "amd64",
        "platform": "linux",
        "version": origin.version,
        "version_schema": "none",
        "section": "net",
        "priority": "optional",
        "maintainer": MAINTAINER,
        "description": f"{_SUMMARY}\n{_DESCRIPTION}",
        "license": "Apache-2.0",
        "mtime": datetime.fromtimestamp(_dated(origin), UTC).isoformat(),
        "depends": list(DEPENDS),
        "recommends": list(RECOMMENDS),
        "contents": [{"src": str(root), "dst": "/", "type": "tree"}],
        "scripts": {
            "preinstall": str(DEBIAN / "preinst"),
            "postinstall": str(DEBIAN / "postinst"),
            "preremove": str(DEBIAN / "prerm"),
            "postremove": str(DEBIAN / "postrm"),
        },
        "deb": {"compression": "gzip"},
    }


def build(dist: Path, work: Path, origin: Origin) -> Path:
    """Make the package from ``dist/strongroom``, beside it; return its path."""
    root = work / "deb"
    shutil.rmtree(root, ignore_errors=True)
    stage(root, dist, origin)
    settle(root, _dated(origin))
    told = work / "nfpm.json"
    told.write_text(json.dumps(description(root, origin), indent=1), "utf-8")
    package = dist / f"strongroom_{origin.version}_amd64.deb"
    nfpm = str(Path(sys.executable).with_name("nfpm"))
    environ = {**os.environ, "SOURCE_DATE_EPOCH": str(_dated(origin))}
    command = [
        nfpm,
        "package",
        "--packager",
        "deb",
        "--config",
        str(told),
        "--target",
        str(package),
    ]
    subprocess.run(
        command, env=environ, check=True, stdout=subprocess.DEVNULL, timeout=NFPM_SECONDS
    )
    return package


def main() -> int:
    """Make the package; return 0, or 1 when there is no program to pack."""
    parser = argparse.ArgumentParser(description="Make the Debian package of the built program.")
    parser.add_argument("--dist", type=Path, default=ROOT / "dist", help="where the program is")
    parser.add_argument("--work", type=Path, default=ROOT / "build", help="for files of the build")
    given = parser.parse_args()
    dist, work = given.dist.absolute(), given.work.absolute()
    if not (dist / PROGRAM / PROGRAM).exists():
        print("strongroom: build the program first: make binary", file=sys.stderr)
        return 1
    print(f"built {build(dist, work, origin_of_checkout())}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
