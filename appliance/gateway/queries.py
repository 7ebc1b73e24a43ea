"""Answer what clients read without writing: welcome, lists and history, from one snapshot."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from appliance.core import Core
from appliance.gateway.client import Client
from appliance.gateway.limits import KEEPALIVE_SECONDS
from appliance.gateway.roster import Roster
from appliance.gateway.signin import Granted
from appliance.messaging import lists, timeline
from appliance.positions import format_pos, parse_key
from store.engine.contract import Reader
from store.ids import Stream, StreamKind
from store.tables import IDEMPOTENCY
from transports.wire import schema
from transports.wire.errors import Refusal
from transports.wire.schema import Id


def answer(
    reader: Reader,
    core: Core,
    roster: Roster,
    client: Client,
    query: schema.History | schema.List,
) -> schema.Ok:
    """Return the reply to a query; raises ``Refusal`` and the store's errors."""
    if isinstance(query, schema.History):
        return _history(reader, core, client, query)
    listing = _LISTS.get(query.what)
    if listing is None:
        raise Refusal("request.invalid")
    items = listing(reader, core, roster, client)
    return schema.Ok(query.id, items=tuple(items))


def _history(reader: Reader, core: Core, client: Client, query: schema.History) -> schema.Ok:
    page = timeline.history(
        reader,
        core.log,
        core.conversations,
        client.person,
        query.conv,
        before=parse_key(query.before) if query.before else None,
        after=parse_key(query.after) if query.after else None,
        limit=query.limit,
        is_over=core.is_over(),
    )
    return schema.Ok(query.id, conv=query.conv, items=tuple(page.items), more=page.more)


def welcome(
    reader: Reader, core: Core, granted: Granted, limits: schema.Limits, now_ms: int
) -> schema.Welcome:
    """Return the frame that follows a sign-in."""
    person, device, token = granted
    return schema.Welcome(
        v=schema.PROTOCOL_VERSION,
        site=Id(core.log.node),
        incarnation=core.incarnation,
        pos=format_pos(core.applied(reader)),
        person=Id(person.id),
        device=Id(device.id),
        login=person.login,
        name=person.name,
        limits=limits,
        keepalive=KEEPALIVE_SECONDS,
        n=highest_counter(reader, core, device.id),
        roles=tuple(sorted(person.roles)),
        token=token,
        at=now_ms,
    )


def highest_counter(reader: Reader, core: Core, device: bytes) -> int:
    """Return the highest message number accepted for a device; one seek."""
    pseudonym = core.streams.pseudonym(Stream(StreamKind.DEVICE, device))
    if pseudonym is None:
        return 0
    for key, _ in reader.range(*IDEMPOTENCY.span(pseudonym), reverse=True, limit=1):
        return IDEMPOTENCY.columns(key)[1]
    return 0


def _conversations(reader: Reader, core: Core, roster: Roster, client: Client) -> list[Any]:
    del roster
    return lists.conversations(reader, core.log, core.conversations, client.person)


def _people(reader: Reader, core: Core, roster: Roster, client: Client) -> list[Any]:
    del reader, client
    people = sorted(core.directory.people(), key=lambda person: person.login)
    return [
        schema.PersonItem(
            Id(person.id),
            person.login,
            person.name,
            person.unit,
            person.state,
            roster.presence(person.id),
        )
        for person in people
        if person.login
    ]


def _devices(reader: Reader, core: Core, roster: Roster, client: Client) -> list[Any]:
    del reader
    person = core.directory.person(client.person)
    devices = [] if person is None else [d for d in person.devices.values() if not d.revoked]
    return [
        schema.DeviceItem(
            Id(device.id),
            device.name,
            device.added_ms,
            device.shared,
            device.id == client.device,
            len(roster.of_device(client.person, device.id)),
        )
        for device in sorted(devices, key=lambda device: device.added_ms)
    ]


def _duties(reader: Reader, core: Core, roster: Roster, client: Client) -> list[Any]:
    del reader, roster, client
    return lists.duties(core.conversations)


_LISTS: dict[str, Callable[[Reader, Core, Roster, Client], list[Any]]] = {
    "conversations": _conversations,
    "people": _people,
    "devices": _devices,
    "duties": _duties,
}
