"""The server's log: one line per event, with its fields, without any exception's text."""

import json
import logging

import pytest

from cli import logs


def record(event: str, **fields: object) -> logging.LogRecord:
    made = logging.getLogger("strongroom.test").makeRecord(
        "strongroom.test", logging.INFO, "f.py", 1, event, (), None, extra=fields
    )
    made.created = 0.5
    return made


def test_a_json_line_has_the_event_and_its_fields() -> None:
    line = logs.JsonFormatter().format(record("server.started", pid=7))
    assert json.loads(line) == {
        "at": "1970-01-01T00:00:00.500Z",
        "level": "info",
        "logger": "strongroom.test",
        "event": "server.started",
        "pid": 7,
    }


def test_a_text_line_is_for_people_and_stays_one_line() -> None:
    line = logs.TextFormatter().format(record("server.started", reason="a\nb\x1b"))
    assert line == '1970-01-01T00:00:00.500Z info     server.started reason="a\\nb\\u001b"'


def test_of_an_exception_the_type_and_the_places_are_told() -> None:
    made = record("x")
    try:
        raise ValueError("CANARY")
    except ValueError as error:
        made.exc_info = (ValueError, error, error.__traceback__)
    for formatter in (logs.JsonFormatter(), logs.TextFormatter()):
        line = formatter.format(made)
        assert "ValueError" in line
        assert "test_logs.py:" in line
        assert "CANARY" not in line


def test_a_value_that_is_no_json_shows_its_type_only() -> None:
    line = logs.JsonFormatter().format(record("x", what=b"CANARY"))
    assert json.loads(line)["what"] == "<bytes>"


@pytest.fixture
def restored_logging() -> object:
    ours = logging.getLogger(logs.LOGGER)
    before = ours.handlers[:], ours.level, ours.propagate, logging.raiseExceptions
    root_handlers = logging.getLogger().handlers[:]
    yield ours
    ours.handlers[:], ours.level, ours.propagate, logging.raiseExceptions = before
    logging.getLogger().handlers[:] = root_handlers


def test_only_our_own_records_are_written(
    restored_logging: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure("json", "warning")
    logging.getLogger("strongroom.a").warning("a.happened")
    logging.getLogger("strongroom.a").info("a.detail")
    logging.getLogger("somebody.else").error("CANARY")
    written = capsys.readouterr().err
    assert [json.loads(line)["event"] for line in written.splitlines()] == ["a.happened"]
