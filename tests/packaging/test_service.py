"""The package's service runs, reloads and is upgraded under a real systemd, in its sandbox.

systemd boots in a container whose root is a copy of this machine's, kept in memory; what is done
in it stands in ``service/drill.sh``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import msgspec

from appliance.version import RECORD, RELEASE, Origin
from tests.conftest import lacking
from tests.packaging.conftest import Built
from tests.packaging.test_bundle import run

SERVICE = Path(__file__).resolve().parent / "service"
DRILL_SECONDS = 420


def boot(folder: Path, out: Path, requires: Callable[[str, str], str]) -> str:
    """Boot systemd in a container with ``out`` as /out, run its drill; return what that said."""
    if os.geteuid() != 0:
        lacking("booting a container takes root")
    requires("systemd-nspawn", "systemd-container")
    box = folder / "box"
    box.mkdir()
    command = ["unshare", "--mount", "sh", str(SERVICE / "boot.sh"), str(box), str(out)]
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=DRILL_SECONDS,
        check=False,
    )
    log = out / "log"
    assert log.exists(), done.stdout.decode("utf-8", "replace") + done.stderr.decode()
    return log.read_text("utf-8", "replace")


def bundle(built: Built, folder: Path, out: Path) -> None:
    """Sign a bundle of what was built, as the next version, and put it and its key into ``out``."""
    shutil.copytree(built.folder, folder / "new", symlinks=True)
    record = folder / "new" / "_internal" / "appliance" / RECORD
    origin = msgspec.json.decode(record.read_bytes(), type=Origin)
    record.write_bytes(msgspec.json.encode(msgspec.structs.replace(origin, version="0.2.0")))
    made = run("minisign.py", "generate", out / "release")
    assert made.returncode == 0, made.stderr
    signed = ("--key", out / "release.key", "--release", str(RELEASE + 1))
    made = run("bundle.py", folder / "new", *signed, "-o", out / "new.bundle")
    assert made.returncode == 0, made.stderr


def test_the_service_installs_starts_reloads_survives_upgrades_and_stops_under_systemd(
    built: Built, deb: Path, tmp_path: Path, requires: Callable[[str, str], str]
) -> None:
    out = tmp_path / "out"
    shutil.copytree(SERVICE, out)
    shutil.copyfile(deb, out / "strongroom.deb")
    bundle(built, tmp_path, out)
    log = boot(tmp_path, out, requires)
    assert log.endswith("the drill is passed\n"), log
