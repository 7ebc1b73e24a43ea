"""Sign a request as a person, with the key in that person's own profile."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.admin import AdminSocket
from cli.errors import CliError
from cli.places import data_directory, profile_directory
from cli.secret_input import read_secret

if TYPE_CHECKING:
    from appliance.directory.commands import Command
    from client.profile import Profile


@dataclass(frozen=True, slots=True)
class Person:
    """Who acts, as the options say: login, profile directory, where the passphrase is."""

    login: str
    profile: Path | None = None
    passphrase_file: str | None = None


@dataclass(frozen=True, slots=True)
class ProfileSigner:
    """A profile whose key signs."""

    profile: Profile
    passphrase: str = field(default="", repr=False)

    @property
    def person(self) -> bytes:
        """The person's id."""
        return self.profile.account.person

    def sign(self, data: bytes) -> bytes:
        """Return the Ed25519 signature; raises ``ProfileError`` for a wrong passphrase."""
        return self.profile.sign(data, self.passphrase)


def open_signer(who: Person, data: Path) -> ProfileSigner:
    """Open a person's profile for signing.

    Raises ``CliError`` when there is no such profile here or it is somebody else's, and
    ``ProfileError`` when it cannot be used.
    """
    from client.profile import Profile

    directory = profile_directory(who.profile, who.login, data)
    if not (directory / "profile.json").is_file():
        hint = "They accept their invitation first: strongroom chat --join LINK"
        raise CliError("cli.denied", f"no profile of {who.login} on this machine", hint)
    profile = Profile(directory)
    if profile.account.login.casefold() != who.login.casefold():
        raise CliError("cli.denied", f"the profile in {directory} is not {who.login}'s")
    passphrase = ""
    if profile.needs_passphrase:
        passphrase = read_secret(who.passphrase_file, f"Passphrase of {who.login}'s key")
    return ProfileSigner(profile, passphrase)


class SignedSession:
    """One connection to the server on which a person signs requests; use it in a ``with``."""

    def __init__(self, who: Person, data: Path | None) -> None:
        """Open the profile, then connect; raises ``CliError`` and ``ProfileError``."""
        where = data_directory(data)
        self._signer = open_signer(who, where)
        self.server = AdminSocket(where)

    def request(self, name: str, command: Any) -> dict[str, Any]:
        """Sign and send a command under its name; returns the answer; raises ``CliError``."""
        from appliance.directory.requests import canonical_json

        return self.server.ask_signed(self._signer, name, canonical_json(command))

    def directory(self, command: Command) -> dict[str, Any]:
        """Sign and send a command of the directory, which knows its own name."""
        from appliance.directory.commands import request_of

        name, arguments = request_of(command)
        return self.server.ask_signed(self._signer, name, arguments)

    def __enter__(self) -> SignedSession:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connection."""
        self.server.close()
