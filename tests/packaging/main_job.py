"""The main job, told as commands of the program: what every build of it must do from end to end."""

from __future__ import annotations

import json
from collections.abc import Callable

from tests.packaging.machine import Machine

DATA = "org"
CARRIERS = ("quic", "websocket")


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
