"""A server that answers as it was told to, and people who can sign, for tests of commands.

What it answers is made from the product's own replies, so that no test lives on fields that no
server sends.
"""

from __future__ import annotations

import json
import os
import socket
import threading
from pathlib import Path
from typing import Any, NamedTuple

from click.testing import CliRunner, Result
from nacl.signing import SigningKey

from appliance.administration.administration import plain
from appliance.directory.requests import canonical_json, canonical_request, verify_request
from cli.main import root
from cli.places import admin_socket, profiles
from client.profile import Account, Profile

NODE, CHALLENGE = b"\x01" * 16, b"\x02" * 16
PEOPLE = {"dave": b"\x0d" * 16, "erin": b"\x0e" * 16, "frank": b"\x0f" * 16}


def key_of(login: str) -> SigningKey:
    return SigningKey(login.encode().ljust(32, b"."))


BOB = {"person": "0b" * 16, "login": "bob"}
"""What a server answers of a person whom a command names by login."""


class Asked(NamedTuple):
    """A request as it came, with its signature checked."""

    command: str
    arguments: dict[str, Any]
    by: str


class Recorded:
    """Answers of a server by command, the next one of each; keeps what was asked."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.asked: list[Asked] = []
        self.connections = 0
        self._answers: dict[str, list[Any]] = {}
        path = admin_socket(data)
        path.parent.mkdir(parents=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen(8)
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def will_answer(self, command: str, *answers: Any) -> None:
        """Answer a command with these, one after the other; the last one again and again."""
        made = [answer if isinstance(answer, dict) else plain(answer) for answer in answers]
        self._answers[command] = made

    def will_refuse(self, command: str, code: str) -> None:
        self._answers[command] = [{"error": {"code": code, "message": code}}]

    def signed(self) -> list[Asked]:
        """Return what people have signed."""
        return [each for each in self.asked if each.by]

    def run(self, *arguments: str, stdin: str = "") -> Result:
        """Run a command line on this server's data directory."""
        runner = CliRunner()
        return runner.invoke(root, [*arguments, "--data", str(self.data)], input=stdin)

    def ok(self, *arguments: str, stdin: str = "") -> str:
        done = self.run(*arguments, stdin=stdin)
        assert done.exit_code == 0, done.output
        return done.stdout

    def json(self, *arguments: str, stdin: str = "") -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.ok(*arguments, "--json", stdin=stdin))
        return document

    def close(self) -> None:
        # A listener that is only closed goes on blocking in accept.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            with connection, connection.makefile("rwb") as file:
                for line in file:
                    file.write(json.dumps(self._answer(json.loads(line))).encode() + b"\n")
                    file.flush()

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        command = request["command"]
        if command == "challenge":
            return {"ok": {"node": NODE.hex(), "challenge": CHALLENGE.hex()}}
        self.asked.append(Asked(command, request["arguments"], signer(request)))
        known = self._answers.get(command)
        if not known:
            return {"error": {"code": "request.unknown", "message": command}}
        answer: dict[str, Any] = known.pop(0) if len(known) > 1 else known[0]
        return answer if "error" in answer else {"ok": answer}


def signer(request: dict[str, Any]) -> str:
    """Return who signed a request, empty for nobody; fails for a signature that is wrong."""
    if "signature" not in request:
        return ""
    login = next(name for name, person in PEOPLE.items() if person.hex() == request["person"])
    arguments = canonical_json(request["arguments"])
    data = canonical_request(NODE, CHALLENGE, PEOPLE[login], request["command"], arguments)
    signature = bytes.fromhex(request["signature"])
    assert verify_request(bytes(key_of(login).verify_key), data, signature)
    return login


def make_profiles(data: Path) -> None:
    """Give the people profiles whose keys sign."""
    for login, person in PEOPLE.items():
        profile = Profile(profiles(data) / login)
        key = profile.new_key(bytes(key_of(login)))
        profile.save(Account("strongroom://x:1", login, person, os.urandom(16), "", key=key))
