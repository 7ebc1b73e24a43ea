"""Ask the running server over its administration socket, and sign what only a person may ask."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Protocol, Self

from cli.errors import CliError, catalogue_text
from cli.places import admin_socket

ANSWER_SECONDS: Final = 30.0
"""How long an answer may take, in seconds."""

ANSWER_BYTES: Final = 256 << 20
"""Longest answer taken, in bytes."""


class Signer(Protocol):
    """Who signs requests: a person with their Ed25519 key."""

    @property
    def person(self) -> bytes:
        """The person's id (16 bytes)."""
        ...

    def sign(self, data: bytes) -> bytes:
        """Return the Ed25519 signature (64 bytes)."""
        ...


class AdminSocket:
    """One connection to the server of a data directory; use it in a ``with``."""

    def __init__(self, data: Path, *, timeout: float = ANSWER_SECONDS) -> None:
        """Connect.

        Raises ``CliError``: "server.unreachable" when nobody listens, "store.decommissioned" when
        nobody ever will, "cli.denied" when this user may not connect.
        """
        self._data = data
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout)
        try:
            _connect(self._socket, admin_socket(data))
        except PermissionError:
            self._socket.close()
            hint = "Run it as root or as the service's user."
            raise CliError("cli.denied", f"no permission to administer {data}", hint) from None
        except OSError:
            self._socket.close()
            _expect_alive(data)
            hint = f"Start it: strongroom serve --data {data}"
            raise CliError(
                "server.unreachable", f"no server is running for {data}", hint, retryable=True
            ) from None
        self._file = self._socket.makefile("rwb")

    def ask(self, command: str, arguments: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Send an operating request and return its answer; raises ``CliError``."""
        return self._exchange({"command": command, "arguments": dict(arguments or {})})

    def ask_signed(self, signer: Signer, command: str, arguments: str) -> dict[str, Any]:
        """Send a request in a person's name, signed with their key; raises ``CliError``.

        ``arguments`` is canonical JSON; exactly these bytes are signed, with a one-time
        challenge and the site's id.
        """
        from appliance.directory.requests import canonical_request

        given = self._exchange({"command": "challenge", "arguments": {}})
        node, challenge = bytes.fromhex(given["node"]), bytes.fromhex(given["challenge"])
        data = canonical_request(node, challenge, signer.person, command, arguments)
        return self._exchange(
            {
                "command": command,
                "arguments": json.loads(arguments),
                "person": signer.person.hex(),
                "challenge": given["challenge"],
                "signature": signer.sign(data).hex(),
            }
        )

    def close(self) -> None:
        """Close the connection."""
        with closing(self._socket):
            self._file.close()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()

    def _exchange(self, request: dict[str, Any]) -> dict[str, Any]:
        try:
            self._file.write(json.dumps(request, ensure_ascii=False).encode() + b"\n")
            self._file.flush()
            line = self._file.readline(ANSWER_BYTES)
        except TimeoutError:
            raise CliError("server.timeout", "the server does not answer", retryable=True) from None
        except OSError:
            line = b""
        if not line.endswith(b"\n"):
            hint = "Only root and the service's user are let in; or the server has just stopped."
            raise CliError("cli.denied", "the server closed the connection", hint)
        answer = json.loads(line)
        if "error" in answer:
            raise _refused(answer["error"])
        result: dict[str, Any] = answer["ok"]
        return result


def _refused(error: Mapping[str, Any]) -> CliError:
    code = str(error.get("code", "server.failed"))
    message = catalogue_text(code, str(error.get("message") or code))
    return CliError(
        code, message, str(error.get("hint", "")), retryable=bool(error.get("retryable"))
    )


def _expect_alive(data: Path) -> None:
    """Raise ``CliError`` when the site of a data directory was ended."""
    from appliance.site import CLOSING_FILE, DecommissionedError

    note = data / CLOSING_FILE
    if note.exists():
        message = f"the site was decommissioned: see {note}"
        raise CliError(DecommissionedError.code, message, DecommissionedError.hint)


def _connect(sock: socket.socket, path: Path) -> None:
    """Connect by way of the directory's descriptor: a unix socket's path has 107 bytes at most."""
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sock.connect(f"/proc/self/fd/{directory}/{path.name}")
    finally:
        os.close(directory)
