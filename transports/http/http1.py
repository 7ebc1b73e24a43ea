"""Serve one HTTP/1.1 connection over h11: bytes in, bytes out (sans-IO)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import h11

from transports.http.message import Request, Response, Switch, Upgrader, final_headers, refuse
from transports.http.message import reason_phrase as phrase
from transports.http.router import Router, split_target
from transports.limits import Limits


@dataclass(slots=True)
class HttpOutput:
    """What one ``receive`` asks for.

    Attributes:
        data: bytes for the peer.
        completed: requests answered in this call.
        is_last: close the connection once ``data`` is sent.
        switch: the connection speaks another protocol from here on.
        rest: bytes received after the request that switched.
    """

    data: bytes = b""
    completed: int = 0
    is_last: bool = False
    switch: Switch | None = None
    rest: bytes = b""


class Http1:
    """The server's side of one HTTP/1.1 connection.

    Args:
        router: answers requests.
        upgrade: is asked first.
        peer: the client's address.
        limits: bounds of heads, bodies and counts.
        date: returns the value of the Date header.
    """

    def __init__(
        self,
        router: Router,
        upgrade: Upgrader,
        peer: str,
        limits: Limits,
        date: Callable[[], str],
    ) -> None:
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=limits.request_head_bytes)
        self._router = router
        self._upgrade = upgrade
        self._peer = peer
        self._limits = limits
        self._date = date
        self._head: h11.Request | None = None
        self._body = bytearray()
        self._served = 0
        self._output = HttpOutput()

    def receive(self, data: bytes) -> HttpOutput:
        """Take bytes of the peer (empty: its end of stream) and return what follows from them."""
        self._output = output = HttpOutput()
        try:
            self._h11.receive_data(data)
            while not (output.is_last or output.switch) and self._step(self._h11.next_event()):
                pass
        except h11.RemoteProtocolError as error:
            self._refuse_broken(error.error_status_hint)
        return output

    def _step(self, event: object) -> bool:
        """Handle one event; tell whether more may follow."""
        if isinstance(event, h11.Request):
            return self._begin(event)
        if isinstance(event, h11.Data):
            self._body += event.data
            if len(self._body) > self._limits.request_body_bytes:
                self._refuse_request(413, "the body is too long")
            return True
        if isinstance(event, h11.EndOfMessage):
            self._complete()
            return True
        if isinstance(event, h11.ConnectionClosed):
            self._output.is_last = True
        return False

    def _begin(self, head: h11.Request) -> bool:
        self._head = head
        self._body.clear()
        declared = dict(head.headers).get(b"content-length", b"0")
        if head.http_version not in {b"1.0", b"1.1"}:
            self._refuse_request(505, "HTTP/1.1 or HTTP/2 only")
        elif _head_bytes(head) > self._limits.request_head_bytes:
            self._refuse_request(431, "the headers are too long")
        elif len(declared) > 15 or int(declared) > self._limits.request_body_bytes:
            self._refuse_request(413, "the body is too long")
        elif self._h11.they_are_waiting_for_100_continue:
            self._output.data += self._send(
                h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue")
            )
        return True

    def _complete(self) -> None:
        """Answer the request that is now whole, and get ready for the next."""
        request = self._request()
        if request is None:
            self._refuse_request(400, "the request target is malformed")
            return
        upgraded = self._upgrade(request)
        if isinstance(upgraded, Switch):
            self._output.data += upgraded.head
            self._output.switch = upgraded
            self._output.rest = self._h11.trailing_data[0]
            self._output.completed += 1
            return
        response = upgraded or self._router.respond(request)
        self._served += 1
        is_last = (
            self._output.completed + 1 >= self._limits.requests_per_read
            or self._served >= self._limits.requests_per_connection
        )
        self._respond(response, is_last=is_last)
        if not self._output.is_last:
            self._h11.start_next_cycle()
            self._head = None

    def _request(self) -> Request | None:
        """Return the whole request; None when its target is malformed."""
        head = self._head
        if head is None:
            return None
        split = split_target(head.target.decode("latin-1"))
        if split is None:
            return None
        headers = tuple((n.decode("latin-1"), v.decode("latin-1")) for n, v in head.headers)
        method, version = head.method.decode("latin-1"), head.http_version.decode("latin-1")
        return Request(method, *split, headers, bytes(self._body), self._peer, version)

    def _respond(self, response: Response, *, is_last: bool) -> None:
        headers = final_headers(response, self._date())
        if is_last:
            headers.append(("connection", "close"))
        is_head = self._head is not None and self._head.method == b"HEAD"
        head = h11.Response(
            status_code=response.status, headers=headers, reason=phrase(response.status)
        )
        parts = [self._send(head)]
        if response.body and not is_head:
            parts.append(self._send(h11.Data(data=response.body)))
        parts.append(self._send(h11.EndOfMessage()))
        self._output.data += b"".join(parts)
        self._output.completed += 1
        self._output.is_last = is_last or self._h11.our_state is h11.MUST_CLOSE

    def _refuse_request(self, status: int, message: str) -> None:
        """Answer an error and close: what the peer goes on to send is not read."""
        self._respond(refuse(status, message), is_last=True)

    def _refuse_broken(self, status: int) -> None:
        """Answer what is no HTTP, when the peer may still be waiting for an answer."""
        self._output.is_last = True
        if self._h11.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            self._refuse_request(status, "this is not HTTP/1.1")

    def _send(self, event: h11.Event) -> bytes:
        return self._h11.send(event) or b""


def _head_bytes(head: h11.Request) -> int:
    """Return about what the head took on the wire, however many reads it came in."""
    return len(head.target) + sum(len(name) + len(value) + 4 for name, value in head.headers)
