"""The built programs do the main job on a machine without Python and without this checkout."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from store.vault.suites import SUITES
from tests.packaging import main_job
from tests.packaging.conftest import BUILD
from tests.packaging.machine import COMMAND_SECONDS, Machine
from tests.system.cli_program import free_port


def test_the_build_names_the_debian_packages_a_machine_lacks(tmp_path: Path) -> None:
    ldd = shutil.which("ldd")
    assert ldd is not None
    (tmp_path / "ldd").symlink_to(ldd)
    done = subprocess.run(  # noqa: PLW1510 (the status is looked at)
        [sys.executable, BUILD, "--dist", tmp_path / "dist", "--work", tmp_path / "build"],
        env={**os.environ, "PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
    )
    assert done.returncode == 1, done.stderr
    assert "binutils (objdump, objcopy)" in done.stderr
    assert not (tmp_path / "dist").exists()


@pytest.mark.parametrize(
    ("name", "build"), [("strongroom/strongroom", "directory"), ("strongroom-onefile", "file")]
)
def test_a_built_program_says_what_it_was_built_from(
    machine: Machine, name: str, build: str
) -> None:
    machine.program = Path("/opt", name)
    told = machine.json("version")
    assert (told["version"], told["build"]) == (importlib.metadata.version("strongroom"), build)
    head = ["git", "-c", "safe.directory=*", "-C", str(BUILD.parent), "rev-parse", "HEAD"]
    commit = subprocess.run(head, capture_output=True, text=True, check=True).stdout.strip()
    assert told["commit"].removesuffix("-dirty") == commit
    assert told["suites"] == {str(number): suite.name for number, suite in SUITES.items()}
    for library in ("lmdb", "trio", "aioquic", "cryptography"):
        assert told["libraries"][library] == importlib.metadata.version(library)


def test_the_main_job_from_the_first_command_to_a_verified_backup(machine: Machine) -> None:
    main_job.do_it_all(machine, free_port())


def test_records_end_with_a_certificate_that_verifies_offline(machine: Machine) -> None:
    listen = ("demo", "--listen", f"127.0.0.1:{free_port()}")
    with machine.serve(*listen, data="demo-data"):
        machine.json("chat", "--as", "bob", "--to", "alice", "--send", "Potassium 6.1")
        main_job.destroy(machine, "demo-data")
    assert main_job.verify(machine) == "COMPLETE"


def test_the_one_file_serves_and_two_people_chat_over_both_carriers(machine: Machine) -> None:
    machine.program = Path("/opt/strongroom-onefile")
    with machine.serve("demo", "--listen", f"127.0.0.1:{free_port()}", data="demo-data"):
        for carrier in main_job.CARRIERS:
            main_job.send(machine, carrier, f"Bed 4 is free ({carrier})")


def test_the_one_file_shows_headquarters_and_branches_and_leaves_nothing(machine: Machine) -> None:
    machine.program = Path("/opt/strongroom-onefile")
    assert machine.json("demo-sites")["agree"]
    assert [path.name for path in machine.folder.iterdir()] == []
