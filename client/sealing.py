"""Seal what a client keeps on its own disk: messages that wait, and the signing key.

The outbox is sealed under a key derived from the device's token (BLAKE2b, keyed by purpose), so
waiting messages are unreadable once the token is wiped. They are no safer than the token: both
lie in the profile, protected by the file system only. A signing key may have a passphrase of its
own (argon2id, 64 MiB, 3 passes).

Sealed bytes are ``nonce (24) || XSalsa20-Poly1305 ciphertext with tag``.
"""

from __future__ import annotations

import nacl.pwhash.argon2id
from nacl.encoding import RawEncoder
from nacl.exceptions import CryptoError
from nacl.hash import blake2b
from nacl.secret import SecretBox
from nacl.signing import SigningKey

from client.errors import ProfileError

KEY_BYTES = 32
SALT_BYTES = nacl.pwhash.argon2id.SALTBYTES
ARGON2_PASSES = 3
ARGON2_BYTES = 64 * 1024 * 1024
_PURPOSE = b"strongroom-outbx"


def outbox_key(token: str) -> bytes:
    """Return the key under which messages wait on disk."""
    key: bytes = blake2b(token.encode(), digest_size=KEY_BYTES, person=_PURPOSE, encoder=RawEncoder)
    return key


def passphrase_key(passphrase: str, salt: bytes) -> bytes:
    """Return the key a passphrase stands for; takes about 0.2 s on purpose."""
    return nacl.pwhash.argon2id.kdf(
        KEY_BYTES, passphrase.encode(), salt, opslimit=ARGON2_PASSES, memlimit=ARGON2_BYTES
    )


def seal(key: bytes, plaintext: bytes) -> bytes:
    """Seal under a 32-byte key, with a random nonce."""
    return bytes(SecretBox(key).encrypt(plaintext))


def unseal(key: bytes, sealed: bytes) -> bytes:
    """Open what ``seal`` made; ProfileError when the key or the bytes are not the same."""
    try:
        return SecretBox(key).decrypt(sealed)
    except (CryptoError, ValueError):
        raise ProfileError("The profile's secrets cannot be opened.") from None


def sign(seed: bytes, message: bytes) -> bytes:
    """Return the Ed25519 signature (64 bytes) of a message under a 32-byte seed."""
    return SigningKey(seed).sign(message).signature


def public_key(seed: bytes) -> bytes:
    """Return the Ed25519 public key (32 bytes) that belongs to a seed."""
    return bytes(SigningKey(seed).verify_key)
