"""Make a site that has no people yet a branch of headquarters, by an invitation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cli.commands.config import configuration
from cli.errors import CliError
from cli.offline import open_site, process_lock, server_for_links
from cli.output import note

if TYPE_CHECKING:
    from appliance.config import Config
    from appliance.sites.enrolment import Invitation

APPROVAL_SECONDS: Final = 3_600.0
"""How long a branch waits for its approval, unless told otherwise."""

INVITATION: Final = "Invitation"
"""What is asked for."""


def join_headquarters(data: Path, invitation: str, timeout: float) -> dict[str, Any]:
    """Apply until an administrator has approved, and become the branch; server down.

    Args:
        data: the data directory.
        invitation: the link, or address and words.
        timeout: how long to wait for the approval, in seconds.

    Returns what ``site join`` answers. Raises ``CliError`` and ``Refusal``; nothing is changed
    then, and it can be done again.
    """
    from appliance.context import SITE
    from appliance.sites.enrolment import fingerprint, read_invitation

    read = read_invitation(invitation)
    config = configuration(data).config
    with process_lock(data):
        opened = open_site(config, data)
        try:
            _expect_free(opened.core)
            own = opened.core.log.origins[opened.core.log.head.origin].verify_key
            words = fingerprint(own, read.pin)
            reach = _reach(opened.core, config)
            adopted = _apply(opened.core, read, reach, words, timeout)
            opened.run(SITE, adopted)
        finally:
            opened.close()
    return {
        "site": adopted.site,
        "name": adopted.name,
        "organisation": adopted.organisation,
        "addresses": list(adopted.addresses),
        "fingerprint": words,
    }


def _expect_free(core: Any) -> None:
    """Raise ``CliError`` for a site that can be no branch, before headquarters hears of it."""
    if len(core.directory) and not core.sites.is_branch:
        hint = "A branch begins empty: strongroom init --branch"
        raise CliError("site.occupied", "this site has people already", hint)


def _reach(core: Any, config: Config) -> tuple[str, bytes]:
    """Return how people reach this branch: its address, and the hash of the CA they pin."""
    from appliance.certificates import ca_fingerprint
    from transports.wire.links import Server, parse_pin

    pin = b"" if config.tls.certificate else parse_pin(ca_fingerprint(core))
    return Server(*server_for_links(config)).authority, pin


def _apply(
    core: Any, invitation: Invitation, reach: tuple[str, bytes], words: str, timeout: float
) -> Any:
    """Apply until an administrator has approved; raises ``CliError`` when it takes too long."""
    import trio

    from appliance.sites.applying import apply
    from appliance.sites.limits import POLL_SECONDS
    from transports.wire.errors import Refusal

    async def until_approved() -> Any:
        end, is_told = trio.current_time() + timeout, False
        while True:
            try:
                return await apply(core, invitation, *reach)
            except Refusal as refusal:
                if refusal.code != "site.waiting" and not (is_told and refusal.retryable):
                    raise
            if not is_told:
                note(f"Fingerprint of this machine: {words}")
                note("Waiting until an administrator at headquarters approves it.")
                is_told = True
            if trio.current_time() >= end:
                hint = "Say it again: the invitation is good for 24 hours."
                raise CliError("site.waiting", "not approved yet", hint, retryable=True)
            await trio.sleep(POLL_SECONDS)

    return trio.run(until_approved)
