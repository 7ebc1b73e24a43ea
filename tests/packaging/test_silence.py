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

LINE, HEADQUARTERS, BRANCH = "line", "192.0.2.1", "192.0.2.2"
"""Between the networks of headquarters and of a branch, and their addresses on it."""

ARP_KIND = 0x0806
ICMP, TCP, UDP, ICMPV6, IPV6_OPTIONS = 1, 6, 17, 58, 0

Packet = dict[str, Any]


class Namespace:
    """A network of its own, with a way out for IPv4 and IPv6, in which everything is recorded."""

    def __init__(self, ip: str, folder: Path, role: str = "") -> None:
        self.name = f"strongroom-{os.getpid()}{role}"
        self.file = folder / f"packets{role}"
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

    def join(self, other: Namespace) -> None:
        """Lay a line to another namespace: headquarters is here, the branch there."""
        peer = ("peer", "name", LINE, "netns", other.name)
        self._run("-n", self.name, "link", "add", LINE, "type", "veth", *peer)
        for namespace, address in ((self, HEADQUARTERS), (other, BRANCH)):
            self._run("-n", namespace.name, "address", "add", f"{address}/24", "dev", LINE)
            self._run("-n", namespace.name, "link", "set", LINE, "up")

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
    if packet["kind"] == ARP_KIND:
        return interface == LINE
    if protocol in (ICMPV6, IPV6_OPTIONS):
        return interface in (OUT, FAR, LINE)
    return protocol == ICMP and interface == "lo"


def undesired(packets: list[Packet], own: str, told: set[tuple[str, int]]) -> list[Packet]:
    """List packets of a site's machine that belong to no conversation that is wanted.

    What is opened from ``own``, its address, must go where it was told to; what others open is for
    their machine's record to judge. No name is asked for, and no datagram leaves by itself.
    """
    return [each for each in packets if not _is_of_kernel(each) and not _is_wanted(each, own, told)]


def _is_wanted(packet: Packet, own: str, told: set[tuple[str, int]]) -> bool:
    if packet["protocol"] not in (TCP, UDP):
        return False
    ends = (packet["source"], packet["from"]), (packet["target"], packet["to"])
    if packet["protocol"] == TCP and packet["opens"]:
        return packet["source"] != own or ends[1] in told
    return bool(told.intersection(ends)) or packet["protocol"] == TCP


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


@pytest.fixture
def pair(
    tmp_path: Path, requires: Callable[[str, str], str]
) -> Iterator[tuple[Namespace, Namespace]]:
    """Make the networks of headquarters and of a branch, with a line between them."""
    if os.geteuid() != 0:
        lacking("a network namespace takes root")
    ip = requires("ip", "iproute2")
    with Namespace(ip, tmp_path, "-hq") as one, Namespace(ip, tmp_path, "-branch") as other:
        one.join(other)
        with one.recording(), other.recording():
            yield one, other


def test_a_call_of_headquarters_to_a_branch_would_be_seen(
    pair: tuple[Namespace, Namespace],
) -> None:
    headquarters, branch = pair
    told = {(HEADQUARTERS, 8443)}
    headquarters.probe((BRANCH, 443, True), (HEADQUARTERS, 8443, True), (OUTSIDE, 53, False))
    branch.probe((HEADQUARTERS, 8443, True), (HEADQUARTERS, 80, True))
    seen = undesired(headquarters.packets(), HEADQUARTERS, told)
    assert {(each["target"], each["to"]) for each in seen} == {(BRANCH, 443), (OUTSIDE, 53)}
    seen = undesired(branch.packets(), BRANCH, told)
    assert {each["to"] for each in seen if each.get("source") == BRANCH} == {80}


def test_a_branch_calls_its_headquarters_alone_and_headquarters_calls_nobody(
    pair: tuple[Namespace, Namespace],
    built: Built,
    bare_root: Path,
    tmp_path: Path,
    requires: Callable[[str, str], str],
) -> None:
    program, bwrap = Path("/opt/strongroom/strongroom"), requires("bwrap", "bubblewrap")
    mounts = {Path("/opt"): built.dist}
    machines = []
    for namespace in pair:
        home = tmp_path / namespace.name
        home.mkdir()
        machines.append(Machine(bare_root, home, program, bwrap, mounts, namespace.before))
    port, own = free_port(), free_port()
    office = main_job.BranchOffice(
        (machines[0], machines[1]), f"{HEADQUARTERS}:{port}", BRANCH, own
    )
    with office.headquarters_serves():
        office.open_branch()
        with office.branch_serves():
            for carrier in main_job.CARRIERS:
                office.chat(carrier)
            office.cross()
    headquarters, branch = (namespace.packets() for namespace in pair)
    at_headquarters, at_branch = (HEADQUARTERS, port), (BRANCH, own)
    assert undesired(headquarters, HEADQUARTERS, {at_headquarters}) == []
    assert undesired(branch, BRANCH, {at_headquarters, at_branch}) == []
    called = {
        (each["target"], each["to"])
        for each in branch
        if each["interface"] == LINE and each.get("opens") and each["source"] == BRANCH
    }
    assert called == {at_headquarters}
