"""Files that a command writes are whole, or not there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.files import PRIVATE, save


def test_a_file_is_written_and_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "certificate.txt"
    path.write_text("older and longer than the new one")
    save(path, ["one\n", "two\n"])
    assert path.read_bytes() == b"one\ntwo\n"
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_finished_leaves_what_was_there(tmp_path: Path) -> None:
    def broken() -> Iterator[str]:
        yield "one\n"
        raise RuntimeError

    path = tmp_path / "ledger.txt"
    path.write_text("before")
    with pytest.raises(RuntimeError):
        save(path, broken())
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_private_file_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "scope.txt"
    save(path, ["secret"], mode=PRIVATE)
    assert path.stat().st_mode & 0o777 == PRIVATE


def test_a_hyphen_is_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    save(Path("-"), ["one\n", "two\n"])
    assert capsys.readouterr().out == "one\ntwo\n"


def test_no_link_is_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("kept")
    (tmp_path / "out.part").symlink_to(target)
    with pytest.raises(OSError, match="symbolic"):
        save(tmp_path / "out", ["x"])
    assert target.read_text() == "kept"
