"""Compose the appliance: site, gateway, network, timers, administration; start, drain, stop.

run
 ├ network.serve      carriers' turns; the gateway is their handler
 ├ sign-in tasks      each with an error boundary of its own
 ├ seconds            expired sessions, urgent messages due, background mode
 ├ probes             a durable write every few seconds, for /readyz
 ├ replicas           the keys' copies follow, each in a task of its own
 ├ disposal           the clock, the ledger, requests, and records whose time has come
 └ certificates       the leaf, and a branch's for headquarters, renew by themselves
the writer's thread   started first, stopped last (none in a simulation: ``inline``)
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

import trio

from appliance import certificates, collector, health, metrics, reload
from appliance.blame import blame
from appliance.config import (
    Config,
    key_directory,
    replica_directories,
    split_address,
)
from appliance.context import SITE, Actor, Outcome
from appliance.disposal.commands import NameReplica
from appliance.disposal.ending import Ending
from appliance.disposal.service import Disposal
from appliance.gateway.gateway import Gateway
from appliance.gateway.signin import SignIn
from appliance.health import Health
from appliance.messaging import commands as messaging_commands
from appliance.network import Network, RealNetwork
from appliance.operations import SecretSlot
from appliance.pace import Pace
from appliance.reopening import ReopenError
from appliance.replicas import FOLLOW_SECONDS, Place, Replicas, ReplicaStatus, places
from appliance.site import Site
from appliance.sites import applying, desk, leaver, lines
from appliance.sites.addresses import Addresses
from appliance.sites.commands import MarkLease
from appliance.sites.leasing import Leasing
from appliance.sites.leaver import Leaver
from appliance.sites.limits import LEASE_MARK_SECONDS, RENEWAL_SECONDS
from appliance.sites.line import Line
from appliance.sites.linking import Links
from appliance.sites.parcels import Parcels
from appliance.version import program_version
from store.errors import StoreError
from store.tables import URGENT
from store.writer import Completion
from sync.door import Door
from sync.link import run_link
from transports.http import pages, plain
from transports.http.message import Request, Responder, Response
from transports.http.pages import Readiness
from transports.http.router import Router
from transports.tls import LiveIdentity
from transports.wire import schema
from transports.wire.errors import StrongroomError

logger = logging.getLogger("strongroom.server")

RENEWAL_CHECK_SECONDS: Final = 3_600.0
"""How often the certificate's age is looked at."""

WORKER_THREADS: Final = 2
"""Threads for password checks and other long computations."""


class Waiter:
    """Lets one task await the outcome of its command."""

    def __init__(self) -> None:
        self._event = trio.Event()
        self._completion: Completion[Outcome] | None = None

    def __call__(self, completion: Completion[Outcome]) -> None:
        """Take the outcome; called in the trio thread."""
        self._completion = completion
        self._event.set()

    async def wait(self) -> Any:
        """Return the reply, or raise what the command raised."""
        await self._event.wait()
        assert self._completion is not None
        if self._completion.error is not None:
            raise self._completion.error
        assert self._completion.outcome is not None
        return self._completion.outcome.reply


class Appliance:
    """A running site.

    Args:
        site: the opened store; closed when ``run`` ends.
        config: every setting.
        network: where connections come from; None opens the configured port.
        data_dir: watched for free space; None in a simulation.
        replica_places: where key replicas are, if not as the configuration says.
        inline: let the writer and blocking work run in the trio thread (simulation).
        reread: reads the configuration again; None: there is nothing to reload.
        reloaded: told of each configuration that a reload brought in force.
        pace: how often timers are looked at; a simulation may change it at any time.
    """

    def __init__(
        self,
        site: Site,
        config: Config,
        *,
        network: Network | None = None,
        data_dir: Path | None = None,
        replica_places: Sequence[Place] | None = None,
        inline: bool = False,
        reread: reload.Reread | None = None,
        reloaded: Callable[[Config], None] = lambda config: None,
        pace: Pace | None = None,
    ) -> None:
        self.site = site
        self.config = config
        self.identity: LiveIdentity | None = None
        self.reread = reread
        self._reloaded = reloaded
        self._inline = inline
        self._pace = pace or Pace()
        self._clock = site.ports.clock
        self._started_ns = self._clock.monotonic_ns()
        self.started_ms = self._clock.wall_ms()
        self.health = Health(site.ports.engine, data_dir)
        self._workers = trio.CapacityLimiter(WORKER_THREADS)
        self._nursery: trio.Nursery | None = None
        self._token: trio.lowlevel.TrioToken
        self._stop = trio.Event()
        self._must_reopen = False
        site.core.sites.profile = config.site.profile
        ports, software = site.ports, f"strongroom/{program_version()}"
        means = (site.core, ports.engine, ports.clock, ports.entropy, self.execute)
        self.links = Links(
            *means,
            spawn=self._spawn,
            software=software,
            changed=self._link_changed,
            reopen=self._reopen,
        )
        self.parcels = Parcels(*means, self._blocking, self.links, software)
        linked = (site.core, self.links, self.execute, self._spawn)
        self.told_addresses = Addresses(*linked, lambda: self.site_addresses, lambda: self.config)
        self.leasing = Leasing(*linked)
        site.core.directory.lifetimes = reload.lifetimes_of(config.sessions)
        self.network = network or self._open_network()
        core, clock, entropy = site.core, ports.clock, ports.entropy
        self.sign_in = SignIn(core, clock, entropy, self.execute, self._blocking, self._spawn)
        self.gateway = Gateway(
            site.core,
            site.ports.engine,
            self._clock,
            site.writer.submit,
            self.sign_in,
            reload.limits_of(config),
            self.network.wake,
        )
        self._line = self._known_line()
        self.replicas = Replicas(
            self._places(data_dir) if replica_places is None else replica_places,
            site.ports.engine,
            site.vault,
            self._clock,
            blocking=self._blocking if inline else None,
            met=self._name_replica,
        )
        self.disposal = Disposal(
            site.core,
            site.ports.engine,
            self.execute,
            self._blocking,
            self._followed,
            lambda: self._clock.monotonic_ns() / 1e9,
            self._pace,
        )
        self.leaver = Leaver(
            site.core,
            site.ports.engine,
            self.execute,
            self._blocking,
            lambda: self.links.acknowledged,
        )
        self.gateway.committed = self._committed
        self.ending = Ending(site, self.replicas, self._blocking, data_dir)
        if inline:
            self.gateway.run_inline = site.writer.run_pending

    # --- life -----------------------------------------------------------------------------------

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until ``drain`` has finished or the task is cancelled; then close the site.

        Raises the writer's failure if it had one, ``ReopenError`` when the views have to be written
        anew: the process must then end.
        """
        self._token = trio.lowlevel.current_trio_token()
        self.site.attach(self.gateway.delivered, self._writer_failed)
        if not self._inline:
            self.site.writer.start()
        try:
            # The site is in memory by now and stays; connections come and go after this.
            with nullcontext() if self._inline else collector.at_rest():
                await self._serve(task_status)
        finally:
            self.site.close()
        if self.site.failure is not None:
            raise self.site.failure
        if self._must_reopen:
            raise ReopenError("views are written anew")

    async def _serve(self, task_status: trio.TaskStatus[None]) -> None:
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self.network.serve, self.gateway)
            nursery.start_soon(self._watch_seconds)
            nursery.start_soon(self._watch_probes)
            nursery.start_soon(self._watch_certificate)
            if self.site.core.sites.is_branch:
                nursery.start_soon(self._watch_lease)
                nursery.start_soon(self.leasing.run)
                nursery.start_soon(self._watch_scope)
                if not self._inline:
                    nursery.start_soon(self._watch_admission)
                    nursery.start_soon(self._keep_linked)
            await nursery.start(self.replicas.run)
            await self.disposal.begin()
            nursery.start_soon(self.disposal.run)
            if self.config.metrics.listen:
                await nursery.start(self._serve_metrics)
            if self.site.core.disposal.decommissioned is not None:
                self.network.stop_accepting()
            task_status.started()
            await self._stop.wait()
            nursery.cancel_scope.cancel()

    async def expect_replicas(self) -> None:
        """Raise ``Refusal`` unless every key replica is there, in step."""
        await self.ending.expect_replicas()

    async def finish(self) -> str:
        """End all sessions, then the decommissioned site for ever; return the closing note.

        ``drain`` comes next. Raises as ``Ending.finish``.
        """
        if self.site.core.disposal.decommissioned is not None:
            self.network.stop_accepting()
            await self.gateway.drain()
        note = await self.ending.finish()
        logger.warning("site.ended")
        return note

    async def drain(self) -> None:
        """Stop in good order: no new sessions, answers for what is in flight, ``bye``, stop."""
        logger.info("server.draining")
        self.network.stop_accepting()
        await self.gateway.drain()
        with suppress(StrongroomError, StoreError):
            await self.disposal.end()
        if isinstance(self.network, RealNetwork):
            await self.network.leave()
        self._stop.set()

    def _reopen(self) -> None:
        """Stop at once: what people are shown is not what the log says. In the trio thread."""
        logger.warning("server.reopening")
        self._must_reopen = True
        self._stop.set()

    def _writer_failed(self, error: BaseException) -> None:
        """Stop at once: what the engine has on disk is no longer known. Any thread."""
        logger.critical("writer.failed", extra=blame(error))
        if self._inline:
            self._stop.set()
        else:
            with suppress(trio.RunFinishedError):
                self._token.run_sync_soon(self._stop.set)

    # --- commands -------------------------------------------------------------------------------

    async def execute(self, actor: Actor, command: Any) -> Any:
        """Decide and commit one command; returns its reply once it is durable.

        Raises ``Refusal`` and the store's errors.
        """
        waiter = Waiter()
        self.site.writer.submit(actor, command, waiter)
        if self._inline:
            self.network.wake()
        return await waiter.wait()

    # --- what others ask ------------------------------------------------------------------------

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where clients connect."""
        return self.network.addresses

    @property
    def site_addresses(self) -> tuple[str, ...]:
        """Where branches reach this headquarters, as HOST:PORT."""
        return applying.own_addresses(self.config.listen, self.network.addresses)

    @property
    def up_seconds(self) -> float:
        """Seconds since the start."""
        return (self._clock.monotonic_ns() - self._started_ns) / 1e9

    def readiness(self) -> Readiness:
        """Return what ``/readyz`` answers."""
        wall = certificates.at(self._clock.wall_ms())
        return self.health.readiness(self._clock.monotonic_ns() / 1e9, wall)

    def line_is(self, *, is_connected: bool, waiting: int) -> None:
        """At a branch: note how the line to headquarters is, and tell people what is new.

        ``waiting`` counts the operations of this site that headquarters does not have yet. To
        be called in the trio thread, as often as one likes.
        """
        now_ms, now = self._clock.wall_ms(), self._clock.monotonic_ns() / 1e9
        if self._line is not None:
            told = self._line.seen(
                is_connected=is_connected, waiting=waiting, now_ms=now_ms, now=now
            )
            if told is not None:
                self.gateway.tell_line(told)

    @property
    def line(self) -> schema.Site | None:
        """A branch's line to headquarters as people were told last."""
        return self.gateway.line

    def is_alive(self) -> bool:
        """Tell whether a watchdog should let the process live."""
        return self.health.is_alive(self._clock.monotonic_ns() / 1e9)

    def unlock(self, login: str) -> int:
        """Forget failed logins of an account; returns how many addresses had any."""
        return self.sign_in.lockout.unlock(login)

    def reload(self) -> reload.Plan:
        """Take the configuration and the certificate as they are now; all of it, or nothing.

        Raises ``ConfigError`` and ``CertificateError``.
        """
        wanted = self.config if self.reread is None else self.reread()
        done = reload.carry_out(self, wanted)
        self._reloaded(self.config)
        if self.identity is not None:
            self.health.certificate_until = self.identity.identity.not_after
        logger.info("config.reloaded", extra={"changed": done.changed, "waiting": done.waiting})
        return done

    def metrics(self) -> str:
        """Return the figures in the Prometheus text format."""
        return metrics.render(self)

    # --- timers ---------------------------------------------------------------------------------

    async def _watch_seconds(self) -> None:
        while True:
            await trio.sleep(self._pace.tick_seconds)
            self.gateway.tick()
            self.links.expel()
            self._link_changed()
            with self.site.ports.engine.snapshot() as reader:
                urgent = next(reader.range(*URGENT.span(), limit=1), None)
            now_ms = self._clock.wall_ms()
            is_urgent_due = urgent is not None and URGENT.columns(urgent[0])[0] <= now_ms
            if is_urgent_due or self.site.core.log.is_segment_due(now_ms):
                await self._attempt(messaging_commands.Tick())

    async def _watch_probes(self) -> None:
        while True:
            probe_ms = await self._attempt(health.Probe())
            self.health.answered_at = self._clock.monotonic_ns() / 1e9
            if probe_ms is not None:
                self.health.probed(self._clock.monotonic_ns() / 1e9, probe_ms)
            await trio.sleep(self._pace.probe_seconds)

    async def _watch_certificate(self) -> None:
        identity = self.identity
        if identity is None:
            return
        while True:
            wall = certificates.at(self._clock.wall_ms())
            if identity.renew_if_due(wall):
                logger.info("certificate.renewed")
            self.health.certificate_until = identity.identity.not_after
            await trio.sleep(RENEWAL_CHECK_SECONDS)

    async def _watch_lease(self) -> None:
        """At a branch: note how old the lease is, so that a restart goes on from there."""
        while True:
            await self._attempt(MarkLease())
            await trio.sleep(LEASE_MARK_SECONDS)

    async def _keep_linked(self) -> None:
        """At a branch: be linked to headquarters whenever there is a line."""
        core, config = self.site.core, self.config
        limit = float(config.site.bytes_per_second) or None
        find = partial(lines.headquarters, core, config)
        await run_link(self.links.site, find, bytes_per_second=limit)

    def _committed(self) -> None:
        """Let other sites hear of it, and people at a branch of how much waits."""
        self.links.changed()
        if self._line is not None:
            self.line_is(is_connected=self._line.is_connected, waiting=self.links.waiting)

    def _link_changed(self) -> None:
        """Tell people at a branch how the line is, when that is news."""
        sites = self.site.core.sites
        if sites.is_branch:
            is_connected = self.links.state(sites.headquarters_node).is_up
            self.line_is(is_connected=is_connected, waiting=self.links.waiting)
            self.leasing.line_changed()

    async def _watch_scope(self) -> None:
        """At a branch: let go of conversations that nobody there is in any more."""
        while True:
            await trio.sleep(leaver.LOOK_SECONDS)
            try:
                await self.leaver.look()
            except (StrongroomError, StoreError) as error:
                logger.error("timer.failed", extra={"error": error.code})

    async def _watch_admission(self) -> None:
        """At a branch: renew the certificate that headquarters knows it by."""
        core = self.site.core
        while True:
            headquarters, now_ms = core.sites.headquarters, self._clock.wall_ms()
            if headquarters is not None and certificates.is_site_renewal_due(core, now_ms):
                try:
                    await self._attempt(await applying.renew(core, headquarters))
                    logger.info("site.renewed")
                except StrongroomError as error:
                    logger.warning("site.not_renewed", extra={"error": error.code})
            await trio.sleep(RENEWAL_SECONDS)

    async def _attempt(self, command: Any) -> Any:
        """Run a command of the site's own; a failure is logged, the next attempt comes."""
        try:
            return await self.execute(SITE, command)
        except (StrongroomError, StoreError) as error:
            logger.error("timer.failed", extra={"error": error.code})
            return None

    async def _name_replica(self, status: ReplicaStatus) -> None:
        """Let destruction wait for a replica from now on."""
        await self._attempt(NameReplica(status.name, status.identity))

    async def _followed(self, generation: int) -> tuple[tuple[str, int], ...]:
        """Wait a while until the key replicas have left a root that died; tell how far each is.

        One that was named and is not followed here has followed to nowhere, until it is retired.
        """
        await self.replicas.reached(generation + 1, FOLLOW_SECONDS)
        followed = {status.identity: status.generation for status in self.replicas.statuses}
        named = self.site.core.disposal.replicas.values()
        return tuple((each.name, followed.get(each.identity, 0)) for each in named)

    # --- wiring ---------------------------------------------------------------------------------

    def _known_line(self) -> Line | None:
        """At a branch: begin with the time that headquarters was last heard of."""
        sites = self.site.core.sites
        if not sites.is_branch:
            return None
        line = Line(0 if sites.lease is None else sites.lease.wall_ms)
        self.gateway.line = line.told
        return line

    def _places(self, data_dir: Path | None) -> list[Place]:
        if data_dir is None:
            return []
        apart_from = [data_dir, key_directory(self.config, data_dir)]
        directories = replica_directories(self.config, data_dir)
        return places(directories, apart_from, self.site.wrap, self.site.ports.entropy)

    def _open_network(self) -> RealNetwork:
        core, entropy = self.site.core, self.site.ports.entropy
        tls, now_ms = self.config.tls, self._clock.wall_ms()
        internal = certificates.live_identity(core, entropy, now_ms, self.config.listen.names)
        identity = internal
        if tls.certificate:
            identity = reload.own_identity(self.config, now_ms, internal)
        self.identity = identity
        seed = core.secrets[SecretSlot.SIGNING_SEED]
        reset_key = hmac.digest(seed, b"strongroom/quic-reset/1", "sha256")
        ca_pem, judge = certificates.ca_pem(core), lines.authorise(core, self._clock.wall_ms)
        door = Door(internal, ca_pem, self.links.reception, judge)
        return RealNetwork(self.config, identity, self._router(), reset_key=reset_key, door=door)

    def _router(self) -> Router:
        core = self.site.core
        is_internal = not self.config.tls.certificate
        fingerprint = certificates.ca_fingerprint(core) if is_internal else None
        routes: dict[str, dict[str, Responder]] = {
            "/": {"GET": pages.landing(self.config.site.name or core.site_name, fingerprint)},
            "/livez": {"GET": pages.live},
            "/readyz": {"GET": pages.ready(self.readiness)},
            desk.PATH: {"POST": self._desk().respond},
            desk.CA_PATH: {"GET": pages.certificate(lambda: certificates.ca_pem(core))},
        }
        if is_internal:
            routes["/v1/ca.pem"] = {"GET": pages.certificate(lambda: certificates.ca_pem(core))}
        return Router(routes)

    def _desk(self) -> desk.Desk:
        return desk.Desk(
            self.site.core,
            self._clock,
            self.site.ports.entropy,
            lambda: self.site_addresses,
            lambda command: self.site.writer.submit(SITE, command, None),
        )

    async def _serve_metrics(self, *, task_status: trio.TaskStatus[None]) -> None:
        host, port = split_address(self.config.metrics.listen)
        listeners = await plain.listen(host, port)
        task_status.started()
        await plain.serve(listeners, self._metrics_router())

    def _metrics_router(self) -> Router:
        def respond(_request: Request) -> Response:
            return Response(200, self.metrics().encode(), metrics.CONTENT_TYPE)

        return Router({"/metrics": {"GET": respond}})

    def _spawn(self, task: Callable[[], Awaitable[None]]) -> None:
        assert self._nursery is not None

        async def bounded() -> None:
            try:
                await task()
            except Exception as error:  # noqa: BLE001 - one task's failure is its own
                logger.error("task.failed", extra=blame(error))

        self._nursery.start_soon(bounded)

    async def _blocking(self, function: Callable[..., Any], *arguments: Any) -> Any:
        if self._inline:
            await trio.lowlevel.checkpoint()
            return function(*arguments)
        return await trio.to_thread.run_sync(function, *arguments, limiter=self._workers)
