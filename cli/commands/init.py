"""Make a new organisation: keys, store, configuration, and the first people's invitations."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from appliance.config import FILE_NAME, Config, credential_path, key_directory, load
from cli.enrolling import APPROVAL_SECONDS, INVITATION, join_headquarters
from cli.errors import CliError
from cli.offline import Issued, invite, own_addresses, process_lock, wrap_for
from cli.options import PATH, command
from cli.output import emit_json, local_time, note, say
from cli.places import data_directory
from cli.secret_input import read_secret

if TYPE_CHECKING:
    from appliance.site import Site
    from store.errors import StoreError

FIRST_PEOPLE: tuple[tuple[str, str, str], ...] = (
    ("administrator", "administrator", "Administrator"),
    ("officer", "security_officer", "Security officer"),
    ("auditor", "auditor", "Auditor"),
)
"""Option, role and display name of who is invited first."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to make."""

    data: Path
    name: str
    config: Config
    text: str
    logins: dict[str, str]
    hours: int
    is_branch: bool
    replica: Path | None = None
    allow_same_device: bool = False


@dataclass(frozen=True, slots=True)
class Made:
    """What was made; ``failure`` is what kept the key replica from being made with it."""

    fingerprint: str
    invitations: list[Issued]
    failure: StoreError | None = None


@command(
    "init",
    example=(
        'strongroom init --data /var/lib/strongroom --keys /mnt/keys --name "City hospital" \\\n'
        "    --replica /mnt/keys2/strongroom --host chat.hospital.example --host 10.0.0.5"
    ),
)
@click.option("--keys", type=PATH, metavar="DIR", help="Key directory; else DATA-keys.")
@click.option(
    "--replica", type=PATH, metavar="DIR", help="Also make a key replica, on another device."
)
@click.option(
    "--allow-same-device",
    is_flag=True,
    help="Even if the replica is on the device of data or keys: a trial.",
)
@click.option("--name", metavar="TEXT", help="The organisation's name.")
@click.option(
    "--wrap",
    type=click.Choice(["none", "passphrase", "credential"]),
    help="What protects the keys besides file permissions.",
)
@click.option("--passphrase-file", metavar="FILE", help="Its first line is the passphrase.")
@click.option("--credential-file", metavar="FILE", help="Its content (32 bytes or more) wraps.")
@click.option(
    "--host", "hosts", multiple=True, metavar="NAME", help="Name or address clients use; repeat."
)
@click.option("--port", type=click.IntRange(1, 65_535), help="Port, TCP and UDP.  [default: 8443]")
@click.option("--administrator", metavar="LOGIN", help="First administrator.  [default: admin]")
@click.option("--officer", metavar="LOGIN", help="First security officer.  [default: officer]")
@click.option("--auditor", metavar="LOGIN", help="First auditor.  [default: auditor]")
@click.option(
    "--valid-hours", type=click.IntRange(1, 720), default=72, help="Life of the invitations."
)
@click.option("--qr", is_flag=True, help="Also draw the invitations as QR codes.")
@click.option("--branch", is_flag=True, help="Without people: it will join a headquarters.")
@click.option(
    "--invitation-file",
    metavar="FILE",
    help="Join headquarters at once, by the link in its first line; - for stdin.",
)
def init(
    data: Path | None,
    as_json: bool,
    qr: bool,
    valid_hours: int,
    invitation_file: str | None,
    **given: Any,
) -> None:
    """Make a new organisation in an empty data directory.

    Prints the fingerprint of its CA and one-time invitations for the first administrator,
    security officer and auditor. Asks for what is missing when there is a terminal. A branch has
    none of these: `strongroom site join` comes next, or with --invitation-file is done as well.
    Without a key replica no backup can be restored; it can be made later too.
    """
    where = data_directory(data)
    invitation = read_secret(invitation_file, INVITATION) if invitation_file else ""
    given["branch"] = given["branch"] or bool(invitation)
    _require_empty(where, "data")
    plan = _plan(where, _asked(given, where), valid_hours)
    _require_empty(key_directory(plan.config, where), "key")
    _expect_replica(plan)
    made = _make(plan)
    if not as_json:
        _tell(plan, made, qr=qr)
    joined = join_headquarters(where, invitation, APPROVAL_SECONDS) if invitation else None
    if as_json:
        answer = {
            "data": str(where),
            "keys": str(key_directory(plan.config, where)),
            "name": plan.name,
            "replica": str(plan.replica) if plan.replica and not made.failure else "",
            "ca": made.fingerprint,
            "invitations": [each.as_json() for each in made.invitations],
            "joined": joined,
        }
        emit_json("init", answer)
    else:
        _tell_next(plan, joined)
    if made.failure is not None:
        raise made.failure


def _require_empty(directory: Path, what: str) -> None:
    if directory.exists() and any(directory.iterdir()):
        hint = "Choose an empty or new directory; nothing was changed."
        raise CliError("store.not_empty", f"the {what} directory {directory} is not empty", hint)


def _expect_replica(plan: Plan) -> None:
    """Raise unless the key replica can lie where it is wanted."""
    from appliance.replicas import expect_place

    if plan.replica is None:
        return
    _require_empty(plan.replica, "key replica")
    if not plan.replica.parent.is_dir():
        hint = "Mount the device, or name another directory; nothing was changed."
        raise CliError("replica.place", f"{plan.replica.parent} is no directory", hint)
    others = [plan.data, key_directory(plan.config, plan.data)]
    expect_place(plan.replica, others, allow_same_device=plan.allow_same_device)


def _asked(given: dict[str, Any], data: Path) -> dict[str, Any]:
    """Return the options, asking on a terminal for what is missing and has no safe default."""
    if not sys.stdin.isatty():
        if not given["name"]:
            raise click.UsageError("--name is missing, and there is no terminal to ask on")
        return given
    asked = dict(given)
    asked["name"] = given["name"] or click.prompt("Name of the organisation", err=True)
    if not given["keys"]:
        beside = key_directory(Config(), data)
        question = "Key directory (best on another device)"
        asked["keys"] = click.prompt(question, default=beside, type=PATH, err=True)
    if not given["replica"]:
        question = "Key replica, on a third device (empty: none yet)"
        replica = click.prompt(question, default="", show_default=False, err=True)
        asked["replica"] = Path(replica) if replica else None
    if not given["hosts"]:
        default_hosts = " ".join(own_addresses())
        question = "Names and addresses that clients use"
        asked["hosts"] = tuple(click.prompt(question, default=default_hosts, err=True).split())
    for option, role, _ in FIRST_PEOPLE:
        if not given[option] and not given["branch"]:
            label = f"Login of the first {role.replace('_', ' ')}"
            default = _default_login(option)
            asked[option] = click.prompt(label, default=default, err=True)
    return asked


def _default_login(option: str) -> str:
    return "admin" if option == "administrator" else option


def _plan(data: Path, given: dict[str, Any], hours: int) -> Plan:
    """Check everything before anything is made; raises ``Refusal`` and ``ConfigError``."""
    from appliance.config_text import render
    from appliance.directory.names import clean_login

    keys = Path(given["keys"]).absolute() if given["keys"] else None
    wrap = given["wrap"] or _implied_wrap(given)
    values: dict[str, Any] = {
        "listen.port": given["port"],
        "listen.names": list(given["hosts"]) or None,
        "keys.directory": os.path.relpath(keys, data) if keys else None,
        "keys.wrap": wrap,
        "keys.passphrase_file": _lasting_name(given["passphrase_file"]),
        "keys.credential_file": _lasting_name(given["credential_file"]),
    }
    chosen = {name: value for name, value in values.items() if value is not None}
    text = render({name: tuple(v) if isinstance(v, list) else v for name, v in chosen.items()})
    logins = {
        role: clean_login(given[option] or _default_login(option))
        for option, role, _ in FIRST_PEOPLE
    }
    if len(set(logins.values())) < len(logins):
        raise click.UsageError("the first people need different login names")
    config = load(text, environ=os.environ).config
    replica = Path(given["replica"]).absolute() if given["replica"] else None
    return Plan(
        data,
        given["name"],
        config,
        text,
        logins,
        hours,
        given["branch"],
        replica,
        given["allow_same_device"],
    )


def _implied_wrap(given: dict[str, Any]) -> str:
    if given["credential_file"]:
        return "credential"
    return "passphrase" if given["passphrase_file"] else "none"


def _lasting_name(name: str | None) -> str | None:
    """Return how the settings name a file: a systemd credential by its name, as given, or whole."""
    if not name or credential_path(name):
        return name
    return str(Path(name).absolute())


def _make(plan: Plan) -> Made:
    """Make the organisation, with invitations and a key replica."""
    from appliance.certificates import ca_fingerprint
    from appliance.context import SITE
    from appliance.directory.commands import CreatePerson
    from appliance.site import Site, data_ports

    wrap = wrap_for(plan.config, plan.data, confirm=True)
    plan.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    keys = key_directory(plan.config, plan.data)
    with process_lock(plan.data):
        ports = data_ports(plan.data, keys, plan.config.store.map_bytes)
        site = Site.create(ports, wrap, name=plan.name)
        try:
            write_private(plan.data / FILE_NAME, plan.text)
            issued = []
            for _, role, name in () if plan.is_branch else FIRST_PEOPLE:
                login = plan.logins[role]
                site.run(SITE, CreatePerson(login, name, roles=("member", role)))
                issued.append(invite(site, plan.config, login, role, plan.hours))
            return Made(ca_fingerprint(site.core), issued, _replicate(site, plan))
        finally:
            site.close()


def _replicate(site: Site, plan: Plan) -> StoreError | None:
    """Make the key replica; return what was in the way: the organisation is there without it."""
    from appliance.administration import replicas
    from store.errors import StoreError

    if plan.replica is None:
        return None
    try:
        replicas.begin(
            site,
            plan.config,
            plan.data,
            plan.replica,
            allow_same_device=plan.allow_same_device,
        )
    except StoreError as error:
        return error
    return None


def write_private(path: Path, text: str) -> None:
    """Write a new file that only its owner can read, durably."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(descriptor)


def _tell(plan: Plan, made: Made, *, qr: bool) -> None:
    keys = key_directory(plan.config, plan.data)
    say(f"{plan.name} is ready.")
    say(f"  data          {plan.data}")
    say(f"  keys          {keys}")
    if plan.replica is not None and made.failure is None:
        say(f"  key replica   {plan.replica}")
    say(f"  settings      {plan.data / FILE_NAME}")
    say(f"  CA            {made.fingerprint}")
    say("")
    _tell_invitations(made.invitations, qr=qr)
    if keys.stat().st_dev == plan.data.stat().st_dev:
        note("notice: keys and data are on one device; who copies it has both.")
    if plan.replica is None:
        note(
            "notice: without a key replica no backup can be restored; on another device, make one:"
        )
        note("        strongroom key-replica add DIR")


def _tell_next(plan: Plan, joined: dict[str, Any] | None) -> None:
    if joined is not None:
        say(f"This site is the branch {joined['name']} of {joined['organisation']}.")
    is_alone = plan.is_branch and joined is None
    say(f"Next: strongroom {'site join' if is_alone else 'serve'} --data {plan.data}")


def _tell_invitations(invitations: list[Issued], *, qr: bool) -> None:
    if not invitations:
        return
    say("Invitations; each works once. Hand every one to its person alone:")
    for each in invitations:
        say("")
        say(f"  {each.role.replace('_', ' ')} {each.login}, until {local_time(each.expires_at)}")
        say(f"    strongroom chat --join '{each.link}'")
        show_qr(each.link, wanted=qr)
    say("")


def show_qr(link: str, *, wanted: bool) -> None:
    """Draw a link if that was asked for."""
    if wanted:
        from cli.qr import qr_text

        sys.stdout.write(qr_text(link) + "\n")
