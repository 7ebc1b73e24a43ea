"""The main job, told as commands of the program: what every build of it must do from end to end."""

from __future__ import annotations

import json
from collections.abc import Callable

from tests.packaging.machine import Machine, Server

DATA = "org"
CARRIERS = ("quic", "websocket")
TRIES = 100


def found(machine: Machine, port: int, *more: str) -> dict[str, str]:
    """Make an organisation; return its first people's invitations by login.

    Clients are told the first of its names; the second is for nobody to look up.
    """
    names = ("--host", "127.0.0.1", "--host", "chat.hospital.example")
    address = (*names, "--port", str(port))
    made = machine.json("init", "--data", DATA, "--name", "City hospital", *address, *more)
    return {each["login"]: each["link"] for each in made["invitations"]}


def join(machine: Machine, invitations: dict[str, str]) -> None:
    """Let the first people join, and two more whom the administrator invites."""
    for login in ("admin", "officer", "auditor"):
        machine.json("chat", "--join", invitations[login])
    invite = ("invite", "create", "alice", "bob", "--new", "--as", "admin", "--data", DATA)
    made = machine.json(*invite)["invitations"]
    for each, carrier in zip(made, CARRIERS, strict=True):
        machine.json("chat", "--join", each["link"], "--carrier", carrier)


def send(machine: Machine, carrier: str, text: str) -> None:
    """Let alice write to bob over a carrier, and bob read it over the same."""
    over = ("--carrier", carrier)
    machine.json("chat", "--as", "alice", "--to", "bob", *over, "--send", text)
    assert history(machine, carrier, 1) == [text]


def history(machine: Machine, carrier: str, count: int) -> list[str]:
    """Return the newest texts that bob has from alice, oldest first."""
    read = ("chat", "--as", "bob", "--with", "alice", "--carrier", carrier)
    lines = machine.ok(*read, "--history", str(count), "--json").splitlines()
    return [json.loads(line)["text"] for line in lines]


def destroy(machine: Machine, data: str) -> str:
    """Destroy what bob wrote, in the demo, and prove it offline; return the certificate's state.

    dave and erin are the demo's officers, frank is its auditor.
    """
    asked = machine.json(
        *("destroy", "request", "--person", "bob", "--reason", "court", "--as", "dave"),
        *("--data", data),
    )
    number = str(asked["request"])
    machine.json("destroy", "approve", number, "--yes", "--as", "erin", "--data", data)
    run = str(machine.json("destroy", "run", number, "--as", "dave", "--data", data)["run"])
    auditor = ("--as", "frank", "--data", data)
    machine.ok("destroy", "certificate", run, "-o", "certificate.txt", *auditor)
    machine.ok("audit", "export", "-o", "ledger.txt", *auditor)
    machine.ok("audit", "key", "-o", "site.key", "--data", data)
    return run


def verify(machine: Machine) -> str:
    """Verify the certificate without a server; return the state that it proves."""
    proofs = ("--ledger", "ledger.txt", "--key", "site.key")
    state: str = machine.json("audit", "verify", "certificate.txt", *proofs)["state"]
    return state


def do_it_all(machine: Machine, port: int, restarted: Callable[[], None] = lambda: None) -> None:
    """Found, serve, join, chat over both carriers, restart, read, back up, verify the backup."""
    invitations = found(machine, port)
    with machine.serve("serve", "--data", DATA, data=DATA):
        join(machine, invitations)
        for carrier in CARRIERS:
            send(machine, carrier, f"Bed 4 is free ({carrier})")
    restarted()
    said = [f"Bed 4 is free ({carrier})" for carrier in CARRIERS]
    with machine.serve("serve", "--data", DATA, data=DATA):
        for carrier in CARRIERS:
            assert history(machine, carrier, len(said)) == said
        machine.ok("key-replica", "add", "replica", "--allow-same-device", "--data", DATA)
        machine.ok("audit", "key", "-o", "org.key", "--data", DATA)
        machine.json("backup", "create", "backup", "--data", DATA)
        machine.json("backup", "verify", "backup", "--key", "org.key")
    restore = ("restore", "backup", "--replica", "replica", "--key", "org.key")
    machine.json(*restore, "--data", "restored", "--keys", "restored-keys", "--dry-run")
    machine.json("check", "--data", DATA)


class BranchOffice:
    """The demo as headquarters, and a branch of it on another machine.

    Args:
        machines: that of headquarters, that of the branch.
        address: where headquarters serves, as HOST:PORT.
        host, port: where the branch does.
    """

    def __init__(
        self, machines: tuple[Machine, Machine], address: str, host: str, port: int
    ) -> None:
        self.headquarters, self.branch = machines
        self.address, self.host, self.port = address, host, port

    def headquarters_serves(self) -> Server:
        """Start headquarters."""
        return self.headquarters.serve("demo", "--listen", self.address, data="demo-data")

    def branch_serves(self) -> Server:
        """Start the branch."""
        return self.branch.serve("serve", "--data", DATA, data=DATA)

    def open_branch(self) -> None:
        """Invite, approve and join; sue is at home there."""
        invite = ("site", "invite", "north", "--address", self.address, "--as", "grace")
        invitation = self.headquarters.json(*invite)["link"] + "\n"
        named = ("--name", "North", "--host", self.host, "--port", str(self.port))
        self.branch.json("init", "--branch", "--data", DATA, *named)
        join = ("site", "join", "--invitation-file", "-", "--data", DATA)
        self.branch.run(*join, "--timeout", "0", stdin=invitation)
        (found,) = self.headquarters.json("site", "list")["sites"]
        words = ("--fingerprint", found["fingerprint"], "--as", "grace")
        self.headquarters.json("site", "approve", "north", *words)
        self.branch.ok(*join, stdin=invitation)
        sue = ("user", "create", "sue", "--name", "Sue", "--site", "north", "--invite")
        self.link: str = self.headquarters.json(*sue, "--as", "grace")["invitation"]["link"]

    def chat(self, carrier: str) -> None:
        """Let alice write at headquarters, and sue at the branch, where she joins at first."""
        over = ("--carrier", carrier)
        text = ("--to", "bob", "--send", f"Bed 4 is free ({carrier})")
        self.headquarters.json("chat", "--as", "alice", *over, *text)
        if self.link:
            until(lambda: any(each["login"] == "sue" for each in self._people()))
            self.branch.json("chat", "--join", self.link)
            self.link = ""
        self.branch.json("chat", "--as", "sue", *over, "--to", "alice", "--send", carrier)

    def cross(self) -> None:
        """Wait until everything has crossed the line, and see that it has."""
        until(lambda: self.branch.json("site", "status", "--data", DATA)["waiting"] == 0)
        read = ("chat", "--as", "alice", "--with", "sue", "--history", "9", "--json")
        until(lambda: len(self.headquarters.run(*read).stdout.splitlines()) == len(CARRIERS))

    def _people(self) -> list[dict[str, str]]:
        users: list[dict[str, str]] = self.branch.json("user", "list", "--data", DATA)["users"]
        return users


def until(test: Callable[[], bool]) -> None:
    """Ask a program again and again until it says so."""
    for _ in range(TRIES):
        if test():
            return
    raise AssertionError(test)
