"""Say which access roles go together, and who may give or take each.

No one may both act and erase the trace, and nobody becomes an officer by an administrator's
word alone:

    role              may                                          given and taken by
    member            write and read as everybody does             administrator
    administrator     manage people, devices, invitations, duties  administrator
    security_officer  approve, hold, release, reset access         security officer
    auditor           read the trail                               security officer

The last three exclude each other; each goes together with ``member``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from transports.wire.errors import Refusal

MEMBER: Final = "member"
ADMINISTRATOR: Final = "administrator"
SECURITY_OFFICER: Final = "security_officer"
AUDITOR: Final = "auditor"

ROLES: Final = frozenset((MEMBER, ADMINISTRATOR, SECURITY_OFFICER, AUDITOR))

EXCLUSIVE: Final = frozenset((ADMINISTRATOR, SECURITY_OFFICER, AUDITOR))
"""Of these a person has at most one."""

GIVEN_BY: Final = {
    MEMBER: ADMINISTRATOR,
    ADMINISTRATOR: ADMINISTRATOR,
    SECURITY_OFFICER: SECURITY_OFFICER,
    AUDITOR: SECURITY_OFFICER,
}
"""The role that may give and take each role."""

INDISPENSABLE: Final = {
    ADMINISTRATOR: "person.last_administrator",
    SECURITY_OFFICER: "person.last_officer",
}
"""Roles whose last active holder stays, and the refusal's code: nobody could give them back."""


def is_allowed(roles: frozenset[str]) -> bool:
    """Tell whether one person may have exactly these roles."""
    return bool(roles) and roles <= ROLES and len(roles & EXCLUSIVE) <= 1


def clean_roles(roles: Iterable[str]) -> frozenset[str]:
    """Return the roles as a set; raises ``Refusal`` ("person.roles")."""
    chosen = frozenset(roles)
    if not is_allowed(chosen):
        raise Refusal("person.roles")
    return chosen


def givers(before: frozenset[str], after: frozenset[str]) -> frozenset[str]:
    """Return the roles that one must have, all of them, to change ``before`` into ``after``."""
    return frozenset(GIVEN_BY[role] for role in before ^ after)
