"""Password verifiers: argon2id at the chosen cost, the same work whoever asks."""

import pytest
from argon2 import extract_parameters

from appliance import credentials
from appliance.credentials import (
    DUMMY_VERIFIER,
    LANES,
    MEMORY_KIB,
    PASSES,
    hash_password,
    needs_rehash,
    verify_password,
)

SALT = bytes(range(16))
PASSWORD = "kidney tulip 48 lantern"


@pytest.fixture(scope="module")
def verifier() -> str:
    return hash_password(PASSWORD, SALT)


def test_the_cost_is_what_was_decided() -> None:
    assert (MEMORY_KIB, PASSES, LANES) == (64 * 1024, 3, 1)


def test_a_verifier_accepts_its_password_alone(verifier: str) -> None:
    assert verifier.startswith("$argon2id$v=19$m=65536,t=3,p=1$")
    assert PASSWORD not in verifier
    assert verify_password(verifier, PASSWORD)
    assert not verify_password(verifier, PASSWORD + " ")


def test_the_same_text_typed_in_another_way_is_the_same_password() -> None:
    assert hash_password("Ａ\u0065\u0301", SALT) == hash_password("A\u00e9", SALT)
    assert hash_password("A\u00e9", SALT) != hash_password("A\u00e9", SALT[::-1])


def test_the_dummy_costs_what_a_verifier_costs(verifier: str) -> None:
    assert extract_parameters(DUMMY_VERIFIER) == extract_parameters(verifier)
    assert len(DUMMY_VERIFIER) == len(verifier)


def test_without_a_password_nothing_is_accepted_after_the_same_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    class Hasher:
        def verify(self, verifier: str, secret: bytes) -> bool:
            asked.append((verifier, secret))
            return True

    monkeypatch.setattr(credentials, "_HASHER", Hasher())
    assert not verify_password("", "anything")
    assert not verify_password("$argon2id$real", "x" * 1_025)
    assert verify_password("$argon2id$real", "x" * 1_024)
    assert asked == [
        (DUMMY_VERIFIER, b"anything"),
        ("$argon2id$real", b""),
        ("$argon2id$real", b"x" * 1_024),
    ]


@pytest.mark.parametrize("broken", ["nonsense", "$argon2id$", "$argon2id$v=19$m=8,t=1,p=1$!!$!!"])
def test_a_broken_verifier_accepts_nothing(broken: str) -> None:
    assert not verify_password(broken, PASSWORD)


def test_text_that_is_no_unicode_is_no_password(verifier: str) -> None:
    assert not verify_password(verifier, "\ud800")
    with pytest.raises(ValueError, match="Unicode"):
        hash_password("\ud800", SALT)


def test_a_salt_has_sixteen_bytes() -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        hash_password(PASSWORD, b"short")


def test_a_verifier_of_other_costs_is_made_anew_one_day(verifier: str) -> None:
    assert not needs_rehash(verifier)
    assert needs_rehash(verifier.replace("t=3", "t=2"))
    assert needs_rehash("nonsense")
