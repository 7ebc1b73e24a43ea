"""Found organisations on disk, run the real server process on them, and open clients to it."""

from __future__ import annotations

import json
import random
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio

from appliance import certificates
from appliance.context import SITE, Actor
from appliance.directory import codes
from appliance.directory.commands import CreatePerson, RenewToken
from appliance.site import Site, data_ports
from cli.admin import AdminSocket
from client import Account, Conversation, Profile, Session
from client.carriers import Carrier, Opener, quic, websocket
from client.carriers.race import Race
from client.core import Core
from client.trust import Trust
from store.vault import NoWrap
from transports.wire import schema
from transports.wire.links import SERVER_NAME, Server
from transports.wire.schema import Id

ROOT = Path(__file__).resolve().parents[2]
HOST = "127.0.0.1"
MAP_BYTES = 256 << 20
START_SECONDS = 20.0
STOP_SECONDS = 20.0
COMMAND_SECONDS = 60.0
FREE_PORTS = range(20_000, 32_000)
"""Below the ports that the system gives to clients: a client must not sit on a dead server's."""


@dataclass(frozen=True)
class Person:
    """Somebody with a device: what a client needs to sign in."""

    login: str
    id: bytes
    device: bytes
    token: str

    @property
    def actor(self) -> Actor:
        return Actor(self.id, self.device)


@dataclass
class Organisation:
    """A data directory with people, and the port its server takes at each start."""

    data: Path
    keys: Path
    port: int
    ca_pem: bytes
    pin: str
    people: dict[str, Person]
    profiles: Path
    conversations: dict[str, bytes] = field(default_factory=dict)

    @property
    def address(self) -> Server:
        return Server(HOST, self.port)

    @property
    def trust(self) -> Trust:
        return Trust(self.ca_pem, SERVER_NAME)

    def profile(self, login: str) -> Profile:
        """Return the person's profile, made at the first call."""
        person = self.people[login]
        profile = Profile(self.profiles / login)
        if not profile.exists:
            account = Account(
                server=str(Server(HOST, self.port, login)),
                login=login,
                person=person.id,
                device=person.device,
                token=person.token,
                pin=self.pin,
                ca_pem=self.ca_pem.decode("ascii"),
            )
            profile.save(account)
            profile.save_position("0", "")  # from the beginning, whenever it connects first
        return profile


@contextmanager
def opened(organisation: Organisation) -> Iterator[Site]:
    """Open the store of an organisation whose server is down."""
    ports = data_ports(organisation.data, organisation.keys, MAP_BYTES)
    site = Site.open(ports, NoWrap())
    try:
        yield site
    finally:
        site.close()


def found(
    directory: Path,
    logins: Sequence[str],
    *,
    settings: dict[str, dict[str, object]] | None = None,
    name: str = "System test",
) -> Organisation:
    """Create a site with these people, each with one device; write its configuration."""
    data, keys = directory / "data", directory / "data-keys"
    port = free_port()
    site = Site.create(data_ports(data, keys, MAP_BYTES), NoWrap(), name=name)
    try:
        people = {login: add_person(site, login) for login in logins}
        organisation = Organisation(
            data=data,
            keys=keys,
            port=port,
            ca_pem=certificates.ca_pem(site.core),
            pin=certificates.ca_fingerprint(site.core),
            people=people,
            profiles=directory / "profiles",
        )
    finally:
        site.close()
    sections: dict[str, dict[str, object]] = {
        "listen": {"host": HOST, "port": port},
        "store": {"map_bytes": MAP_BYTES},
    }
    for section, values in (settings or {}).items():
        sections.setdefault(section, {}).update(values)
    (data / "strongroom.toml").write_text(_toml(sections), "utf-8")
    return organisation


def add_person(site: Site, login: str, name: str = "") -> Person:
    """Create a person with one device, as the site itself."""
    site.run(SITE, CreatePerson(login, name or login.title()))
    return add_device(site, login, "first")


def add_device(site: Site, login: str, name: str) -> Person:
    """Give a person one more device; returns the person on that device."""
    token = site.ports.entropy.bytes(codes.TOKEN_BYTES)
    granted = site.run(SITE, RenewToken(login, codes.token_hash(token), name=name))
    return Person(login, granted.person, granted.device, token.hex())


def open_group(site: Site, owner: Person, members: Sequence[Person], title: str) -> bytes:
    """Open a group in the name of its owner."""
    ids = tuple(Id(each.id) for each in members)
    frame = schema.Open(id=1, kind="group", members=ids, title=title, history=True)
    return bytes(site.run(owner.actor, frame).conv)


def open_direct(site: Site, first: Person, second: Person) -> bytes:
    """Open the conversation of two people."""
    frame = schema.Open(id=1, kind="direct", members=(Id(second.id),))
    return bytes(site.run(first.actor, frame).conv)


def free_port() -> int:
    """Return a port that TCP and UDP both have, outside of what clients are given."""
    for port in random.SystemRandom().sample(FREE_PORTS, 200):
        try:
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                with socket.socket(socket.AF_INET, kind) as probe:
                    probe.bind((HOST, port))
        except OSError:
            continue
        return port
    raise RuntimeError("no free port")


# --- the process --------------------------------------------------------------------------------


class ServerProcess:
    """``strongroom serve`` on an organisation's data; its output is kept in files."""

    def __init__(self, organisation: Organisation, *flags: str) -> None:
        self.organisation = organisation
        self.flags = flags
        self.starts = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._output = organisation.data.parent / "output"
        self._output.mkdir(exist_ok=True)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the process, without waiting until it serves."""
        assert not self.is_running
        self.starts += 1
        where = str(self.organisation.data)
        with (
            (self._output / f"{self.starts}.stdout").open("wb") as stdout,
            (self._output / f"{self.starts}.stderr").open("wb") as stderr,
        ):
            self._process = subprocess.Popen(
                [*STRONGROOM, "serve", "--data", where, *self.flags],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
            )

    def kill(self) -> None:
        """End the process as a crash would; it has no say in it."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(STOP_SECONDS)

    async def stop(self) -> int:
        """Ask the process to stop in good order; returns its exit status."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return await trio.to_thread.run_sync(self._process.wait, STOP_SECONDS)

    async def ready(self) -> None:
        """Return once /readyz answers 200."""
        with trio.fail_after(START_SECONDS):
            while not await self._is_ready():
                assert self.is_running, self.output()[-2_000:]
                await trio.sleep(0.05)

    async def _is_ready(self) -> bool:
        try:
            return (await self.get("/readyz")).startswith(b"HTTP/1.1 200 ")
        except (OSError, trio.BrokenResourceError):
            return False

    async def get(self, path: str) -> bytes:
        """Return the whole HTTP answer to a request for a path."""
        tcp = await trio.open_tcp_stream(HOST, self.organisation.port)
        context = self.organisation.trust.context()
        async with trio.SSLStream(
            tcp, context, server_hostname=SERVER_NAME, https_compatible=True
        ) as stream:
            return await _answer(stream, path)

    async def metrics(self) -> dict[str, float]:
        """Return the server's figures by name, without the prefix."""
        text: str = (await self.ask("metrics"))["text"]
        lines = [line for line in text.splitlines() if line.startswith("strongroom_")]
        pairs = (line.removeprefix("strongroom_").rsplit(" ", 1) for line in lines)
        return {name: float(value) for name, value in pairs}

    async def ask(self, command: str) -> dict[str, Any]:
        """Ask over the administration socket."""

        def exchange() -> dict[str, Any]:
            with AdminSocket(self.organisation.data) as admin:
                return admin.ask(command)

        return await trio.to_thread.run_sync(exchange)

    def resident_bytes(self) -> int:
        """Return the memory that the process occupies now."""
        pages = Path(f"/proc/{self.pid}/statm").read_text("ascii").split()[1]
        return int(pages) * resource.getpagesize()

    def descriptors(self) -> int:
        """Return how many files and sockets the process holds."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def output(self) -> bytes:
        """Return everything the process has written to stdout and stderr, over all starts."""
        return b"".join(path.read_bytes() for path in sorted(self._output.iterdir()))


STRONGROOM = (sys.executable, "-c", "from cli.main import main; main()")


async def _answer(stream: trio.abc.Stream, path: str) -> bytes:
    request = f"GET {path} HTTP/1.1\r\nHost: {SERVER_NAME}\r\nConnection: close\r\n\r\n"
    await stream.send_all(request.encode("ascii"))
    return b"".join([chunk async for chunk in _chunks(stream)])


async def _chunks(stream: trio.abc.Stream) -> AsyncIterator[bytes]:
    while chunk := await stream.receive_some():
        yield bytes(chunk)


@asynccontextmanager
async def serving(organisation: Organisation, *flags: str) -> AsyncIterator[ServerProcess]:
    """Run the server until the block ends; then it has to stop in good order."""
    server = ServerProcess(organisation, *flags)
    server.start()
    try:
        await server.ready()
        yield server
        status = await server.stop()
        assert status == 0, server.output()[-2_000:]
    finally:
        if server.is_running:
            server.kill()


async def check(organisation: Organisation) -> list[dict[str, Any]]:
    """Run ``strongroom check`` on a stopped server's data; return its findings."""
    command = [*STRONGROOM, "check", "--data", str(organisation.data), "--json"]
    with trio.fail_after(COMMAND_SECONDS):
        done = await trio.run_process(
            command, cwd=ROOT, capture_stdout=True, capture_stderr=True, check=False
        )
    document = json.loads(done.stdout)
    findings: list[dict[str, Any]] = document["findings"]
    wrong = [each for each in findings if each["severity"] != "notice"]
    assert (done.returncode == 0) == (not wrong), (done.returncode, findings)
    return findings


# --- clients ------------------------------------------------------------------------------------


class Hasty(random.Random):
    """Dice for the pauses between connections, with short pauses only: tests are in a hurry."""

    LONGEST_SECONDS = 0.15

    def uniform(self, a: float, b: float) -> float:
        return super().uniform(a, min(b, self.LONGEST_SECONDS))


class Ways:
    """Dials one server by the named carrier, or by both as ``auto`` does."""

    def __init__(
        self, server: Server, trust: Trust, carrier: str = "auto", codec: str = "msgpack"
    ) -> None:
        openers: list[tuple[str, Opener]] = []
        if carrier in ("auto", "quic"):
            openers.append(("quic", quic.opener(server, trust)))
        if carrier in ("auto", "websocket"):
            way = websocket.opener(server, trust, f"strongroom.v1.{codec}")
            openers.append(("websocket", way))
        self._race = Race(openers)

    async def dial(self, nursery: trio.Nursery) -> Carrier:
        return await self._race.dial(nursery)


@asynccontextmanager
async def session_of(
    person: Person,
    ways: Ways,
    *,
    profile: Profile | None = None,
    seed: int = 0,
    window: int = 1,
) -> AsyncIterator[Session]:
    """Keep a session of the real SDK until the block ends; it need not be online at first."""
    pos, incarnation = profile.position() if profile is not None else ("", "")
    device = schema.DeviceInfo(id=Id(person.device))
    auth = schema.Auth(method="token", token=person.token, device=device)
    core = Core(auth, numbers=profile, pos=pos, incarnation=incarnation, window=window)
    session = Session(core, ways, profile=profile, rng=Hasty(seed))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(session.run)
        try:
            yield session
        finally:
            await session.close()
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def online(
    organisation: Organisation, login: str, carrier: str = "auto", **options: Any
) -> AsyncIterator[Session]:
    """Keep a session of a person at the organisation's server; online when the block begins."""
    person = organisation.people[login]
    ways = Ways(organisation.address, organisation.trust, carrier)
    async with session_of(person, ways, **options) as session:
        with trio.fail_after(START_SECONDS):
            await session.wait_online()
        yield session


async def until_text(session: Session, text: str) -> schema.Event:
    """Take events until a message with this text comes, and return it."""
    async for event in session.events():
        if not isinstance(event, schema.Event):
            continue
        if isinstance(event.op, schema.MessageOp) and event.op.body.text == text:
            return event
    raise AssertionError("unreachable")


async def chat(first: Session, second: Session, conv: bytes, text: str) -> None:
    """Have two people say something to each other, and hear it."""
    for sender, reader in ((first, second), (second, first)):
        said = f"{text} {sender.person.hex()[:8]}"
        await Conversation(sender, Id(conv)).send(said)
        await until_text(reader, said)


@contextmanager
def descriptors(wanted: int) -> Iterator[int]:
    """Allow this process, and those it starts, so many files; yields how many it got."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, limit), hard))
    try:
        yield max(soft, limit)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _toml(sections: dict[str, dict[str, object]]) -> str:
    lines = []
    for section, values in sections.items():
        lines.append(f"[{section}]")
        lines += [f"{key} = {json.dumps(value)}" for key, value in values.items()]
    return "\n".join(lines) + "\n"
