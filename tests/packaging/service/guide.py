"""Run the install guide's commands on this machine: a hospital first, then a branch of it.

A script for root of a container; ``guide.json`` beside it has the commands and, as regular
expressions, what each is said to print. One machine plays two: when the guide comes to
headquarters, what was installed is moved aside and serves on as headquarters, and the branch begins
from nothing.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
LINK = re.compile(r"--join '(strongroom://[^']*)'")
COMMAND_SECONDS = 60
TRIES = 300
SUDO = 'sudo() { "$@"; }\n'
BRANCH_ADDRESS = "10.20.0.5"
BANK = "chat.bank.example"
NAMES = f"127.0.0.1 chat.hospital.example {BANK}\n"
HEADQUARTERS = Path("/var/lib/headquarters")
PLACES = ("strongroom", "strongroom-keys")
GUIDES_PORT, PORT = "8443", "8444"
"""Where headquarters serves once the branch, on the same machine, has the guide's port."""


class Guide:
    """The reader of the guide: types commands, and remembers links that were shown."""

    def __init__(self) -> None:
        self.links: list[str] = []
        self.at_headquarters = {
            **os.environ,
            "STRONGROOM_DATA": str(HEADQUARTERS / "strongroom"),
            "PATH": f"/opt/headquarters:{os.environ['PATH']}",
        }

    def follow(self, command: str, said: str) -> None:
        """Run one command of the guide; raise unless it prints what the guide says."""
        environ = None
        if command.startswith(("strongroom site", "strongroom user")):
            if not HEADQUARTERS.exists():
                self.become_headquarters()
            environ = self.at_headquarters
        if "init" in command and HEADQUARTERS.exists():
            self.approve_meanwhile(command, said)
            return
        self.check(command, said, self.run(self.here(command), environ))

    def here(self, command: str) -> str:
        """Return a command as it is on this machine."""
        if "'LINK'" in command:
            link = self.links.pop(0)
            if BRANCH_ADDRESS in link:
                self.wait_for(["strongroom", "user", "list"], '"sue"')
            command = command.replace("'LINK'", f"'{link}'")
        if subprocess.run(["systemd-creds", "-q", "has-tpm2"], check=False).returncode:
            command = command.replace("--with-key=host+tpm2", "--with-key=host")
        return command.replace(f"{BANK}:{GUIDES_PORT}", f"{BANK}:{PORT}")

    def run(self, command: str, environ: dict[str, str] | None = None) -> str:
        """Run a command in a shell; return what it prints."""
        done = subprocess.run(
            ["bash", "-ec", SUDO + command],
            cwd=HERE,
            env=environ,
            stdout=subprocess.PIPE,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        sys.stdout.write(f"$ {command}\n{done.stdout}")
        assert done.returncode == 0, (command, done.returncode)
        return done.stdout

    def check(self, command: str, said: str, printed: str) -> None:
        """Compare, and remember links and an invitation for who needs them next."""
        as_told = printed.replace(f"{BANK}:{PORT}", f"{BANK}:{GUIDES_PORT}")
        assert re.fullmatch(said, as_told), (command, said, printed)
        self.links += LINK.findall(printed)
        if invitation := re.search(r"strongroom://\S+/site#\S+", printed):
            (HERE / "invitation").write_text(invitation[0] + "\n")

    def become_headquarters(self) -> None:
        """Let what was installed serve on from another place, and the machine be new again."""
        self.links.clear()
        self.run("systemctl stop strongroom")
        shutil.copytree("/opt/strongroom", "/opt/headquarters", symlinks=True)
        HEADQUARTERS.mkdir()
        for name in PLACES:
            shutil.move(f"/var/lib/{name}", HEADQUARTERS / name)
        self.run("dpkg --purge strongroom")
        binds = []
        for name in PLACES:
            Path("/var/lib", name).mkdir()
            binds += [f"--property=BindPaths={HEADQUARTERS / name}:/var/lib/{name}"]
        serve = "/opt/headquarters/strongroom serve --data /var/lib/strongroom"
        self.run(
            f"systemd-run --uid=strongroom --setenv=STRONGROOM_LISTEN_PORT={PORT} "
            f"{' '.join(binds)} {serve}"
        )
        self.wait_for(["strongroom", "status"], '"ready": true', self.at_headquarters)
        for name in PLACES:
            Path("/var/lib", name).rmdir()

    def approve_meanwhile(self, command: str, said: str) -> None:
        """Run the branch's init, which waits for the approval that the guide tells next."""
        with subprocess.Popen(
            ["bash", "-ec", SUDO + command], cwd=HERE, stdout=subprocess.PIPE, text=True
        ) as init:
            listed = self.wait_for(["strongroom", "site", "list"], '"joined"', self.at_headquarters)
            (row,) = json.loads(listed)["sites"]
            approve, approved = self.approval
            words = approve.replace("WORDS", row["fingerprint"])
            self.check(approve, approved, self.run(words, self.at_headquarters))
            printed, _ = init.communicate(timeout=COMMAND_SECONDS)
        assert init.returncode == 0, printed
        self.check(command, said, printed)

    def wait_for(self, command: list[str], told: str, environ: dict[str, str] | None = None) -> str:
        """Ask until the answer holds a text; return it."""
        answer = ""
        for _ in range(TRIES):
            asked = [*command, "--json"]
            done = subprocess.run(asked, env=environ, capture_output=True, text=True, check=False)
            answer = done.stdout
            if told in answer:
                return answer
        raise AssertionError((command, told, answer))

    approval = ("", "")
    """The guide's command that approves, with what it prints."""


def main() -> None:
    """Follow the whole guide, then see what the branch's people have said."""
    with open("/etc/hosts", "a", encoding="ascii") as hosts:
        hosts.write(NAMES)
    subprocess.run(["ip", "address", "add", f"{BRANCH_ADDRESS}/32", "dev", "lo"], check=True)
    guide = Guide()
    steps = json.loads((HERE / "guide.json").read_text())
    (guide.approval,) = (tuple(step) for step in steps if "site approve" in step[0])
    for command, said in steps:
        if "site approve" not in command:
            guide.follow(command, said)
    history = guide.run(
        "strongroom chat --as sue --with officer --history 9 --passphrase-file sue.passphrase"
    )
    assert "Good morning from the harbour" in history
    found = guide.run("strongroom site status --json")
    assert json.loads(found)["role"] == "branch"
    sys.stdout.write("the guide is followed\n")


if __name__ == "__main__":
    main()
