"""Telling systemd: datagrams to its socket, nothing without one."""

import socket
from pathlib import Path

import pytest

from cli import systemd


def test_a_state_is_sent_to_the_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(path))
        monkeypatch.setenv("NOTIFY_SOCKET", str(path))
        assert systemd.notify(systemd.READY)
        assert receiver.recv(64) == b"READY=1"


def test_an_abstract_socket_is_reached(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    name = f"strongroom-{tmp_path.name}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind("\0" + name)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name)
        assert systemd.notify(systemd.STOPPING)
        assert receiver.recv(64) == b"STOPPING=1"


def test_without_systemd_nobody_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not systemd.notify(systemd.READY)
    monkeypatch.setenv("NOTIFY_SOCKET", "/nonexistent/socket")
    assert not systemd.notify(systemd.READY)


@pytest.mark.parametrize(
    ("microseconds", "seconds"), [("30000000", 15.0), ("", None), ("0", None), ("x", None)]
)
def test_the_watchdog_is_fed_twice_as_often_as_it_waits(
    monkeypatch: pytest.MonkeyPatch, microseconds: str, seconds: float | None
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", microseconds)
    assert systemd.watchdog_seconds() == seconds
