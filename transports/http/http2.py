"""Serve one HTTP/2 connection over h2: bytes in, bytes out (sans-IO).

A peer pays for control frames (resets, settings, pings, priorities, window updates, empty data)
out of a credit that completed requests refill; when it is spent, the connection ends with
ENHANCE_YOUR_CALM. So a flood of them, rapid reset included, costs the server a bounded amount.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
from h2.settings import SettingCodes

from transports.http.http1 import HttpOutput
from transports.http.message import Request, Response, final_headers, refuse
from transports.http.router import Router, split_target
from transports.limits import Limits

_COSTLY = (
    h2.events.RemoteSettingsChanged,
    h2.events.PingReceived,
    h2.events.PriorityUpdated,
    h2.events.StreamReset,
    h2.events.UnknownFrameReceived,
    h2.events.WindowUpdated,
)


@dataclass(slots=True)
class _Stream:
    """One request on its way in, or its answer on its way out."""

    headers: tuple[tuple[str, str], ...]
    body: bytearray = field(default_factory=bytearray)
    unsent: memoryview | None = None


class Http2:
    """The server's side of one HTTP/2 connection.

    Args:
        router: answers requests.
        peer: the client's address.
        limits: bounds of heads, bodies, streams and control frames.
        date: returns the value of the Date header.
    """

    def __init__(self, router: Router, peer: str, limits: Limits, date: Callable[[], str]) -> None:
        config = h2.config.H2Configuration(client_side=False, header_encoding="latin-1")
        self._h2 = h2.connection.H2Connection(config)
        self._h2.local_settings = h2.settings.Settings(
            client=False,
            initial_values={
                SettingCodes.MAX_CONCURRENT_STREAMS: limits.http2_streams,
                SettingCodes.MAX_HEADER_LIST_SIZE: limits.request_head_bytes,
            },
        )
        self._h2.initiate_connection()
        self._router = router
        self._peer = peer
        self._limits = limits
        self._date = date
        self._streams: dict[int, _Stream] = {}
        self._credit = limits.http2_credit
        self._served = 0
        self._output = HttpOutput()

    def receive(self, data: bytes) -> HttpOutput:
        """Take bytes of the peer (empty: its end of stream) and return what follows from them."""
        self._output = HttpOutput(is_last=not data)
        try:
            for event in self._h2.receive_data(data):
                self._handle(event)
                if self._output.is_last:
                    break
        except h2.exceptions.ProtocolError:
            self._output.is_last = True
        self._output.data = self._h2.data_to_send()
        return self._output

    def _handle(self, event: h2.events.Event) -> None:
        if isinstance(event, _COSTLY):
            self._charge()
        if isinstance(event, h2.events.RequestReceived):
            self._begin(event)
        elif isinstance(event, h2.events.DataReceived):
            self._add(event)
        elif isinstance(event, h2.events.StreamEnded):
            self._complete(event.stream_id)
        elif isinstance(event, h2.events.StreamReset):
            self._streams.pop(event.stream_id, None)
        elif isinstance(event, h2.events.WindowUpdated | h2.events.RemoteSettingsChanged):
            self._send_bodies()
        elif isinstance(event, h2.events.ConnectionTerminated):
            self._output.is_last = True

    def _charge(self) -> None:
        self._credit -= 1
        if self._credit < 0:
            self._end(h2.errors.ErrorCodes.ENHANCE_YOUR_CALM)

    def _end(self, code: h2.errors.ErrorCodes) -> None:
        self._h2.close_connection(code)
        self._output.is_last = True

    def _begin(self, event: h2.events.RequestReceived) -> None:
        headers = tuple((_text(name), _text(value)) for name, value in event.headers)
        self._streams[event.stream_id] = _Stream(headers)

    def _add(self, event: h2.events.DataReceived) -> None:
        flow_bytes = event.flow_controlled_length
        if not event.data:
            self._charge()
        elif event.stream_id in self._streams:
            stream = self._streams[event.stream_id]
            stream.body += event.data
            if len(stream.body) > self._limits.request_body_bytes:
                self._respond(event.stream_id, refuse(413, "the body is too long"))
                self._forget(event.stream_id)
        if not self._output.is_last:
            self._acknowledge(event.stream_id, flow_bytes)

    def _acknowledge(self, stream_id: int, flow_bytes: int) -> None:
        """Give the peer its window back, for a stream that may be over already."""
        if flow_bytes:
            try:
                self._h2.acknowledge_received_data(flow_bytes, stream_id)
            except h2.exceptions.StreamClosedError:
                self._h2.acknowledge_received_data(flow_bytes, 0)

    def _forget(self, stream_id: int) -> None:
        """End a stream whose request is not wanted any further."""
        self._streams.pop(stream_id, None)
        try:
            self._h2.reset_stream(stream_id, h2.errors.ErrorCodes.NO_ERROR)
        except h2.exceptions.ProtocolError:
            self._output.is_last = True

    def _complete(self, stream_id: int) -> None:
        """Answer the request that is now whole."""
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        request = self._request(stream)
        if request is None:
            self._respond(stream_id, refuse(400, "the request is malformed"))
        else:
            self._respond(stream_id, self._router.respond(request))
        self._output.completed += 1
        self._served += 1
        refilled = self._credit + self._limits.http2_credit_per_request
        self._credit = min(self._limits.http2_credit, refilled)
        if self._served >= self._limits.requests_per_connection:
            self._end(h2.errors.ErrorCodes.NO_ERROR)

    def _request(self, stream: _Stream) -> Request | None:
        pseudo = {name: value for name, value in stream.headers if name.startswith(":")}
        split = split_target(pseudo.get(":path", ""))
        if split is None:
            return None
        headers = [header for header in stream.headers if not header[0].startswith(":")]
        if ":authority" in pseudo and "host" not in dict(headers):
            headers.append(("host", pseudo[":authority"]))
        body = bytes(stream.body)
        return Request(pseudo[":method"], *split, tuple(headers), body, self._peer, "2")

    def _respond(self, stream_id: int, response: Response) -> None:
        headers = [(":status", str(response.status)), *final_headers(response, self._date())]
        stream = self._streams[stream_id]
        is_head = dict(stream.headers).get(":method") == "HEAD"
        has_body = bool(response.body) and not is_head
        self._h2.send_headers(stream_id, headers, end_stream=not has_body)
        if has_body:
            stream.unsent = memoryview(response.body)
            self._send_body(stream_id, stream)
        else:
            self._streams.pop(stream_id)

    def _send_bodies(self) -> None:
        for stream_id, stream in list(self._streams.items()):
            if stream.unsent is not None:
                self._send_body(stream_id, stream)

    def _send_body(self, stream_id: int, stream: _Stream) -> None:
        """Send as much of a body as the peer's windows allow."""
        unsent = stream.unsent
        while unsent:
            window = self._h2.local_flow_control_window(stream_id)
            count = min(len(unsent), window, self._h2.max_outbound_frame_size)
            if count <= 0:
                stream.unsent = unsent
                return
            is_last = count == len(unsent)
            self._h2.send_data(stream_id, bytes(unsent[:count]), end_stream=is_last)
            unsent = unsent[count:]
        self._streams.pop(stream_id, None)


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")
