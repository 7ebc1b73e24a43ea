"""Bring what was committed, and what is only said, to the connections it concerns.

Each event is rendered once and encoded at most once for each codec. Nothing is sent here:
frames are collected on each connection and leave as one payload at the end of the turn.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from appliance.gateway.client import Client, Shared
from appliance.gateway.limits import (
    BACKGROUND_SECONDS,
    LIVE_BYTES,
    PRESENCE_MEMBERS,
    PRESENCE_PEOPLE_SHARE,
)
from appliance.gateway.roster import Roster
from appliance.messaging import render, targets
from appliance.messaging.state import Conversations
from store.oplog import Op
from transports.wire import schema
from transports.wire.schema import Frame, Id


class Fanout:
    """Distribution to connections; remembers which of them have something to flush."""

    def __init__(self, roster: Roster, conversations: Conversations) -> None:
        self._roster = roster
        self._conversations = conversations
        self.dirty: set[Client] = set()
        """Connections to be flushed at the end of the turn."""
        self.behind: list[Client] = []
        """Connections for which one turn brought too much: the log has the rest."""
        self.events = 0
        """Events handed to connections since the start."""

    def operation(self, op: Op, now: float) -> None:
        """Push a committed operation to everybody it concerns who is live."""
        body = targets.body_of(op)
        event = render.event(op, body, self._conversations)
        if event is None:
            return
        shared = Shared(event)
        is_urgent = render.is_urgent(event)
        for person in self._roster.online(render.audience(op, body, self._conversations)):
            for client in self._roster.of(person):
                if not client.is_live or client.pos >= op.pos:
                    continue
                if client.out_bytes > LIVE_BYTES:
                    client.is_live = False
                    self.behind.append(client)
                    continue
                client.pos = op.pos
                self.event(client, shared, now, is_urgent=is_urgent)

    def event(self, client: Client, shared: Shared, now: float, *, is_urgent: bool) -> None:
        """Collect one event for one connection, holding it back in background mode."""
        client.push(shared.encoded(client.codec))
        self.events += 1
        if not client.is_background or is_urgent or client.is_overfull:
            self.dirty.add(client)
        elif client.flush_at == 0:
            client.flush_at = now + BACKGROUND_SECONDS

    def reply(self, client: Client, frame: Frame) -> None:
        """Collect a frame for one connection, to leave at the end of this turn."""
        client.push_frame(frame)
        self.dirty.add(client)

    def typing(self, client: Client, frame: schema.Typing) -> None:
        """Tell the other members who are online that somebody types."""
        conversation = self._conversations.get(frame.conv)
        if conversation is None or client.person not in conversation.members:
            return
        notice = Shared(schema.TypingNotice(frame.conv, Id(client.person)))
        for person in self._roster.online(conversation.members):
            if person != client.person:
                self._signal(self._roster.of(person), notice)

    def presence(self, person: bytes, state: str) -> None:
        """Tell those who share a conversation of moderate size with ``person``."""
        notice = Shared(schema.PresenceNotice(Id(person), state))
        for other in self._acquaintances(person):
            self._signal(self._roster.of(other), notice)

    def present(self, client: Client) -> None:
        """Tell a new connection who of its acquaintances is online."""
        for other in self._acquaintances(client.person):
            state = self._roster.presence(other)
            self.reply(client, schema.PresenceNotice(Id(other), state))

    def line(self, site: schema.Site) -> None:
        """Tell everybody how this branch's line to headquarters is."""
        shared = Shared(site)
        for client in self._roster:
            if client.is_live:
                client.push(shared.encoded(client.codec))
                self.dirty.add(client)

    def flush_due(self, now: float) -> None:
        """Mark the background connections whose waiting time is over."""
        for client in self._roster:
            if client.flush_at and client.flush_at <= now:
                self.dirty.add(client)

    def flush(self) -> None:
        """Send what was collected, one payload for each connection."""
        while self.dirty:
            client = self.dirty.pop()
            client.flush_at = 0
            client.flush()
            if client.is_blocked:
                client.is_live = False

    def _acquaintances(self, person: bytes) -> set[bytes]:
        """Return who is online and shares a conversation; walks people or conversations."""
        ours = self._conversations.ever(person)
        if self._roster.people * PRESENCE_PEOPLE_SHARE < len(ours):
            others = self._roster.names()
            found = {each for each in others if each != person and self._share(person, each)}
        else:
            found = set()
            for conversation_id in ours:
                members = self._told_in(conversation_id)
                if person in members:
                    found.update(self._roster.online(members))
        found.discard(person)
        return found

    def _share(self, person: bytes, other: bytes) -> bool:
        """Tell whether two people are in one conversation in which presence is told."""
        common = self._conversations.ever(person).keys() & self._conversations.ever(other).keys()
        return any(
            person in (members := self._told_in(each)) and other in members for each in common
        )

    def _told_in(self, conversation_id: bytes) -> Mapping[bytes, object]:
        """Return the members of a conversation in which presence is told; else nobody."""
        conversation = self._conversations.get(conversation_id)
        if conversation is None or len(conversation.members) > PRESENCE_MEMBERS:
            return {}
        return conversation.members

    @staticmethod
    def _signal(clients: Iterable[Client], notice: Shared) -> None:
        for client in clients:
            if client.is_live and not client.is_background:
                client.carrier.send_datagram(client.codec.join([notice.encoded(client.codec)]))
