"""`make bench` runs what is named, one line each, and goes on when a workload fails."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import run
from benchmarks.comparing import COMPARED
from benchmarks.measure import Result


def measured(carrier: str, directory: Path) -> Result:
    assert directory.is_dir()
    return Result("W1", carrier, 3, 1.0, 2.0, 3.0, 4.0, 5.0, "abc", {"client_cpu_share": 0.5})


def failing(carrier: str, directory: Path) -> Result:
    raise TimeoutError("the server has fallen silent")


@pytest.fixture(autouse=True)
def workloads(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = {"broken": (run.ONE, failing), "W1": (run.BOTH, measured)}
    monkeypatch.setattr(run, "WORKLOADS", chosen)
    monkeypatch.setattr(run, "program_of", lambda rival: None)


def test_a_named_workload_is_one_line_for_each_carrier(capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["W1"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["workload"], line["carrier"]) for line in lines] == [
        ("W1", "websocket"),
        ("W1", "quic"),
    ]
    assert all(line["ops"] == 3 and line["client_cpu_share"] == 0.5 for line in lines)


def test_a_server_that_is_not_installed_is_named_with_the_reason(
    capsys: pytest.CaptureFixture[str],
) -> None:
    run.main(["W1"])
    line = json.loads(capsys.readouterr().out.splitlines()[0])
    assert line["not_compared"] == "not installed: prosody, ejabberd"


def test_an_installed_server_is_measured_in_the_same_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run, "program_of", lambda rival: f"/usr/bin/{rival.program}")
    monkeypatch.setitem(COMPARED, "W1", lambda rival, directory: measured("xmpp", directory))
    run.main(["W1"])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["carrier"] for line in lines] == ["websocket", "quic", "xmpp", "xmpp"]
    assert not any("not_compared" in line for line in lines)


def test_a_failure_is_told_and_the_others_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["broken", "W1"]) == 1
    told = capsys.readouterr()
    assert told.err == "broken: TimeoutError: the server has fallen silent\n"
    assert len(told.out.splitlines()) == 2


def test_a_name_that_is_none_is_refused_with_the_names_there_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run.main(["W9"]) == 2
    assert "unknown: W9; known: broken, W1" in capsys.readouterr().err
