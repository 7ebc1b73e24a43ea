"""The package's service runs under a real systemd: sandbox, credential, readiness, watchdog.

systemd boots in a container whose root is a copy of this machine's, kept in memory; what is done
in it stands in ``service/drill.sh``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.conftest import lacking

SERVICE = Path(__file__).resolve().parent / "service"
DRILL_SECONDS = 240


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


def test_the_service_installs_starts_reloads_survives_and_stops_under_systemd(
    deb: Path, tmp_path: Path, requires: Callable[[str, str], str]
) -> None:
    out = tmp_path / "out"
    shutil.copytree(SERVICE, out)
    shutil.copyfile(deb, out / "strongroom.deb")
    log = boot(tmp_path, out, requires)
    assert log.endswith("the drill is passed\n"), log
