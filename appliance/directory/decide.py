"""List the directory's decisions: each command and the function that decides it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from appliance.context import Context
from appliance.directory import commands, decide_access, decide_people
from transports.wire import schema

DECISIONS: Final[dict[type, Callable[[Context, Any], Any]]] = {
    commands.CreatePerson: decide_people.create_person,
    commands.SetProfile: decide_people.set_profile,
    commands.SetRoles: decide_people.set_roles,
    commands.SetState: decide_people.set_state,
    commands.SetHome: decide_people.set_home,
    commands.ResetAccess: decide_people.reset_access,
    commands.CreateInvite: decide_access.create_invite,
    commands.RevokeInvite: decide_access.revoke_invite,
    commands.AcceptInvite: decide_access.accept_invite,
    commands.AddDevice: decide_access.add_device,
    commands.RenewToken: decide_access.renew_token,
    commands.RevokeDevice: decide_access.revoke_device,
    commands.SetPassword: decide_access.set_password,
    commands.SetKey: decide_access.set_key,
    schema.Revoke: decide_access.revoke_own_device,
}
"""What ``appliance.core`` dispatches on."""
