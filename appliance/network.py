"""Open the appliance's one port: TCP for WebSocket and HTTP, UDP for QUIC."""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Mapping
from dataclasses import replace
from typing import Final, Protocol

import trio

from appliance.blame import blame
from appliance.config import Config
from sync.door import Door
from transports.carrier import CloseReason, Handler
from transports.http.router import Router
from transports.limits import Limits
from transports.pump import Pump, listen
from transports.quic import QuicEndpoint, QuicLimits
from transports.tls import LiveIdentity

logger = logging.getLogger("strongroom.network")

BIND_ATTEMPTS: Final = 8
"""How often a free port is sought that TCP and UDP both have, when port 0 was asked for."""

LEAVE_SECONDS: Final = 2.0
"""How long connections have to say farewell when the network closes."""


LEAVE_POLL_SECONDS: Final = 0.02
"""How often it is looked whether all are gone."""


class Network(Protocol):
    """Where client connections come from: the sixth port of the appliance."""

    addresses: tuple[str, ...]
    """Where clients can connect, for people to read."""

    async def serve(self, handler: Handler) -> None:
        """Bring connections to the handler until cancelled."""
        ...

    def wake(self) -> None:
        """Ask for a turn, from any thread."""
        ...

    def stop_accepting(self) -> None:
        """Take no new connections; those open go on."""
        ...


class PortTakenError(OSError):
    """Another program listens on the port."""


class RealNetwork:
    """Sockets of this machine. Bound when made, so that a taken port is told at once.

    Args:
        config: the sections listen, limits and quic.
        identity: the TLS identity; replaced while running when it is renewed.
        router: answers HTTP requests.
        reset_key: 32 secret bytes that outlive a restart: a QUIC client whose server was
            restarted learns it at its next packet.
        door: lets branches in, at headquarters.

    Raises:
        PortTakenError: the port is in use.
        OSError: the address is not this machine's.
    """

    def __init__(
        self,
        config: Config,
        identity: LiveIdentity,
        router: Router,
        *,
        reset_key: bytes,
        door: Door | None = None,
    ) -> None:
        self._door = door
        self._reset_key = reset_key
        self._config = config
        self._identity = identity
        self._router = router
        hosts = _hosts(config.listen.host)
        self._tcp, self._udp = _bind(hosts, config.listen.port, udp=config.quic.enabled)
        self.port = int(self._tcp[0].getsockname()[1])
        self.addresses = tuple(_address(host, self.port) for host in hosts)
        self._pump: Pump | None = None
        self._quic: QuicEndpoint | None = None

    async def serve(self, handler: Handler) -> None:
        """Run the pump and, if enabled, the QUIC endpoint; cancel to close everything."""
        door = self._door
        self._pump = Pump(
            handler,
            self._identity.choose if door is None else door.beside(self._identity.choose),
            self._router,
            limits=_tcp_limits(self._config),
            log=_log,
            woken=lambda: None,
            allowed_origins=self._config.listen.origins,
            certified=None if door is None else door.certified,
        )
        async with trio.open_nursery() as nursery:
            if door is not None:
                nursery.start_soon(door.run)
            nursery.start_soon(self._pump.serve, self._tcp)
            if self._udp:
                self._quic = QuicEndpoint(
                    self._udp,
                    handler,
                    self._identity.identity,
                    limits=_quic_limits(self._config),
                    reset_key=self._reset_key,
                    failed=_quic_failed,
                )
                self._identity.watch(self._quic.set_identity)
                nursery.start_soon(self._quic.run)

    def wake(self) -> None:
        """Ask the pump for a turn; what concerns QUIC wakes its endpoint by itself."""
        if self._pump is not None:
            self._pump.wake()

    def stop_accepting(self) -> None:
        """Close the listeners; QUIC refuses newcomers."""
        if self._pump is not None:
            self._pump.stop_accepting()
        if self._quic is not None:
            self._quic.drain()

    async def leave(self) -> None:
        """Say farewell on every connection that is left."""
        if self._door is not None:
            self._door.close()
        if self._quic is not None:
            self._quic.close_all(CloseReason.GOING_AWAY)
        if self._pump is not None:
            await self._pump.drain(LEAVE_SECONDS)
        with trio.move_on_after(LEAVE_SECONDS):
            while self._quic is not None and self._quic.connection_count:  # noqa: ASYNC110
                await trio.sleep(LEAVE_POLL_SECONDS)

    def figures(self) -> dict[str, float]:
        """Return counters for metrics."""
        found: dict[str, float] = {}
        if self._pump is not None:
            counters = self._pump.counters
            found["tcp_connections"] = self._pump.connections
            found["tcp_accepted_total"] = counters.accepted
            found["tcp_refused_total"] = counters.refused
            found["tcp_failed_total"] = counters.failed
        if self._quic is not None:
            found["quic_connections"] = self._quic.connection_count
            found["quic_accepted_total"] = self._quic.counts.accepted
            found["quic_refused_total"] = self._quic.counts.refused
            found["quic_retries_total"] = self._quic.counts.retries
            found["quic_failed_total"] = self._quic.counts.failed
        return found


def _hosts(host: str) -> tuple[str, ...]:
    """Return numeric addresses; "::" means IPv6 and IPv4, where the machine has both."""
    if host == "localhost":
        return ("127.0.0.1",)
    if host == "::":
        return ("0.0.0.0", "::") if socket.has_dualstack_ipv6() else ("0.0.0.0",)  # noqa: S104
    return (host,)


def _bind(
    hosts: tuple[str, ...], port: int, *, udp: bool
) -> tuple[list[socket.socket], list[socket.socket]]:
    attempts = 1 if port else BIND_ATTEMPTS
    for attempt in range(attempts):
        try:
            return _bind_once(hosts, port, udp=udp)
        except PortTakenError:
            if attempt == attempts - 1:
                raise
    raise AssertionError("unreachable")


def _bind_once(
    hosts: tuple[str, ...], port: int, *, udp: bool
) -> tuple[list[socket.socket], list[socket.socket]]:
    tcp: list[socket.socket] = []
    datagrams: list[socket.socket] = []
    try:
        for host in hosts:
            tcp.append(listen(host, port))
            port = tcp[0].getsockname()[1]
            if udp:
                datagrams.append(_listen_udp(host, port))
    except OSError as error:
        for each in (*tcp, *datagrams):
            each.close()
        if error.errno == errno.EADDRINUSE:
            raise PortTakenError(error.errno, f"port {port} is in use") from None
        raise
    return tcp, datagrams


def _listen_udp(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((host, port))
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _tcp_limits(config: Config) -> Limits:
    limits = config.limits
    return replace(
        Limits(),
        connections=limits.connections,
        connections_per_address=limits.connections_per_address,
        strangers=limits.unauthenticated,
    )


def _quic_limits(config: Config) -> QuicLimits:
    limits = config.limits
    found = replace(
        QuicLimits(),
        connections=limits.connections,
        connections_per_address=limits.connections_per_address,
        strangers=limits.unauthenticated,
    )
    return replace(found, retry_from=0) if config.quic.retry == "always" else found


def _log(event: str, fields: Mapping[str, str | int]) -> None:
    logger.warning(event, extra=dict(fields))


def _quic_failed(error: BaseException) -> None:
    logger.error("quic.connection_failed", extra=blame(error))


__all__ = ["Network", "PortTakenError", "RealNetwork"]
