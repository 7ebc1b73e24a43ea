"""The administration socket from the client's side, against a server that says what it is told."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from nacl.signing import SigningKey

from appliance.directory.requests import canonical_request, verify_request
from cli.admin import AdminSocket
from cli.errors import CliError
from cli.places import admin_socket

NODE, CHALLENGE, PERSON = b"\x01" * 16, b"\x02" * 16, b"\x03" * 16


class Server:
    """Answers each line with the next of the answers given; keeps the requests."""

    def __init__(self, data: Path) -> None:
        self.requests: list[dict[str, Any]] = []
        self.answers: list[bytes] = []
        path = admin_socket(data)
        path.parent.mkdir(parents=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen(1)
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        with connection, connection.makefile("rwb") as file:
            for line in file:
                self.requests.append(json.loads(line))
                if not self.answers:
                    return
                file.write(self.answers.pop(0))
                file.flush()

    def will_answer(self, *answers: Any) -> None:
        self.answers += [json.dumps(answer).encode() + b"\n" for answer in answers]

    def close(self) -> None:
        self._thread.join()
        self._listener.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path)
    yield made
    made.close()


def test_a_request_is_a_line_and_so_is_its_answer(server: Server, tmp_path: Path) -> None:
    server.will_answer({"ok": {"x": 1}}, {"ok": {}})
    with AdminSocket(tmp_path) as admin:
        assert admin.ask("user.show", {"who": "ä"}) == {"x": 1}
        assert admin.ask("status") == {}
    assert server.requests == [
        {"command": "user.show", "arguments": {"who": "ä"}},
        {"command": "status", "arguments": {}},
    ]


def test_an_error_keeps_code_hint_and_advice(server: Server, tmp_path: Path) -> None:
    error = {"code": "store.map_full", "message": "full", "hint": "free it", "retryable": True}
    server.will_answer({"error": error})
    with AdminSocket(tmp_path) as admin, pytest.raises(CliError) as caught:
        admin.ask("status")
    found = caught.value
    told = (found.code, found.message, found.hint, found.retryable)
    assert told == ("store.map_full", "full", "free it", True)


def test_what_is_signed_is_what_is_sent(server: Server, tmp_path: Path) -> None:
    key = SigningKey(b"\x07" * 32)

    class Signer:
        person = PERSON

        def sign(self, data: bytes) -> bytes:
            return key.sign(data).signature

    server.will_answer({"ok": {"node": NODE.hex(), "challenge": CHALLENGE.hex()}}, {"ok": {}})
    with AdminSocket(tmp_path) as admin:
        admin.ask_signed(Signer(), "person.create", '{"login":"zoe","name":"Zoë"}')
    sent = server.requests[1]
    data = canonical_request(
        NODE, CHALLENGE, PERSON, "person.create", '{"login":"zoe","name":"Zoë"}'
    )
    assert sent["arguments"] == {"login": "zoe", "name": "Zoë"}
    assert (sent["person"], sent["challenge"]) == (PERSON.hex(), CHALLENGE.hex())
    assert verify_request(bytes(key.verify_key), data, bytes.fromhex(sent["signature"]))


def test_a_server_that_closes_lets_nobody_in(server: Server, tmp_path: Path) -> None:
    with AdminSocket(tmp_path) as admin, pytest.raises(CliError) as caught:
        admin.ask("status")
    assert caught.value.code == "cli.denied"


def test_nobody_listening_is_unreachable(tmp_path: Path) -> None:
    for directory in (tmp_path, tmp_path / "none"):
        with pytest.raises(CliError) as caught:
            AdminSocket(directory)
        assert caught.value.code == "server.unreachable"


def test_a_long_path_is_no_obstacle(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    with pytest.raises(CliError) as caught:
        AdminSocket(deep)
    assert caught.value.code == "server.unreachable"
