"""Show headquarters and two branches on this machine: a line is cut, and comes back.

Everything is real: three servers, the commands that an administrator uses, and between each
branch and headquarters a relay of this program's own, which is what gets cut. Nothing outside a
temporary directory is touched. The last line is the verdict.
"""

from __future__ import annotations

import json
import math
import os
import random
import shlex
import socket
import subprocess
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import trio

from cli.errors import CliError
from cli.programs import this_program

LOOPBACK: Final = "127.0.0.1"
READY_SECONDS: Final = 60.0
SETTLE_SECONDS: Final = 90.0
POLL_SECONDS: Final = 0.5
CHUNK_BYTES: Final = 65_536
PORTS: Final = range(20_000, 30_000)
PEOPLE: Final = {"nora": "north", "sam": "south"}
"""Who is at home at which branch; alice is at headquarters."""


class DemoError(CliError):
    """A step did not do what it should; the message says which."""

    def __init__(self, message: str) -> None:
        super().__init__("cli.demo", message, "Try again: other work may have slowed it down.")


class Relay:
    """The line between a branch and headquarters; cut, it takes and gives nothing."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._is_whole = True
        self._scopes: set[trio.CancelScope] = set()
        self.port = 0

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Carry connections until cancelled."""
        listeners = await trio.open_tcp_listeners(0, host=LOOPBACK)
        self.port = listeners[0].socket.getsockname()[1]
        task_status.started()
        await trio.serve_listeners(self._carry, listeners)

    def cut(self) -> None:
        """End every connection and let none come about."""
        self._is_whole = False
        for scope in self._scopes:
            scope.cancel()

    def heal(self) -> None:
        """Let connections come about again."""
        self._is_whole = True

    async def _carry(self, near: trio.SocketStream) -> None:
        if not self._is_whole:
            return
        with trio.CancelScope() as scope, suppress(OSError, trio.BrokenResourceError):
            self._scopes.add(scope)
            try:
                far = await trio.open_tcp_stream(LOOPBACK, self._target)
                async with far, trio.open_nursery() as nursery:
                    nursery.start_soon(_copy, near, far, scope)
                    nursery.start_soon(_copy, far, near, scope)
            finally:
                self._scopes.discard(scope)


async def _copy(
    source: trio.SocketStream, sink: trio.SocketStream, scope: trio.CancelScope
) -> None:
    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        while data := await source.receive_some(CHUNK_BYTES):
            await sink.send_all(data)
    scope.cancel()


@dataclass
class Site:
    """A server of the demo: its directory and its port."""

    name: str
    folder: Path
    port: int

    @property
    def data(self) -> str:
        """Its data directory."""
        return str(self.folder / self.name)


class Demo:
    """The three sites and what is shown of them."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._ports = _free_ports()
        self._servers: dict[str, subprocess.Popen[bytes]] = {}
        self.headquarters = self._site("headquarters")
        self.branches = {name: self._site(name) for name in PEOPLE.values()}
        self.relays = {name: Relay(self.headquarters.port) for name in self.branches}

    def _site(self, name: str) -> Site:
        return Site(name, self._folder, next(self._ports))

    # --- commands ---------------------------------------------------------------------------------

    async def ask(self, *arguments: str, stdin: str = "") -> str:
        """Run a command and return what it prints; nothing of it is shown."""
        done = await trio.run_process(
            [*this_program(), *arguments],
            stdin=stdin.encode(),
            capture_stdout=True,
            capture_stderr=True,
            check=False,
            env=self._environment(),
        )
        if done.returncode:
            told = done.stderr.decode().strip()
            raise DemoError(f"strongroom {shlex.join(arguments)}: {told}")
        return done.stdout.decode()

    async def show(self, *arguments: str) -> None:
        """Run a command as a newcomer would, and show both."""
        print(f"  $ strongroom {shlex.join(arguments)}".replace(f"{self._folder}/", ""))
        for line in (await self.ask(*arguments)).splitlines():
            print(f"    {line}")

    def start(self, site: Site, *arguments: str) -> None:
        """Start a server that is stopped when the demo ends."""
        log = self._stack.enter_context((self._folder / f"{site.name}.log").open("wb"))
        server = subprocess.Popen(
            [*this_program(), *arguments],
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            env=self._environment(),
        )
        self._stack.callback(_stop, server)
        self._servers[site.name] = server

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "HOME": str(self._folder)}

    # --- the story --------------------------------------------------------------------------------

    async def run(self) -> bool:
        """Tell the story; return whether all sites agree at its end."""
        failure: DemoError | None = None
        agrees = False
        async with trio.open_nursery() as nursery:
            for relay in self.relays.values():
                await nursery.start(relay.run)
            try:
                await self._open()
                agrees = await self._tell()
            except DemoError as error:
                failure = error
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure
        return agrees

    async def _open(self) -> None:
        """Start headquarters and open both branches, as an administrator does."""
        say("Headquarters starts; north and south are opened as its branches.")
        listen = f"{LOOPBACK}:{self.headquarters.port}"
        self.start(self.headquarters, "demo", "--data", self.headquarters.data, "--listen", listen)
        await self._until_ready(self.headquarters)
        for login, name in PEOPLE.items():
            branch = self.branches[name]
            pin = await self._join(branch)
            self.start(branch, "serve", "--data", branch.data)
            await self._until_ready(branch)
            await self._welcome(login, branch, pin)
        await self.show("site", "list", "--data", self.headquarters.data)
        await self.show("site", "status", "--data", self.branches["north"].data)

    async def _join(self, branch: Site) -> str:
        """Make a new machine a branch; return the fingerprint of its CA."""
        listen = ("--host", LOOPBACK, "--port", str(branch.port), "--wrap", "none")
        made = await self.ask(
            "init", "--branch", "--name", branch.name, "--data", branch.data, *listen, "--json"
        )
        address = f"{LOOPBACK}:{self.relays[branch.name].port}"
        grace = ("--as", "grace", "--data", self.headquarters.data)
        invited = await self.ask(
            "site", "invite", branch.name, "--address", address, *grace, "--json"
        )
        invitation = json.loads(invited)["link"] + "\n"
        join = ("site", "join", "--data", branch.data, "--invitation-file", "-", "--json")
        with suppress(DemoError):  # applies; until it is approved that is all
            await self.ask(*join, "--timeout", "0", stdin=invitation)
        listed = await self.ask("site", "list", "--data", self.headquarters.data, "--json")
        (words,) = (
            each["fingerprint"]
            for each in json.loads(listed)["sites"]
            if each["name"] == branch.name
        )
        await self.ask("site", "approve", branch.name, "--fingerprint", words, *grace)
        await self.ask(*join, "--timeout", "30", stdin=invitation)
        return str(json.loads(made)["ca"])

    async def _welcome(self, login: str, branch: Site, pin: str) -> None:
        """Add somebody at headquarters who is at home at a branch, and let them sign in there."""
        grace = ("--as", "grace", "--data", self.headquarters.data)
        name = ("--name", login.title(), "--site", branch.name)
        await self.ask("user", "create", login, *name, *grace)
        invited = json.loads(await self.ask("invite", "create", login, *grace, "--json"))
        code = invited["invitations"][0]["link"].partition("#")[2]
        link = f"strongroom://{LOOPBACK}:{branch.port}/join?pin={pin}#{code}"

        async def is_known() -> bool:
            people = json.loads(await self.ask("user", "list", "--data", branch.data, "--json"))
            return any(each["login"] == login for each in people["users"])

        await _until(is_known, f"{login} is known at {branch.name}")
        await self.ask(
            "chat",
            "--join",
            "-",
            "--as",
            login,
            "--data",
            branch.data,
            "--with",
            login,
            "--history",
            "1",
            stdin=link + "\n",
        )

    async def _tell(self) -> bool:
        north = self.branches["north"]
        say("Alice at headquarters and Nora at north write to each other.")
        await self.send("alice", "nora", "Bed 4 is free.")
        await self._until_told("nora", "alice", 1)
        await self.send("nora", "alice", "We take it.")
        await self._until_told("alice", "nora", 2)
        say("The line to north is cut. North goes on; so does headquarters.")
        self.relays["north"].cut()
        await self._until_line(north, "unreachable")
        await self.send("nora", "alice", "The patient is here.")
        await self.send("alice", "nora", "Is the patient with you?")
        await self.send("nora", "sam", "Can you spare a pump?")
        await self.show("site", "status", "--data", north.data)
        say("The line heals. What waited goes its way.")
        self.relays["north"].heal()
        await self._until_line(north, "reachable")
        await self._until_settled()
        await self.show("site", "status", "--data", north.data)
        return await self._verdict()

    async def send(self, login: str, to: str, text: str) -> None:
        """Let somebody say something at their own site, and show it."""
        data = self._home(login).data
        await self.ask("chat", "--as", login, "--to", to, "--send", text, "--data", data)
        print(f"  {login} to {to}: {text}")

    async def history(self, login: str, other: str) -> list[tuple[str, str]]:
        """Return id and text of what somebody reads of a conversation at their site."""
        data = self._home(login).data
        try:
            told = await self.ask(
                "chat",
                "--as",
                login,
                "--with",
                other,
                "--history",
                "100",
                "--data",
                data,
                "--json",
            )
        except DemoError:  # nobody has opened it yet
            return []
        lines: list[dict[str, Any]] = [json.loads(line) for line in told.splitlines()]
        return [(each["msg"], each["text"]) for each in lines]

    async def _verdict(self) -> bool:
        print()
        said, agrees = 0, True
        for one, other in (("alice", "nora"), ("nora", "sam")):
            theirs, ours = await self.history(one, other), await self.history(other, one)
            said += len(ours)
            agrees = agrees and theirs == ours and len(set(ours)) == len(ours)
        agrees = agrees and said == 5
        if agrees:
            print(f"All sites agree: {said} messages, each once, in the same order everywhere.")
        else:
            print("The sites differ.")
        return agrees

    def _home(self, login: str) -> Site:
        return self.branches[PEOPLE[login]] if login in PEOPLE else self.headquarters

    # --- waiting ----------------------------------------------------------------------------------

    async def _until_ready(self, site: Site) -> None:
        async def is_ready() -> bool:
            if self._servers[site.name].poll() is not None:
                log = (self._folder / f"{site.name}.log").read_text(errors="replace")
                raise DemoError(f"{site.name} does not serve: {log.strip()}")
            try:
                await self.ask("status", "--data", site.data)
            except DemoError:
                return False
            return True

        await _until(is_ready, f"{site.name} serves", READY_SECONDS)

    async def _until_line(self, site: Site, state: str) -> None:
        async def is_so() -> bool:
            return bool((await self._status(site))["line"] == state)

        await _until(is_so, f"{site.name} is {state}")

    async def _until_settled(self) -> None:
        async def is_settled() -> bool:
            waiting = [(await self._status(each))["waiting"] for each in self.branches.values()]
            read = await self.history("sam", "nora")
            return not any(waiting) and len(read) == 1

        await _until(is_settled, "everything has arrived")

    async def _until_told(self, login: str, other: str, count: int) -> None:
        async def is_told() -> bool:
            return len(await self.history(login, other)) >= count

        await _until(is_told, f"{login} has heard from {other}")

    async def _status(self, site: Site) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(
            await self.ask("site", "status", "--data", site.data, "--json")
        )
        return answer


async def _until(
    test: Callable[[], Awaitable[bool]], what: str, seconds: float = SETTLE_SECONDS
) -> None:
    for _ in range(math.ceil(seconds / POLL_SECONDS)):
        if await test():
            return
        await trio.sleep(POLL_SECONDS)
    raise DemoError(f"not within {seconds:.0f} s: {what}")


def say(text: str) -> None:
    """Print what happens next."""
    print(f"\n{text}", flush=True)


def _free_ports() -> Iterator[int]:
    """Yield ports that are free for TCP and UDP, none twice.

    They are below those that the system gives to connections: a relay cannot take one meanwhile.
    """
    for port in random.sample(PORTS, len(PORTS)):
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            try:
                tcp.bind((LOOPBACK, port))
                udp.bind((LOOPBACK, port))
            except OSError:
                continue
        yield port


def _stop(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    try:
        server.wait(15)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def play() -> bool:
    """Play the whole demo; return whether all sites agree at its end. Raises ``DemoError``."""
    with tempfile.TemporaryDirectory(prefix="strongroom-sites-") as name, ExitStack() as stack:
        return trio.run(Demo(Path(name), stack).run)
