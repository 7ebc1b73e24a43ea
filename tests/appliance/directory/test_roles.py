"""No set of roles both acts and erases the trace; who gives which role, over all sets."""

from itertools import chain, combinations

import pytest

from appliance.directory.roles import (
    ADMINISTRATOR,
    AUDITOR,
    MEMBER,
    ROLES,
    SECURITY_OFFICER,
    clean_roles,
    givers,
    is_allowed,
)
from transports.wire.errors import Refusal

EVERY_SET = [
    frozenset(chosen)
    for chosen in chain.from_iterable(combinations(sorted(ROLES), n) for n in range(5))
]
ALLOWED = {
    frozenset(roles)
    for office in (ADMINISTRATOR, SECURITY_OFFICER, AUDITOR)
    for roles in ((office,), (office, MEMBER))
} | {frozenset((MEMBER,))}


def test_there_are_sixteen_sets_and_seven_are_allowed() -> None:
    assert len(EVERY_SET) == 16
    assert len(ALLOWED) == 7


@pytest.mark.parametrize("roles", EVERY_SET, ids=lambda roles: "+".join(sorted(roles)) or "none")
def test_no_one_holds_two_offices(roles: frozenset[str]) -> None:
    assert is_allowed(roles) is (roles in ALLOWED)
    if roles in ALLOWED:
        assert clean_roles(roles) == roles
    else:
        with pytest.raises(Refusal) as caught:
            clean_roles(roles)
        assert caught.value.code == "person.roles"


def test_a_role_that_does_not_exist_is_refused() -> None:
    assert not is_allowed(frozenset((MEMBER, "root")))


@pytest.mark.parametrize("before", [roles for roles in EVERY_SET if roles in ALLOWED])
@pytest.mark.parametrize("after", [roles for roles in EVERY_SET if roles in ALLOWED])
def test_officers_of_control_are_never_made_by_an_administrator_alone(
    before: frozenset[str], after: frozenset[str]
) -> None:
    needed = givers(before, after)
    assert needed <= {ADMINISTRATOR, SECURITY_OFFICER}
    control = {SECURITY_OFFICER, AUDITOR}
    assert (SECURITY_OFFICER in needed) is bool((before ^ after) & control)
    assert (ADMINISTRATOR in needed) is bool((before ^ after) - control)
    assert bool(needed) is (before != after)
