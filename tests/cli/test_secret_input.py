"""Secrets come from files, stdin or a hidden prompt, and are checked before they are used."""

import io
from pathlib import Path

import pytest

from cli.errors import CliError
from cli.secret_input import SECRET_BYTES, read_secret


def stdin(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))


@pytest.mark.parametrize(
    ("content", "secret"),
    [(b"pass\nmore", "pass"), (b"pass", "pass"), (b"p \r\n", "p "), ("ä\n".encode(), "ä")],
)
def test_the_first_line_is_the_secret(tmp_path: Path, content: bytes, secret: str) -> None:
    path = tmp_path / "secret"
    path.write_bytes(content)
    assert read_secret(str(path), "Password") == secret


def test_a_dash_reads_one_line_of_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    stdin(monkeypatch, b"one\ntwo\n")
    assert read_secret("-", "Password") == "one"


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\n", b"x" * (SECRET_BYTES + 1)])
def test_what_is_no_secret_is_refused_without_being_repeated(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "secret"
    path.write_bytes(content)
    with pytest.raises(CliError) as caught:
        read_secret(str(path), "Password")
    assert "xxx" not in caught.value.message


def test_without_a_terminal_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    stdin(monkeypatch, b"secret\n")
    with pytest.raises(CliError, match="no terminal"):
        read_secret(None, "Password")
