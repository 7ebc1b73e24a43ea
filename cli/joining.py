"""Make this machine a device of a person: by invitation, or by password."""

from __future__ import annotations

import os
import secrets
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import client
from cli.chat.opening import Place, in_time
from cli.errors import CliError
from cli.output import emit_json, note
from cli.places import personal_profiles
from cli.secret_input import read_secret

if TYPE_CHECKING:
    from client.profile import Profile

LINK_CHARACTERS: Final = 4_096


async def join(given: dict[str, Any], data: Path, timeout: float, as_json: bool) -> Place:
    """Accept an invitation into a new profile, and say where it is; returns how to chat there.

    Raises ``LinkError``, ``CliError``, and what ``client.accept_invite`` raises.
    """
    from transports.wire.links import parse_invitation

    del data
    link = _link(given["join"])
    parse_invitation(link)  # a wrong link is told before anything is asked or made
    password = read_secret(given["password_file"], "Password") if given["password_file"] else ""
    passphrase = _passphrase(given["passphrase_file"])
    directory = given["profile"] or personal_profiles() / f".joining-{secrets.token_hex(8)}"
    with _tidied(directory), in_time(timeout):
        profile = await client.accept_invite(
            link,
            profile=directory,
            pin=given["pin"],
            device_name=given["device_name"] or socket.gethostname(),
            password=password,
            passphrase=passphrase,
            shared=given["shared"],
            carrier=given["carrier"],
            timeout=timeout,
        )
    directory = _settled(profile, given["profile"])
    _tell(profile, directory, as_json=as_json)
    return Place(directory, carrier=given["carrier"], timeout=timeout)


@contextmanager
def _tidied(directory: Path) -> Iterator[None]:
    """Leave no empty profile behind when signing in fails."""
    is_new = not directory.exists()
    try:
        yield
    except BaseException:
        if is_new and directory.exists() and not (directory / "profile.json").exists():
            client.Profile(directory).wipe()
            directory.rmdir()
        raise


def _link(text: str) -> str:
    if text == "-":
        return sys.stdin.readline(LINK_CHARACTERS).strip()
    return text


def _passphrase(source: str | None) -> str:
    """Return the passphrase for the signing key; on a terminal one is offered."""
    if source is not None:
        return read_secret(source, "Passphrase")
    if not sys.stdin.isatty():
        return ""
    import click

    answer: str = click.prompt(
        "Passphrase for your signing key (empty: none)",
        default="",
        hide_input=True,
        show_default=False,
        confirmation_prompt=True,
        err=True,
    )
    return answer


def _settled(profile: Profile, chosen: Path | None) -> Path:
    """Give a new profile its place: where it was wanted, or under the person's login name."""
    if chosen is not None:
        return profile.path
    login = profile.account.login
    for name in (login, *(f"{login}-{number}" for number in range(2, 100))):
        target = personal_profiles() / name
        if not (target / "profile.json").exists():
            if target.is_dir() and not any(target.iterdir()):
                target.rmdir()
            if not target.exists():
                os.rename(profile.path, target)
                return target
    return profile.path


def _tell(profile: Profile, directory: Path, *, as_json: bool) -> None:
    account = profile.account
    if as_json:
        answer = {"login": account.login, "name": account.name, "profile": str(directory)}
        emit_json("chat.joined", {**answer, "person": account.person.hex()})
        return
    note(f"You are {account.login} ({account.name}); profile {directory}")


async def log_in(url: str, given: dict[str, Any], timeout: float) -> tuple[str, Path]:
    """Sign in by password into a new profile; returns login and profile directory.

    Raises ``LinkError``, ``CliError``, and what ``client.login`` raises.
    """
    from transports.wire.links import parse_server

    server = parse_server(url)
    if not server.login:
        hint = "strongroom login alice@chat.hospital.example --pin sha256:..."
        raise CliError("cli.usage", "the address names no login", hint)
    directory = given["profile"] or personal_profiles() / server.login
    password = read_secret(given["password_file"], f"Password of {server.login}")
    with _tidied(directory), in_time(timeout):
        profile = await client.login(
            str(server),
            password,
            profile=directory,
            pin=given["pin"],
            device_name=given["device_name"] or socket.gethostname(),
            shared=given["shared"],
            carrier=given["carrier"],
            timeout=timeout,
        )
    return profile.account.login, directory


async def log_out(place: Place) -> None:
    """Revoke this device and wipe its profile; raises what ``client.logout`` raises."""
    with in_time(place.timeout):
        await client.logout(place.profile, carrier=place.carrier, timeout=place.timeout)
