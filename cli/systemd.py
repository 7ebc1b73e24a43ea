"""Tell systemd how the service is: ready, stopping, alive (sd_notify(3))."""

from __future__ import annotations

import os
import socket
from typing import Final

SOCKET_VARIABLE: Final = "NOTIFY_SOCKET"
WATCHDOG_VARIABLE: Final = "WATCHDOG_USEC"

READY: Final = "READY=1"
RELOADING: Final = "RELOADING=1"
STOPPING: Final = "STOPPING=1"
ALIVE: Final = "WATCHDOG=1"


def notify(state: str) -> bool:
    """Send one state; returns whether there is a systemd that was told."""
    address = os.environ.get(SOCKET_VARIABLE, "")
    if not address:
        return False
    name = "\0" + address[1:] if address.startswith("@") else address
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        try:
            sock.sendto(state.encode(), name)
        except OSError:
            return False
    return True


def watchdog_seconds() -> float | None:
    """Return how often to say that we are alive: half of what systemd waits; None: never."""
    microseconds = os.environ.get(WATCHDOG_VARIABLE, "")
    return int(microseconds) / 2e6 if microseconds.isdecimal() and int(microseconds) else None
