"""Root works on data as its owner; other programs' errors come back as they were told."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cli.errors import CliError
from cli.exits import for_code
from cli.programs import ask, become_owner, owner_of, this_program


def as_root(monkeypatch: pytest.MonkeyPatch, owner: int) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    found: Any = SimpleNamespace(st_uid=owner, st_gid=owner + 1)
    monkeypatch.setattr(Path, "stat", lambda *_, **__: found)


def test_root_is_the_owner_of_the_data_and_in_no_other_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_root(monkeypatch, 77)
    assert owner_of(tmp_path) == {"user": 77, "group": 78, "extra_groups": []}
    done: list[tuple[str, Any]] = []
    for name in ("setgroups", "setgid", "setuid"):
        monkeypatch.setattr(os, name, lambda value, name=name: done.append((name, value)))
    become_owner(tmp_path)
    assert done == [("setgroups", []), ("setgid", 78), ("setuid", 77)]


def test_roots_own_data_is_roots_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_root(monkeypatch, 0)
    assert owner_of(tmp_path) == {}


def test_who_is_not_root_stays_who_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_root(monkeypatch, 77)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "setuid", lambda _: pytest.fail("nobody but root can"))
    become_owner(tmp_path)


def test_the_answer_of_a_program_is_its_document(tmp_path: Path) -> None:
    answer = ask(this_program(), ["version"], tmp_path)
    assert answer["schema"] == "strongroom.version/1"


def test_the_error_of_a_program_keeps_its_code(tmp_path: Path) -> None:
    with pytest.raises(CliError) as caught:
        ask(this_program(), ["check"], tmp_path)
    assert caught.value.code == "store.absent"
    assert for_code(caught.value.code) == 1


@pytest.mark.parametrize("said", ["", "no JSON", '{"code": 1}', "[]"])
def test_a_program_that_fails_without_a_word_is_told_by_its_command(
    tmp_path: Path, said: str
) -> None:
    script = f"import sys; sys.stderr.write({said!r}); sys.exit(1)"
    with pytest.raises(CliError, match="backup create") as caught:
        ask([sys.executable, "-c", script], ["backup", "create", "x"], tmp_path)
    assert caught.value.code == "cli.failed"
