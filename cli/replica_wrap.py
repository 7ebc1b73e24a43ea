"""Find out what protects a key replica, and take it from where the operator says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from cli.errors import CliError
from cli.secret_input import read_secret

if TYPE_CHECKING:
    from store.vault import Wrap

F = TypeVar("F", bound=Callable[..., Any])


def wrapping(function: F) -> F:
    """Add ``--passphrase-file`` and ``--credential-file``."""
    passphrase = click.option(
        "--passphrase-file", metavar="FILE", help="If a passphrase protects the replica."
    )
    credential = click.option(
        "--credential-file", metavar="FILE", help="If a credential file protects the replica."
    )
    return passphrase(credential(function))


def wrap_of(
    replicas: tuple[Path, ...], passphrase_file: str | None, credential_file: str | None
) -> tuple[Wrap, dict[str, object]]:
    """Return what opens the replicas, as their slots say, and the settings that go with it.

    Raises ``UsageError`` and ``CliError`` when what is needed is missing.
    """
    from store.disk import FileDisk
    from store.vault import CredentialWrap, NoWrap, PassphraseWrap, RootSlots
    from store.vault.wrap import WrapKind

    kinds = set()
    for directory in replicas:
        if not directory.is_dir():
            raise CliError("replica.unusable", f"{directory} is no directory")
        disk = FileDisk(directory)
        kinds |= {slot.wrap.kind for slot in RootSlots(disk).load() if slot is not None}
        disk.close()
    if WrapKind.CREDENTIAL in kinds:
        if credential_file is None:
            raise click.UsageError("--credential-file is needed: the key replica has such a wrap")
        path = Path(credential_file).absolute()
        settings: dict[str, object] = {
            "keys.wrap": "credential",
            "keys.credential_file": str(path),
        }
        return CredentialWrap.from_file(path), settings
    if WrapKind.PASSPHRASE in kinds:
        settings = {"keys.wrap": "passphrase"}
        if passphrase_file not in (None, "-"):
            settings["keys.passphrase_file"] = str(Path(str(passphrase_file)).absolute())
        return PassphraseWrap(
            read_secret(passphrase_file, "Passphrase of the keys").encode()
        ), settings
    return NoWrap(), {"keys.wrap": "none"}
