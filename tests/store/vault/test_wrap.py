"""The wraps of the root: each opens only with its own secret, and shows none of it."""

from __future__ import annotations

import hmac
from pathlib import Path

import pytest

from store.clocks import SeededEntropy
from store.errors import FormatError, VaultLockedError
from store.vault.wrap import (
    NO_COST,
    Argon2Cost,
    CredentialWrap,
    NoWrap,
    PassphraseWrap,
    Wrap,
    WrapKind,
    WrapParameters,
)

CHEAP = Argon2Cost(memory_kib=64, passes=1, lanes=1)
SECRET = b"a secret of at least 32 bytes, here"
WRAPS: list[Wrap] = [NoWrap(), PassphraseWrap(b"horse", CHEAP), CredentialWrap(SECRET)]


@pytest.mark.parametrize("wrap", WRAPS, ids=lambda wrap: type(wrap).__name__)
def test_a_wrap_gives_the_same_key_for_the_same_parameters(wrap: Wrap) -> None:
    parameters = wrap.parameters(SeededEntropy(1))
    assert len(wrap.key(parameters)) == 32
    assert wrap.key(parameters) == wrap.key(parameters)


@pytest.mark.parametrize("wrap", WRAPS, ids=lambda wrap: type(wrap).__name__)
def test_a_wrap_of_another_kind_is_refused(wrap: Wrap) -> None:
    for other in WRAPS:
        if other is not wrap:
            with pytest.raises(VaultLockedError):
                wrap.key(other.parameters(SeededEntropy(1)))


@pytest.mark.parametrize("wrap", WRAPS[1:], ids=lambda wrap: type(wrap).__name__)
def test_each_salt_gives_another_key(wrap: Wrap) -> None:
    entropy = SeededEntropy(1)
    assert wrap.key(wrap.parameters(entropy)) != wrap.key(wrap.parameters(entropy))


def test_passphrase_and_cost_decide_the_key() -> None:
    parameters = PassphraseWrap(b"horse", CHEAP).parameters(SeededEntropy(1))
    dearer = WrapParameters(WrapKind.PASSPHRASE, parameters.salt, Argon2Cost(64, 2, 1))
    wrap = PassphraseWrap(b"horse")
    assert wrap.key(parameters) != wrap.key(dearer)
    assert wrap.key(parameters) != PassphraseWrap(b"house").key(parameters)


def test_a_credential_is_extracted_with_plain_hmac() -> None:
    parameters = CredentialWrap(SECRET).parameters(SeededEntropy(1))
    assert CredentialWrap(SECRET).key(parameters) == hmac.digest(parameters.salt, SECRET, "sha256")


def test_the_default_cost_is_that_of_rfc_9106() -> None:
    assert Argon2Cost() == Argon2Cost(memory_kib=64 * 1024, passes=3, lanes=4)
    assert (
        len(PassphraseWrap(b"horse").key(PassphraseWrap(b"x").parameters(SeededEntropy(1)))) == 32
    )


@pytest.mark.parametrize(
    "cost",
    [
        Argon2Cost(1 << 21, 1, 1),
        Argon2Cost(65_536, 65, 1),
        Argon2Cost(65_536, 1, 65),
        Argon2Cost(65_536, 0, 1),
        Argon2Cost(65_536, 1, 0),
        Argon2Cost(7, 1, 1),
    ],
)
def test_costs_out_of_range_are_refused_before_they_are_spent(cost: Argon2Cost) -> None:
    with pytest.raises(FormatError):
        PassphraseWrap(b"horse").key(WrapParameters(WrapKind.PASSPHRASE, bytes(16), cost))


def test_costs_without_a_passphrase_are_refused() -> None:
    with pytest.raises(FormatError):
        WrapParameters(WrapKind.CREDENTIAL, bytes(16), CHEAP).check()
    WrapParameters(WrapKind.CREDENTIAL, bytes(16), NO_COST).check()


def test_an_empty_passphrase_is_refused() -> None:
    with pytest.raises(VaultLockedError):
        PassphraseWrap(b"")


@pytest.mark.parametrize(
    ("size", "fits"), [(31, False), (32, True), (65_536, True), (65_537, False)]
)
def test_a_credential_file_has_a_shortest_and_a_longest_size(
    tmp_path: Path, size: int, fits: bool
) -> None:
    path = tmp_path / "credential"
    path.write_bytes(b"s" * size)
    if fits:
        assert CredentialWrap.from_file(path) == CredentialWrap(b"s" * size)
    else:
        with pytest.raises(VaultLockedError):
            CredentialWrap.from_file(path)


def test_a_missing_credential_file_locks_the_vault(tmp_path: Path) -> None:
    with pytest.raises(VaultLockedError, match="No such file"):
        CredentialWrap.from_file(tmp_path / "absent")


def test_no_secret_shows_in_a_repr() -> None:
    assert "horse" not in repr(PassphraseWrap(b"horse"))
    assert "secret of" not in repr(CredentialWrap(SECRET))
