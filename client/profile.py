"""Keep what a device must remember, in a directory that only its owner can read.

==============  ==============================================================================
file            content
==============  ==============================================================================
profile.json    server, pin and CA, who and which device, the device's token, the signing key
numbers.json    the next message number that no process has reserved
position.json   how far the application has taken the events
wiped.json      the newest destruction to be answered for, until the server has taken the answer
outbox/N        a queued message that the server has not acknowledged, sealed; N is its number
lock            held while numbers are reserved
==============  ==============================================================================

Files have mode 0600, the directory 0700; each is replaced whole.
"""

from __future__ import annotations

import os
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import msgspec

from client import files, sealing
from client.errors import ProfileError
from client.outbox import Entry, NumberedFrame
from transports.wire.codec import MSGPACK, from_wire

NUMBERS_PER_RESERVATION = 64
"""Message numbers taken at once; what a process does not use stays a gap."""
SCHEMA = "strongroom.profile.v1"
MAX_NUMBER = 2**53 - 1
"""The largest number that JSON carries exactly."""


class StoredKey(msgspec.Struct, frozen=True, omit_defaults=True):
    """An Ed25519 seed; sealed under a passphrase when there is a salt."""

    seed: bytes
    salt: bytes = b""

    def __repr__(self) -> str:
        return "<stored key>"


class Account(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who this device is, and where it belongs."""

    server: str
    login: str
    person: bytes
    device: bytes
    token: str
    name: str = ""
    pin: str = ""
    ca_pem: str = ""
    key: StoredKey | None = None
    schema: str = SCHEMA

    def __repr__(self) -> str:
        return "<account>"


class _Position(msgspec.Struct, frozen=True):
    pos: str
    incarnation: str


class _Waiting(msgspec.Struct, frozen=True):
    frame: msgspec.Raw
    lane: Any


class Profile:
    """One device's memory on disk.

    Args:
        path: its directory; made when it does not exist.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        files.private_directory(self.path)
        self._account: Account | None = None
        self._next = 0
        self._reserved_to = 0

    def __repr__(self) -> str:
        return "<profile>"

    # --- who this is --------------------------------------------------------------------------

    @property
    def exists(self) -> bool:
        """Whether the profile holds an account."""
        return (self.path / "profile.json").exists()

    @property
    def account(self) -> Account:
        """Return the account; ProfileError when there is none, or none that can be read."""
        if self._account is None:
            content = files.read(self.path / "profile.json")
            if content is None:
                raise ProfileError("The profile is empty: accept an invitation or log in first.")
            self._account = _decode(content, Account)
        return self._account

    def save(self, account: Account) -> None:
        """Keep an account, in place of what was there."""
        files.replace(self.path / "profile.json", msgspec.json.encode(account))
        self._account = account

    def require_empty(self) -> None:
        """Raise ProfileError when there is an account already, or the directory is read-only."""
        if self.exists:
            raise ProfileError("The profile has an account already: log out first.")
        probe = self.path / "lock"
        with files.locked(probe):
            pass

    def wipe(self) -> None:
        """Remove every secret, then everything else.

        What a flash disk or a snapshot has kept of the files is beyond a program's reach; the
        token is of no use once the server has revoked the device.
        """
        names = ["profile.json", "numbers.json", "position.json", "wiped.json", "lock"]
        waiting = [f"outbox/{number}" for number in self._waiting_numbers()]
        for name in [*waiting, *names]:
            files.remove(self.path / name)
        self._account = None

    # --- the signing key ----------------------------------------------------------------------

    @staticmethod
    def new_key(seed: bytes, passphrase: str = "") -> StoredKey:
        """Return how a seed is kept: in clear, or sealed under a passphrase."""
        if not passphrase:
            return StoredKey(seed)
        salt = os.urandom(sealing.SALT_BYTES)
        return StoredKey(sealing.seal(sealing.passphrase_key(passphrase, salt), seed), salt)

    @property
    def needs_passphrase(self) -> bool:
        """Whether the signing key is sealed."""
        key = self.account.key
        return key is not None and bool(key.salt)

    def sign(self, message: bytes, passphrase: str = "") -> bytes:
        """Return this person's Ed25519 signature (64 bytes).

        Raises:
            ProfileError: there is no key, or the passphrase is wrong.
        """
        return sealing.sign(self._seed(passphrase), message)

    def public_key(self, passphrase: str = "") -> bytes:
        """Return the public half (32 bytes) of the signing key; raises as ``sign``."""
        return sealing.public_key(self._seed(passphrase))

    def _seed(self, passphrase: str) -> bytes:
        key = self.account.key
        if key is None:
            raise ProfileError("The profile has no signing key.")
        if not key.salt:
            return key.seed
        return sealing.unseal(sealing.passphrase_key(passphrase, key.salt), key.seed)

    # --- message numbers (client.core.Numbers) ------------------------------------------------

    def next(self, floor: int) -> int:
        """Return a message number above ``floor`` that no process of this profile ever used."""
        if self._next >= self._reserved_to or self._next <= floor:
            self._reserve(floor)
        number = self._next
        self._next += 1
        return number

    def _reserve(self, floor: int) -> None:
        path = self.path / "numbers.json"
        with files.locked(self.path / "lock"):
            content = files.read(path)
            first = max(1 if content is None else _decode(content, int), floor + 1)
            if not 0 < first <= MAX_NUMBER - NUMBERS_PER_RESERVATION:
                raise ProfileError("The profile's message numbers are out of range.")
            files.replace(path, msgspec.json.encode(first + NUMBERS_PER_RESERVATION))
        self._next, self._reserved_to = first, first + NUMBERS_PER_RESERVATION

    # --- how far the events were taken ----------------------------------------------------------

    def position(self) -> tuple[str, str]:
        """Return position and incarnation; empty when there are none yet."""
        content = files.read(self.path / "position.json")
        if content is None:
            return "", ""
        found = _decode(content, _Position)
        return found.pos, found.incarnation

    def save_position(self, pos: str, incarnation: str) -> None:
        """Note how far the events were taken; a power cut may bring an older note back."""
        content = msgspec.json.encode(_Position(pos, incarnation))
        files.replace(self.path / "position.json", content, durable=False)

    # --- what was destroyed -----------------------------------------------------------------------

    def owed(self) -> int:
        """Return the certificate to be answered for; 0 when there is none."""
        content = files.read(self.path / "wiped.json")
        return 0 if content is None else _decode(content, int)

    def owe(self, certificate: int) -> None:
        """Note a certificate to be answered for; returns once that survives a power cut.

        0 forgets it: the server has taken the answer.
        """
        if certificate:
            files.replace(self.path / "wiped.json", msgspec.json.encode(certificate))
        else:
            files.remove(self.path / "wiped.json")

    # --- messages that wait -----------------------------------------------------------------------

    def keep(self, entry: Entry) -> None:
        """Keep a queued message until ``drop``; returns once it survives a power cut."""
        record = _Waiting(msgspec.Raw(MSGPACK.encode(entry.frame)), entry.lane)
        sealed = sealing.seal(self._outbox_key(), msgspec.msgpack.encode(record))
        files.private_directory(self.path / "outbox")
        files.replace(self.path / "outbox" / str(entry.n), sealed)

    def drop(self, number: int) -> None:
        """Forget a queued message: the server has answered."""
        files.remove(self.path / "outbox" / str(number))

    def waiting(self) -> list[tuple[NumberedFrame, Hashable]]:
        """Return the messages that wait, with their lanes, in order of their numbers."""
        found: list[tuple[NumberedFrame, Hashable]] = []
        for number in self._waiting_numbers():
            sealed = files.read(self.path / "outbox" / str(number))
            if sealed is not None:
                found.append(_read_waiting(sealing.unseal(self._outbox_key(), sealed)))
        return found

    def _waiting_numbers(self) -> list[int]:
        folder = self.path / "outbox"
        names = os.listdir(folder) if folder.exists() else []
        return sorted(int(name) for name in names if name.isdecimal())

    def _outbox_key(self) -> bytes:
        return sealing.outbox_key(self.account.token)


def _decode(content: bytes, kind: Any) -> Any:
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, ValueError):
        raise ProfileError("The profile is damaged or of a later version.") from None


_FRAME = msgspec.msgpack.Decoder(NumberedFrame, dec_hook=from_wire)


def _read_waiting(plaintext: bytes) -> tuple[NumberedFrame, Hashable]:
    try:
        record = msgspec.msgpack.decode(plaintext, type=_Waiting)
        return _FRAME.decode(record.frame), record.lane
    except (msgspec.DecodeError, ValueError):
        raise ProfileError("A waiting message is damaged or of a later version.") from None
