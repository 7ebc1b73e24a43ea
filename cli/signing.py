"""Sign a request as a person, with the key in that person's own profile."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cli.admin import ANSWER_SECONDS, AdminSocket
from cli.errors import CliError
from cli.places import data_directory, profile_directory
from cli.secret_input import read_secret

if TYPE_CHECKING:
    from appliance.directory.commands import Command
    from client.profile import Profile


OVERHEAD_BYTES: Final = 256
"""What is signed besides the arguments, at most, in bytes."""


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

    def __init__(self, who: Person, data: Path | None, *, timeout: float = ANSWER_SECONDS) -> None:
        """Open the profile, then connect; an answer may take ``timeout`` seconds.

        Raises ``CliError`` and ``ProfileError``.
        """
        self._data, self._timeout = data_directory(data), timeout
        self._signer = open_signer(who, self._data)
        self.server = AdminSocket(self._data, timeout=timeout)

    def reconnect(self) -> None:
        """Connect anew, after a person took their time: the server ends silent connections."""
        self.server.close()
        self.server = AdminSocket(self._data, timeout=self._timeout)

    def request(self, name: str, command: Any) -> dict[str, Any]:
        """Sign and send a command under its name; returns the answer; raises ``CliError``."""
        from appliance.directory.limits import REQUEST_BYTES
        from appliance.directory.requests import canonical_json

        arguments = canonical_json(command)
        if len(arguments.encode()) + OVERHEAD_BYTES > REQUEST_BYTES:
            hint = "Shorten it; of a policy, comments count as well."
            message = f"this is larger than can be signed ({REQUEST_BYTES:,} bytes)"
            raise CliError("cli.usage", message, hint)
        return self.server.ask_signed(self._signer, name, arguments)

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
