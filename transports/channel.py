"""Carry one TLS connection over one non-blocking socket: bytes in, bytes out, deadlines.

    state      until                     what is read is    deadline
    HELLO      the ClientHello is whole  kept               handshake_seconds
    HANDSHAKE  TLS is established        given to TLS       handshake_seconds
    OPEN       ``finish``                given to the layer above, whose deadline holds
    FINISHING  the peer's end of stream  thrown away        close_seconds
    CLOSED

TLS runs over two memory buffers (``ssl.MemoryBIO``): one system call takes in all records that
have arrived, and the context is chosen by the ClientHello. Output is queued in clear and
encrypted a slice at a time, as the socket takes it; so a slow reader's queue is held once.
"""

from __future__ import annotations

import contextlib
import math
import socket
import ssl
from enum import Enum, auto
from typing import Protocol

from transports.carrier import CloseReason
from transports.clienthello import NotTlsError, read_hello
from transports.limits import Limits
from transports.tls import ContextChooser

_PLAIN_HTTP = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n"
    b"Content-Length: 29\r\n\r\nThis port speaks HTTPS only.\n"
)
_RECORD_BYTES = 16 * 1024
"""The most that one TLS record carries (RFC 8446, section 5.1)."""


class State(Enum):
    """Where a connection is in its life."""

    HELLO = auto()
    HANDSHAKE = auto()
    OPEN = auto()
    FINISHING = auto()
    CLOSED = auto()


class Upper(Protocol):
    """What speaks over an open channel: HTTP at first, then perhaps WebSocket."""

    def receive(self, data: bytes) -> None:
        """Take decrypted bytes; empty once, at the peer's end of stream."""
        ...

    def due(self, now: float) -> float:
        """Do what the time asks for; return when to be asked again."""
        ...

    def has_room(self) -> None:
        """The queue fell below its low-water mark after it was above the high one."""
        ...

    def leave(self, reason: CloseReason) -> None:
        """Take leave of the peer and finish the channel."""
        ...

    def ended(self, reason: CloseReason) -> None:
        """The channel is closed. Called once."""
        ...


class Host(Protocol):
    """What a channel needs of the pump that owns it."""

    now: float
    limits: Limits
    buffer: memoryview
    choose_context: ContextChooser

    def take_handshake(self) -> bool:
        """Tell whether one more TLS handshake may begin in this turn."""
        ...

    def mark_dirty(self, channel: Channel) -> None:
        """Flush this channel at the end of this turn, or of the next one."""
        ...

    def watch(self, channel: Channel, *, reading: bool, writing: bool) -> None:
        """Change which events of the socket are waited for."""
        ...

    def set_deadline(self, channel: Channel, deadline: float) -> None:
        """Call ``channel.expire`` at this time instead of any set before."""
        ...

    def established(self, channel: Channel, protocol: str | None) -> Upper:
        """TLS is up with this ALPN protocol; return the layer above."""
        ...

    def admit(self, channel: Channel) -> None:
        """The peer is known: the limits for strangers no longer hold."""
        ...

    def gone(self, channel: Channel) -> None:
        """Forget the channel, just before it closes its socket."""
        ...


class Channel:
    """One accepted connection. Nothing here raises for what a peer or the network does."""

    __slots__ = (
        "_blocked_at",
        "_deadline",
        "_hello",
        "_incoming",
        "_is_above",
        "_is_peer_done",
        "_is_reading",
        "_is_writing",
        "_outgoing",
        "_queue",
        "_queued_bytes",
        "_reason",
        "_sealed",
        "_socket",
        "_tls",
        "descriptor",
        "heard_at",
        "host",
        "is_dirty",
        "peer",
        "state",
        "upper",
    )

    def __init__(self, host: Host, sock: socket.socket, peer: str) -> None:
        self.host = host
        self.peer = peer
        self.descriptor = sock.fileno()
        self.state = State.HELLO
        self.upper: Upper | None = None
        self.heard_at = host.now
        self.is_dirty = False
        self._socket = sock
        self._hello: bytearray | None = bytearray()
        self._tls: ssl.SSLObject | None = None
        self._incoming: ssl.MemoryBIO | None = None
        self._outgoing: ssl.MemoryBIO | None = None
        self._queue: list[bytes | memoryview] = []
        self._queued_bytes = 0
        self._sealed: bytes | memoryview = b""
        self._blocked_at: float | None = None
        self._is_above = self._is_peer_done = self._is_writing = False
        self._is_reading = True
        self._reason = CloseReason.LOST
        self._deadline = math.inf
        self._rearm(host.now + host.limits.handshake_seconds)

    # --- reading ----------------------------------------------------------------------------

    def readable(self) -> None:
        """Read what has arrived, up to one turn's share, and hand it on."""
        state = self.state
        if state is State.HELLO and not self.host.take_handshake():
            return
        try:
            count = self._socket.recv_into(self.host.buffer)
        except BlockingIOError:
            return
        except OSError:
            self.abort(CloseReason.LOST)
            return
        if not count:
            self._end_of_stream()
            return
        self.heard_at = self.host.now
        data = self.host.buffer[:count]
        if self._incoming is not None and state is not State.FINISHING:
            self._incoming.write(data)
            if state is State.OPEN:
                self._decrypt()
            else:
                self._handshake()
        elif state is State.HELLO:
            self._greet(data)

    def _end_of_stream(self) -> None:
        self._is_peer_done = True
        if self.state is State.OPEN and self.upper is not None:
            self.upper.receive(b"")
        if self.state is not State.FINISHING or not (self._queue or self._sealed):
            self.abort(self._reason)
        else:
            # Reading would report the end of stream for ever; what is queued still leaves.
            self._watch(reading=False)

    def _greet(self, data: memoryview) -> None:
        """Collect the ClientHello, then choose the context and begin TLS."""
        assert self._hello is not None, "kept until the context is chosen"
        self._hello += data
        try:
            hello = read_hello(bytes(self._hello))
        except NotTlsError:
            self._turn_away()
            return
        if hello is None:
            return
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = self.host.choose_context(hello.server_name)
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._incoming.write(self._hello)
        self._hello = None
        self.state = State.HANDSHAKE
        self._handshake()

    def _turn_away(self) -> None:
        """Answer plain HTTP in kind; other garbage gets nothing."""
        if self._hello is not None and self._hello[:1].isalpha():
            self._sealed = _PLAIN_HTTP
            self.finish(CloseReason.PROTOCOL)
        else:
            self.abort(CloseReason.PROTOCOL)

    def _handshake(self) -> None:
        assert self._tls is not None, "made when the state was entered"
        assert self._incoming is not None
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._push_protocol_bytes()
            return
        except ssl.SSLError:
            self._push_protocol_bytes()
            self.abort(CloseReason.PROTOCOL)
            return
        self._push_protocol_bytes()
        if self.state is not State.HANDSHAKE:
            return
        self.state = State.OPEN
        self.upper = self.host.established(self, self._tls.selected_alpn_protocol())
        self.reconsider()
        if self._incoming.pending:
            self._decrypt()

    def _decrypt(self) -> None:
        """Hand on each record that has arrived whole.

        A peer that asks for new keys is answered by OpenSSL with our next output, once: such
        requests queue nothing.
        """
        tls, incoming = self._tls, self._incoming
        assert tls is not None, "an open channel has TLS"
        assert incoming is not None
        while self.state is State.OPEN and self.upper is not None:
            try:
                data = tls.read(_RECORD_BYTES)
            except ssl.SSLWantReadError:
                break
            except ssl.SSLError:
                self._push_protocol_bytes()
                self.abort(CloseReason.PROTOCOL)
                return
            if not data:
                self._end_of_stream()
                return
            self.upper.receive(data)
            if not incoming.pending:
                break

    # --- writing ----------------------------------------------------------------------------

    def write(self, head: bytes, payload: bytes = b"") -> None:
        """Queue two pieces, of which the second may be shared with other channels.

        What is written to a channel that is not open is dropped. The queue is bounded by its
        users: HTTP answers a bounded number of requests, a WebSocket carrier refuses to go on.
        """
        if self.state is not State.OPEN:
            return
        self._queue.append(head)
        if payload:
            self._queue.append(payload)
        self._queued_bytes += len(head) + len(payload)
        if not self.is_dirty:
            self.is_dirty = True
            self.host.mark_dirty(self)
        if not self._is_above and self.queued_bytes() > self.host.limits.high_water_bytes:
            self._is_above = True
            self._watch(reading=False)

    def queued_bytes(self) -> int:
        """Return the bytes that the system has not taken yet, in clear and encrypted."""
        return self._queued_bytes + len(self._sealed)

    def peer_certificate(self) -> bytes | None:
        """Return the certificate (DER) whose key the peer has proved to hold, None without one."""
        return self._tls.getpeercert(binary_form=True) if self._tls is not None else None

    @property
    def is_blocked(self) -> bool:
        """Whether the socket took less than it was given, and has not caught up."""
        return self._blocked_at is not None

    def flush(self) -> None:
        """Give the socket what is queued, up to one turn's share. Clears ``is_dirty``."""
        self.is_dirty = False
        if self.state is State.CLOSED or (self._sealed and not self._push()):
            return
        written = 0
        while self._queue:
            if written >= self.host.limits.write_bytes:
                self.is_dirty = True
                self.host.mark_dirty(self)
                break
            if not self._seal_slice():
                return
            written += len(self._sealed)
            if not self._push():
                break
        if self._is_above:
            self._note_room()
        if self.state is State.FINISHING and not (self._queue or self._sealed):
            self._farewell()

    def _seal_slice(self) -> bool:
        """Encrypt the head of the queue; False when the channel broke."""
        assert self._tls is not None, "only an open channel takes output into its queue"
        assert self._outgoing is not None
        data = self._take_slice()
        try:
            taken = self._tls.write(data)
            while taken < len(data):
                taken += self._tls.write(memoryview(data)[taken:])
        except ssl.SSLError:
            self.abort(CloseReason.LOST)
            return False
        self._sealed = self._outgoing.read()
        return True

    def _take_slice(self) -> bytes | memoryview:
        """Take up to ``slice_bytes`` off the queue."""
        queue, limit = self._queue, self.host.limits.slice_bytes
        if self._queued_bytes <= limit:
            data = queue[0] if len(queue) == 1 else b"".join(queue)
            queue.clear()
            self._queued_bytes = 0
            return data
        count = taken_bytes = 0
        for piece in queue:
            if taken_bytes + len(piece) > limit:
                break
            taken_bytes += len(piece)
            count += 1
        if count:
            data = b"".join(queue[:count])
            del queue[:count]
        else:
            view = memoryview(queue[0])
            data, queue[0], taken_bytes = view[:limit], view[limit:], limit
        self._queued_bytes -= taken_bytes
        return data

    def _push(self) -> bool:
        """Give the socket what is encrypted; True when it took all."""
        sealed = self._sealed
        try:
            taken = self._socket.send(sealed)
        except BlockingIOError:
            taken = 0
        except OSError:
            self.abort(CloseReason.LOST)
            return False
        if taken == len(sealed):
            self._sealed = b""
            if self._blocked_at is not None:
                self._blocked_at = None
                self._watch(writing=False)
            return True
        self._sealed = memoryview(sealed)[taken:]
        if taken or self._blocked_at is None:
            self._blocked_at = self.host.now
            self._watch(writing=True)
            self._rearm(min(self._deadline, self._stall_deadline()))
        return False

    def _push_protocol_bytes(self) -> None:
        """Send what TLS itself has to say."""
        if self._outgoing is not None and self._outgoing.pending:
            self._sealed = bytes(self._sealed) + self._outgoing.read()
            self._push()

    def _note_room(self) -> None:
        if self.queued_bytes() < self.host.limits.low_water_bytes:
            self._is_above = False
            if not self._is_peer_done:
                self._watch(reading=True)
            if self.state is State.OPEN and self.upper is not None:
                self.upper.has_room()

    # --- time -------------------------------------------------------------------------------

    def expire(self, now: float) -> None:
        """Do what the time asks for."""
        if self._blocked_at is not None and now >= self._stall_deadline():
            self.abort(CloseReason.SLOW)
        elif self.state is State.OPEN:
            self._deadline = math.inf
            self.reconsider()
        elif now >= self._deadline:
            self.abort(self._reason)
        else:
            self._rearm(self._deadline)

    def reconsider(self) -> None:
        """Ask the layer above for its deadline, after what it depends on has changed."""
        if self.upper is None or self.state is not State.OPEN:
            return
        deadline = self.upper.due(self.host.now)
        if self.state is State.OPEN:
            self._rearm(min(deadline, self._stall_deadline()))

    def _stall_deadline(self) -> float:
        if self._blocked_at is None:
            return math.inf
        return self._blocked_at + self.host.limits.write_stall_seconds

    def _rearm(self, deadline: float) -> None:
        if self.state is State.CLOSED:
            return
        self._deadline = deadline
        if deadline < math.inf:
            self.host.set_deadline(self, deadline)

    # --- ending -----------------------------------------------------------------------------

    def finish(self, reason: CloseReason) -> None:
        """Flush, say farewell, and close when the peer does; no effect when already ending."""
        if self.state in {State.FINISHING, State.CLOSED}:
            return
        self.state = State.FINISHING
        self._reason = reason
        self._rearm(self.host.now + self.host.limits.close_seconds)
        if not self.is_dirty:
            self.is_dirty = True
            self.host.mark_dirty(self)

    def _farewell(self) -> None:
        """Say that nothing follows. The socket stays until the peer has read it all."""
        if self._tls is not None:
            with contextlib.suppress(ssl.SSLError):
                self._tls.unwrap()
            self._tls = None
            self._push_protocol_bytes()
        if self.state is State.CLOSED or self._sealed:
            return
        if self._is_peer_done:
            self.abort(self._reason)
            return
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            self.abort(self._reason)

    def abort(self, reason: CloseReason) -> None:
        """Close the socket now, whatever is queued; no effect when closed."""
        if self.state is State.CLOSED:
            return
        self.state = State.CLOSED
        self.host.gone(self)
        self._socket.close()
        self._queue.clear()
        self._queued_bytes = 0
        self._sealed = b""
        self._hello = None
        self._tls = self._incoming = self._outgoing = None
        upper, self.upper = self.upper, None
        if upper is not None:
            upper.ended(reason)

    def leave(self, reason: CloseReason) -> None:
        """End the connection, politely where there is anyone to be polite to."""
        if self.state is State.OPEN and self.upper is not None:
            self.upper.leave(reason)
        elif self.state is not State.FINISHING:
            self.abort(reason)

    def fail(self) -> None:
        """Our own code failed for this connection: tell the peer, and hand nothing on any more."""
        self.leave(CloseReason.INTERNAL)

    def _watch(self, *, reading: bool | None = None, writing: bool | None = None) -> None:
        if self.state is State.CLOSED:
            return
        is_reading = self._is_reading if reading is None else reading
        is_writing = self._is_writing if writing is None else writing
        if (is_reading, is_writing) != (self._is_reading, self._is_writing):
            self._is_reading, self._is_writing = is_reading, is_writing
            self.host.watch(self, reading=is_reading, writing=is_writing)
