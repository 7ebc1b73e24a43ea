"""Carry one stream of bytes both ways over an HTTP/2 connection, either end (sans-IO).

The client sends one POST and never ends its body; the server answers 200 at once and never ends
its own. So the stream looks like a request to every proxy on its way. HTTP/2's windows bound what
waits at a reader that does not read. Control frames are paid for out of a credit that data
refills, as in ``transports.http.http2``.
"""

from __future__ import annotations

from collections.abc import Callable

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
from h2.settings import SettingCodes

from transports.limits import TUNNEL_CREDIT, TUNNEL_CREDIT_PER_DATA, TUNNEL_WINDOW_BYTES

_COSTLY = (
    h2.events.RemoteSettingsChanged,
    h2.events.PingReceived,
    h2.events.PriorityUpdated,
    h2.events.StreamReset,
    h2.events.UnknownFrameReceived,
    h2.events.WindowUpdated,
    h2.events.TrailersReceived,
    h2.events.InformationalResponseReceived,
)
_HEAD_BYTES = 16 * 1024
_OK = 200
_DEFAULT_WINDOW_BYTES = 65_535


class Tunnel:
    """One end of the stream. Nothing here raises for what the peer sends: the stream ends.

    ``status`` is 0 until the request was answered, ``is_open`` while bytes can go both ways,
    ``is_over`` once nothing will arrive any more and the connection should be closed.
    """

    def __init__(self, *, is_client: bool) -> None:
        config = h2.config.H2Configuration(client_side=is_client, header_encoding="latin-1")
        self._h2 = h2.connection.H2Connection(config)
        self._h2.local_settings = h2.settings.Settings(
            client=is_client,
            initial_values={
                SettingCodes.MAX_CONCURRENT_STREAMS: 1,
                SettingCodes.MAX_HEADER_LIST_SIZE: _HEAD_BYTES,
                SettingCodes.INITIAL_WINDOW_SIZE: TUNNEL_WINDOW_BYTES,
                **({SettingCodes.ENABLE_PUSH: 0} if is_client else {}),
            },
        )
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(TUNNEL_WINDOW_BYTES - _DEFAULT_WINDOW_BYTES)
        self._stream_id = 0
        self._answer: Callable[[str, str], int] | None = None
        self._arrived: list[bytes] = []
        self._unacknowledged = 0
        self._unsent: list[bytes] = []
        self._unsent_bytes = 0
        self._credit = TUNNEL_CREDIT
        self.status = 0
        self.is_over = False

    @classmethod
    def request(cls, authority: str, path: str) -> Tunnel:
        """Return the client's end, which asks for ``path``."""
        tunnel = cls(is_client=True)
        tunnel._stream_id = tunnel._h2.get_next_available_stream_id()
        head = [
            (":method", "POST"),
            (":scheme", "https"),
            (":authority", authority),
            (":path", path),
            ("content-type", "application/octet-stream"),
        ]
        tunnel._h2.send_headers(tunnel._stream_id, head)
        return tunnel

    @classmethod
    def respond(cls, answer: Callable[[str, str], int]) -> Tunnel:
        """Return the server's end; ``answer`` gives the status for a method and a path."""
        tunnel = cls(is_client=False)
        tunnel._answer = answer
        return tunnel

    @property
    def is_open(self) -> bool:
        """Whether bytes can go both ways."""
        return self.status == _OK and not self.is_over

    # --- bytes of the stream ------------------------------------------------------------------

    def take(self) -> bytes:
        """Return what has arrived, and let the peer send as much again."""
        data = b"".join(self._arrived)
        self._arrived.clear()
        count, self._unacknowledged = self._unacknowledged, 0
        if count and not self.is_over:
            self._acknowledge(count)
        return data

    def write(self, data: bytes) -> None:
        """Send bytes; what the peer's windows do not allow yet is kept."""
        if not self.is_over and data:
            self._unsent.append(data)
            self._unsent_bytes += len(data)
            self._send()

    @property
    def unsent_bytes(self) -> int:
        """Return how many bytes wait for the peer's windows."""
        return self._unsent_bytes

    def end(self) -> None:
        """Say that nothing follows, and that the connection ends."""
        if not self.is_over:
            self._end(h2.errors.ErrorCodes.NO_ERROR)

    # --- bytes of the connection --------------------------------------------------------------

    def output(self) -> bytes:
        """Return what is to be written to the connection now."""
        return self._h2.data_to_send()

    def receive(self, data: bytes) -> None:
        """Take bytes of the connection; empty at its end."""
        if not data:
            self.is_over = True
        if self.is_over:
            return
        try:
            for event in self._h2.receive_data(data):
                self._handle(event)
        except (h2.exceptions.ProtocolError, ValueError):
            self.is_over = True

    def _handle(self, event: h2.events.Event) -> None:
        if self.is_over:
            return
        if isinstance(event, _COSTLY):
            self._charge()
        if isinstance(event, h2.events.RequestReceived):
            self._begin(event)
        elif isinstance(event, h2.events.ResponseReceived):
            self._answered(event)
        elif isinstance(event, h2.events.DataReceived):
            self._add(event)
        elif isinstance(event, h2.events.WindowUpdated | h2.events.RemoteSettingsChanged):
            self._send()
        elif isinstance(event, h2.events.StreamEnded | h2.events.StreamReset):
            self.is_over |= event.stream_id == self._stream_id
        elif isinstance(event, h2.events.ConnectionTerminated):
            self.is_over = True

    def _begin(self, event: h2.events.RequestReceived) -> None:
        """Answer the client's request; a second one on the connection is none of ours."""
        if self._stream_id:
            self._end(h2.errors.ErrorCodes.ENHANCE_YOUR_CALM)
            return
        self._stream_id = event.stream_id
        head = {str(name): str(value) for name, value in event.headers}
        assert self._answer is not None, "only a server gets requests"
        self.status = self._answer(head.get(":method", ""), head.get(":path", ""))
        is_refused = self.status != _OK
        answer = [(":status", str(self.status)), ("cache-control", "no-store")]
        self._h2.send_headers(self._stream_id, answer, end_stream=is_refused)
        if is_refused:
            self._end(h2.errors.ErrorCodes.NO_ERROR)

    def _answered(self, event: h2.events.ResponseReceived) -> None:
        head = {str(name): str(value) for name, value in event.headers}
        text = head.get(":status", "")
        self.status = int(text) if text.isascii() and text.isdigit() else 0
        self.is_over = self.status != _OK
        self._send()

    def _add(self, event: h2.events.DataReceived) -> None:
        if event.data and event.stream_id == self._stream_id:
            self._arrived.append(event.data)
            self._unacknowledged += event.flow_controlled_length
            self._refill()
        else:
            self._charge()
            if event.flow_controlled_length and not self.is_over:
                self._acknowledge(event.flow_controlled_length)

    def _acknowledge(self, count: int) -> None:
        try:
            self._h2.acknowledge_received_data(count, self._stream_id)
        except h2.exceptions.ProtocolError:
            self.is_over = True

    def _send(self) -> None:
        """Send as much as the peer's windows allow."""
        while self._unsent and self.is_open:
            data = self._unsent[0]
            window = self._h2.local_flow_control_window(self._stream_id)
            count = min(len(data), window, self._h2.max_outbound_frame_size)
            if count <= 0:
                return
            self._h2.send_data(self._stream_id, data[:count])
            self._unsent_bytes -= count
            if count == len(data):
                del self._unsent[0]
            else:
                self._unsent[0] = data[count:]
            self._refill()

    def _charge(self) -> None:
        self._credit -= 1
        if self._credit < 0:
            self._end(h2.errors.ErrorCodes.ENHANCE_YOUR_CALM)

    def _refill(self) -> None:
        self._credit = min(self._credit + TUNNEL_CREDIT_PER_DATA, TUNNEL_CREDIT)

    def _end(self, code: h2.errors.ErrorCodes) -> None:
        self._h2.close_connection(code)
        self.is_over = True
