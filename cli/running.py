"""Run the appliance as a process: lock, socket, signals, systemd, and a stop in good order."""

from __future__ import annotations

import logging
import os
import resource
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio

from cli import systemd
from cli.places import admin_socket

if TYPE_CHECKING:
    from appliance.config import Config
    from appliance.server import Appliance
    from appliance.site import Site

logger = logging.getLogger("strongroom.process")

READY_POLL_SECONDS: Final = 0.05
"""How often a starting server looks whether it is ready."""

OWN_FILES: Final = 256
"""Files that the server holds open besides its TCP connections, and some to spare."""

Announce = Callable[["Appliance"], None]


def run(site: Site, config: Config, data: Path, announce: Announce) -> None:
    """Serve until SIGTERM, SIGINT or `drain`; closes the site. Raises what ended it otherwise."""
    allow_files(config.limits.connections + OWN_FILES)
    trio.run(_run, site, config, data, announce)


def allow_files(wanted: int) -> None:
    """Raise this process's limit of open files to ``wanted``, or as far as the system permits."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(wanted, hard)), hard))


async def _run(site: Site, config: Config, data: Path, announce: Announce) -> None:
    from appliance.administration import Administration
    from appliance.server import Appliance
    from transports import admin

    stop = trio.Event()
    try:
        appliance = Appliance(site, config, data_dir=data)
    except BaseException:
        site.close()
        raise
    path = admin_socket(data)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:
            await nursery.start(appliance.run)
            # By way of the descriptor: a unix socket's path has 107 bytes at most.
            listener = admin.bind(Path(f"/proc/self/fd/{directory}/{path.name}"))
            answer = Administration(appliance, stop.set, appliance).answer
            nursery.start_soon(admin.serve, listener, answer)
            nursery.start_soon(_heed, signals, stop, nursery)
            nursery.start_soon(_tell_systemd, appliance)
            announce(appliance)
            logger.info("server.started", extra={"pid": os.getpid()})
            await stop.wait()
            systemd.notify(systemd.STOPPING)
            await appliance.drain()
            nursery.cancel_scope.cancel()
    path.unlink(missing_ok=True)
    os.close(directory)
    logger.info("server.stopped")


async def _heed(signals: AsyncIterator[int], stop: trio.Event, nursery: trio.Nursery) -> None:
    """Stop in good order on the first signal, at once on the second."""
    async for number in signals:
        logger.info("server.signal", extra={"signal": signal.Signals(number).name})
        if stop.is_set():
            nursery.cancel_scope.cancel()
        stop.set()


async def _tell_systemd(appliance: Appliance) -> None:
    while not appliance.readiness().is_ready:  # noqa: ASYNC110 (there is no event for it)
        await trio.sleep(READY_POLL_SECONDS)
    systemd.notify(systemd.READY)
    every = systemd.watchdog_seconds()
    while every is not None:
        await trio.sleep(every)
        if appliance.readiness().is_ready:
            systemd.notify(systemd.ALIVE)
