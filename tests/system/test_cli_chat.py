"""People chat through a demo appliance by command line: in a pipe, over both carriers, and join."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

import client
from tests.system.cli_program import Demo, Strongroom, finish, free_port


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    made = Demo(tmp_path_factory.mktemp("demo"), free_port())
    yield made
    assert made.stop() == 0, made.log.read_text()


@pytest.fixture
def strongroom(demo: Demo) -> Strongroom:
    return demo.strongroom


@pytest.mark.parametrize("carrier", ["quic", "websocket"])
def test_what_one_sends_the_other_reads(strongroom: Strongroom, carrier: str) -> None:
    text = f"CANARY over {carrier} 值班"
    to_bob = ("chat", "--as", "alice", "--to", "bob", "--carrier", carrier)
    sent = strongroom.json(*to_bob, "--send", text)
    assert sent["schema"] == "strongroom.chat.sent/1"
    as_bob = ("chat", "--as", "bob", "--with", "alice", "--carrier", carrier)
    (found,) = strongroom.lines(*as_bob, "--history", "1")
    assert found["schema"] == "strongroom.chat.message/1"
    assert (found["text"], found["from"], found["msg"]) == (text, "alice", sent["msg"])


def test_a_message_is_taken_from_stdin_and_goes_to_a_group_by_title(
    strongroom: Strongroom,
) -> None:
    arguments = ("chat", "--as", "carol", "--to", "Ward 3", "--send", "-", "--urgent")
    strongroom.json(*arguments, stdin="two\nlines\n")
    (found,) = strongroom.lines("chat", "--as", "alice", "--with", "Ward 3", "--history", "1")
    assert found["text"] == "two\nlines"
    assert found["priority"] == "urgent"


def test_a_history_has_the_newest_oldest_of_them_first_over_many_pages(
    demo: Demo, strongroom: Strongroom
) -> None:
    texts = [f"message {number}" for number in range(450)]

    async def send_all() -> None:
        profile = demo.data / "profiles" / "alice"
        async with client.connect(profile=profile, resume=False) as me:
            room = await me.open_direct("carol")
            for text in texts:
                await me.queue(room, text)
            with trio.fail_after(60):
                while me.waiting:  # noqa: ASYNC110 (the session has no event for it)
                    await trio.sleep(0.02)

    trio.run(send_all)
    history = ("chat", "--as", "carol", "--with", "alice", "--history")
    found = [each["text"] for each in strongroom.lines(*history, "420")]
    assert found == texts[-420:]
    assert len(strongroom.lines(*history, "1000")) == len(texts)


def test_a_tail_prints_each_event_at_once_from_now_on(strongroom: Strongroom) -> None:
    strongroom.json("chat", "--as", "alice", "--to", "bob", "--send", "before")
    tail = strongroom.start("chat", "--as", "bob", "--tail", "--json")
    try:
        assert tail.stdout is not None
        assert tail.stderr is not None
        assert "following as bob" in tail.stderr.readline()
        sent = strongroom.json("chat", "--as", "alice", "--to", "bob", "--send", "after")
        event = json.loads(tail.stdout.readline())
        assert event["schema"] == "strongroom.chat.event/1"
        told = {key: event[key] for key in ("op", "text", "from", "conversation", "msg")}
        assert told == {
            "op": "message",
            "text": "after",
            "from": "alice",
            "conversation": "alice",
            "msg": sent["msg"],
        }
    finally:
        finish(tail)


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (("--as", "alice", "--to", "nobody.here", "--send", "x"), 1),
        (("--as", "nobody.here", "--to", "bob", "--send", "x"), 4),
        (("--as", "alice", "--to", "bob", "--send", ""), 2),
        (("--as", "alice", "--to", "bob"), 2),
        (("--as", "alice", "--to", "bob", "--send", "x" * 20_000), 6),
        (("--as", "alice", "--with", "bob", "--history", "0"), 2),
        (("--as", "alice", "--tail", "--history", "1", "--with", "bob"), 2),
    ],
)
def test_what_fails_prints_nothing_on_stdout(
    strongroom: Strongroom, arguments: tuple[str, ...], status: int
) -> None:
    done = strongroom.run("chat", *arguments, "--json")
    assert (done.returncode, done.stdout) == (status, "")
    assert json.loads(done.stderr)["schema"] == "strongroom.error/1"


@pytest.mark.parametrize("carrier", ["quic", "websocket", "auto"])
def test_a_server_that_is_not_there_is_status_3(strongroom: Strongroom, carrier: str) -> None:
    nowhere = f"strongroom://127.0.0.1:{free_port()}"
    arguments = ("chat", "--as", "alice", "--to", "bob", "--send", "x", "--json")
    options = ("--server", nowhere, "--carrier", carrier, "--timeout", "20")
    done = strongroom.run(*arguments, *options)
    assert (done.returncode, done.stdout) == (3, ""), done.stderr


def test_a_server_that_never_answers_is_status_7(strongroom: Strongroom) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = f"strongroom://127.0.0.1:{listener.getsockname()[1]}"
        arguments = ("chat", "--as", "alice", "--to", "bob", "--send", "x", "--json")
        options = ("--server", server, "--carrier", "websocket", "--timeout", "0.5")
        done = strongroom.run(*arguments, *options)
    assert (done.returncode, done.stdout) == (7, "")


def test_a_server_with_another_ca_is_not_believed(strongroom: Strongroom) -> None:
    arguments = ("chat", "--as", "alice", "--to", "bob", "--send", "x", "--json")
    done = strongroom.run(*arguments, "--pin", "sha256:" + "ab" * 32, "--carrier", "websocket")
    assert (done.returncode, done.stdout) == (4, "")
    assert json.loads(done.stderr)["code"] == "client.untrusted"


def test_the_terminal_client_works_in_a_pipe(strongroom: Strongroom) -> None:
    strongroom.json("chat", "--as", "grace", "--to", "erin", "--send", "hello \x1b[31m erin")
    typed = "/open grace\n/reply 1 hello grace\n/confirm 1\n/nonsense\n/members\n/quit\n"
    told = strongroom.ok("chat", "--as", "erin", stdin=typed)
    assert "[1] grace: hello \ufffd[31m erin" in told
    assert "* The message asks for no confirmation." in told
    assert "* there is no command /nonsense" in told
    assert "  grace (member" in told
    (found,) = strongroom.lines("chat", "--as", "grace", "--with", "erin", "--history", "1")
    assert found["text"] == "hello grace"
    assert found["reply"]


def test_an_invited_person_joins_chats_logs_in_elsewhere_and_out(
    strongroom: Strongroom, tmp_path: Path
) -> None:
    secret = tmp_path / "password"
    secret.write_text("lantern quilt-94 harbour moss\n")
    made = strongroom.json("user", "create", "zoe", "--name", "Zoe", "--invite", "--as", "grace")
    link = made["invitation"]["link"]
    joined = strongroom.json("chat", "--join", link, "--password-file", str(secret))
    assert joined["login"] == "zoe"
    strongroom.json("chat", "--as", "zoe", "--to", "alice", "--send", "I am new")
    assert strongroom.run("chat", "--join", link, "--json").returncode == 4

    pin = strongroom.json("status")["ca"]
    address = "zoe@" + link.removeprefix("strongroom://").partition("/")[0]
    options = ("--pin", pin, "--password-file", str(secret), "--profile", str(tmp_path / "second"))
    assert strongroom.json("login", address, *options)["login"] == "zoe"
    assert len(strongroom.json("device", "list", "zoe")["devices"]) == 2
    strongroom.json("logout", "--profile", str(tmp_path / "second"))
    assert len(strongroom.json("device", "list", "zoe")["devices"]) == 1
    assert not list((tmp_path / "second").glob("profile.json"))

    secret.write_text("not the password at all\n")
    third = ("--pin", pin, "--password-file", str(secret), "--profile", str(tmp_path / "third"))
    assert strongroom.run("login", address, *third).returncode == 4
    assert not (tmp_path / "third").exists()


def test_no_message_reaches_the_servers_log(demo: Demo, strongroom: Strongroom) -> None:
    strongroom.json("chat", "--as", "alice", "--to", "bob", "--send", "CANARY in the log?")
    assert "CANARY" not in demo.log.read_text()
