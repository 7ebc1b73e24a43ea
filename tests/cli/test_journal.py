"""Records reach the journal's socket in its native protocol, and stderr when it is not there."""

from __future__ import annotations

import logging
import os
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli import journal, logs
from tests.cli.test_logs import record

ROOT = Path(__file__).resolve().parents[2]


def decoded(datagram: bytes) -> dict[str, str]:
    """Read a datagram as the journal's protocol says."""
    found = {}
    while datagram:
        head, _, rest = datagram.partition(b"\n")
        if b"=" in head:
            name, _, value = head.partition(b"=")
        else:
            name, (size,) = head, struct.unpack_from("<Q", rest)
            value, rest = rest[8 : 8 + size], rest[9 + size :]
        found[name.decode()] = value.decode()
        datagram = rest
    return found


names = st.from_regex(r"[A-Z][A-Z0-9_]{0,10}", fullmatch=True)
values = st.text(st.characters(codec="utf-8"), max_size=30)


@given(st.dictionaries(names, values, min_size=1))
def test_a_datagram_reads_as_it_was_whatever_is_in_it(fields: dict[str, str]) -> None:
    assert decoded(journal.encode(fields)) == fields


def test_a_record_comes_with_its_fields_and_its_priority(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "socket"))
        handler = journal.JournalHandler(logs.fields, logs.TextFormatter(), tmp_path / "socket")
        handler.emit(record("config.reloaded", changed=["log.level"], reason="a\nb"))
        handler.close()
        told = decoded(receiver.recv(65_536))
    assert told == {
        "MESSAGE": 'config.reloaded changed=["log.level"] reason="a\\nb"',
        "PRIORITY": "6",
        "SYSLOG_IDENTIFIER": "strongroom",
        "STRONGROOM_EVENT": "config.reloaded",
        "STRONGROOM_LOGGER": "strongroom.test",
        "STRONGROOM_CHANGED": '["log.level"]',
        "STRONGROOM_REASON": "a\nb",
    }


@pytest.mark.parametrize("level", [10, 20, 30, 40, 50])
def test_every_level_has_a_priority_of_its_own(level: int) -> None:
    assert journal.PRIORITIES[level] == {10: 7, 20: 6, 30: 4, 40: 3, 50: 2}[level]


def test_without_a_journal_a_record_goes_to_stderr(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    handler = journal.JournalHandler(logs.fields, logs.TextFormatter(), tmp_path / "nobody")
    handler.emit(record("server.started", pid=7))
    handler.close()
    assert capsys.readouterr().err.endswith("server.started pid=7\n")


SCRIPT = """
import logging, sys
from cli import journal, logs
logs.configure(sys.argv[1], "info")
print(type(logging.getLogger("strongroom").handlers[0]).__name__)
"""


@pytest.mark.parametrize(
    ("style", "is_stream_ours", "handler"),
    [
        ("auto", True, "JournalHandler"),
        ("auto", False, "StreamHandler"),
        ("text", True, "StreamHandler"),
        ("json", True, "StreamHandler"),
    ],
)
def test_the_journal_is_used_only_when_stderr_leads_there(
    style: str, is_stream_ours: bool, handler: str
) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        status = os.fstat(theirs.fileno() if is_stream_ours else ours.fileno())
        environ = {**os.environ, "JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, style],
            cwd=ROOT,
            env=environ,
            stdout=subprocess.PIPE,
            stderr=theirs.fileno(),
            text=True,
            check=True,
        )
    assert done.stdout.strip() == handler


def test_configuring_again_leaves_one_handler() -> None:
    ours = logging.getLogger(logs.LOGGER)
    before = ours.handlers[:], ours.level, ours.propagate, logging.raiseExceptions
    ours.handlers[:] = []
    try:
        logs.configure("text", "info")
        logs.configure("json", "error")
        assert len(ours.handlers) == 1
        assert ours.level == logging.ERROR
    finally:
        ours.handlers[:], ours.level, ours.propagate, logging.raiseExceptions = before
