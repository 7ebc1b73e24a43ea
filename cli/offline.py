"""Open a data directory without a server: its lock, its secrets, its store, its invitations."""

from __future__ import annotations

import fcntl
import os
import pwd
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from cli.errors import CliError
from cli.places import pid_file, run_directory
from cli.secret_input import read_secret

if TYPE_CHECKING:
    from appliance.config import Config
    from appliance.site import Site
    from store.vault import Wrap

PRIVATE: Final = 0o700


@contextmanager
def process_lock(data: Path) -> Iterator[None]:
    """Be the one process that works on a data directory; its pid stands in ``run/pid``.

    The lock is on the pid file and dies with the process, so a stale file is no obstacle.

    Raises:
        CliError: "cli.running", another process has it; "cli.owner", root would leave files in
            it that its owner, the service's account, could not open.
    """
    if data.exists() and os.geteuid() == 0 != data.stat().st_uid:
        owner = _account(data.stat().st_uid)
        hint = f"Run it as that account: runuser -u {owner} -- strongroom ..."
        raise CliError("cli.owner", f"{data} belongs to {owner}, not to root", hint)
    run_directory(data).mkdir(mode=PRIVATE, parents=True, exist_ok=True)
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(pid_file(data), flags, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip() or "?"
            hint = "Stop it first (SIGTERM, or `strongroom drain`)."
            raise CliError(
                "cli.running", f"process {pid} already works on {data}", hint, retryable=True
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def is_running(data: Path) -> bool:
    """Tell whether a process works on a data directory; nothing is written."""
    try:
        descriptor = os.open(pid_file(data), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _account(uid: int) -> str:
    """Return the name of an account, or its number."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def wrap_for(config: Config, data: Path, *, confirm: bool = False) -> Wrap:
    """Return what opens the root key, as the configuration says.

    ``confirm`` asks twice for a new passphrase. Raises ``CliError`` without a terminal to ask
    on, ``VaultLockedError``, ``OSError``.
    """
    from appliance.config import secret_path
    from store.vault import CredentialWrap, NoWrap, PassphraseWrap

    keys = config.keys
    if keys.wrap == "credential":
        return CredentialWrap.from_file(secret_path(keys.credential_file, data))
    if keys.wrap == "passphrase":
        file = str(secret_path(keys.passphrase_file, data)) if keys.passphrase_file else None
        return PassphraseWrap(read_secret(file, "Passphrase of the keys", confirm=confirm).encode())
    return NoWrap()


def open_site(config: Config, data: Path) -> Site:
    """Open the store of a data directory; raises the store's errors.

    Among them ``AbsentError``, and ``DecommissionedError`` when the site was ended.
    """
    from appliance.config import key_directory
    from appliance.site import (
        CERTIFICATE_FILE,
        CLOSING_FILE,
        AbsentError,
        DecommissionedError,
        Site,
        data_ports,
    )
    from store.errors import VaultLockedError

    if (data / CLOSING_FILE).exists():
        raise DecommissionedError(f"the site was decommissioned: see {data / CLOSING_FILE}")

    keys = key_directory(config, data)
    if not (data / "store").is_dir() or not keys.is_dir():
        raise AbsentError(f"{data} holds no organisation")
    wrap = wrap_for(config, data)
    ports = data_ports(data, keys, config.store.map_bytes)
    try:
        return Site.open(ports, wrap)
    except VaultLockedError as error:
        ports.close()
        certificate = data / CERTIFICATE_FILE
        if certificate.exists():
            raise DecommissionedError(f"the site was ended: see {certificate}") from error
        raise
    except BaseException:
        ports.close()
        raise


def in_force(config: Config, data: Path) -> Config:
    """Return the configuration with the paths of certificates and replicas made absolute."""
    from appliance.config import ReplicasSection, replica_directories, secret_path

    directories = tuple(map(str, replica_directories(config, data)))
    config = msgspec.structs.replace(config, replicas=ReplicasSection(directories))
    tls = config.tls
    if not tls.certificate:
        return config
    tls = msgspec.structs.replace(
        tls,
        certificate=str(secret_path(tls.certificate, data)),
        key=str(secret_path(tls.key, data)),
    )
    return msgspec.structs.replace(config, tls=tls)


@dataclass(frozen=True, slots=True)
class Issued:
    """A new invitation: whose, as what, its link (a secret) and its expiry (Unix ms)."""

    login: str
    role: str
    link: str
    expires_at: int

    def as_json(self) -> dict[str, object]:
        """Return it for output; the link is what the command was asked for."""
        return {
            "login": self.login,
            "role": self.role,
            "link": self.link,
            "expires_at": self.expires_at,
        }


def server_for_links(config: Config) -> tuple[str, int]:
    """Return host and port under which clients reach us, as far as the configuration tells."""
    host = config.listen.host
    if config.listen.names:
        return config.listen.names[0], config.listen.port
    is_any = host in ("0.0.0.0", "::")  # noqa: S104 (compared, not bound)
    return (own_addresses()[0] if is_any else host), config.listen.port


def own_addresses() -> Sequence[str]:
    """Return this machine's address towards others, if it has one, and its name."""
    found = [socket.gethostname()]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Nothing is sent: connecting a datagram socket only asks for the route. The address
            # is one of those reserved for documentation (RFC 5737).
            probe.connect(("192.0.2.1", 9))
            found.insert(0, probe.getsockname()[0])
        except OSError:
            pass
    return found


def invite(site: Site, config: Config, login: str, role: str, hours: int) -> Issued:
    """Make an invitation as the site itself; for a person who exists and has not enrolled."""
    from appliance.certificates import ca_fingerprint
    from appliance.context import SITE
    from appliance.directory.codes import CODE_ENTROPY_BYTES, code_hash, make_code
    from appliance.directory.commands import CreateInvite
    from transports.wire.links import Invitation, Server

    code = make_code(site.ports.entropy.bytes(CODE_ENTROPY_BYTES))
    reply = site.run(SITE, CreateInvite(login, code_hash(code), hours))
    host, port = server_for_links(config)
    pin = "" if config.tls.certificate else ca_fingerprint(site.core)
    link = str(Invitation(Server(host, port), code, pin))
    return Issued(login, role, link, reply.expires_ms)
