"""Make invitations: the code is made here and only its hash is sent, so the server never has it."""

from __future__ import annotations

import os
from typing import Any

import msgspec

from cli.offline import Issued, server_for_links
from cli.signing import SignedSession


def issue(session: SignedSession, login: str, hours: int) -> Issued:
    """Open an invitation for a person and return its link; raises ``CliError``."""
    from appliance.directory.codes import CODE_ENTROPY_BYTES, code_hash, make_code
    from appliance.directory.commands import CreateInvite

    code = make_code(os.urandom(CODE_ENTROPY_BYTES))
    answer = session.directory(CreateInvite(login, code_hash(code), hours))
    return Issued(login, "", link_to(session, login, code), answer["expires_at"])


def link_to(session: SignedSession, login: str, code: str) -> str:
    """Return the link for a person's code: the address of their site and the pin of its CA."""
    from appliance.config import Config
    from transports.wire.links import Invitation, Server, parse_server

    home = session.server.ask("user.show", {"who": login})["site"]
    if home and session.server.ask("site.status")["role"] == "headquarters":
        branch = session.server.ask("site.show", {"name": home})
        if branch["address"]:
            return str(Invitation(parse_server(branch["address"]), code, branch["ca"]))
    config = msgspec.convert(session.server.ask("config.show")["config"], type=Config)
    status = session.server.ask("status")
    host, port = server_for_links(config)
    for address in status["addresses"] if not port else ():
        port = int(address.rpartition(":")[2])
    pin = "" if config.tls.certificate else status["ca"]
    return str(Invitation(Server(host, port), code, pin))


def tell(issued: Issued, *, qr: bool) -> dict[str, Any]:
    """Print an invitation for people, and return it for JSON."""
    from cli.commands.init import show_qr
    from cli.output import local_time, say

    say(f"invitation for {issued.login}, once, until {local_time(issued.expires_at)}:")
    say(f"  strongroom chat --join '{issued.link}'")
    show_qr(issued.link, wanted=qr)
    return issued.as_json()
