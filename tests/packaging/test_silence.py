"""The appliance does its main job and opens no connection that it was not told to.

It runs in a network namespace with a way out at whose far end nobody is, and every packet is
recorded, on loopback too: a look-up of a name, a report home or a search for updates would be
seen, wherever it went.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import lacking
from tests.packaging import main_job, recorder
from tests.packaging.conftest import Built
from tests.packaging.machine import COMMAND_SECONDS, Machine
from tests.system.cli_program import free_port

OUT, FAR = "out", "far"
OUTSIDE = "198.51.100.53"
"""A host behind the way out; the address is one of those for documentation (RFC 5737)."""

WAYS = (
    "link set lo up",
    f"link add {OUT} type veth peer name {FAR}",
    f"link set {OUT} arp off",
    f"link set {OUT} up",
    f"link set {FAR} up",
    f"address add 198.51.100.2/24 dev {OUT}",
    f"address add 2001:db8::2/64 dev {OUT} nodad",
    f"route add default dev {OUT}",
    f"-6 route add default dev {OUT}",
)
"""What is told to ip(8), in order. Nobody answers on the far end, and nobody has to be asked for
an address of hardware, so a packet to any host in the world would leave."""

ICMP, TCP, UDP, ICMPV6, IPV6_OPTIONS = 1, 6, 17, 58, 0

Packet = dict[str, Any]


class Namespace:
    """A network of its own, with a way out for IPv4 and IPv6, in which everything is recorded."""

    def __init__(self, ip: str, folder: Path) -> None:
        self.name = f"strongroom-{os.getpid()}"
        self.file = folder / "packets"
        self.before = (ip, "netns", "exec", self.name)
        self._ip = ip
        self._recorder: subprocess.Popen[str] | None = None

    def __enter__(self) -> Namespace:
        """Make it."""
        self._run("netns", "add", self.name)
        try:
            for words in WAYS:
                self._run("-n", self.name, *words.split())
        except BaseException:
            self._run("netns", "delete", self.name)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Take it away."""
        self._run("netns", "delete", self.name)

    def _run(self, *words: str) -> None:
        subprocess.run([self._ip, *words], check=True, timeout=COMMAND_SECONDS)

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Write packets down meanwhile."""
        command = [*self.before, sys.executable, recorder.__file__, str(self.file)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                assert process.stdout.readline() == "recording\n"
                self._recorder = process
                yield
            finally:
                process.kill()

    def probe(self, *addresses: tuple[str, int, bool]) -> None:
        """Send a packet to each (host, port, whether by TCP) as a chatty program would."""
        program = (
            "import socket, sys\n"
            f"for host, port, is_tcp in {addresses!r}:\n"
            "    kind = socket.SOCK_STREAM if is_tcp else socket.SOCK_DGRAM\n"
            "    sock = socket.socket(socket.AF_INET6 if ':' in host else socket.AF_INET, kind)\n"
            "    sock.setblocking(False)\n"
            "    sock.connect_ex((host, port))\n"
            "    is_tcp or sock.send(b'hello')\n"
        )
        command = [*self.before, sys.executable, "-c", program]
        subprocess.run(command, check=True, timeout=COMMAND_SECONDS)

    def packets(self) -> list[Packet]:
        """Return what was recorded, once the recorder has seen a last packet of ours."""
        self.probe((OUTSIDE, 9, False))
        while True:
            assert self._recorder is not None
            assert self._recorder.poll() is None
            found = [json.loads(line) for line in self.file.read_text("ascii").splitlines()]
            last = next((each for each in found if each.get("to") == 9), None)
            if last is not None:
                return found[: found.index(last)]


def untold(packets: list[Packet], port: int) -> list[Packet]:
    """List packets of conversations that nobody told the appliance or its clients to have.

    They were told 127.0.0.1 and the port. The kernel itself looks for IPv6 routers and groups
    (ICMPv6, its options), and answers on loopback for a port that was closed (ICMP).
    """
    return [each for each in packets if not _is_told(each, port) and not _is_of_kernel(each)]


def _is_told(packet: Packet, port: int) -> bool:
    protocol: int = packet["protocol"]
    if not packet.get("source") == packet.get("target") == "127.0.0.1":
        return False
    if protocol == TCP:
        return bool(packet["to"] == port or not packet["opens"])
    return protocol == UDP and port in (packet["from"], packet["to"])


def _is_of_kernel(packet: Packet) -> bool:
    protocol, interface = int(packet["protocol"]), str(packet["interface"])
    if protocol in (ICMPV6, IPV6_OPTIONS):
        return interface in (OUT, FAR)
    return protocol == ICMP and interface == "lo"


@pytest.fixture
def namespace(tmp_path: Path, requires: Callable[[str, str], str]) -> Iterator[Namespace]:
    if os.geteuid() != 0:
        lacking("a network namespace takes root")
    with Namespace(requires("ip", "iproute2"), tmp_path) as made, made.recording():
        yield made


def test_the_recorder_sees_who_talks_to_the_outside_and_who_asks_for_a_name(
    namespace: Namespace,
) -> None:
    port = free_port()
    namespace.probe(
        (OUTSIDE, 443, True),
        (OUTSIDE, 53, False),
        ("2001:db8::53", 53, False),
        ("127.0.0.1", 53, False),
        ("127.0.0.1", port, True),
    )
    seen = {(each["target"], each["to"]) for each in untold(namespace.packets(), port)}
    assert seen == {(OUTSIDE, 443), (OUTSIDE, 53), ("2001:db8::53", 53), ("127.0.0.1", 53)}


def test_the_main_job_opens_no_connection_that_nobody_told_it_to(
    namespace: Namespace,
    built: Built,
    bare_root: Path,
    tmp_path: Path,
    requires: Callable[[str, str], str],
) -> None:
    home, port = tmp_path / "home", free_port()
    home.mkdir()
    machine = Machine(
        bare_root,
        home,
        Path("/opt/strongroom/strongroom"),
        requires("bwrap", "bubblewrap"),
        {Path("/opt"): built.dist},
        namespace.before,
    )
    main_job.do_it_all(machine, port)
    with machine.serve("demo", "--listen", f"127.0.0.1:{port}", data="demo-data"):
        machine.json("chat", "--as", "bob", "--to", "alice", "--send", "Potassium 6.1")
        main_job.destroy(machine, "demo-data")
    assert main_job.verify(machine) == "COMPLETE"
    packets = namespace.packets()
    opened = {(each["protocol"], each["to"]) for each in packets if each.get("to") == port}
    assert opened == {(TCP, port), (UDP, port)}
    assert untold(packets, port) == []
