"""Own every TCP client connection in one trio task: accept, TLS, HTTP, WebSocket.

The task waits on one epoll descriptor that holds the listeners, the clients' sockets and an
``eventfd`` for other threads. A turn serves the sockets that are ready, tells the owner that it
is over, and writes once to each socket that has output. A task per connection would cost more
than all of that together.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from email.utils import formatdate

import trio

from transports.bounds import Bounds
from transports.carrier import CloseReason, Handler
from transports.channel import Channel, Upper
from transports.handshake import answer_upgrade
from transports.http.http1 import Http1
from transports.http.message import Request, Response, Switch
from transports.http.router import Router
from transports.http.session import HttpMachine, HttpSession
from transports.limits import Limits
from transports.session import WebSocketCarrier
from transports.tls import ALPN_HTTP2, ContextChooser
from transports.wheel import TimerWheel

LISTEN_BACKLOG = 1_024
"""Connections the system keeps for us until they are accepted."""
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""Errors of ``accept`` that concern the machine, not the newcomer."""

Welcome = Callable[[Channel, bytes], Upper]
"""Returns the layer above for a channel whose peer showed a certificate (DER)."""

Log = Callable[[str, Mapping[str, str | int]], None]
"""Takes an event's stable name and its fields; never content."""


@dataclass(slots=True)
class PumpCounters:
    """What happened since the start, for metrics."""

    accepted: int = 0
    refused: int = 0
    evicted: int = 0
    opened: int = 0
    failed: int = 0
    turns: int = 0


def listen(host: str, port: int) -> socket.socket:
    """Return a non-blocking listener for one numeric address; port 0 lets the system choose.

    Raises:
        OSError: the address is not ours, or the port is taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((host, port))
        sock.listen(LISTEN_BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


class Pump:
    """The TCP side of the appliance; everything but ``wake`` belongs to the trio thread.

    Args:
        handler: owns the carriers.
        choose_context: gives the TLS context of a new connection.
        router: answers HTTP requests that are no upgrades.
        limits: every bound.
        log: takes what operators should know.
        woken: called in the turn after ``wake``.
        allowed_origins: browsers' origins served besides the host they connect to.
        certified: welcomes peers with a certificate, which only some TLS contexts ask for.
        wall_seconds: the Unix time, for the Date header.
    """

    def __init__(
        self,
        handler: Handler,
        choose_context: ContextChooser,
        router: Router,
        *,
        limits: Limits,
        log: Log,
        woken: Callable[[], None],
        allowed_origins: Collection[str] = (),
        certified: Welcome | None = None,
        wall_seconds: Callable[[], float] = time.time,
    ) -> None:
        self.now = 0.0
        self.limits = limits
        self.buffer = memoryview(bytearray(limits.read_bytes))
        self.choose_context = choose_context
        self.counters = PumpCounters()
        self._handler = handler
        self._router = router
        self._log = log
        self._on_wake = woken
        self._allowed_origins = frozenset(allowed_origins)
        self._certified = certified
        self._wall_seconds = wall_seconds
        self._date = (-1, "")
        self._bounds = Bounds(limits)
        self._wheel: TimerWheel[Channel] = TimerWheel(limits.tick_seconds)
        self._channels: dict[int, Channel] = {}
        self._listeners: dict[int, socket.socket] = {}
        self._resume_at: dict[int, float] = {}
        self._dirty: list[Channel] = []
        self._is_in_turn = False
        self._handshakes_left = 0
        self._emptied: trio.Event | None = None
        self._epoll = select.epoll()
        self._eventfd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._eventfd, select.EPOLLIN)
        self._is_woken = False
        self._wake_lock = threading.Lock()

    @property
    def connections(self) -> int:
        """How many connections there are, strangers included."""
        return self._bounds.connections

    @property
    def strangers(self) -> int:
        """How many of them have not authenticated."""
        return self._bounds.strangers

    # --- running ----------------------------------------------------------------------------

    async def serve(
        self,
        listeners: Sequence[socket.socket],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve until cancelled; then every socket, the listeners too, is closed.

        Args:
            listeners: as ``listen`` makes them; they belong to the pump from here on.
            task_status: told when newcomers are welcome.
        """
        self._listeners = {listener.fileno(): listener for listener in listeners}
        for descriptor in self._listeners:
            self._epoll.register(descriptor, select.EPOLLIN)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._run_clock)
                nursery.start_soon(self._run_turns)
                task_status.started()
        finally:
            self._close()

    async def _run_turns(self) -> None:
        while True:
            if self._dirty:
                await trio.lowlevel.checkpoint()
            else:
                await trio.lowlevel.wait_readable(self._epoll.fileno())
            self._turn()

    async def _run_clock(self) -> None:
        while True:
            await trio.sleep(self.limits.tick_seconds)
            self.now = trio.current_time()
            self._resume_listeners()
            expired = self._wheel.expire(self.now)
            for channel in expired:
                try:
                    channel.expire(self.now)
                except Exception as error:  # noqa: BLE001 - one connection's failure is its own
                    self._fail(channel, error)
            if expired:
                self.wake()

    def _turn(self) -> None:
        """Serve what is ready, then write what came of it."""
        self.now = trio.current_time()
        self.counters.turns += 1
        self._is_in_turn = True
        self._handshakes_left = self.limits.handshakes_per_turn
        channels, is_woken = self._channels, False
        for descriptor, events in self._epoll.poll(0, self.limits.ready_per_turn):
            channel = channels.get(descriptor)
            if channel is None:
                is_woken |= self._serve_other(descriptor)
                continue
            try:
                if events & select.EPOLLOUT:
                    channel.flush()
                if events & ~select.EPOLLOUT:
                    channel.readable()
            except Exception as error:  # noqa: BLE001 - one connection's failure is its own
                self._fail(channel, error)
        if is_woken:
            self._tell(self._on_wake)
        self._tell(self._handler.turn_ended)
        self._flush()
        self._is_in_turn = False

    def _serve_other(self, descriptor: int) -> bool:
        """Serve a listener or the eventfd; tell whether it was the eventfd."""
        listener = self._listeners.get(descriptor)
        if listener is not None:
            self._accept(listener)
        elif descriptor == self._eventfd:
            os.eventfd_read(self._eventfd)
            self._is_woken = False
            return True
        return False

    def _flush(self) -> None:
        """Write to each socket that has output; what becomes dirty meanwhile waits a turn."""
        dirty, self._dirty = self._dirty, []
        for channel in dirty:
            try:
                channel.flush()
            except Exception as error:  # noqa: BLE001 - one connection's failure is its own
                self._fail(channel, error)

    def _tell(self, owner: Callable[[], None]) -> None:
        """Call the owner of all connections; its failure must not end them all."""
        try:
            owner()
        except Exception as error:  # noqa: BLE001 - reported, and the next turn calls again
            self.counters.failed += 1
            self._log("pump.turn_failed", {"error": type(error).__name__})

    def _fail(self, channel: Channel, error: Exception) -> None:
        """End one connection for which our own code failed."""
        self.counters.failed += 1
        self._log("pump.connection_failed", {"error": type(error).__name__})
        for end in (channel.fail, lambda: channel.abort(CloseReason.INTERNAL)):
            try:
                end()
            except Exception as again:  # noqa: BLE001 - the next way to end it is harsher
                self._log("pump.connection_failed", {"error": type(again).__name__})
            else:
                return

    # --- from other threads -----------------------------------------------------------------

    def wake(self) -> None:
        """Ask for a turn, in which ``woken`` is called. Thread-safe; cheap when already asked."""
        if self._is_woken:
            return
        self._is_woken = True
        with self._wake_lock:
            if self._eventfd >= 0:
                os.eventfd_write(self._eventfd, 1)

    # --- ending -----------------------------------------------------------------------------

    def stop_accepting(self) -> None:
        """Close the listeners; connections go on."""
        for descriptor, listener in self._listeners.items():
            if descriptor not in self._resume_at:
                self._epoll.unregister(descriptor)
            listener.close()
        self._listeners.clear()
        self._resume_at.clear()

    async def drain(self, seconds: float) -> None:
        """Stop accepting, take leave of every peer, and return when all are gone.

        Args:
            seconds: after this time what is left is closed as it is.
        """
        self.stop_accepting()
        self._emptied = trio.Event()
        for channel in list(self._channels.values()):
            channel.leave(CloseReason.GOING_AWAY)
        if self._channels:
            with trio.move_on_after(seconds):
                await self._emptied.wait()
        self._abort_all()
        await trio.lowlevel.checkpoint()

    def _abort_all(self) -> None:
        for channel in list(self._channels.values()):
            try:
                channel.abort(CloseReason.GOING_AWAY)
            except Exception as error:  # noqa: BLE001 - the others have to go too
                self._fail(channel, error)

    def _close(self) -> None:
        self._abort_all()
        self.stop_accepting()
        with self._wake_lock:
            os.close(self._eventfd)
            self._eventfd = -1
        self._epoll.close()

    # --- accepting --------------------------------------------------------------------------

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(self.limits.accepts_per_turn):
            try:
                sock, address = listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self._pause(listener, error)
                    return
            else:
                self._welcome(sock, str(address[0]))

    def _pause(self, listener: socket.socket, error: OSError) -> None:
        """Leave newcomers in the system's queue until descriptors may be free again."""
        descriptor = listener.fileno()
        self._epoll.unregister(descriptor)
        self._resume_at[descriptor] = self.now + self.limits.accept_pause_seconds
        self._log("pump.accept_paused", {"errno": error.errno or 0})

    def _resume_listeners(self) -> None:
        for descriptor, resume_at in list(self._resume_at.items()):
            if self.now >= resume_at:
                del self._resume_at[descriptor]
                self._epoll.register(descriptor, select.EPOLLIN)

    def _welcome(self, sock: socket.socket, peer: str) -> None:
        if not self._bounds.has_place(peer):
            self.counters.refused += 1
            sock.close()
            return
        try:
            _configure(sock, self.limits)
        except OSError:
            sock.close()
            return
        channel = Channel(self, sock, peer)
        self._channels[channel.descriptor] = channel
        self._bounds.add(channel)
        self._epoll.register(channel.descriptor, select.EPOLLIN)
        self.counters.accepted += 1
        surplus = self._bounds.surplus()
        if surplus is not None:
            self.counters.evicted += 1
            surplus.abort(CloseReason.OVERLOADED)

    # --- for channels -----------------------------------------------------------------------

    def take_handshake(self) -> bool:
        """Tell whether one more TLS handshake may begin in this turn."""
        self._handshakes_left -= 1
        return self._handshakes_left >= 0

    def mark_dirty(self, channel: Channel) -> None:
        """Flush this channel at the end of this turn, or of the next one."""
        self._dirty.append(channel)
        if not self._is_in_turn:
            self.wake()

    def watch(self, channel: Channel, *, reading: bool, writing: bool) -> None:
        """Change which events of the socket are waited for."""
        events = (select.EPOLLIN if reading else 0) | (select.EPOLLOUT if writing else 0)
        self._epoll.modify(channel.descriptor, events)

    def set_deadline(self, channel: Channel, deadline: float) -> None:
        """Call ``channel.expire`` at this time instead of any set before."""
        self._wheel.set(channel, deadline)

    def established(self, channel: Channel, protocol: str | None) -> Upper:
        """TLS is up with this ALPN protocol; return the layer above."""
        certificate = channel.peer_certificate() if self._certified is not None else None
        if self._certified is not None and certificate is not None:
            return self._certified(channel, certificate)
        machine: HttpMachine
        if protocol == ALPN_HTTP2:
            from transports.http.http2 import Http2  # noqa: PLC0415 - 100 ms that most never need

            machine = Http2(self._router, channel.peer, self.limits, self._http_date)
        else:
            machine = Http1(self._router, self._upgrade, channel.peer, self.limits, self._http_date)
        return HttpSession(channel, machine, self._switch)

    def admit(self, channel: Channel) -> None:
        """The peer is known: the limits for strangers no longer hold."""
        self._bounds.admit(channel)

    def gone(self, channel: Channel) -> None:
        """Forget the channel, just before it closes its socket."""
        if self._channels.pop(channel.descriptor, None) is None:
            return
        self._epoll.unregister(channel.descriptor)
        self._wheel.drop(channel)
        self._bounds.remove(channel)
        if self._emptied is not None and not self._channels:
            self._emptied.set()

    def _upgrade(self, request: Request) -> Switch | Response | None:
        return answer_upgrade(request, allowed_origins=self._allowed_origins)

    def _switch(self, channel: Channel, switch: Switch, rest: bytes) -> None:
        """Make a carrier of a channel whose upgrade was accepted."""
        carrier = WebSocketCarrier(channel, switch.codec, self._handler)
        channel.upper = carrier
        self.counters.opened += 1
        self._handler.opened(carrier)
        channel.reconsider()
        if rest:
            carrier.receive(rest)

    def _http_date(self) -> str:
        second = int(self._wall_seconds())
        if self._date[0] != second:
            self._date = (second, formatdate(second, usegmt=True))
        return self._date[1]


def _configure(sock: socket.socket, limits: Limits) -> None:
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, limits.kernel_unsent_bytes)
