"""The key that protects a site's roots is held, the passphrase that it came from is not."""

from __future__ import annotations

import gc
import weakref

import pytest

from appliance.held_wrap import HeldWrap
from appliance.site import Ports, Site
from store.clocks import ManualClock, SeededEntropy
from store.disk import MemoryDisk
from store.engine.memory import Medium, MemoryEngine
from store.errors import VaultLockedError
from store.vault import Argon2Cost, CredentialWrap, NoWrap, PassphraseWrap, Wrap

CHEAP = Argon2Cost(8, 1, 1)
ENTROPY = SeededEntropy(7)

wraps = pytest.mark.parametrize(
    "wrap", [NoWrap(), PassphraseWrap(b"horse", CHEAP), CredentialWrap(b"s" * 32)]
)


class Remembered(PassphraseWrap):
    """A passphrase of which can be told whether anybody still holds it."""


@wraps
def test_its_key_and_its_parameters_are_those_of_the_first_use(wrap: Wrap) -> None:
    held = HeldWrap(wrap)
    parameters = held.parameters(ENTROPY)
    key = held.key(parameters)
    assert key == wrap.key(parameters)
    held.forget()
    assert held.parameters(ENTROPY) == parameters
    assert held.key(parameters) == key


@wraps
def test_a_closed_one_gives_nothing(wrap: Wrap) -> None:
    held = HeldWrap(wrap)
    parameters = held.parameters(ENTROPY)
    held.key(parameters)
    held.close()
    with pytest.raises(VaultLockedError):
        held.key(parameters)
    with pytest.raises(VaultLockedError):
        held.parameters(ENTROPY)


def test_another_salt_takes_the_passphrase() -> None:
    wrap = PassphraseWrap(b"horse", CHEAP)
    held, first, other = HeldWrap(wrap), wrap.parameters(ENTROPY), wrap.parameters(ENTROPY)
    held.key(first)
    assert held.key(other) == wrap.key(other)
    assert held.parameters(ENTROPY) == first
    held.forget()
    with pytest.raises(VaultLockedError):
        held.key(other)


def test_an_open_site_holds_no_passphrase() -> None:
    """Neither one that was just made nor one that was opened, and both still seal roots."""
    medium, disks = Medium(), (MemoryDisk(), MemoryDisk())

    def ports() -> Ports:
        return Ports(ManualClock(), ENTROPY, MemoryEngine(medium), *disks)

    wrap = Remembered(b"horse", CHEAP)
    site = Site.create(ports(), wrap, name="House")
    for _ in range(2):
        known = weakref.ref(wrap)
        del wrap
        gc.collect()
        assert known() is None
        assert len(site.wrap.key(site.wrap.parameters(ENTROPY))) == 32
        site.close()
        wrap = Remembered(b"horse", CHEAP)
        site = Site.open(ports(), wrap)
    site.close()


def test_a_wrong_passphrase_opens_nothing() -> None:
    medium, disks = Medium(), (MemoryDisk(), MemoryDisk())
    ports = Ports(ManualClock(), ENTROPY, MemoryEngine(medium), *disks)
    Site.create(ports, PassphraseWrap(b"horse", CHEAP), name="House").close()
    again = Ports(ManualClock(), ENTROPY, MemoryEngine(medium), *disks)
    with pytest.raises(VaultLockedError):
        Site.open(again, PassphraseWrap(b"house", CHEAP))
