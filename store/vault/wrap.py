"""Turn what protects the root, nothing, a passphrase or a credential file, into a wrapping key.

    wrap  meaning          wrapping key
    0     none             32 zero bytes: whoever reads the key directory has the root
    1     passphrase       argon2id (RFC 9106) of the passphrase, with the slot's salt and costs
    2     credential file  HMAC-SHA-256(the slot's salt, whole content of the file)

A wrap guards a key directory that is lost or copied. It is not effacement: a root is destroyed
by overwriting its slot, whatever the wrap.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Protocol, Self

from argon2.exceptions import HashingError
from argon2.low_level import Type, hash_secret_raw

from store.errors import FormatError, VaultLockedError
from store.ports import Entropy
from store.vault.limits import (
    ARGON2_LANES_MAX,
    ARGON2_MEMORY_KIB_MAX,
    ARGON2_PASSES_MAX,
    CREDENTIAL_BYTES_MAX,
    CREDENTIAL_BYTES_MIN,
)
from store.vault.suites import KEY_BYTES, hmac_sha256

SALT_BYTES = 16
_NO_KEY = bytes(KEY_BYTES)


class WrapKind(IntEnum):
    """The wrap byte of a root slot."""

    NONE = 0
    PASSPHRASE = 1
    CREDENTIAL = 2


@dataclass(frozen=True, slots=True)
class Argon2Cost:
    """Costs of argon2id: memory in KiB, passes over it, lanes computed side by side.

    The defaults are the second choice of RFC 9106, section 4.
    """

    memory_kib: int = 65_536
    passes: int = 3
    lanes: int = 4


NO_COST = Argon2Cost(0, 0, 0)


@dataclass(frozen=True, slots=True)
class WrapParameters:
    """The public part of a wrap, as it stands in the root slot."""

    kind: WrapKind
    salt: bytes
    cost: Argon2Cost = NO_COST

    def check(self) -> None:
        """Raise ``FormatError`` for costs that no slot of ours has, before anything is spent."""
        cost = self.cost
        if self.kind is not WrapKind.PASSPHRASE:
            if cost != NO_COST:
                raise FormatError("a root slot without passphrase names argon2 costs")
            return
        if not (
            1 <= cost.passes <= ARGON2_PASSES_MAX
            and 1 <= cost.lanes <= ARGON2_LANES_MAX
            and 8 * cost.lanes <= cost.memory_kib <= ARGON2_MEMORY_KIB_MAX
        ):
            raise FormatError("a root slot names argon2 costs out of range")


class Wrap(Protocol):
    """What the operator gives to open the root."""

    def parameters(self, entropy: Entropy) -> WrapParameters:
        """Return parameters with a fresh salt for a new key directory."""
        ...

    def key(self, parameters: WrapParameters) -> bytes:
        """Return the 32-byte wrapping key; ``VaultLockedError`` when the kind is another."""
        ...


def _expect(kind: WrapKind, parameters: WrapParameters) -> None:
    if parameters.kind is not kind:
        found, given = parameters.kind.name.lower(), kind.name.lower()
        raise VaultLockedError(f"the root's wrap is {found}, given was {given}")


class NoWrap:
    """No protection but the file permissions of the key directory."""

    def parameters(self, entropy: Entropy) -> WrapParameters:
        """Return the parameters: there are none."""
        del entropy
        return WrapParameters(WrapKind.NONE, bytes(SALT_BYTES))

    def key(self, parameters: WrapParameters) -> bytes:
        """Return the constant key."""
        _expect(WrapKind.NONE, parameters)
        return _NO_KEY


@dataclass(frozen=True, slots=True)
class PassphraseWrap:
    """A passphrase (its bytes, at least one), stretched with argon2id."""

    passphrase: bytes = field(repr=False)
    cost: Argon2Cost = Argon2Cost()

    def __post_init__(self) -> None:
        if not self.passphrase:
            raise VaultLockedError("the passphrase is empty")

    def parameters(self, entropy: Entropy) -> WrapParameters:
        """Return a fresh salt with this wrap's costs."""
        made = WrapParameters(WrapKind.PASSPHRASE, entropy.bytes(SALT_BYTES), self.cost)
        made.check()
        return made

    def key(self, parameters: WrapParameters) -> bytes:
        """Stretch the passphrase: about 0.1 s and the memory that the slot names."""
        _expect(WrapKind.PASSPHRASE, parameters)
        parameters.check()
        cost = parameters.cost
        try:
            return hash_secret_raw(
                self.passphrase,
                parameters.salt,
                time_cost=cost.passes,
                memory_cost=cost.memory_kib,
                parallelism=cost.lanes,
                hash_len=KEY_BYTES,
                type=Type.ID,
            )
        except HashingError:
            raise VaultLockedError("argon2 failed, most likely for lack of memory") from None


@dataclass(frozen=True, slots=True)
class CredentialWrap:
    """A secret of 32 bytes or more from a file, such as a systemd credential."""

    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if not CREDENTIAL_BYTES_MIN <= len(self.secret) <= CREDENTIAL_BYTES_MAX:
            raise VaultLockedError("a credential has 32 to 65,536 bytes")

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """Read the secret; raises ``VaultLockedError`` when the file is missing or too short."""
        try:
            with path.open("rb") as file:
                return cls(file.read(CREDENTIAL_BYTES_MAX + 1))
        except OSError as error:
            raise VaultLockedError(f"the credential cannot be read: {error.strerror}") from None

    def parameters(self, entropy: Entropy) -> WrapParameters:
        """Return a fresh salt."""
        return WrapParameters(WrapKind.CREDENTIAL, entropy.bytes(SALT_BYTES))

    def key(self, parameters: WrapParameters) -> bytes:
        """Extract a key from the secret with the slot's salt."""
        _expect(WrapKind.CREDENTIAL, parameters)
        return hmac_sha256(parameters.salt.ljust(KEY_BYTES, b"\0"), self.secret)
