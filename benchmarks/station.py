"""Hold a network namespace: give it one interface, whose far end goes to who started this.

Run within a new namespace (see ``network``) as `python -m benchmarks.station SOCKET ADDRESS`:
SOCKET is the number of an inherited Unix socket, over which the interface's descriptor goes; when
that socket ends, so does this, and with it the namespace once nothing runs in it any more.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import sys
from typing import Final

INTERFACE: Final = "line"
MASK: Final = "255.255.255.0"
MTU: Final = 1_400

TUN: Final = "/dev/net/tun"
TUNSETIFF: Final = 0x400454CA
IFF_TUN_NO_PI: Final = 0x1001
"""IP packets as they are, without a head of four bytes."""

SIOCSIFFLAGS: Final = 0x8914
SIOCSIFADDR: Final = 0x8916
SIOCSIFNETMASK: Final = 0x891C
SIOCSIFMTU: Final = 0x8922
IFF_UP_RUNNING: Final = 0x41

UP: Final = b"up"


def _set(control: socket.socket, request: int, name: str, value: bytes) -> None:
    """Set one property of an interface (netdevice(7): struct ifreq, 40 bytes)."""
    fcntl.ioctl(control, request, struct.pack("16s24s", name.encode("ascii"), value))


def _inet(address: str) -> bytes:
    return struct.pack("=HH4s", socket.AF_INET, 0, socket.inet_aton(address))


def open_interface(address: str) -> int:
    """Bring up loopback and the interface; return the descriptor of its far end."""
    tun = os.open(TUN, os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", INTERFACE.encode("ascii"), IFF_TUN_NO_PI))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        _set(control, SIOCSIFADDR, INTERFACE, _inet(address))
        _set(control, SIOCSIFNETMASK, INTERFACE, _inet(MASK))
        _set(control, SIOCSIFMTU, INTERFACE, struct.pack("=i", MTU))
        for name in ("lo", INTERFACE):
            _set(control, SIOCSIFFLAGS, name, struct.pack("=h", IFF_UP_RUNNING))
    return tun


def main(number: str, address: str) -> None:
    """Set up, hand over, and stay until the other side is gone."""
    with socket.socket(fileno=int(number)) as control:
        tun = open_interface(address)
        socket.send_fds(control, [UP], [tun])
        os.close(tun)
        control.recv(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
