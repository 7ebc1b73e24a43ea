"""Read and write what a branch and headquarters say to each other at enrolment (sans-IO).

The invitation carries a *pin* (the first 16 bytes of the SHA-256 of the certificate of
headquarters' CA) and a *token* (16 random bytes, good once). The branch sends an application to
headquarters, over TLS under just that CA, and sends it again until an administrator has
approved its key; later, without a token, to have its certificate renewed.

    application (canonical msgpack array)
    field  type   meaning
    0      text   "strongroom/application/1"
    1      bytes  pin of headquarters' CA (16)
    2      bytes  the branch's Ed25519 public key (32)
    3      bytes  token (16), or empty when the branch has been approved before
    4      text   where the branch's people reach it (HOST:PORT), or empty
    5      bytes  SHA-256 of the certificate of the CA that they pin (32), or empty
    6      bytes  Ed25519 signature (64) over fields 0 to 5, encoded as an array

    admission (canonical msgpack array), the answer to an approved key
    0      text   "strongroom/admission/1"
    1      bytes  headquarters' NodeId (16)
    2      bytes  headquarters' Ed25519 public key (32)
    3      text   the organisation's name
    4      array  addresses of headquarters (HOST:PORT)
    5      int    site number of the branch
    6      text   name of the branch
    7      bytes  the branch's certificate (DER), for its own key
    8      bytes  the tenant secret (32), sealed to the branch's key (crypto_box_seal)

Replaying an application gains nothing: its answer is of use only to who has the key.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final, NamedTuple

from nacl.exceptions import CryptoError
from nacl.public import SealedBox
from nacl.signing import SigningKey, VerifyKey

from appliance.directory.requests import PUBLIC_KEY_BYTES, SIGNATURE_BYTES, is_public_key
from appliance.sites import words
from appliance.sites.limits import ADDRESS_CHARACTERS, ADDRESSES, TOKEN_BYTES
from store import canonical
from store.errors import StoreError
from store.skeleton import node_id
from store.tables import TENANT
from transports.wire.errors import Refusal
from transports.wire.links import (
    LinkError,
    Server,
    SiteInvitation,
    parse_server,
    parse_site_invitation,
)

PIN_BYTES: Final = 16
CA_BYTES: Final = 32
SECRET_BYTES: Final = PIN_BYTES + TOKEN_BYTES
TENANT_SECRET_BYTES: Final = 32

_APPLICATION: Final = "strongroom/application/1"
_ADMISSION: Final = "strongroom/admission/1"
_TOKEN: Final = b"strongroom/site-token/1"


def pin_of(ca: bytes) -> bytes:
    """Return the pin of a CA's certificate (DER)."""
    return sha256(ca).digest()[:PIN_BYTES]


def token_hash(token: bytes) -> bytes:
    """Return what headquarters stores of a token."""
    return sha256(_TOKEN + token).digest()


def fingerprint(public_key: bytes, pin: bytes) -> str:
    """Return the six words that both sides show: they stand for both keys."""
    return words.fingerprint(pin, public_key)


# --- the invitation -----------------------------------------------------------------------------


class Invitation(NamedTuple):
    """What a branch needs to join: where, whom to believe there, and its right to ask."""

    server: Server
    pin: bytes
    token: bytes

    def __repr__(self) -> str:
        return f"<Invitation to {self.server.authority}>"

    @property
    def link(self) -> str:
        """The invitation as text, which a QR code shows too."""
        return str(SiteInvitation(self.server, self.pin + self.token))

    @property
    def words(self) -> str:
        """The same as an address and 24 words."""
        return f"{self.server.authority} {words.spell(self.pin + self.token)}"


def read_invitation(text: str) -> Invitation:
    """Read a link, or an address and 24 words; raises ``Refusal`` ("site.invitation")."""
    try:
        if "/" in text:
            found = parse_site_invitation(text)
            server, secret = found.server, found.secret
        else:
            address, _, spoken = text.strip().partition(" ")
            server, secret = parse_server(address), words.read(spoken) or b""
    except LinkError:
        raise Refusal("site.invitation") from None
    if len(secret) != SECRET_BYTES:
        raise Refusal("site.invitation")
    return Invitation(server, secret[:PIN_BYTES], secret[PIN_BYTES:])


# --- the application ----------------------------------------------------------------------------


class Application(NamedTuple):
    """A branch asks to be let in, or for a new certificate."""

    pin: bytes
    public_key: bytes
    token: bytes = b""
    address: str = ""
    ca: bytes = b""

    def __repr__(self) -> str:
        return "<Application>"

    @property
    def node(self) -> bytes:
        """The NodeId that belongs to the key."""
        return node_id(TENANT, self.public_key)


def write_application(application: Application, key: SigningKey) -> bytes:
    """Return the bytes to send, signed."""
    signed = canonical.encode((_APPLICATION, *application))
    return canonical.encode((_APPLICATION, *application, bytes(key.sign(signed).signature)))


def read_application(data: bytes) -> Application:
    """Read an application whose signature is good; raises ``Refusal`` ("request.invalid")."""
    match _fields(data, _APPLICATION):
        case [bytes(pin), bytes(key), bytes(token), str(address), bytes(ca), bytes(signature)]:
            application = Application(pin, key, token, address, ca)
            signed = canonical.encode((_APPLICATION, *application))
            is_key = is_public_key(key) and len(signature) == SIGNATURE_BYTES
            if is_key and _fits(application) and _verifies(key, signed, signature):
                return application
    raise Refusal("request.invalid")


def _fits(application: Application) -> bool:
    sizes = (len(application.pin), len(application.token) or TOKEN_BYTES)
    if sizes != (PIN_BYTES, TOKEN_BYTES) or len(application.ca) not in (0, CA_BYTES):
        return False
    try:
        return not application.address or bool(parse_server(application.address))
    except LinkError:
        return False


# --- the admission ------------------------------------------------------------------------------


class Admission(NamedTuple):
    """What an approved branch gets; ``sealed_secret`` is for its key alone."""

    node: bytes
    public_key: bytes
    organisation: str
    addresses: tuple[str, ...]
    site: int
    name: str
    certificate: bytes
    sealed_secret: bytes

    def __repr__(self) -> str:
        return f"<Admission of site {self.site}>"


def write_admission(admission: Admission) -> bytes:
    """Return the bytes to send."""
    return canonical.encode((_ADMISSION, *admission))


def read_admission(data: bytes) -> Admission:
    """Read an admission; raises ``Refusal`` ("request.invalid") for anything malformed."""
    match _fields(data, _ADMISSION):
        case [
            bytes(node),
            bytes(key),
            str(organisation),
            list(addresses),
            int(site),
            str(name),
            bytes(certificate),
            bytes(sealed),
        ]:
            known = tuple(each for each in addresses if isinstance(each, str))
            is_whole = len(known) == len(addresses) <= ADDRESSES and site > 0
            is_key = len(key) == PUBLIC_KEY_BYTES and node_id(TENANT, key) == node
            if is_whole and is_key and all(len(each) <= ADDRESS_CHARACTERS for each in known):
                fields = (node, key, organisation, known, site, name, certificate, sealed)
                return Admission(*fields)
    raise Refusal("request.invalid")


def seal_for(public_key: bytes, secret: bytes) -> bytes:
    """Seal a secret to a branch's Ed25519 key."""
    return bytes(SealedBox(VerifyKey(public_key).to_curve25519_public_key()).encrypt(secret))


def open_sealed(key: SigningKey, sealed: bytes) -> bytes:
    """Open what was sealed to one's key; raises ``Refusal`` ("request.invalid")."""
    try:
        secret = bytes(SealedBox(key.to_curve25519_private_key()).decrypt(sealed))
    except (CryptoError, ValueError, TypeError):
        raise Refusal("request.invalid") from None
    if len(secret) != TENANT_SECRET_BYTES:
        raise Refusal("request.invalid")
    return secret


def _fields(data: bytes, label: str) -> list[canonical.Value]:
    try:
        fields = canonical.decode(data)
    except StoreError:
        return []
    return fields[1:] if fields and fields[0] == label else []


def _verifies(key: bytes, data: bytes, signature: bytes) -> bool:
    try:
        VerifyKey(key).verify(data, signature)
    except CryptoError:
        return False
    return True
