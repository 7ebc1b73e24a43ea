"""Check who asks: an officer, an auditor or an administrator who signed this very command."""

from __future__ import annotations

from typing import Final

from appliance.context import Context, refuse
from appliance.directory import rights
from appliance.directory.commands import Command
from appliance.directory.model import Person
from appliance.directory.roles import ADMINISTRATOR, AUDITOR, SECURITY_OFFICER
from appliance.disposal.commands import NAMES

OFFICER: Final = frozenset((SECURITY_OFFICER,))
READERS: Final = frozenset((SECURITY_OFFICER, AUDITOR))
FILERS: Final = frozenset((SECURITY_OFFICER, ADMINISTRATOR))


def signed(ctx: Context, command: Command, roles: frozenset[str] = OFFICER) -> Person:
    """Return who signed the command and has one of ``roles``.

    Raises ``Refusal``: "permission.denied", or "request.signature" when the signature, checked
    against the key of this moment, is missing or for anything else.
    """
    person = rights.acting(ctx)
    if not ctx.sites.offices(person) & roles:
        raise refuse("permission.denied")
    rights.check_signature(ctx, person, NAMES[type(command)], command)
    return person
