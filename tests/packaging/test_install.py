"""The install guide's own commands, with the real package, lead to the first chat under systemd.

They run one after the other in a container that boots a copy of this machine, on a hospital's
machine first and then on that of a branch which joins it; see ``service/guide.py``.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from tests.docs.test_guides import examples
from tests.docs.test_readme import pattern
from tests.packaging.scripts import script
from tests.packaging.test_service import SERVICE, boot

minisign = script("minisign")

PEOPLE = ("admin", "officer", "sue")


def test_the_guides_commands_lead_from_the_stick_to_the_first_chat(
    deb: Path, tmp_path: Path, requires: Callable[[str, str], str]
) -> None:
    requires("minisign", "minisign")
    out = tmp_path / "out"
    out.mkdir()
    for name in ("drill.service", "guide.py"):
        shutil.copy(SERVICE / name, out)
    (out / "drill.sh").write_text("cd /out; HOME=/out LC_ALL=C.UTF-8 exec python3 guide.py\n")
    _fill_stick(out, deb)
    steps = [(command, pattern(lines)) for command, lines in examples("install.md")]
    assert sum("dpkg -i" in command for command, _ in steps) == 2
    (out / "guide.json").write_text(json.dumps(steps))
    log = boot(tmp_path, out, requires)
    assert log.endswith("the guide is followed\n"), log


def _fill_stick(out: Path, deb: Path) -> None:
    """Put what the guide wants on the stick: package, signature, key; and people's passphrases."""
    secret = minisign.generate()
    package = out / deb.name
    shutil.copyfile(deb, package)
    signature = minisign.sign(secret, package.read_bytes(), "strongroom 0.1.0 release 1")
    (out / f"{deb.name}.minisig").write_text(signature)
    (out / "strongroom-release.pub").write_text(secret.public.text())
    for login in PEOPLE:
        (out / f"{login}.passphrase").write_text(f"a long passphrase of {login}\n")


def test_each_way_to_the_first_chat_is_four_commands() -> None:
    commands = [command for command, _ in examples("install.md")]
    starts = [at for at, command in enumerate(commands) if "dpkg -i" in command]
    elsewhere = re.compile(r"strongroom (site|user) ")
    for start in starts:
        here = [each for each in commands[start:] if not elsewhere.match(each)]
        steps = ("dpkg -i", "init", "enable --now", "chat --join")
        for step, command in zip(steps, here[:4], strict=True):
            assert step in command
