"""Verify credentials: tokens at once, passwords and invitations in tasks of their own.

A token costs one hash and a look-up. A password costs argon2id (about 0.2 s and 64 MiB), which
runs in worker threads behind a limiter, never in the carriers' turns; a login nobody has costs
the same, so that answers tell nothing about who exists. New devices are operations like
everything else: a token is handed out only once its device is on disk.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import trio

from appliance import credentials
from appliance.context import Actor
from appliance.core import Core
from appliance.directory import codes, commands, passwords
from appliance.directory.lockout import Lockout
from appliance.directory.model import Device, Person
from appliance.gateway.client import Client
from appliance.gateway.limits import SIGN_IN_CHECKS, SIGN_IN_QUEUE
from store.ports import Clock, Entropy
from transports.wire import schema
from transports.wire.errors import Refusal

Execute = Callable[[Actor, Any], Awaitable[Any]]
"""Decide and commit a command; returns its reply, raises its refusal."""

Blocking = Callable[..., Awaitable[Any]]
"""Run a function in a worker thread (in a simulation: at once)."""


class Granted(NamedTuple):
    """A sign-in that succeeded; ``token`` (hex) is set when the device is new."""

    person: Person
    device: Device
    token: str = ""


Spawn = Callable[[Callable[[], Awaitable[None]]], None]
"""Start a task whose errors end nobody else's work."""

OnGranted = Callable[[Client, Granted], None]
OnDenied = Callable[[Client, Exception], None]
OnChanged = Callable[[Client, int, Exception | None], None]


class SignIn:
    """Verification of credentials. Belongs to the trio thread."""

    def __init__(
        self,
        core: Core,
        clock: Clock,
        entropy: Entropy,
        execute: Execute,
        blocking: Blocking,
        spawn: Spawn,
    ) -> None:
        self._core = core
        self._clock = clock
        self._entropy = entropy
        self._execute = execute
        self._blocking = blocking
        self._spawn = spawn
        self._waiting = 0
        self._checks = trio.CapacityLimiter(SIGN_IN_CHECKS)
        self.lockout = Lockout()

    # --- for the gateway ----------------------------------------------------------------------

    def begin(
        self, client: Client, auth: schema.Auth, granted: OnGranted, denied: OnDenied
    ) -> None:
        """Verify credentials; exactly one of the two is called, now or later."""
        if auth.method == "token":
            try:
                grant = self._token(auth)
            except Refusal as error:
                denied(client, error)
            else:
                granted(client, grant)
            return
        check = {"password": self._password, "invite": self._invite}.get(auth.method)
        if check is None:
            denied(client, Refusal("auth.method_unavailable"))
        elif self._waiting >= SIGN_IN_QUEUE:
            denied(client, Refusal("server.overloaded", after=5))
        else:
            self._start(lambda: check(client, auth), client, granted, denied)

    def change_password(self, client: Client, change: schema.Password, changed: OnChanged) -> None:
        """Replace a password after checking the old one; ``changed`` is called once."""

        async def task() -> None:
            error: Exception | None = None
            try:
                await self._change(client, change)
            except Refusal as refusal:
                error = refusal
            changed(client, change.id, error)

        if self._waiting >= SIGN_IN_QUEUE:
            changed(client, change.id, Refusal("server.overloaded", after=5))
        else:
            self._queue(task)

    # --- the methods ----------------------------------------------------------------------------

    def _token(self, auth: schema.Auth) -> Granted:
        try:
            token = bytes.fromhex(auth.token)
        except ValueError:
            raise Refusal("auth.failed") from None
        grant = self._core.directory.authenticate_token(token, self._clock.wall_ms())
        if not self._core.sites.may_sign_in(grant.person.id):
            raise Refusal("auth.elsewhere")
        return Granted(*grant)

    async def _password(self, client: Client, auth: schema.Auth) -> Granted:
        attempt = self.lockout.begin(auth.login, client.carrier.peer, self._now())
        person = self._core.directory.resolve(auth.login)
        if not await self._verify(person, auth.password):
            raise Refusal("auth.failed")
        self.lockout.succeeded(attempt, self._now())
        assert person is not None
        token = self._entropy.bytes(codes.TOKEN_BYTES)
        command = commands.AddDevice(
            person=person.id,
            checked=person.verifier,
            token_hash=codes.token_hash(token),
            device=bytes(auth.device.id or b""),
            name=auth.device.name,
            shared=auth.device.shared,
        )
        return self._new(await self._execute(Actor(person.id), command), token)

    async def _invite(self, client: Client, auth: schema.Auth) -> Granted:
        attempt = self.lockout.begin("", client.carrier.peer, self._now())
        hashed = codes.code_hash(auth.code)
        invite = self._core.directory.invite(hashed)
        person = None if invite is None else self._core.directory.person(invite.person)
        if person is None:
            raise Refusal("auth.invite_invalid")
        self.lockout.succeeded(attempt, self._now())
        verifier = await self._hash(person, auth.password) if auth.password else ""
        token = self._entropy.bytes(codes.TOKEN_BYTES)
        command = commands.AcceptInvite(
            code_hash=hashed,
            token_hash=codes.token_hash(token),
            device=bytes(auth.device.id or b""),
            name=auth.device.name,
            shared=auth.device.shared,
            verifier=verifier,
            public_key=bytes(auth.public_key or b""),
        )
        return self._new(await self._execute(Actor(person.id), command), token)

    async def _change(self, client: Client, change: schema.Password) -> None:
        person = self._core.directory.person(client.person)
        assert person is not None
        attempt = self.lockout.begin(person.login, client.carrier.peer, self._now())
        if not await self._verify(person, change.old):
            raise Refusal("auth.failed")
        self.lockout.succeeded(attempt, self._now())
        verifier = await self._hash(person, change.new)
        command = commands.SetPassword(verifier, person.verifier, change.id)
        await self._execute(Actor(client.person, client.device), command)

    # --- pieces -----------------------------------------------------------------------------------

    async def _verify(self, person: Person | None, password: str) -> bool:
        """Check a password; who has none, or does not exist, costs the same."""
        verifier = person.verifier if person is not None and person.is_active else ""
        async with self._checks:
            return bool(await self._blocking(credentials.verify_password, verifier, password))

    async def _hash(self, person: Person, password: str) -> str:
        """Return the verifier of a new password; raises ``Refusal`` ("auth.password_weak")."""
        passwords.check(password, (person.login, person.name))
        salt = self._entropy.bytes(credentials.SALT_BYTES)
        async with self._checks:
            verifier: str = await self._blocking(credentials.hash_password, password, salt)
        return verifier

    def _new(self, accepted: commands.Accepted, token: bytes) -> Granted:
        person = self._core.directory.person(accepted.person)
        assert person is not None
        return Granted(person, person.devices[accepted.device], token.hex())

    def _start(
        self,
        check: Callable[[], Awaitable[Granted]],
        client: Client,
        granted: OnGranted,
        denied: OnDenied,
    ) -> None:
        async def task() -> None:
            try:
                grant = await check()
            except Exception as error:  # noqa: BLE001 - told to the client as a code
                denied(client, error)
            else:
                granted(client, grant)

        self._queue(task)

    def _queue(self, task: Callable[[], Awaitable[None]]) -> None:
        async def counted() -> None:
            try:
                await task()
            finally:
                self._waiting -= 1

        self._waiting += 1
        self._spawn(counted)

    def _now(self) -> float:
        return self._clock.monotonic_ns() / 1e9
