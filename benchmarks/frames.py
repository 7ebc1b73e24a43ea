"""Write and read what travels, as cheaply as a load generator can.

Requests are encoded before the clock runs; of an answer only the few fields are read that the
generator goes by.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from benchmarks.organisation import BODY, Person
from transports.wire import schema
from transports.wire.codec import MSGPACK
from transports.wire.schema import Id


class Occurrence(msgspec.Struct, frozen=True, gc=False):
    """What an event carries: its kind and, for messages, who sent it as which number."""

    op: str
    n: int = 0
    device: bytes = b""


class Answer(msgspec.Struct, frozen=True, gc=False):
    """Any frame of the server."""

    t: str
    re: int = 0
    pos: str = ""
    code: str = ""
    op: Occurrence | None = None


_decoder = msgspec.msgpack.Decoder(list[Answer])


def read(payload: bytes) -> list[Answer]:
    """Read a payload; raises ``RuntimeError`` when the server refused something."""
    answers = _decoder.decode(payload)
    for answer in answers:
        if answer.t in ("err", "bye", "gap"):
            raise RuntimeError(f"the server answered {answer.t} {answer.code}")
    return answers


def sign_in(person: Person) -> bytes:
    """Return the payload that opens a session by token."""
    return MSGPACK.payload(
        schema.Hello(schema.PROTOCOL_VERSION, "bench"), schema.Auth("token", token=person.token)
    )


def resume(pos: str = "") -> bytes:
    """Return the payload that asks for the events after ``pos``; empty: from now on."""
    return MSGPACK.payload(schema.Resume(pos))


def got(pos: str) -> bytes:
    """Return the payload that says what has been received."""
    return MSGPACK.payload(schema.Got(pos))


def history(conversation: Id, limit: int) -> bytes:
    """Return the payload that asks for the newest messages."""
    return MSGPACK.payload(schema.History(1, conversation, limit))


def mode(state: str) -> bytes:
    """Return the payload that chooses ``active`` or ``background`` mode."""
    return MSGPACK.payload(schema.Mode(state))


def send(number: int, conversation: Id) -> bytes:
    """Return the payload that sends a message; its number is the request's too."""
    return MSGPACK.payload(schema.Send(number, number, BODY, conversation))


def sends(conversations: Iterable[Id], first: int = 1) -> list[bytes]:
    """Return payloads that send one message each, numbered from ``first``."""
    return [send(number, conversation) for number, conversation in enumerate(conversations, first)]
