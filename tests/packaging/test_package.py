"""The Debian package installs a program that runs, and takes neither data nor keys away."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from appliance.upgrade.installation import Installation
from tests.conftest import lacking
from tests.packaging import main_job
from tests.packaging.machine import COMMAND_SECONDS, Machine, make_root
from tests.system.cli_program import free_port

Requires = Callable[[str, str], str]

LINTIAN_SECONDS = 300
UNUSED = ("I: strongroom: unused-override ", "N: ")
ROOT_ACCOUNTS = "root:x:0:0:root:/root:/bin/sh\n"


def test_lintian_has_nothing_to_say(deb: Path, requires: Requires) -> None:
    lintian = [requires("lintian", "lintian"), "-I"]
    done = subprocess.run(
        [*lintian, "--allow-root", deb],
        capture_output=True,
        text=True,
        check=True,
        timeout=LINTIAN_SECONDS,
    )
    # Which overrides are of use depends on the Python that was built with.
    said = [line for line in done.stdout.splitlines() if not line.startswith(UNUSED)]
    assert said == []


class Installed:
    """A root with the package in it; Debian's own tools put it there and take it away."""

    def __init__(self, root: Path, deb: Path) -> None:
        self.root = root
        for folder in ("var/lib/dpkg/info", "var/lib/dpkg/updates", "etc"):
            (root / folder).mkdir(parents=True)
        for name in ("var/lib/dpkg/status", "var/lib/dpkg/available"):
            (root / name).touch()
        (root / "etc" / "passwd").write_text(ROOT_ACCOUNTS)
        (root / "etc" / "group").write_text("root:x:0:\n")
        self.dpkg("--install", str(deb))

    def dpkg(self, *arguments: str, **environ: str) -> str:
        """Run dpkg on the root, with the package's scripts outside of it; return what it said."""
        done = self.tried(*arguments, **environ)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    def tried(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run dpkg on the root as ``dpkg`` does, whether it succeeds or not."""
        options = [f"--root={self.root}", "--force-script-chrootless", "--force-depends"]
        return subprocess.run(
            ["dpkg", *options, *arguments],
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", **environ},
            capture_output=True,
            text=True,
            check=False,
            timeout=COMMAND_SECONDS,
        )


@pytest.fixture
def installed(deb: Path, tmp_path: Path) -> Installed:
    """Install the package into a root of its own."""
    if os.geteuid() != 0:
        lacking("installing a package, even into a folder, takes root")
    return Installed(tmp_path / "root", deb)


def test_an_account_and_closed_directories_are_made_and_the_service_starts_at_boot(
    installed: Installed,
) -> None:
    accounts = (installed.root / "etc" / "passwd").read_text("utf-8").splitlines()
    (own,) = [line.split(":") for line in accounts if line.startswith("strongroom:")]
    assert own[5:] == ["/var/lib/strongroom", "/usr/sbin/nologin"]
    for name in ("strongroom", "strongroom-keys"):
        found = (installed.root / "var" / "lib" / name).stat()
        assert (found.st_uid, found.st_mode & 0o777) == (int(own[2]), 0o700)
    wants = installed.root / "etc/systemd/system/multi-user.target.wants/strongroom.service"
    assert wants.is_symlink()


def test_the_installed_program_makes_an_organisation_whose_keys_a_credential_opens(
    installed: Installed, tmp_path: Path, requires: Requires
) -> None:
    make_root(installed.root)
    home = tmp_path / "home"
    (home / "credentials").mkdir(parents=True)
    (home / "credentials" / "strongroom.wrap").write_text("correct horse battery staple\n")
    bwrap = requires("bwrap", "bubblewrap")
    machine = Machine(installed.root, home, Path("/usr/bin/strongroom"), bwrap)
    assert machine.json("version")["build"] == "directory"
    machine.environ["CREDENTIALS_DIRECTORY"] = "/srv/credentials"
    passphrase = ("--passphrase-file", "strongroom.wrap")
    invitations = main_job.found(machine, free_port(), *passphrase)
    with machine.serve("serve", "--data", main_job.DATA, data=main_job.DATA):
        machine.json("chat", "--join", invitations["admin"])
    del machine.environ["CREDENTIALS_DIRECTORY"]
    assert machine.run("check", "--data", main_job.DATA).returncode != 0


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_package_completes_commands_in_each_shell(machine: Machine, shell: str) -> None:
    typed = {"COMP_WORDS": "strongroom ini", "COMP_CWORD": "ini" if shell == "fish" else "1"}
    machine.environ |= {"_STRONGROOM_COMPLETE": f"{shell}_complete", **typed}
    assert "init" in machine.ok()


def test_the_package_holds_manual_completion_and_an_example_of_the_settings(
    installed: Installed,
) -> None:
    share = installed.root / "usr" / "share"
    for name in (
        "man/man1/strongroom.1.gz",
        "bash-completion/completions/strongroom",
        "zsh/vendor-completions/_strongroom",
        "fish/vendor_completions.d/strongroom.fish",
        "doc/strongroom/examples/strongroom.toml",
        "doc/strongroom/docs/README.md",
    ):
        assert (share / name).stat().st_size > 0


def test_removing_and_purging_keep_data_and_keys_unless_asked(installed: Installed) -> None:
    lib = installed.root / "var" / "lib"
    kept = [lib / "strongroom" / "store", lib / "strongroom-keys" / "root.0"]
    for path in kept:
        path.write_text("x")
    installed.dpkg("--remove", "strongroom")
    assert not (installed.root / "opt" / "strongroom").exists()
    assert "data and keys are kept" in installed.dpkg("--purge", "strongroom")
    assert all(path.exists() for path in kept)


def test_purging_takes_data_and_keys_when_asked(installed: Installed) -> None:
    lib = installed.root / "var" / "lib"
    (lib / "strongroom" / "store").write_text("x")
    installed.dpkg("--purge", "strongroom", STRONGROOM_PURGE="data-and-keys")
    assert not (lib / "strongroom").exists()
    assert not (lib / "strongroom-keys").exists()


@pytest.fixture
def adopted(installed: Installed) -> Installation:
    """Let `strongroom upgrade` take the installed program over, and its version be another one."""
    program = Installation(installed.root / "opt" / "strongroom")
    with program.locked():
        program.adopt()
    (program.program / "LICENCES.txt").write_text("of a bundle")
    return program


def test_a_package_is_refused_where_bundles_took_over_and_changes_nothing(
    installed: Installed, adopted: Installation, deb: Path
) -> None:
    refused = installed.tried("--install", str(deb))
    assert refused.returncode == 1
    assert "strongroom upgrade apply" in refused.stderr
    assert adopted.is_adopted
    assert (adopted.program / "LICENCES.txt").read_text() == "of a bundle"
    assert list(installed.root.rglob("*.dpkg-new")) == []
    assert "Status: install ok installed" in installed.dpkg("--status", "strongroom")


def test_removing_the_package_takes_every_version_and_packages_go_again(
    installed: Installed, adopted: Installation, deb: Path
) -> None:
    kept = installed.root / "var" / "lib" / "strongroom" / "store"
    kept.write_text("x")
    installed.dpkg("--remove", "strongroom")
    assert list(installed.root.glob("opt/strongroom*")) == []
    installed.dpkg("--install", str(deb))
    assert (adopted.program / "strongroom").is_file()
    assert not adopted.is_adopted
    assert kept.exists()
