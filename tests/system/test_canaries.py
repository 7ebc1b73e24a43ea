"""Look for content where it must not be: in every file, log line, error and page, byte by byte."""

from __future__ import annotations

import base64
import secrets
from pathlib import Path

import pytest
import trio

import client
from appliance.context import SITE
from appliance.directory import codes
from appliance.directory.commands import CreateInvite, CreatePerson, SetState
from appliance.messaging.commands import CreateDuty
from client import Refused
from store.disk import MemoryDisk
from store.engine.memory import Medium
from tests.appliance import simulation
from tests.system import harness
from tests.system.harness import Organisation, ServerProcess
from transports.wire import schema
from transports.wire.schema import Id

PLACES = (
    "body",
    "edit",
    "queued",
    "refused",
    "reaction",
    "title",
    "renamed",
    "name",
    "unit",
    "device",
    "reason",
    "duty-title",
    "password",
    "login",
    "wrong-password",
    "unknown-login",
)


class Canaries:
    """One string of 16 characters for each place, found in any usual form."""

    def __init__(self) -> None:
        self._texts = {place: secrets.token_hex(8) for place in PLACES}
        self.used: set[str] = set()

    def __getitem__(self, place: str) -> str:
        self.used.add(place)
        return self._texts[place]

    def add(self, place: str, text: str) -> None:
        """Look for a secret, too, that was made elsewhere."""
        self._texts[place] = text
        self.used.add(place)

    def forms(self) -> dict[str, list[bytes]]:
        """Return the bytes to look for, by place."""
        return {place: list(_forms(text)) for place, text in self._texts.items()}

    def found_in(self, data: bytes) -> list[str]:
        """Return the places whose canary is in ``data``."""
        lower = data.lower()
        return [
            place
            for place, forms in self.forms().items()
            if any(form in data or form in lower for form in forms)
        ]


def _forms(text: str) -> list[bytes]:
    plain = text.encode("ascii")
    inner = [base64.b64encode(b"x" * pad + plain)[4:-4] for pad in range(3)]
    return [plain, text.encode("utf-16-le"), plain.hex().encode("ascii"), *inner]


def scan(organisation: Organisation, canaries: Canaries) -> None:
    """Fail when any file of the data or key directory contains a canary."""
    files = [
        path
        for directory in (organisation.data, organisation.keys)
        for path in directory.rglob("*")
        if path.is_file()
    ]
    assert len(files) >= 5
    for path in files:
        assert canaries.found_in(path.read_bytes()) == [], path.name


def test_the_scan_finds_a_canary_in_each_of_its_forms() -> None:
    canaries = Canaries()
    text = canaries["body"]
    for data in (text.encode(), text.upper().encode(), text.encode("utf-16-le")):
        assert canaries.found_in(b"\x00" + data + b"\x01") == ["body"]
    for pad in range(3):
        encoded = base64.b64encode(b"?" * pad + text.encode() + b"tail")
        assert canaries.found_in(encoded) == ["body"]
    assert canaries.found_in(b"nothing of the kind") == []


@pytest.fixture
def canaries() -> Canaries:
    return Canaries()


def found(directory: Path, canaries: Canaries, log_format: str) -> Organisation:
    """Found an organisation whose names are canaries, too."""
    settings: dict[str, dict[str, object]] = {"log": {"format": log_format, "level": "debug"}}
    organisation = harness.found(directory, ["alice", "bob"], settings=settings)
    with harness.opened(organisation) as site:
        site.run(SITE, CreatePerson("carol", canaries["name"], canaries["unit"]))
        harness.add_device(site, "carol", canaries["device"])
        site.run(SITE, SetState("carol", "disabled", canaries["reason"]))
        site.run(SITE, CreateDuty("on-call", canaries["duty-title"]))
        site.run(SITE, CreatePerson(canaries["login"], "Dan"))
        code = codes.make_code(site.ports.entropy.bytes(codes.CODE_ENTROPY_BYTES))
        site.run(SITE, CreateInvite(canaries["login"], codes.code_hash(code)))
        canaries.add("code", code)
    return organisation


async def enrol(organisation: Organisation, canaries: Canaries) -> list[str]:
    """Come in by invitation and by password, and fail to; return the error texts."""
    address, home = str(organisation.address), organisation.profiles
    known = address.replace("://", f"://{canaries['login']}@")
    unknown = address.replace("://", f"://{canaries['unknown-login']}@")
    password, wrong, pin = canaries["password"], canaries["wrong-password"], organisation.pin
    first = await client.accept_invite(
        address, canaries["code"], profile=home / "first", pin=pin, password=password
    )
    device = canaries["device"]
    second = await client.login(
        known, password, profile=home / "second", pin=pin, device_name=device
    )
    canaries.add("first-token", first.account.token)
    canaries.add("second-token", second.account.token)
    errors = []
    for url, guess in ((known, wrong), (unknown, wrong)):
        with pytest.raises(Refused) as caught:
            await client.login(url, guess, profile=home / "third", pin=pin)
        errors.append(f"{caught.value!r} {caught.value}")
    with pytest.raises(Refused) as caught:
        await client.accept_invite(address, canaries["code"], profile=home / "third", pin=pin)
    return [*errors, f"{caught.value!r} {caught.value}"]


async def talk(organisation: Organisation, canaries: Canaries) -> list[str]:
    """Use the appliance on both carriers; return the error texts that came back."""
    errors = []
    async with (
        harness.online(organisation, "alice", "quic") as alice,
        harness.online(organisation, "bob", "websocket") as bob,
    ):
        room = await alice.open_group(canaries["title"], ["bob"])
        sent = await room.send(canaries["body"])
        await room.edit(sent.msg, canaries["edit"])
        await room.rename(canaries["renamed"])
        await room.react(sent.msg, canaries["reaction"])
        await room.queue(canaries["queued"])
        await harness.until_text(bob, canaries["queued"])
        stranger = alice.conversation(Id(secrets.token_bytes(16)))
        for attempt in (
            lambda: stranger.send(canaries["refused"]),
            lambda: bob.conversation(room.id).edit(sent.msg, canaries["refused"]),
            lambda: alice.change_password(canaries["wrong-password"], canaries["password"]),
        ):
            with pytest.raises(Refused) as caught:
                await attempt()
            errors.append(f"{caught.value!r} {caught.value}")
    return errors


async def scenario(organisation: Organisation, canaries: Canaries) -> None:
    server = ServerProcess(organisation)
    server.start()
    try:
        await server.ready()
        errors = await talk(organisation, canaries) + await enrol(organisation, canaries)
        assert [canaries.found_in(text.encode()) for text in errors] == [[]] * len(errors)
        pages = [await server.get(path) for path in ("/", "/readyz", "/livez", "/v1/ca.pem")]
        figures = (await server.ask("metrics"))["text"].encode()
        status = repr(await server.ask("status")).encode()
        for page in (*pages, figures, status):
            assert canaries.found_in(page) == []
        scan(organisation, canaries)
        server.kill()
        scan(organisation, canaries)
        server.start()
        await server.ready()
        assert await server.stop() == 0
        scan(organisation, canaries)
        assert canaries.found_in(server.output()) == []
        assert canaries.used == {*PLACES, "code", "first-token", "second-token"}
    finally:
        if server.is_running:
            server.kill()


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_no_file_log_page_or_error_contains_content(
    tmp_path: Path, canaries: Canaries, log_format: str
) -> None:
    organisation = found(tmp_path, canaries, log_format)
    trio.run(scenario, organisation, canaries)


def test_no_byte_ever_written_contains_content(canaries: Canaries) -> None:
    async def main() -> bytes:
        world = simulation.World(5)
        world.medium = Medium(retain=True)
        world.data, world.keys = MemoryDisk(retain=True), MemoryDisk(retain=True)
        tokens = simulation.found(world, "alice", "bob")
        async with simulation.running(world) as appliance:
            alice = simulation.Person(appliance.network, tokens["alice"])  # type: ignore[arg-type]
            bob = simulation.Person(appliance.network, tokens["bob"])  # type: ignore[arg-type]
            await alice.sign_in()
            welcome = await bob.sign_in()
            opened = await alice.ask(
                schema.Open, kind="group", members=(welcome.person,), title=canaries["title"]
            )
            assert isinstance(opened, schema.Ok)
            assert opened.conv is not None
            sent = await alice.say(opened.conv, canaries["body"])
            body = schema.Body("text", canaries["edit"])
            await alice.ask(schema.Edit, msg=sent.msg, body=body)
            await bob.until_text(canaries["body"])
        stored = (world.medium, world.data, world.keys)
        return b"".join(each.every_byte() for each in stored)

    clock = trio.testing.MockClock(autojump_threshold=0)
    written = trio.run(main, clock=clock)
    assert len(written) > 10_000
    assert canaries.found_in(written) == []


def test_a_code_is_nowhere_either(tmp_path: Path) -> None:
    """Invitation codes and tokens are stored as hashes only."""
    organisation = harness.found(tmp_path, ["alice"])
    token = bytes.fromhex(organisation.people["alice"].token)
    with harness.opened(organisation) as site:
        grant = site.core.directory.authenticate_token(token, site.ports.clock.wall_ms())
        assert grant.device.token_hash == codes.token_hash(token)
    for path in (*organisation.data.rglob("*"), *organisation.keys.rglob("*")):
        if path.is_file():
            data = path.read_bytes()
            assert token not in data
            assert token.hex().encode() not in data
