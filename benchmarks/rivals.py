"""Run the XMPP servers that Debian has, each with a configuration of ours, in a directory of ours.

Nothing of the system's own configuration or data is touched: certificates, accounts and archives
live in a temporary directory, and the one port is on the loopback address. Both archive every
message (XEP-0313): prosody in files that it leaves to the system to write, ejabberd in SQLite.
"""

from __future__ import annotations

import os
import shutil
import signal
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

from benchmarks.lines import LineLostError, carry_on
from benchmarks.server import STOP_SECONDS, Server, free_port
from benchmarks.xmpp_line import DOMAIN, ROOMS, XmppLine
from transports.certificates import (
    KEY_ENTROPY_BYTES,
    certificate_pem,
    derive_key,
    issue_leaf,
    make_ca,
)

READY_SECONDS: Final = 60.0
READY_POLL_SECONDS: Final = 0.2

PROSODY: Final = """\
run_as_root = true
pidfile = "{directory}/prosody.pid"
data_path = "{directory}/data"
log = {{ warn = "{directory}/log" }}
interfaces = {{ "127.0.0.1" }}
c2s_ports = {{ }}
c2s_direct_tls_ports = {{ {port} }}
s2s_ports = {{ }}
network_backend = "epoll"
ssl = {{ certificate = "{directory}/chain.pem", key = "{directory}/key.pem" }}
modules_enabled = {{ "roster", "saslauth", "tls", "disco", "mam", "register_ibr" }}
modules_disabled = {{ "s2s" }}
allow_registration = true
authentication = "internal_hashed"
storage = "internal"
archive_expires_after = "never"
default_archive_policy = true
VirtualHost "{domain}"
Component "{rooms}" "muc"
    modules_enabled = {{ "muc_mam" }}
    muc_log_by_default = true
    muc_room_locking = false
    restrict_room_creation = false
"""

EJABBERD: Final = """\
hosts: ["{domain}"]
loglevel: warning
certfiles: ["{directory}/whole.pem"]
registration_timeout: infinity
auth_password_format: scram
listen:
  - port: {port}
    ip: "127.0.0.1"
    module: ejabberd_c2s
    tls: true
    max_stanza_size: 262144
access_rules:
  everybody:
    allow: all
api_permissions: []
modules:
  mod_disco: {{}}
  mod_roster: {{}}
  mod_offline: {{}}
  mod_mam:
    default: always
    db_type: sql
  mod_register:
    access: everybody
    ip_access: everybody
    password_strength: 0
  mod_muc:
    host: "{rooms}"
    access: everybody
    access_create: everybody
    max_users: 2000
    max_users_presence: 2000
    default_room_options:
      mam: true
      max_users: 2000
sql_type: sqlite
sql_database: "{directory}/ejabberd.db"
"""


class Rival(NamedTuple):
    """An XMPP server that may be installed."""

    name: str
    program: str
    file: str
    """The configuration's; both go by the ending."""
    configuration: str
    command: Callable[[str, Path], list[str]]
    """Returns how to start it, given its program and its directory."""


def _prosody(program: str, directory: Path) -> list[str]:
    return [program, "-F", "--config", str(directory / PROSODY_SERVER.file)]


def _ejabberd_home() -> Path | None:
    """Return where Debian keeps ejabberd's modules: a directory named after its version."""
    found = sorted(Path("/usr/lib").glob("*/ejabberd-*/ebin/ejabberd.beam"))
    return found[-1].parent.parent if found else None


def _ejabberd(program: str, directory: Path) -> list[str]:
    """Return the command: the runtime itself, as ejabberdctl would change the user."""
    mnesia = f'"{directory / "mnesia"}"'
    return [program, "-noinput", "+K", "true", "-mnesia", "dir", mnesia, "-s", "ejabberd"]


PROSODY_SERVER: Final = Rival("prosody", "prosody", "prosody.lua", PROSODY, _prosody)
EJABBERD_SERVER: Final = Rival("ejabberd", "erl", "ejabberd.yml", EJABBERD, _ejabberd)
RIVALS: Final = (PROSODY_SERVER, EJABBERD_SERVER)


def program_of(rival: Rival) -> str | None:
    """Return a rival's program; None when it is not installed."""
    if rival is EJABBERD_SERVER and _ejabberd_home() is None:
        return None
    return shutil.which(rival.program)


def version_of(rival: Rival) -> str:
    """Return the version of an installed rival, as Debian names it."""
    command = ["dpkg-query", "--show", "--showformat", "${Version}", rival.name]
    return subprocess.run(command, capture_output=True, check=False, text=True).stdout


def tls_context() -> ssl.SSLContext:
    """Return a client's TLS context that takes any certificate: it is our own server's."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


@contextmanager
def running(rival: Rival, directory: Path) -> Iterator[Server]:
    """Run a rival on a free port; it is stopped at the end."""
    program = program_of(rival)
    assert program is not None, "asked for only where it is installed"
    port = free_port()
    _certify(directory)
    configuration = rival.configuration.format(
        directory=directory, port=port, domain=DOMAIN, rooms=ROOMS
    )
    (directory / rival.file).write_text(configuration, "utf-8")
    for name in ("data", "mnesia"):
        (directory / name).mkdir()
    with (directory / "output").open("wb") as output:
        process = subprocess.Popen(
            rival.command(program, directory),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=directory,
            env=_environment(directory),
        )
    try:
        server = Server(process.pid, "127.0.0.1", port)
        _until_ready(server, process, directory)
        yield server
    finally:
        _stop(process)


def _environment(directory: Path) -> dict[str, str]:
    """Return the environment: where ejabberd finds its libraries and its configuration."""
    home = _ejabberd_home()
    return {
        **os.environ,
        "HOME": str(directory),
        "ERL_LIBS": str(home.parent) if home else "",
        "EJABBERD_CONFIG_PATH": str(directory / EJABBERD_SERVER.file),
        "EJABBERD_LOG_PATH": str(directory / "log"),
        "ERL_CRASH_DUMP_SECONDS": "0",
    }


def _certify(directory: Path) -> None:
    now = datetime.now(UTC)
    key = derive_key(os.urandom(KEY_ENTROPY_BYTES))
    authority_key = derive_key(os.urandom(KEY_ENTROPY_BYTES))
    authority = make_ca(authority_key, "Benchmark", now, os.urandom(16))
    identity = issue_leaf(
        authority_key, authority, key, [DOMAIN, ROOMS, "127.0.0.1"], now, os.urandom(16)
    )
    chain = identity.chain_pem + certificate_pem(authority)
    for name, content in (
        ("key.pem", identity.key_pem),
        ("chain.pem", chain),
        ("whole.pem", chain + identity.key_pem),
    ):
        path = directory / name
        path.touch(mode=0o600)
        path.write_bytes(content)


def _until_ready(server: Server, process: subprocess.Popen[bytes], directory: Path) -> None:
    """Wait until an account can be made; raises ``RuntimeError`` with what the server said."""
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        line = XmppLine((server.host, server.port), tls_context(), "first")
        try:
            carry_on(line, line.register())
        except (OSError, LineLostError):
            time.sleep(READY_POLL_SECONDS)
        else:
            return
        finally:
            line.close()
    said = (directory / "output").read_text("utf-8", "replace")[-500:]
    raise RuntimeError(f"the server did not start: {said}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
