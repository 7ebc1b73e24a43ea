"""The server as a process: start, second start, crash, stop; and administration by command line."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.cli_program import Demo, Strongroom, finish, free_port


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    made = Demo(tmp_path_factory.mktemp("demo"), free_port())
    yield made
    assert made.stop() == 0, made.log.read_text()


@pytest.fixture
def strongroom(demo: Demo) -> Strongroom:
    return demo.strongroom


def test_a_demo_survives_a_crash_and_is_used_again(tmp_path: Path) -> None:
    port = free_port()
    first = Demo(tmp_path, port)
    strongroom = first.strongroom
    assert (first.data / "run" / "pid").read_text() == f"{first.process.pid}\n"
    before = strongroom.json("status")
    strongroom.json("chat", "--as", "alice", "--to", "bob", "--send", "before the crash")
    first.kill()
    assert (first.data / "run" / "admin.sock").exists()
    second = Demo(tmp_path, port)
    after = strongroom.json("status")
    assert (after["ca"], after["node"], after["people"]) == (
        before["ca"],
        before["node"],
        before["people"],
    )
    (found,) = strongroom.lines("chat", "--as", "bob", "--with", "alice", "--history", "1")
    assert found["text"] == "before the crash"
    assert second.stop() == 0
    assert not (second.data / "run" / "admin.sock").exists()
    checked = json.loads(strongroom.ok("check", "--json"))
    assert {each["severity"] for each in checked["findings"]} <= {"notice"}


def test_a_second_server_on_the_same_data_or_port_says_why_not(
    demo: Demo, strongroom: Strongroom, tmp_path: Path
) -> None:
    same_data = strongroom.run("serve", "--data", "demo-data", "--json")
    assert (same_data.returncode, json.loads(same_data.stderr)["code"]) == (1, "cli.running")
    checked = strongroom.run("check", "--json")
    assert (checked.returncode, json.loads(checked.stderr)["code"]) == (1, "cli.running")
    other = Strongroom(tmp_path)
    same_port = other.run("demo", "--listen", f"127.0.0.1:{demo.port}", "--json")
    assert (same_port.returncode, json.loads(same_port.stderr)["code"]) == (1, "cli.port_taken")


def test_an_organisation_is_made_served_joined_and_drained(tmp_path: Path) -> None:
    strongroom, port = Strongroom(tmp_path), free_port()
    address = ("--host", "127.0.0.1", "--port", str(port))
    made = strongroom.json("init", "--data", "org", "--name", "City hospital", *address)
    server = strongroom.start("serve", "--data", "org", "--json", "--log-format", "json")
    try:
        assert server.stdout is not None
        assert server.stderr is not None
        told = json.loads(server.stdout.readline())
        assert (told["name"], told["ca"]) == ("City hospital", made["ca"])
        strongroom.ok("wait", "ready", "--data", "org", "--timeout", "30")
        for invitation in made["invitations"]:
            strongroom.json("chat", "--join", invitation["link"])
        strongroom.json("invite", "create", "bob", "--new", "--as", "admin", "--data", "org")
        strongroom.json("drain", "--data", "org")
        assert server.wait(30) == 0
        events = [json.loads(line)["event"] for line in server.stderr]
        assert events[0] == "server.started"
        assert events[-1] == "server.stopped"
    finally:
        finish(server)


def test_systemd_is_told_when_the_server_is_ready_lives_and_stops(tmp_path: Path) -> None:
    strongroom = Strongroom(tmp_path)
    strongroom.json("init", "--data", "org", "--name", "X", "--port", str(free_port()))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        receiver.settimeout(30)
        strongroom.environ["NOTIFY_SOCKET"] = str(tmp_path / "notify")
        strongroom.environ["WATCHDOG_USEC"] = "100000"
        server = strongroom.start("serve", "--data", "org", "--listen", f"127.0.0.1:{free_port()}")
        try:
            assert receiver.recv(64) == b"READY=1"
            assert [receiver.recv(64) for _ in range(3)] == [b"WATCHDOG=1"] * 3
            server.terminate()
            while (state := receiver.recv(64)) == b"WATCHDOG=1":
                pass
            assert state == b"STOPPING=1"
            assert server.wait(30) == 0
        finally:
            finish(server)


def test_changes_are_signed_and_roles_decide(strongroom: Strongroom) -> None:
    strongroom.json(
        "user", "create", "yan", "--name", "Yan Li", "--unit", "Ward 4", "--as", "grace"
    )
    for who in ("alice", "dave", "frank"):
        refused = strongroom.run("user", "disable", "yan", "--as", who, "--json")
        assert (refused.returncode, json.loads(refused.stderr)["code"]) == (4, "permission.denied")
    strongroom.json("user", "rename", "yan", "--name", "Yan Wu", "--as", "grace")
    roles = ("--role", "member", "--role", "auditor")
    strongroom.json("user", "roles", "yan", *roles, "--as", "erin")
    both = ("--role", "administrator", "--role", "auditor")
    assert strongroom.run("user", "roles", "yan", *both, "--as", "erin").returncode == 6
    strongroom.json("user", "disable", "yan", "--reason", "left", "--as", "grace")
    shown = strongroom.json("user", "show", "yan")
    told = (shown["name"], shown["roles"], shown["state"])
    assert told == ("Yan Wu", ["auditor", "member"], "disabled")


def test_without_the_persons_own_key_the_socket_decides_nothing(
    demo: Demo, strongroom: Strongroom
) -> None:
    profile = json.loads((demo.data / "profiles" / "alice" / "profile.json").read_text())
    forged = strongroom.folder / "forged"
    forged.mkdir(mode=0o700)
    profile["login"] = "grace"
    grace = json.loads((demo.data / "profiles" / "grace" / "profile.json").read_text())
    profile["person"] = grace["person"]
    descriptor = os.open(forged / "profile.json", os.O_WRONLY | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(profile, file)
    arguments = ("user", "create", "xavier", "--name", "X", "--as", "grace", "--json")
    refused = strongroom.run(*arguments, "--profile", str(forged))
    assert (refused.returncode, json.loads(refused.stderr)["code"]) == (4, "request.signature")
    wrong_person = ("--profile", str(demo.data / "profiles" / "alice"))
    assert strongroom.run(*arguments, *wrong_person).returncode == 4


def test_duties_are_made_assigned_and_handed_over(strongroom: Strongroom) -> None:
    strongroom.json("duty", "create", "on-call", "--title", "On call", "--as", "grace")
    strongroom.json("duty", "assign", "on-call", "bob", "--as", "grace")
    strongroom.json("duty", "chain", "on-call", "carol", "alice", "--as", "grace")
    refused = strongroom.run("duty", "handover", "on-call", "carol", "--as", "alice", "--json")
    assert (refused.returncode, json.loads(refused.stderr)["code"]) == (6, "duty.not_holder")
    strongroom.json("duty", "handover", "on-call", "carol", "--as", "bob")
    (duty,) = strongroom.json("duty", "list")["duties"]
    assert (duty["holder"], duty["chain"]) == ("carol", ["carol", "alice"])
    strongroom.json("chat", "--as", "alice", "--to", "duty:on-call", "--send", "come", "--urgent")
    (found,) = strongroom.lines("chat", "--as", "carol", "--with", "alice", "--history", "1")
    assert found["text"] == "come"


def test_an_ended_session_is_told_and_a_revoked_device_stays_out(strongroom: Strongroom) -> None:
    tail = strongroom.start("chat", "--as", "frank", "--tail", "--json")
    try:
        assert tail.stderr is not None
        tail.stderr.readline()
        (session,) = strongroom.json("session", "list", "frank")["sessions"]
        revoke = ("device", "revoke", "frank", session["device"], "--as", "grace")
        strongroom.json(*revoke)
        assert tail.wait(30) == 4
    finally:
        finish(tail)
    arguments = ("chat", "--as", "frank", "--to", "bob", "--send", "x", "--json")
    assert strongroom.run(*arguments).returncode == 4


def test_the_running_server_is_looked_at(strongroom: Strongroom) -> None:
    found = strongroom.json("doctor", "--deep")["findings"]
    assert {each["severity"] for each in found} <= {"notice"}
    assert "strongroom_ready 1" in strongroom.ok("metrics")
    assert strongroom.json("config", "show", "--running")["config"]["listen"]["host"] == "127.0.0.1"
    conversations = strongroom.json("conversation", "list", "alice")["conversations"]
    assert [each["kind"] for each in conversations].count("group") == 1
