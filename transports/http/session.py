"""Speak HTTP over an open channel until it switches to WebSocket or ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from transports.carrier import CloseReason
from transports.channel import Channel
from transports.http.http1 import HttpOutput
from transports.http.message import Switch


class HttpMachine(Protocol):
    """What ``Http1`` and ``Http2`` have in common."""

    def receive(self, data: bytes) -> HttpOutput:
        """Take bytes (empty: end of stream) and return what follows from them."""
        ...


class HttpSession:
    """The layer above a channel as long as it speaks HTTP.

    A request must be whole within its time however many bytes arrive meanwhile, so that a peer
    that sends them one by one holds a connection no longer than one that sends none.

    Args:
        channel: the connection, with TLS established.
        machine: the protocol agreed on.
        switch: takes the channel over when it is upgraded, with the bytes that came after.
    """

    __slots__ = ("_by", "_channel", "_machine", "_switch")

    def __init__(
        self,
        channel: Channel,
        machine: HttpMachine,
        switch: Callable[[Channel, Switch, bytes], None],
    ) -> None:
        self._channel = channel
        self._machine = machine
        self._switch = switch
        self._by = channel.host.now + channel.host.limits.first_request_seconds

    def receive(self, data: bytes) -> None:
        """Answer what arrived."""
        channel = self._channel
        output = self._machine.receive(data)
        if output.data:
            channel.write(output.data)
        if output.completed:
            self._by = channel.host.now + channel.host.limits.http_idle_seconds
        if output.switch is not None:
            self._switch(channel, output.switch, output.rest)
        elif output.is_last or not data:
            channel.finish(CloseReason.NORMAL)

    def due(self, now: float) -> float:
        """Close when no whole request came in time; an answer still leaving has its own time."""
        limits = self._channel.host.limits
        if self._channel.queued_bytes():
            self._by = now + limits.http_idle_seconds
        elif now >= self._by:
            self._channel.finish(CloseReason.IDLE)
        return self._by

    def has_room(self) -> None:
        """Nothing waits for room: answers are queued whole."""

    def leave(self, reason: CloseReason) -> None:
        """Finish: an HTTP client that gets no answer knows what that means."""
        self._channel.finish(reason)

    def ended(self, reason: CloseReason) -> None:
        """Nothing is owed to anyone."""
