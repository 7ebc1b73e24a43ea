"""Show branches, whose branch this site is, and how it stands with headquarters."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from appliance import certificates
from appliance.administration.contract import Answer, Arguments, Host, Operation
from appliance.context import SITE
from appliance.operations import SecretSlot
from appliance.sites import enrolment, lease
from appliance.sites.commands import MeetHeadquarters
from appliance.sites.limits import ADDRESSES
from appliance.sites.registry import Branch
from transports.wire.errors import Refusal
from transports.wire.links import LinkError, parse_server


class Named(Arguments, frozen=True):
    """A branch, by its name."""

    name: str


class Reached(Arguments, frozen=True):
    """Where headquarters is reached, as HOST:PORT."""

    addresses: tuple[str, ...]


class ParcelFor(Arguments, frozen=True):
    """A file to write, as an absolute path; at headquarters for which branch."""

    file: str
    name: str = ""
    all: bool = False


class ParcelFrom(Arguments, frozen=True):
    """A file to read, as an absolute path."""

    file: str


def _branch(host: Host, branch: Branch) -> dict[str, Any]:
    sites = host.site.core.sites
    pin = enrolment.pin_of(host.site.core.secrets[SecretSlot.CA_CERTIFICATE])
    key = branch.public_key
    link, granted = host.links.state(branch.node), sites.granted.get(branch.site)
    return {
        "site": branch.site,
        "name": branch.name,
        "state": branch.state,
        "fingerprint": enrolment.fingerprint(key, pin) if key else "",
        "node": branch.node.hex(),
        "address": branch.address,
        "ca": f"sha256:{branch.ca.hex()}" if branch.ca else "",
        "people": len(sites.revealed(branch.node)) if branch.node else 0,
        "linked": link.is_up,
        "link_since_at": link.since_ms or None,
        "link_error": "" if link.is_up else link.error,
        "lease_granted_at": granted.at_ms if granted else None,
        "knows_holds": granted is not None and granted.applied >= host.site.core.disposal.ruled_pos,
        "invited_at": branch.invited_ms,
        "expires_at": branch.expires_ms,
        "joined_at": branch.joined_ms or None,
        "approved_at": branch.approved_ms or None,
        "revoked_at": branch.revoked_ms or None,
        "reprovisioned_at": branch.reprovisioned_ms or None,
    }


async def list_sites(host: Host, arguments: Arguments) -> Answer:
    """List the branches of this headquarters."""
    known = host.site.core.sites.branches.values()
    return {"sites": [_branch(host, branch) for branch in known]}


async def show_site(host: Host, arguments: Named) -> Answer:
    """Show one branch, and the people whose credentials it holds or still knows."""
    sites = host.site.core.sites
    branch = sites.named(arguments.name)
    if branch is None:
        raise Refusal("site.unknown")
    people = [
        {"login": person.login, "name": person.name, "at_home": person.home == branch.node}
        for person in (sites.revealed(branch.node) if branch.node else ())
    ]
    return {**_branch(host, branch), "revealed": people}


async def status(host: Host, arguments: Arguments) -> Answer:
    """Show whether this is headquarters or a branch, and how a branch stands."""
    core, headquarters = host.site.core, host.site.core.sites.headquarters
    if headquarters is None:
        approved = sum(branch.is_approved for branch in core.sites.branches.values())
        return {
            "role": "headquarters",
            "organisation": core.site_name,
            "pin": enrolment.pin_of(core.secrets[SecretSlot.CA_CERTIFICATE]).hex(),
            "addresses": list(host.site_addresses),
            "branches": approved,
        }
    state = lease.state_of(core.sites.mark, core.reading())
    line = host.line
    until = certificates.site_identity(core).not_after
    return {
        "role": "branch",
        "organisation": headquarters.organisation,
        "name": headquarters.name,
        "addresses": list(headquarters.addresses),
        "line": line.headquarters if line else "",
        "since_at": line.since or None if line else None,
        "waiting": host.links.waiting,
        "certificate_expires_at": int(until.timestamp() * 1000),
        "profile": core.sites.profile,
        "lease": state,
        "refused": sorted(lease.REFUSED[state, core.sites.profile]),
    }


async def address(host: Host, arguments: Reached) -> Answer:
    """At a branch: try headquarters at these addresses first, whatever was told before."""
    try:
        told = tuple(parse_server(each).authority for each in arguments.addresses)
    except LinkError:
        raise Refusal("request.invalid") from None
    if not 0 < len(told) <= ADDRESSES:
        raise Refusal("request.invalid")
    await host.execute(SITE, MeetHeadquarters(told, is_first=True))
    known = host.site.core.sites.headquarters
    return {"addresses": list(known.addresses) if known else []}


async def export(host: Host, arguments: ParcelFor) -> Answer:
    """Write what another site lacks into a file that only that site can open."""
    path = _path(arguments.file)
    sent = await host.parcels.send(arguments.name, path, is_all=arguments.all)
    return {
        "file": str(path),
        "operations": sent.operations,
        "histories": sent.histories,
        "bytes": sent.size_bytes,
    }


async def take(host: Host, arguments: ParcelFrom) -> Answer:
    """Take in a file that another site wrote for this one."""
    sites = host.site.core.sites
    taken = await host.parcels.take(_path(arguments.file))
    return {
        "sender": sites.name_of(taken.sender),
        "node": taken.sender.hex(),
        "operations": taken.operations,
        "new": taken.fresh,
    }


async def progress(host: Host, arguments: Arguments) -> Answer:
    """Tell how far a file that is written or taken in has come."""
    done, total = host.parcels.progress
    return {"done": done, "total": total}


def _path(text: str) -> Path:
    path = Path(text)
    if not path.is_absolute():
        raise Refusal("request.invalid")
    return path


OPERATIONS: Final[Mapping[str, Operation]] = {
    "site.list": Operation(Arguments, list_sites),
    "site.show": Operation(Named, show_site),
    "site.status": Operation(Arguments, status),
    "site.address": Operation(Reached, address),
    "site.export": Operation(ParcelFor, export),
    "site.import": Operation(ParcelFrom, take),
    "site.progress": Operation(Arguments, progress),
}
