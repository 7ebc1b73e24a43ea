"""Replay a transcript of the protocol against a server, with an independent WebSocket library.

    # text           a remark
    C: [...]         the client sends this payload
    S: [...]         the server sends these frames next, in one payload or more
    S: close 1008    the server closes the connection with this code
    cut              the connection breaks, without a farewell

A line that begins with white space goes on with the one above. A name before the colon
(``C bob:``) is another connection. A JSON string ``"$name"`` stands for a value that differs
from run to run: at first sight it is noted, from then on it is compared, or sent.
"""

from __future__ import annotations

import json
import re
import ssl
from collections import deque
from contextlib import ExitStack
from itertools import permutations
from typing import Any, NamedTuple

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

RECEIVE_SECONDS = 20.0
LAST_PING = 4_000_000_000
"""Request id of the ping that ends a replay: nothing unexpected may come before its answer."""

UNORDERED = frozenset({"members"})
"""Fields of frames whose lists come in no particular order."""

MAY_BE_LEFT_OUT = {"priority": "normal", "state": "active"}
"""Defaults that the server writes or leaves out, as it finds them; here they count as left out."""

_LINE = re.compile(r"([CS])(?: (\w+))?: (.*)")
_CUT = re.compile(r"cut(?: (\w+))?")
_CLOSE = re.compile(r"close (\d+)")
_NAME = re.compile(r'"\$(\w+)"')


class Step(NamedTuple):
    """One line of a transcript; ``what`` is C, S, close or cut."""

    line: int
    what: str
    who: str
    text: str = ""


class TranscriptError(AssertionError):
    """What happened is not what the transcript says."""


def read(lines: list[str], first: int) -> list[Step]:
    """Return the steps of a block whose first line has the number ``first``."""
    steps: list[Step] = []
    for number, line in enumerate(lines, first):
        if not line.strip() or line.startswith("#"):
            continue
        if line[0].isspace():
            steps[-1] = steps[-1]._replace(text=steps[-1].text + " " + line.strip())
        elif match := _LINE.fullmatch(line):
            what, who, text = match[1], match[2] or "", match[3]
            closing = _CLOSE.fullmatch(text) if what == "S" else None
            step = Step(number, "close", who, closing[1]) if closing else None
            steps.append(step or Step(number, what, who, text))
        elif match := _CUT.fullmatch(line):
            steps.append(Step(number, "cut", match[1] or ""))
        else:
            raise TranscriptError(f"line {number} is no step of a transcript")
    return steps


def match(expected: Any, found: Any, values: dict[str, Any]) -> bool:
    """Tell whether ``found`` is as ``expected`` says, noting what its placeholders stand for."""
    if isinstance(expected, str) and expected.startswith("$"):
        return bool(values.setdefault(expected[1:], found) == found)
    if isinstance(expected, dict) and isinstance(found, dict):
        found = {key: value for key, value in found.items() if MAY_BE_LEFT_OUT.get(key) != value}
        return expected.keys() == found.keys() and all(
            _match_any_order(value, found[key], values)
            if key in UNORDERED and isinstance(found[key], list)
            else match(value, found[key], values)
            for key, value in expected.items()
        )
    if isinstance(expected, list) and isinstance(found, list):
        return len(expected) == len(found) and all(
            match(one, other, values) for one, other in zip(expected, found, strict=True)
        )
    return type(expected) is type(found) and bool(expected == found)


def _match_any_order(expected: Any, found: list[Any], values: dict[str, Any]) -> bool:
    """Tell whether some order of a short list matches; ``values`` keeps what that one noted."""
    for order in permutations(found):
        noted = dict(values)
        if match(expected, list(order), noted):
            values.update(noted)
            return True
    return False


def fill(text: str, values: dict[str, Any]) -> str:
    """Return a client's payload with values for its placeholders."""

    def value(found: re.Match[str]) -> str:
        if found[1] not in values:
            raise TranscriptError(f"${found[1]} is used before it is known")
        return json.dumps(values[found[1]])

    return _NAME.sub(value, text)


class Connection:
    """One client: frames in the order they came, whatever payloads they came in."""

    def __init__(self, address: str, context: ssl.SSLContext) -> None:
        self._frames: deque[Any] = deque()
        self._stack = ExitStack()
        opening = connect(
            f"wss://{address}/v1/session",
            ssl=context,
            subprotocols=[Subprotocol("strongroom.v1.json")],
        )
        self._socket: ClientConnection = self._stack.enter_context(opening)

    def send(self, text: str) -> None:
        self._socket.send(text)

    def receive(self) -> Any:
        """Return the next frame."""
        while not self._frames:
            payload = json.loads(self._socket.recv(timeout=RECEIVE_SECONDS))
            assert isinstance(payload, list)
            self._frames.extend(payload)
        return self._frames.popleft()

    def closed(self) -> int:
        """Return the code with which the server closes the connection, after all its frames."""
        try:
            frame = self.receive()
        except ConnectionClosed as error:
            return error.rcvd.code if error.rcvd is not None else 1006
        raise TranscriptError(f"not closed, but {json.dumps(frame)}")

    def cut(self) -> None:
        """Break the connection as a lost line does; no effect on one that is closed."""
        self._socket.close_socket()
        self._stack.close()

    def expect_nothing(self) -> None:
        """Make sure that nothing came that was not told."""
        self.send(json.dumps([{"t": "ping", "id": LAST_PING}]))
        frame = self.receive()
        if frame != {"t": "pong", "id": LAST_PING}:
            raise TranscriptError(f"not told: {json.dumps(frame)}")


class Replay:
    """Replay transcripts one after the other; what placeholders stand for is kept.

    ``values`` holds what is known beforehand, such as invitation codes.
    """

    def __init__(self, address: str, ca_pem: str, values: dict[str, Any]) -> None:
        self._address = address
        self._context = ssl.create_default_context(cadata=ca_pem)
        self._connections: dict[str, Connection] = {}
        self.values = values

    def run(self, steps: list[Step]) -> None:
        """Replay one block on new connections."""
        try:
            for step in steps:
                self._take(step)
            for connection in self._connections.values():
                connection.expect_nothing()
        finally:
            for connection in self._connections.values():
                connection.cut()
            self._connections.clear()

    def _take(self, step: Step) -> None:
        if step.what == "C" and step.who not in self._connections:
            self._connections[step.who] = Connection(self._address, self._context)
        connection = self._connections[step.who]
        if step.what == "C":
            connection.send(fill(step.text, self.values))
        elif step.what == "S":
            self._expect(step, connection)
        else:
            self._end(step, connection)
            del self._connections[step.who]

    def _expect(self, step: Step, connection: Connection) -> None:
        for expected in json.loads(step.text):
            found = connection.receive()
            if not match(expected, found, self.values):
                raise TranscriptError(
                    f"line {step.line} says {json.dumps(expected)}\nbut there was "
                    f"{json.dumps(found, ensure_ascii=False)}"
                )

    def _end(self, step: Step, connection: Connection) -> None:
        code = 0 if step.what == "cut" else connection.closed()
        connection.cut()
        if code and code != int(step.text):
            raise TranscriptError(f"line {step.line}: closed with {code}")
