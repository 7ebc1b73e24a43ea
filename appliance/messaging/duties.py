"""Decide about duties: addresses with a holder now and a chain of next persons.

Administrators create, assign and chain them, with a signed request; the present holder hands
a duty over, by a client's frame or a signed request. Everybody hears who holds a duty. Open
urgent messages go along to a new holder.
"""

from __future__ import annotations

import re
from typing import Final

from appliance.context import Context
from appliance.directory import rights
from appliance.directory.commands import Command
from appliance.directory.roles import ADMINISTRATOR
from appliance.limits import (
    CHAIN_PERSONS,
    DUTIES,
    DUTY_NAME_CHARACTERS,
    STEP_SECONDS_MAX,
    STEP_SECONDS_MIN,
    TITLE_CHARACTERS,
)
from appliance.messaging import answers, checks, lists, urgent
from appliance.messaging.commands import NAMES, AssignDuty, CreateDuty, HandOver, SetChain
from appliance.messaging.model import Duty
from appliance.operations import DutyChain, DutyCreated, DutyHolder, Kind
from store.ids import ID_BYTES, Stream, StreamKind
from store.oplog import Op
from transports.wire import schema
from transports.wire.errors import Refusal

_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")


def create(ctx: Context, command: CreateDuty) -> schema.DutyItem:
    """Decide ``CreateDuty``; the name is lower-case letters, digits and inner hyphens."""
    _require_administrator(ctx, command)
    name, title = command.name, command.title.strip()
    if len(name) > DUTY_NAME_CHARACTERS or not _NAME.fullmatch(name):
        raise Refusal("duty.name")
    if not 0 < len(title) <= TITLE_CHARACTERS or not checks.is_line(title):
        raise Refusal("duty.title")
    if ctx.conversations.duty_named(name) is not None:
        raise Refusal("duty.exists")
    if len(ctx.conversations.duties()) >= DUTIES:
        raise Refusal("request.invalid")
    duty_id = ctx.entropy.bytes(ID_BYTES)
    body = DutyCreated(duty_id, name, title, ctx.actor.signed)
    ctx.append(Kind.DUTY_CREATED, body, stream=Stream(StreamKind.DUTY, duty_id))
    return _item(ctx, duty_id)


def assign(ctx: Context, command: AssignDuty) -> schema.DutyItem:
    """Decide ``AssignDuty``."""
    _require_administrator(ctx, command)
    duty = _changeable(ctx, command.duty)
    holder = _participant(ctx, command.who) if command.who else b""
    if holder != duty.holder:
        _give(ctx, duty, holder)
    return _item(ctx, duty.id)


def set_chain(ctx: Context, command: SetChain) -> schema.DutyItem:
    """Decide ``SetChain``; an empty chain takes no time."""
    _require_administrator(ctx, command)
    duty = _changeable(ctx, command.duty)
    if len(command.chain) > CHAIN_PERSONS:
        raise Refusal("duty.chain")
    chain = tuple(_participant(ctx, who) for who in command.chain)
    if len(set(chain)) != len(chain):
        raise Refusal("duty.chain")
    if chain and not STEP_SECONDS_MIN <= command.step_seconds <= STEP_SECONDS_MAX:
        raise Refusal("duty.chain")
    body = DutyChain(chain, command.step_seconds if chain else 0, ctx.actor.signed)
    ctx.append(Kind.DUTY_CHAIN, body, stream=Stream(StreamKind.DUTY, duty.id))
    return _item(ctx, duty.id)


def hand_over(ctx: Context, frame: schema.Duty) -> schema.Ok:
    """Decide the frame ``duty``: the present holder hands over to somebody else."""
    duty = _held(ctx, frame.duty)
    person = checks.participant(ctx, frame.person)
    if person == duty.holder:
        return schema.Ok(re=frame.id)
    return answers.done(frame.id, _give(ctx, duty, person))


def hand_over_signed(ctx: Context, command: HandOver) -> schema.DutyItem:
    """Decide ``HandOver``, signed by the present holder."""
    rights.check_signature(ctx, rights.acting(ctx), NAMES[HandOver], command)
    duty = _held(ctx, command.duty)
    person = _participant(ctx, command.who)
    if person != duty.holder:
        _give(ctx, duty, person)
    return _item(ctx, duty.id)


def _give(ctx: Context, duty: Duty, holder: bytes) -> Op:
    body = DutyHolder(holder, ctx.actor.signed)
    op = ctx.append(Kind.DUTY_HOLDER, body, stream=Stream(StreamKind.DUTY, duty.id))
    if holder:
        urgent.pass_to_holder(ctx, duty.id, holder)
    return op


def _named(ctx: Context, name: str) -> Duty:
    duty = ctx.conversations.duty_named(name)
    if duty is None:
        raise Refusal("duty.unknown")
    return duty


def _changeable(ctx: Context, name: str) -> Duty:
    """Return a duty, unless somebody of another site holds it and this is a branch."""
    duty = _named(ctx, name)
    if ctx.sites.is_branch and duty.holder and not ctx.sites.is_home(duty.holder):
        raise Refusal("site.not_headquarters")
    return duty


def _held(ctx: Context, name: str) -> Duty:
    duty = _named(ctx, name)
    if duty.holder != ctx.actor.person:
        raise Refusal("duty.not_holder")
    return duty


def _participant(ctx: Context, who: str) -> bytes:
    return checks.participant(ctx, rights.target(ctx, who).id)


def _item(ctx: Context, duty: bytes) -> schema.DutyItem:
    known = ctx.conversations.duty(duty)
    assert known is not None
    return lists.duty(known)


def _require_administrator(ctx: Context, command: Command) -> None:
    """Raise unless the site itself acts, or an administrator who signed this command."""
    if ctx.actor.is_site:
        return
    person = rights.acting(ctx)
    if ADMINISTRATOR not in ctx.sites.offices(person):
        raise Refusal("permission.denied")
    rights.check_signature(ctx, person, NAMES[type(command)], command)
