"""Give each site a network namespace of its own, and carry packets between them, or not.

Headquarters is the first station, every other one is a branch with a line to it. A station's one
interface is a TUN device whose far end is here, so a line has the rate, delay and loss that it is
told to have, and a line that is cut takes packets and gives none: nobody is told. Neither veth
nor the kernel's traffic control is needed, and root only where user namespaces are refused.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final

import trio

from benchmarks import station
from benchmarks.shaping import NEAR, Direction, Shape

ROOT: Final = Path(__file__).resolve().parents[1]
NET: Final = "10.77.0."
PORT: Final = 8_443
"""Of each site: in a namespace of its own every site has the same."""

PACKET_BYTES: Final = 4_096
HOLD_SECONDS: Final = 20.0
"""How long setting up a namespace may take, and its end."""

VERSION_4: Final = 4
DESTINATION: Final = 19
"""Where an IPv4 packet has the last byte of its destination."""


class NoNamespaceError(Exception):
    """This machine gives no network namespace; the message says why."""


@dataclass
class Station:
    """A namespace: where its site is, and how a program gets into it."""

    address: str
    tun: int
    holder: subprocess.Popen[bytes]

    def command(self, *arguments: str) -> list[str]:
        """Return the command that runs a program in here; its process is the program itself."""
        mine = () if os.geteuid() == 0 else ("--user", "--preserve-credentials")
        return ["nsenter", "--target", str(self.holder.pid), *mine, "--net", "--", *arguments]


@dataclass
class Line:
    """The line of one branch; ``up`` is towards headquarters."""

    up: Direction
    down: Direction
    is_cut: bool = False


@dataclass
class _Queue:
    """Packets on their way in one direction, each with its time, and where they come out."""

    line: Line
    direction: Direction
    tun: int
    packets: deque[tuple[float, bytes]] = field(default_factory=deque)
    arrived: trio.Event = field(default_factory=trio.Event)

    def put(self, packet: bytes) -> None:
        """Take a packet from the sender."""
        leaves_at = self.direction.leaves_at(len(packet), trio.current_time())
        if leaves_at is not None:
            self.packets.append((leaves_at, packet))
            self.arrived.set()

    async def run(self) -> None:
        """Give each packet when its time has come, unless the line is cut by then."""
        while True:
            while self.packets:
                leaves_at, packet = self.packets[0]
                await trio.sleep_until(leaves_at)
                self.packets.popleft()
                if not self.line.is_cut:
                    _write(self.tun, packet)
            self.arrived = trio.Event()
            await self.arrived.wait()


def _write(tun: int, packet: bytes) -> None:
    try:
        os.write(tun, packet)
    except BlockingIOError:
        return  # a full queue loses packets, as everywhere


class Network:
    """Headquarters' station, the first, and one for each branch, with its line."""

    def __init__(self, stations: list[Station], shape: Shape, seed: int) -> None:
        self.stations = stations
        self.lines = [
            Line(
                Direction(shape, Random(f"{seed} {number} up")),
                Direction(shape, Random(f"{seed} {number} down")),
            )
            for number in range(1, len(stations))
        ]

    async def run(self) -> None:
        """Carry packets until cancelled."""
        hub, *branches = self.stations
        async with trio.open_nursery() as nursery:
            down: dict[int, _Queue] = {}
            for number, (branch, line) in enumerate(zip(branches, self.lines, strict=True)):
                up = _Queue(line, line.up, hub.tun)
                down[number + 2] = _Queue(line, line.down, branch.tun)
                nursery.start_soon(up.run)
                nursery.start_soon(down[number + 2].run)
                nursery.start_soon(_read, branch.tun, {1: up})
            nursery.start_soon(_read, hub.tun, down)

    def cut(self, *branches: int) -> None:
        """Let nothing through to and from these branches, or any; 0 is the first."""
        for number in branches or range(len(self.lines)):
            self.lines[number].is_cut = True

    def heal(self, *branches: int) -> None:
        """Let everything through again."""
        for number in branches or range(len(self.lines)):
            self.lines[number].is_cut = False


async def _read(tun: int, queues: dict[int, _Queue]) -> None:
    """Take the packets of a station, each into the queue towards its destination."""
    while True:
        await trio.lowlevel.wait_readable(tun)
        while (packet := _packet(tun)) is not None:
            queue = queues.get(packet[DESTINATION]) if packet[0] >> 4 == VERSION_4 else None
            if queue is not None and not queue.line.is_cut:
                queue.put(packet)


def _packet(tun: int) -> bytes | None:
    try:
        return os.read(tun, PACKET_BYTES)
    except BlockingIOError:
        return None


@asynccontextmanager
async def network(branches: int, shape: Shape = NEAR, seed: int = 1) -> AsyncIterator[Network]:
    """Make the namespaces of headquarters and some branches, and carry packets meanwhile.

    Raises ``NoNamespaceError`` where the machine refuses.
    """
    with ExitStack() as stack:
        stations = [_station(stack, f"{NET}{number + 1}") for number in range(branches + 1)]
        made = Network(stations, shape, seed)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(made.run)
            yield made
            nursery.cancel_scope.cancel()


def _station(stack: ExitStack, address: str) -> Station:
    ours, theirs = socket.socketpair()
    stack.enter_context(ours)
    with theirs:
        holder = _hold(theirs, address)
    stack.callback(_end, holder, ours)
    ours.settimeout(HOLD_SECONDS)
    said, descriptors, _, _ = socket.recv_fds(ours, len(station.UP), 1)
    if said != station.UP:
        holder.wait(HOLD_SECONDS)
        assert holder.stderr is not None
        raise NoNamespaceError((holder.stderr.read().decode().strip() or "none").splitlines()[-1])
    stack.callback(os.close, descriptors[0])
    return Station(address, descriptors[0], holder)


def _hold(theirs: socket.socket, address: str) -> subprocess.Popen[bytes]:
    if shutil.which("unshare") is None or shutil.which("nsenter") is None:
        raise NoNamespaceError("unshare and nsenter of util-linux are not installed")
    mine: Sequence[str] = () if os.geteuid() == 0 else ("--user", "--map-root-user")
    program = [sys.executable, "-m", station.__name__, str(theirs.fileno()), address]
    return subprocess.Popen(
        ["unshare", *mine, "--net", *program],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        pass_fds=[theirs.fileno()],
    )


def _end(holder: subprocess.Popen[bytes], control: socket.socket) -> None:
    control.close()
    holder.wait(HOLD_SECONDS)
    assert holder.stderr is not None
    holder.stderr.close()
