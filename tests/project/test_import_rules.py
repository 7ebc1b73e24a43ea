"""The import rules in pyproject.toml find what they forbid, and allow what they should."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Restated here on purpose: a shorter list in pyproject.toml must fail.
CLOCKS_AND_CHANCE = ("time", "random", "secrets")
MACHINE = ("trio", "socket", "ssl", "lmdb", "os", "threading", "logging")
FORBIDDEN = CLOCKS_AND_CHANCE + MACHINE


def linter_settings() -> dict[str, Any]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    found: dict[str, Any] = settings["tool"]["importlinter"]
    return found


def sans_io_modules() -> list[str]:
    (contract,) = (each for each in linter_settings()["contracts"] if each["id"] == "sans-io")
    return list(contract["source_modules"])


class Tree:
    """A tree with the project's packages and rules, but none of its code."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copy(ROOT / "pyproject.toml", folder)
        modules = [*linter_settings()["root_packages"], *sans_io_modules(), "transports.pump"]
        for module in modules:
            self.write(module, "")

    def write(self, module: str, source: str) -> None:
        place = self.folder
        for part in module.split("."):
            place = place / part
            place.mkdir(exist_ok=True)
            place.joinpath("__init__.py").touch()
        place.joinpath("__init__.py").write_text(source, "utf-8")

    def lint(self) -> tuple[int, str]:
        code = "from importlinter.cli import lint_imports_command; lint_imports_command()"
        command = [sys.executable, "-c", code, "--no-logo", "--no-cache"]
        # Isolated from this checkout: the packages are the ones in the folder.
        done = subprocess.run(  # noqa: PLW1510 (a broken rule is one of the two outcomes)
            command, cwd=self.folder, capture_output=True, text=True, timeout=60
        )
        return done.returncode, done.stdout + done.stderr


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def test_imports_that_run_downward_are_allowed(tree: Tree) -> None:
    tree.write("cli", "import client\nimport appliance\n")
    tree.write("appliance", "import sync\nimport store\nimport transports.pump\nimport time\n")
    tree.write("sync", "import store\nimport transports\n")
    tree.write("client", "import transports.wire\nimport trio\n")
    status, output = tree.lint()
    assert status == 0, output


def test_imports_that_run_upward_are_found(tree: Tree) -> None:
    tree.write("appliance", "import cli\n")
    tree.write("sync", "import client\nimport appliance\n")
    tree.write("store", "import transports\n")
    tree.write("transports", "import sync\n")
    tree.write("client", "import transports.pump\nimport store\n")
    status, output = tree.lint()
    assert status == 1
    for upward in [
        "appliance is not allowed to import cli",
        "sync is not allowed to import appliance",
        "sync is not allowed to import client",
        "store is not allowed to import transports",
        "transports is not allowed to import sync",
        "client is not allowed to import transports.pump",
        "client is not allowed to import store",
    ]:
        assert upward in output


def test_io_in_a_sans_io_module_is_found(tree: Tree) -> None:
    for module in sans_io_modules():
        tree.write(f"{module}.deeper", "".join(f"import {name}\n" for name in FORBIDDEN))
    status, output = tree.lint()
    assert status == 1
    for module in sans_io_modules():
        for name in FORBIDDEN:
            assert f"{module} is not allowed to import {name}" in output
