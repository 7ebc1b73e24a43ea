"""W5 and start: connections that are made, servers that start."""

from __future__ import annotations

import ssl
import subprocess
import time
from contextlib import suppress
from http.client import HTTPException, HTTPSConnection
from pathlib import Path
from typing import Final

from benchmarks.crowd import Crowd
from benchmarks.measure import MICRO, Result, Stopwatch, cpu_seconds, percentile, revision, rss_mib
from benchmarks.organisation import founding
from benchmarks.server import command, free_port, serving, stop

LOGINS: Final = 400
LOGIN_WARM_UP: Final = 50
STORED_MESSAGES: Final = 1_000_000
STORED_CONVERSATIONS: Final = 500
STARTS: Final = 5
READY_SECONDS: Final = 60.0
READY_POLL_SECONDS: Final = 0.01


def login(carrier: str, directory: Path) -> Result:
    """W5: handshake, upgrade and sign-in by token, one after the other, then leave."""
    with founding(directory) as site:
        people = site.people(LOGIN_WARM_UP)
        ca_pem = site.ca_pem
    with serving(directory) as server, Crowd(server, ca_pem, carrier) as crowd:
        watch = Stopwatch(server.pid)
        for number in range(LOGIN_WARM_UP + LOGINS):
            if number == LOGIN_WARM_UP:
                watch.start()
            began = time.perf_counter()
            visitor = crowd.enter(people[number % len(people)], follow=False)
            watch.latencies.append(time.perf_counter() - began)
            crowd.leave(visitor)
        return watch.stop("W5", carrier, LOGINS)


def start(carrier: str, directory: Path) -> Result:
    """start: from the process's birth to ``/readyz``, with a million messages stored."""
    with founding(directory) as site:
        author, *others = site.people(1 + STORED_CONVERSATIONS)
        opened = site.direct((author, other) for other in others)
        chosen = (opened[number % len(opened)] for number in range(STORED_MESSAGES))
        site.messages(author, chosen)
    times, cpu, rss = [], 0.0, 0.0
    for _ in range(STARTS):
        port = free_port()
        began = time.perf_counter()
        process = subprocess.Popen(
            command(directory / "data", port), stdout=subprocess.PIPE, text=True, cwd=directory
        )
        try:
            _until_ready(port)
            times.append(time.perf_counter() - began)
            cpu += cpu_seconds(process.pid)
            rss = rss_mib(process.pid)
        finally:
            stop(process)
    return Result(
        "start",
        carrier,
        STARTS,
        round(cpu / STARTS * MICRO),
        0.0,
        round(percentile(times, 0.5) * 1e3, 1),
        round(max(times) * 1e3, 1),
        round(rss, 1),
        revision(),
        {"messages_stored": STORED_MESSAGES},
    )


def _until_ready(port: int) -> None:
    """Ask for ``/readyz`` until the answer is 200; raises ``TimeoutError``."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    deadline = time.perf_counter() + READY_SECONDS
    while time.perf_counter() < deadline:
        connection = HTTPSConnection("127.0.0.1", port, timeout=READY_SECONDS, context=context)
        with suppress(OSError, HTTPException):
            connection.request("GET", "/readyz")
            if connection.getresponse().status == 200:
                connection.close()
                return
        connection.close()
        time.sleep(READY_POLL_SECONDS)
    raise TimeoutError("the server is not ready")
