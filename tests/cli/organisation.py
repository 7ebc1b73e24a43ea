"""A new organisation in directories, and the command line for it, run in this process."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from appliance.config import FILE_NAME
from cli.main import root


def run(*arguments: str) -> Result:
    return CliRunner().invoke(root, list(arguments))


class Organisation:
    """A new organisation in directories, and the command line for it."""

    def __init__(self, path: Path, *options: str) -> None:
        self.path, self.data, self.replica = path, path / "data", path / "replica"
        self.json("init", "--name", "City hospital", *options)

    def run(self, *arguments: str) -> Result:
        return run(*arguments, "--data", str(self.data))

    def json(self, *arguments: str, status: int = 0) -> dict[str, Any]:
        result = self.run(*arguments, "--json")
        assert result.exit_code == status, result.stderr
        document: dict[str, Any] = json.loads(result.stdout)
        return document

    def add(self) -> dict[str, Any]:
        return self.json("key-replica", "add", str(self.replica), "--allow-same-device")

    def settings(self) -> dict[str, Any]:
        return tomllib.loads((self.data / FILE_NAME).read_text())


def code_of(result: Result) -> tuple[int, str]:
    return result.exit_code, json.loads(result.stderr)["code"]
