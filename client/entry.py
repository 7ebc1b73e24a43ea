"""Open sessions: with a token, a profile, a password or an invitation."""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from client import sealing
from client.carriers import Carrier, Opener
from client.carriers.race import Race
from client.core import Core
from client.errors import ClientError, Closed, Interrupted, ProfileError, Refused, Unreachable
from client.line import Dialer
from client.profile import Account, Profile
from client.session import Session
from client.trust import Trust, establish
from transports.wire.codec import SUBPROTOCOLS
from transports.wire.links import Server, parse_invitation, parse_server
from transports.wire.schema import Auth, DeviceInfo, Id, Welcome

CONNECT_SECONDS = 10.0
"""How long ``connect`` waits for the first welcome, unless told otherwise."""
SEED_BYTES = 32
CARRIERS = ("auto", "quic", "websocket")

ProfilePath = str | os.PathLike[str]


@asynccontextmanager
async def connect(
    url: str = "",
    *,
    token: str = "",
    password: str = "",
    pin: str = "",
    ca: bytes | None = None,
    carrier: str = "auto",
    codec: str = "msgpack",
    profile: Profile | ProfilePath | None = None,
    resume: bool = True,
    language: str = "en",
    window: int = 1,
    timeout: float = CONNECT_SECONDS,
    wait: bool = True,
    dialer: Dialer | None = None,
) -> AsyncIterator[Session]:
    """Open a session that keeps itself alive until the block ends.

    Args:
        url: ``strongroom://[LOGIN@]HOST[:PORT]``; with a profile it may be left out.
        token: the device's token; with a profile it may be left out.
        password: sign in as the url's LOGIN instead of with a token; adds a device each time, so
            rather use ``login`` once.
        pin: ``sha256:`` and the hash of the CA's certificate.
        ca: the CA's certificate as PEM.
        carrier: ``auto`` (QUIC, and WebSocket where UDP is blocked), ``quic`` or ``websocket``.
        codec: ``msgpack``, or ``json`` (WebSocket only).
        profile: a profile or its directory. Without one, queued messages are lost with the
            program, and only one session at a time may send for the device.
        resume: with a profile, begin with what happened since the last session; else begin now.
        language: of error texts: ``en`` or ``zh-CN``.
        window: messages under way at once in each conversation; more than one gives up the
            order in a conversation when the server is overloaded.
        timeout: seconds to wait for the first welcome.
        wait: False: do not wait for it; calls do. Needs a profile.
        dialer: makes the connections, in place of the carriers named.

    Raises:
        Unreachable: nothing answers in time.
        Untrusted: the server is not the one expected.
        Refused: the server does not let this device in.
        ProfileError: the profile cannot be used.
    """
    memory = _profile(profile)
    account = memory.account if memory is not None else None
    server = parse_server(url or (account.server if account else ""))
    auth = _auth(server, account, token, password)
    if account is not None:
        pin, ca = pin or account.pin, ca or account.ca_pem.encode() or None
    if not wait and memory is None:
        raise ValueError("without a profile a session must wait for its first welcome")
    pos, incarnation = memory.position() if memory is not None and resume else ("", "")
    core = Core(
        auth,
        numbers=memory,
        pos=pos,
        incarnation=incarnation,
        language=language,
        window=window,
    )
    ways = dialer or _Ways(server, pin, ca, carrier, codec)
    async with _open(Session(core, ways, profile=memory), timeout if wait else None) as session:
        yield session


async def accept_invite(
    url: str,
    code: str = "",
    *,
    profile: ProfilePath,
    pin: str = "",
    ca: bytes | None = None,
    device_name: str = "",
    password: str = "",
    passphrase: str = "",
    shared: bool = False,
    carrier: str = "auto",
    timeout: float = CONNECT_SECONDS,
    dialer: Dialer | None = None,
) -> Profile:
    """Accept an invitation: makes this machine a device of the person invited.

    Args:
        url: the invitation link, or the server's address with ``code`` beside it.
        code: the invitation's code, when ``url`` is an address only.
        profile: an empty directory for the device's memory.
        pin: the hash of the CA's certificate, unless the link has it.
        ca: the CA's certificate as PEM, if at hand.
        device_name: how the device is listed.
        password: a password for later logins, if the person wants one.
        passphrase: seals the new signing key on this disk.
        shared: the device is used by several people.
        carrier: see ``connect``.
        timeout: seconds to wait.
        dialer: see ``connect``.

    Returns:
        The profile: with the device's token and a new Ed25519 key, whose public half the server
        knows now.

    Raises:
        Refused: the invitation is used, expired or unknown, or the password is weak.
        Unreachable, Untrusted, ProfileError: as ``connect``.
    """
    if code:
        server = parse_server(url)
    else:
        link = parse_invitation(url)
        server, code, pin = link.server, link.code, pin or link.pin
    seed = secrets.token_bytes(SEED_BYTES)
    auth = Auth(
        method="invite",
        code=code,
        password=password,
        device=DeviceInfo(name=device_name, shared=shared),
        public_key=Id(sealing.public_key(seed)),
    )
    memory = Profile(profile)
    memory.require_empty()
    ways = dialer or _Ways(server, pin, ca, carrier, "msgpack")
    welcome = await _enrol(auth, ways, timeout)
    memory.save(_account(server, pin, _ca_of(ways, ca), welcome, seed, passphrase))
    return memory


async def login(
    url: str,
    password: str,
    *,
    profile: ProfilePath,
    pin: str = "",
    ca: bytes | None = None,
    device_name: str = "",
    shared: bool = False,
    carrier: str = "auto",
    timeout: float = CONNECT_SECONDS,
    dialer: Dialer | None = None,
) -> Profile:
    """Make this machine a device of the url's LOGIN, by password.

    Arguments, result and errors are those of ``accept_invite``; there is no signing key.
    """
    server = parse_server(url)
    device = DeviceInfo(name=device_name, shared=shared)
    auth = Auth(method="password", login=server.login, password=password, device=device)
    memory = Profile(profile)
    memory.require_empty()
    ways = dialer or _Ways(server, pin, ca, carrier, "msgpack")
    welcome = await _enrol(auth, ways, timeout)
    memory.save(_account(server, pin, _ca_of(ways, ca), welcome, None, ""))
    return memory


async def logout(
    profile: Profile | ProfilePath,
    *,
    carrier: str = "auto",
    timeout: float = CONNECT_SECONDS,
    dialer: Dialer | None = None,
) -> None:
    """Revoke this device at the server, then wipe the profile.

    Raises:
        Unreachable, Untrusted: the server was not reached; the profile is left as it is.
    """
    memory = _profile(profile)
    assert memory is not None
    try:
        async with connect(
            profile=memory, carrier=carrier, timeout=timeout, dialer=dialer, resume=False
        ) as session:
            await session.revoke(session.device)
    except (Refused, Closed, Interrupted) as error:
        if not error.code.startswith(("auth.", "client.", "device.")):
            raise
    memory.wipe()


@asynccontextmanager
async def _open(session: Session, timeout: float | None) -> AsyncIterator[Session]:
    """Run a session around the block; what the block raises comes out as it is."""
    raised: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session.run)
            try:
                if timeout is not None:
                    await _first_welcome(session, timeout)
                yield session
            except BaseException as error:
                raised = error
                raise
            finally:
                await session.close()
                nursery.cancel_scope.cancel()
    except BaseExceptionGroup:
        if raised is None or _is_cancelled(raised):
            raise
        raise raised from None


def _is_cancelled(error: BaseException) -> bool:
    """Tell whether an error is nothing but cancellation: then another task's error is why."""
    if isinstance(error, BaseExceptionGroup):
        return error.split(trio.Cancelled)[1] is None
    return isinstance(error, trio.Cancelled)


async def _first_welcome(session: Session, timeout: float) -> None:
    try:
        with trio.fail_after(timeout):
            await session.wait_online()
    except trio.TooSlowError:
        raise session.failure or Unreachable() from None


async def _enrol(auth: Auth, dialer: Dialer, timeout: float) -> Welcome:
    async with _open(Session(Core(auth), dialer), timeout) as session:
        return session.welcome


def _profile(profile: Profile | ProfilePath | None) -> Profile | None:
    if profile is None or isinstance(profile, Profile):
        return profile
    if not Path(profile).is_dir():
        raise ProfileError("There is no profile in this place.")
    return Profile(profile)


def _auth(server: Server, account: Account | None, token: str, password: str) -> Auth:
    if password:
        return Auth(method="password", login=server.login, password=password)
    if not token and account is None:
        raise ValueError("a token, a password or a profile is needed")
    device = DeviceInfo(id=Id(account.device)) if account is not None else DeviceInfo()
    return Auth(method="token", token=token or (account.token if account else ""), device=device)


def _account(
    server: Server,
    pin: str,
    ca: bytes | None,
    welcome: Welcome,
    seed: bytes | None,
    passphrase: str,
) -> Account:
    if not welcome.token:
        raise Refused("auth.failed", retryable=False)
    return Account(
        server=str(Server(server.host, server.port, welcome.login)),
        login=welcome.login,
        name=welcome.name,
        person=bytes(welcome.person),
        device=bytes(welcome.device),
        token=welcome.token,
        pin=pin,
        ca_pem=(ca or b"").decode("ascii"),
        key=None if seed is None else Profile.new_key(seed, passphrase),
    )


def _ca_of(ways: Dialer, ca: bytes | None) -> bytes | None:
    if isinstance(ways, _Ways) and ways.trust is not None:
        return ways.trust.ca_pem
    return ca


class _Ways:
    """The carriers to one server; finds out whom to trust before the first connection."""

    def __init__(self, server: Server, pin: str, ca: bytes | None, carrier: str, codec: str):
        if carrier not in CARRIERS:
            raise ValueError(f"a carrier is one of {', '.join(CARRIERS)}")
        if f"strongroom.v1.{codec}" not in SUBPROTOCOLS:
            raise ValueError("a codec is json or msgpack")
        self.trust: Trust | None = None
        self._server = server
        self._pin = pin
        self._ca = ca
        self._carrier = "websocket" if codec == "json" and carrier == "auto" else carrier
        self._subprotocol = f"strongroom.v1.{codec}"
        self._race: Race | None = None

    async def dial(self, nursery: trio.Nursery) -> Carrier:
        """Open a carrier; see ``Race.dial``."""
        if self._race is None:
            self.trust = await establish(self._server, pin=self._pin, ca=self._ca)
            self._race = Race(self._openers(self.trust))
        return await self._race.dial(nursery)

    def _openers(self, trust: Trust) -> list[tuple[str, Opener]]:
        # Slow to import, and one of them may never be needed.
        from client.carriers import quic, websocket  # noqa: PLC0415

        found: list[tuple[str, Opener]] = []
        if self._carrier in ("auto", "quic"):
            found.append(("quic", quic.opener(self._server, trust)))
        if self._carrier in ("auto", "websocket"):
            found.append(("websocket", websocket.opener(self._server, trust, self._subprotocol)))
        return found


__all__ = ["ClientError", "Unreachable", "accept_invite", "connect", "login", "logout"]
