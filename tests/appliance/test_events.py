"""The table of events is what the code logs: each event is in it, and nothing else."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from appliance.events import EVENTS

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("appliance", "cli", "store", "sync", "transports")
LEVELS = {"debug", "info", "warning", "error", "critical", "exception"}
PUMP = "_log"
"""How the pump, which knows no logging, tells its events."""


def logged(source: str) -> Iterator[ast.expr]:
    """Yield what each call that logs passes as the event."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        function = node.func
        if not isinstance(function, ast.Attribute):
            continue
        owner = function.value
        is_logger = isinstance(owner, ast.Name) and owner.id == "logger"
        if (is_logger and function.attr in LEVELS) or function.attr == PUMP:
            yield node.args[0]


def test_every_event_is_in_the_table_under_a_constant_name() -> None:
    found: set[str] = set()
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            for event in logged(path.read_text("utf-8")):
                if isinstance(event, ast.Constant):
                    found.add(str(event.value))
                else:  # the one place that passes the pump's events on
                    assert (path.name, ast.unparse(event)) == ("network.py", "event")
    assert found == set(EVENTS)


def test_a_call_that_logs_is_seen() -> None:
    source = "logger.info('a.b', extra={})\nself._log('c.d', {})\nlogger.setLevel('x')\n"
    assert [ast.literal_eval(each) for each in logged(source)] == ["a.b", "c.d"]
