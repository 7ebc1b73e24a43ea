"""An XMPP connection of the load generator, over TLS from its first byte (XEP-0368).

Stanzas are written as text and counted by their closing tags: a load generator that parsed XML
would be the bottleneck.
"""

from __future__ import annotations

import base64
import select
import ssl
from collections.abc import Iterator
from typing import Final

from benchmarks.lines import Events, LineLostError
from benchmarks.tls_socket import TlsSocket

DOMAIN: Final = "localhost"
ROOMS: Final = "conference.localhost"
STREAM: Final = (
    "<?xml version='1.0'?><stream:stream to='localhost' xmlns='jabber:client' "
    "xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>"
)
REGISTER: Final = (
    "<iq type='set' id='register'><query xmlns='jabber:iq:register'>"
    "<username>{login}</username><password>{login}</password></query></iq>"
)
AUTH: Final = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{secret}</auth>"
BIND: Final = (
    "<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>"
    "<resource>bench</resource></bind></iq>"
)
JOIN: Final = (
    "<presence to='{room}@conference.localhost/{login}'>"
    "<x xmlns='http://jabber.org/protocol/muc'><history maxstanzas='0'/></x></presence>"
)


class XmppLine:
    """One connection of one person, whose password is the login.

    Args:
        address: host and port.
        context: the TLS context.
        login: the local part of the person's address.
    """

    def __init__(self, address: tuple[str, int], context: ssl.SSLContext, login: str) -> None:
        self.login = login
        self._socket = TlsSocket(address, context)
        self._queue: list[str] = []
        self._tails: dict[bytes, bytes] = {}

    def open(self) -> Iterator[Events]:
        """Connect, sign in with PLAIN, bind a resource."""
        yield from self._greeted()
        secret = base64.b64encode(f"\0{self.login}\0{self.login}".encode()).decode()
        yield from self._answered(AUTH.format(secret=secret), b"<success")
        yield from self._answered(STREAM, b"</stream:features>")
        yield from self._answered(BIND, b"</iq>")

    def register(self) -> Iterator[Events]:
        """Connect and make the account (XEP-0077)."""
        yield from self._greeted()
        yield from self._answered(REGISTER.format(login=self.login), b"result")

    def fileno(self) -> int:
        """Return the socket's descriptor."""
        return self._socket.fileno()

    def queue(self, stanza: str) -> None:
        """Collect what the next flush sends."""
        self._queue.append(stanza)

    def flush(self) -> None:
        """Send what was collected, if anything."""
        if self._queue:
            self._socket.send("".join(self._queue).encode())
            self._queue.clear()

    def count(self, *marks: bytes) -> list[int]:
        """Read what has arrived; return how often each mark occurs in it, across reads too."""
        data = self._socket.receive()
        found = []
        for mark in marks:
            text = self._tails.get(mark, b"") + data
            found.append(text.count(mark))
            self._tails[mark] = text[max(0, len(text) - len(mark) + 1) :]
        if b"<stream:error" in data or b"type='error'" in data:
            raise LineLostError(data.decode(errors="replace")[-300:])
        return found

    def close(self) -> None:
        """Close the socket at once."""
        self._socket.close()

    def _greeted(self) -> Iterator[Events]:
        yield from self._socket.open()
        yield from self._answered(STREAM, b"</stream:features>")

    def _answered(self, stanza: str, mark: bytes) -> Iterator[Events]:
        """Send something and wait for a mark in the answer."""
        self._socket.send(stanza.encode())
        answer = b""
        while mark not in answer:
            yield select.EPOLLIN
            answer += self._socket.receive()
            if b"<failure" in answer or b"<stream:error" in answer or b"type='error'" in answer:
                raise LineLostError(answer.decode(errors="replace")[-300:])
