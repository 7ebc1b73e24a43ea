"""Start a real appliance for the transcripts: real store, real sockets, people who are invited."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import trio

from appliance import certificates
from appliance.config import Config, ListenSection
from appliance.context import SITE
from appliance.directory import codes
from appliance.directory.commands import CreateInvite, CreatePerson
from appliance.disposal.commands import SetPolicy
from appliance.messaging.commands import AssignDuty, CreateDuty
from appliance.server import Appliance
from appliance.site import Site, data_ports
from store.vault import NoWrap

MAP_BYTES = 64 << 20
START_SECONDS = 20.0
STOP_SECONDS = 20.0

PEOPLE = {"alice": "Alice Zhang", "bob": "Bob Meyer", "carol": "Carol Ng"}
UNITS = {"carol": "Research"}
DUTY = "on-call"
POLICY = """
[[rule]]
name = "research"
unit = "Research"
recall = "destroy"
"""


class Running(NamedTuple):
    """A server that serves: where, under which CA, and each person's invitation code."""

    address: str
    ca_pem: str
    invitations: dict[str, str]


@contextmanager
def running(directory: Path) -> Iterator[Running]:
    """Found an organisation in ``directory`` and serve it on a free port of this machine."""
    site = Site.create(
        data_ports(directory / "data", directory / "keys", MAP_BYTES), NoWrap(), name="St. Anna"
    )
    invitations = {login: _invite(site, login, name) for login, name in PEOPLE.items()}
    site.run(SITE, CreateDuty(DUTY, "On call, cardiology"))
    site.run(SITE, AssignDuty(DUTY, "bob"))
    site.run(SITE, SetPolicy(POLICY, 0, "as begun"))
    config = Config(listen=ListenSection(host="127.0.0.1", port=0))
    started: queue.SimpleQueue[tuple[Appliance, trio.lowlevel.TrioToken] | BaseException]
    started = queue.SimpleQueue()
    thread = threading.Thread(target=_serve, args=(site, config, started), name="appliance")
    thread.start()
    try:
        found = started.get(timeout=START_SECONDS)
        if isinstance(found, BaseException):
            raise found
        appliance, token = found
        ca_pem = certificates.ca_pem(site.core).decode()
        try:
            yield Running(appliance.addresses[0], ca_pem, invitations)
        finally:
            trio.from_thread.run(appliance.drain, trio_token=token)
    finally:
        thread.join(STOP_SECONDS)
    assert not thread.is_alive()


def _invite(site: Site, login: str, name: str) -> str:
    site.run(SITE, CreatePerson(login, name, UNITS.get(login, "")))
    code = codes.make_code(site.ports.entropy.bytes(codes.CODE_ENTROPY_BYTES))
    site.run(SITE, CreateInvite(login, codes.code_hash(code)))
    return code


def _serve(
    site: Site,
    config: Config,
    started: queue.SimpleQueue[tuple[Appliance, trio.lowlevel.TrioToken] | BaseException],
) -> None:
    async def main() -> None:
        appliance = Appliance(site, config)
        async with trio.open_nursery() as nursery:
            await nursery.start(appliance.run)
            started.put((appliance, trio.lowlevel.current_trio_token()))

    try:
        trio.run(main)
    except BaseException as error:  # noqa: BLE001 - the test's thread raises it
        started.put(error)
