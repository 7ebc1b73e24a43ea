"""A server reduced to what a client can rely on: for tests of the client alone, without I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from transports.wire import schema
from transports.wire.codec import MSGPACK, Codec, Rejected
from transports.wire.schema import Id

SITE = Id(b"S" * 16)
LIMITS = schema.Limits(
    frame_bytes=65_536,
    body_bytes=16_384,
    sends_per_second=100.0,
    history=100,
    members=100,
    conversations=100,
)


def person(login: str) -> Id:
    return Id(login.encode().ljust(16, b"."))


@dataclass
class ModelServer:
    """What the server has on disk, and what it is told to do next."""

    incarnation: str = "i1"
    log: list[schema.Event] = field(default_factory=list)
    answers: dict[tuple[Id, int], tuple[object, schema.Ok]] = field(default_factory=dict)
    tokens: dict[str, tuple[str, Id]] = field(default_factory=dict)
    invites: dict[str, str] = field(default_factory=dict)
    passwords: dict[str, str] = field(default_factory=dict)
    logins: list[str] = field(default_factory=lambda: ["alice", "bob", "carol"])
    keys: dict[str, Id | None] = field(default_factory=dict)
    refusals: list[schema.Err] = field(default_factory=list)
    connections: list[ModelConnection] = field(default_factory=list)
    confirmed: list[Id] = field(default_factory=list)
    told: list[Any] = field(default_factory=list)
    wiped: list[int] = field(default_factory=list)
    wiped_refusals: list[schema.Err] = field(default_factory=list)
    keepalive: float = 45.0

    def __post_init__(self) -> None:
        for login in self.logins:
            self.tokens[f"token-of-{login}"] = (login, Id(login.encode().ljust(16, b"#")))

    @property
    def pos(self) -> str:
        return f"{self.incarnation}:{len(self.log):08d}"

    def texts(self) -> list[str]:
        ops = [event.op for event in self.log]
        return [op.body.text for op in ops if isinstance(op, schema.MessageOp)]

    def append(self, conv: Id, op: Any) -> schema.Event:
        event = schema.Event(pos=f"{self.incarnation}:{len(self.log) + 1:08d}", conv=conv, op=op)
        self.log.append(event)
        for connection in list(self.connections):
            connection.push()
        return event

    def say(self, login: str, text: str, conv: Id | None = None) -> schema.Event:
        """Have somebody say something."""
        key = f"{len(self.log):016x}"
        body = schema.Body(kind="text", text=text)
        op = schema.MessageOp(msg=_op_id(self), by=person(login), at=1, key=key, body=body)
        return self.append(conv or Id(b"C" * 16), op)

    def wipe(self, certificate: int, *ranges: tuple[str, str]) -> schema.Event:
        """Tell everybody what was destroyed."""
        op = schema.WipeOp(_op_id(self), Id(b""), 1, certificate, ranges)
        return self.append(Id(b"C" * 16), op)

    def restore_backup(self) -> None:
        """Begin a new incarnation, as after a restore."""
        self.incarnation += "+"
        self.log.clear()

    def add_device(self, login: str) -> str:
        token = f"token-{len(self.tokens)}-of-{login}"
        self.tokens[token] = (login, Id(token.encode()[:16].ljust(16, b"#")))
        return token


class ModelConnection:
    """One connection: payloads in, payloads out."""

    def __init__(self, server: ModelServer, codec: Codec = MSGPACK) -> None:
        self.server = server
        self.codec = codec
        self.out: list[bytes] = []
        self.is_closed = False
        self.login = ""
        self.device = Id(b"")
        self._said_hello = False
        self._sent: int | None = None
        server.connections.append(self)

    def receive(self, payload: bytes) -> None:
        for frame in self.codec.client.decode(payload):
            assert not isinstance(frame, Rejected), frame
            if not self.is_closed:
                self._take(frame)

    def send(self, *frames: schema.Frame) -> None:
        self.out.append(self.codec.payload(*frames))

    def close(self) -> None:
        self.is_closed = True
        if self in self.server.connections:
            self.server.connections.remove(self)

    def push(self) -> None:
        """Send the events that this connection has not had."""
        if self._sent is None or self.is_closed:
            return
        fresh, self._sent = self.server.log[self._sent :], len(self.server.log)
        if fresh:
            self.send(*fresh)

    def _take(self, frame: Any) -> None:
        if isinstance(frame, schema.Hello):
            self._said_hello = True
        elif isinstance(frame, schema.Auth):
            assert self._said_hello
            self._auth(frame)
        else:
            assert self.login, "a frame before auth"
            getattr(self, "_" + type(frame).__name__.lower(), self._other)(frame)

    def _auth(self, frame: schema.Auth) -> None:
        server, token = self.server, ""
        if frame.method == "token" and frame.token in server.tokens:
            login, device = server.tokens[frame.token]
            assert frame.device.id in (None, device)
        elif frame.method == "invite" and frame.code in server.invites:
            login = server.invites.pop(frame.code)
            server.keys[login] = frame.public_key
            token = server.add_device(login)
            device = server.tokens[token][1]
        elif frame.method == "password" and server.passwords.get(frame.login) == frame.password:
            login, token = frame.login, server.add_device(frame.login)
            device = server.tokens[token][1]
        else:
            self.send(schema.Err(code="auth.failed", message=""))
            self.close()
            return
        if server.refusals and server.refusals[0].code.startswith("server."):
            self.send(server.refusals.pop(0))
            self.close()
            return
        self.login, self.device = login, device
        highest = max((n for d, n in server.answers if d == device), default=0)
        self.send(
            schema.Welcome(
                v=1,
                site=SITE,
                incarnation=server.incarnation,
                pos=server.pos,
                person=person(login),
                device=device,
                login=login,
                name=login.title(),
                limits=LIMITS,
                keepalive=server.keepalive,
                n=highest,
                token=token,
            )
        )

    def _resume(self, frame: schema.Resume) -> None:
        incarnation, _, count = frame.pos.partition(":")
        if incarnation != self.server.incarnation:
            self.send(schema.Err(code="send.position", message=""))
            return
        self._sent = int(count)
        self.push()

    def _numbered(self, frame: Any, conv: Id, make: Any) -> None:
        content = (type(frame), frame.n, getattr(frame, "body", None), getattr(frame, "conv", None))
        known = self.server.answers.get((self.device, frame.n))
        if known is not None:
            if known[0] != content:
                self.send(schema.Err(re=frame.id, code="send.conflict", message=""))
            else:
                self.send(_again(known[1], frame.id))
            return
        if self.server.refusals:
            refusal = self.server.refusals.pop(0)
            self.send(
                schema.Err(
                    re=frame.id,
                    code=refusal.code,
                    message="",
                    retryable=refusal.retryable,
                    after=refusal.after,
                )
            )
            return
        msg = _op_id(self.server)
        ok = schema.Ok(re=frame.id, msg=msg, conv=conv, key="0" * 16, at=1)
        self.server.answers[self.device, frame.n] = (content, ok)
        self.send(ok)
        self.server.append(conv, make(msg))

    def _send(self, frame: schema.Send) -> None:
        def make(msg: Id) -> schema.MessageOp:
            return schema.MessageOp(
                msg=msg,
                by=person(self.login),
                at=1,
                key="0" * 16,
                body=frame.body,
                device=self.device,
                n=frame.n,
                priority=frame.priority,
            )

        self._numbered(frame, frame.conv or Id(b"D" * 16), make)

    def _open(self, frame: schema.Open) -> None:
        def make(msg: Id) -> schema.OpenedOp:
            return schema.OpenedOp(msg=msg, by=person(self.login), at=1, kind=frame.kind)

        self._numbered(frame, Id(bytes([len(self.server.log)]) * 16), make)

    def _edit(self, frame: schema.Edit) -> None:
        def make(msg: Id) -> schema.EditedOp:
            return schema.EditedOp(
                msg=msg, by=person(self.login), at=1, of=frame.msg, body=frame.body
            )

        self._numbered(frame, Id(b"C" * 16), make)

    def _list(self, frame: schema.List) -> None:
        items: Sequence[object] = ()
        if frame.what == "people":
            items = [
                schema.PersonItem(person=person(login), login=login, name=login.title())
                for login in self.server.logins
            ]
        self.send(schema.Ok(re=frame.id, items=tuple(items)))

    def _confirm(self, frame: schema.Confirm) -> None:
        self.server.confirmed.append(frame.msg)
        self.send(schema.Ok(re=frame.id))

    def _revoke(self, frame: schema.Revoke) -> None:
        tokens = self.server.tokens
        for token in [key for key, (_, device) in tokens.items() if device == frame.device]:
            del tokens[token]
        self.send(schema.Ok(re=frame.id), schema.Bye(reason="auth.revoked"))
        self.close()

    def _wiped(self, frame: schema.Wiped) -> None:
        self.server.wiped.append(frame.certificate)
        if self.server.wiped_refusals:
            refusal = self.server.wiped_refusals.pop(0)
            self.send(msgspec.structs.replace(refusal, re=frame.id))
        else:
            self.send(schema.Ok(re=frame.id))

    def _ping(self, frame: schema.Ping) -> None:
        self.send(schema.Pong(id=frame.id))

    def _other(self, frame: Any) -> None:
        self.server.told.append(frame)
        if getattr(frame, "id", 0):
            self.send(schema.Ok(re=frame.id))


def _op_id(server: ModelServer) -> Id:
    return Id(len(server.log).to_bytes(32, "big"))


def _again(ok: schema.Ok, request: int) -> schema.Ok:
    return schema.Ok(re=request, msg=ok.msg, conv=ok.conv, key=ok.key, at=ok.at)
