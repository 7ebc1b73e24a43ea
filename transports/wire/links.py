"""Write and read the addresses that people copy: servers, invitations, pins.

=====================================================  =========================================
``strongroom://[LOGIN@]HOST[:PORT]``                   a server, perhaps with a login name
``strongroom://HOST[:PORT]/join?pin=PIN#CODE``         an invitation; the code is the secret
``strongroom://HOST[:PORT]/site#SECRET``               a branch's invitation: 32 bytes, base64url
``sha256:`` and 64 lower-case hex digits               a pin: the hash of a CA certificate's DER
=====================================================  =========================================

Code and secret stand behind ``#`` because that part of an address is never sent to a server or
written to its log by software that takes the link for a web address.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field
from urllib.parse import quote, unquote, urlsplit

SCHEME = "strongroom"
DEFAULT_PORT = 8443
SERVER_NAME = "strongroom.internal"
"""The name that every appliance's own certificate carries beside its addresses. A client that
pins the CA checks this name, so that it may use whatever address reaches the appliance."""
MAX_LINK_CHARACTERS = 2_048

_PIN = re.compile(r"sha256:[0-9a-f]{64}")
_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}|[0-9a-fA-F:.]{2,45}(%[A-Za-z0-9._-]{1,32})?")
_CODE = re.compile(r"[A-Za-z0-9._~-]{1,256}")
_SECRET = re.compile(r"[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]")
"""32 bytes in base64url without padding, whose last character has two bits that are 0."""


class LinkError(ValueError):
    """A link or address cannot be read; the message names the rule, never the link."""


@dataclass(frozen=True, slots=True)
class Server:
    """Where an appliance is reached, and as whom if the address says so."""

    host: str
    port: int = DEFAULT_PORT
    login: str = ""

    def __str__(self) -> str:
        login = quote(self.login, safe="") + "@" if self.login else ""
        return f"{SCHEME}://{login}{self.authority}"

    @property
    def authority(self) -> str:
        """Return host and port as they stand in an address or a Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Invitation:
    """A link that lets one person in, once."""

    server: Server
    code: str = field(repr=False)
    pin: str = ""

    def __str__(self) -> str:
        query = f"?pin={self.pin}" if self.pin else ""
        return f"{SCHEME}://{self.server.authority}/join{query}#{self.code}"


@dataclass(frozen=True, slots=True)
class SiteInvitation:
    """A link that lets one branch join headquarters, once."""

    server: Server
    secret: bytes = field(repr=False)

    def __str__(self) -> str:
        text = base64.urlsafe_b64encode(self.secret).decode("ascii").rstrip("=")
        return f"{SCHEME}://{self.server.authority}/site#{text}"


def parse_pin(text: str) -> bytes:
    """Return a pin's 32 bytes; LinkError when it is none."""
    if not _PIN.fullmatch(text):
        raise LinkError("a pin is sha256: and 64 lower-case hex digits")
    return bytes.fromhex(text[7:])


def format_pin(digest: bytes) -> str:
    """Write the SHA-256 of a CA certificate's DER as a pin."""
    return "sha256:" + digest.hex()


def parse_server(text: str) -> Server:
    """Read a server's address; the scheme may be left out. LinkError when it is none."""
    text = text.strip()
    address = text if "://" in text else f"{SCHEME}://{text}"
    server, path, query, fragment = _split(address)
    if path not in ("", "/") or query or fragment:
        raise LinkError("a server's address ends after the port")
    return server


def parse_invitation(text: str) -> Invitation:
    """Read an invitation link. LinkError when it is none."""
    server, path, query, code = _split(text.strip())
    if path != "/join" or not _CODE.fullmatch(code):
        raise LinkError("an invitation ends in /join?pin=...#CODE")
    name, _, pin = query.partition("=")
    if query:
        if name != "pin":
            raise LinkError("an invitation names nothing but a pin")
        parse_pin(pin)
    return Invitation(server, code, pin)


def parse_site_invitation(text: str) -> SiteInvitation:
    """Read a branch's invitation link. LinkError when it is none."""
    server, path, query, secret = _split(text.strip())
    if path != "/site" or query or not _SECRET.fullmatch(secret):
        raise LinkError("a branch's invitation ends in /site#SECRET")
    return SiteInvitation(server, base64.urlsafe_b64decode(secret + "="))


def _split(text: str) -> tuple[Server, str, str, str]:
    if len(text) > MAX_LINK_CHARACTERS:
        raise LinkError(f"a link has at most {MAX_LINK_CHARACTERS} characters")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise LinkError("the host or port cannot be read") from None
    if parts.scheme != SCHEME:
        raise LinkError(f"a link begins with {SCHEME}://")
    if parts.password is not None:
        raise LinkError("a link carries no password")
    if not _HOST.fullmatch(host) or port == 0:
        raise LinkError("the host or port is missing or wrong")
    server = Server(host, DEFAULT_PORT if port is None else port, unquote(parts.username or ""))
    return server, parts.path, parts.query, parts.fragment
