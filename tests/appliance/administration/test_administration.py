"""Administration over a real site in memory: what the socket allows, and what takes a signature."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
import pytest
import trio
from nacl.signing import SigningKey

from appliance.administration import OPERATIONS, SIGNED, Administration
from appliance.administration.administration import plain
from appliance.administration.contract import failure
from appliance.config import Config, ConfigError
from appliance.context import SITE, Actor
from appliance.directory import codes
from appliance.directory.commands import (
    CreateInvite,
    CreatePerson,
    Invited,
    RenewToken,
    SetKey,
    SetState,
)
from appliance.directory.lockout import Lockout
from appliance.directory.requests import canonical_json, canonical_request
from appliance.disposal.runs import Progress
from appliance.health import Health
from appliance.problems import Problem
from appliance.reload import Plan
from appliance.replicas import Replicas
from appliance.site import Ports, Site
from appliance.sites.linking import Links
from appliance.sites.parcels import Parcels
from store.clocks import ManualClock, SeededEntropy
from store.disk import MemoryDisk
from store.engine.memory import MemoryEngine
from store.vault import NoWrap
from transports.certificates import CertificateError
from transports.http.pages import Readiness
from transports.wire.errors import Refusal
from transports.wire.schema import Id, Open

Answer = dict[str, Any]

PEOPLE = {
    "alice": ("member",),
    "bob": ("member",),
    "grace": ("member", "administrator"),
    "dave": ("member", "security_officer"),
}


class LiveSession(NamedTuple):
    """A session as the gateway tells it."""

    person: bytes
    device: bytes
    method: str = "token"
    carrier: str = "quic"
    peer: str = "10.0.0.9"
    agent: str = "test"
    opened_ms: int = 5
    idle_seconds: float = 1.5


class FakeGateway:
    """Sessions without connections."""

    def __init__(self) -> None:
        self.live: list[LiveSession] = []
        self.ended: list[tuple[bytes, bytes, str]] = []

    def sessions(self) -> list[LiveSession]:
        return self.live

    def end_device(self, person: bytes, device: bytes, code: str = "") -> int:
        self.ended.append((person, device, code))
        return sum(each[:2] == (person, device) for each in self.live)

    def end_person(self, person: bytes, code: str = "") -> int:
        self.ended.append((person, b"", code))
        return sum(each.person == person for each in self.live)


class IdleDisposal:
    """A service that has destroyed nothing."""

    progress: tuple[Progress, ...] = ()


class FakeHost:
    """A site without ports: commands run inline."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.config = Config()
        self.gateway = FakeGateway()
        self.disposal = IdleDisposal()
        self.identity = None
        self.health = Health(site.ports.engine, None)
        self.replicas = Replicas([], site.ports.engine, site.vault, site.ports.clock)
        self.started_ms = site.ports.clock.wall_ms()
        self.addresses = ("127.0.0.1:8443",)
        self.line = None
        ports, parts = site.ports, (site.core, site.ports.engine, site.ports.clock)
        self.links = Links(*parts, ports.entropy, self.execute, spawn=lambda _task: None)
        self.parcels = Parcels(
            *parts, ports.entropy, self.execute, self._blocking, self.links, "test"
        )
        self.site_addresses = ("hq.example:8443",)
        self.lockout = Lockout()

    async def execute(self, actor: Actor, command: Any) -> Any:
        return self.site.run(actor, command)

    @staticmethod
    async def _blocking(function: Callable[..., Any], *arguments: Any) -> Any:
        return function(*arguments)

    def readiness(self) -> Readiness:
        return Readiness(True, {"store": "ok"})

    def metrics(self) -> str:
        return "strongroom_ready 1\n"

    reread = None

    def reload(self) -> Plan:
        return Plan(self.config, ())

    def unlock(self, login: str) -> int:
        return self.lockout.unlock(login)


@dataclass
class World:
    """A site with people and their keys, and its administration."""

    host: FakeHost
    clock: ManualClock
    keys: dict[str, SigningKey]
    drained: list[bool]
    administration: Administration

    def ask(self, request: Answer) -> Answer:
        return trio.run(self.administration.answer, 0, request)

    def ok(self, command: str, **arguments: Any) -> Answer:
        answer = self.ask({"command": command, "arguments": arguments})
        assert "ok" in answer, answer
        result: Answer = answer["ok"]
        return result

    def code(self, command: str, **arguments: Any) -> str:
        answer = self.ask({"command": command, "arguments": arguments})
        return str(answer["error"]["code"])

    def person(self, login: str) -> bytes:
        found = self.host.site.core.directory.resolve(login)
        assert found is not None
        return found.id

    def request(self, who: str, command: str, arguments: Answer) -> Answer:
        """Return a request as the CLI signs it."""
        given = self.ok("challenge")
        node, challenge = bytes.fromhex(given["node"]), bytes.fromhex(given["challenge"])
        person = self.person(who)
        text = canonical_json(arguments)
        data = canonical_request(node, challenge, person, command, text)
        return {
            "command": command,
            "arguments": json.loads(text),
            "person": person.hex(),
            "challenge": challenge.hex(),
            "signature": self.keys[who].sign(data).signature.hex(),
        }

    def signed(self, asker: str, command: str, /, **arguments: Any) -> Answer:
        return self.ask(self.request(asker, command, arguments))


@pytest.fixture
def world() -> Iterator[World]:
    clock, entropy = ManualClock(), SeededEntropy("administration")
    ports = Ports(clock, entropy, MemoryEngine(), MemoryDisk(), MemoryDisk())
    site = Site.create(ports, NoWrap(), name="Test hospital")
    keys = {}
    for login, roles in PEOPLE.items():
        site.run(SITE, CreatePerson(login, login.title(), roles=roles))
        keys[login] = SigningKey(entropy.bytes(32))
        site.run(SITE, SetKey(bytes(keys[login].verify_key), login))
    host = FakeHost(site)
    drained: list[bool] = []
    administration = Administration(host, lambda: drained.append(True))
    yield World(host, clock, keys, drained, administration)
    site.close()


def test_status_tells_who_the_appliance_is(world: World) -> None:
    told = world.ok("status")
    assert told["name"] == "Test hospital"
    assert told["ready"] is True
    assert told["people"] == len(PEOPLE)
    assert told["ca"].startswith("sha256:")
    assert told["addresses"] == ["127.0.0.1:8443"]


def test_a_signed_request_of_an_administrator_is_carried_out_and_keeps_its_proof(
    world: World,
) -> None:
    answer = world.signed("grace", "person.create", login="zoe", name="Zoe")
    person = world.person("zoe")
    assert answer == {"ok": {"person": person.hex()}}
    core = world.host.site.core
    with world.host.site.ports.engine.snapshot() as reader:
        origin, last = core.log.head.origin, core.log.head.seq
        bodies = [core.log.read(reader, origin, seq).body or b"" for seq in range(1, last + 1)]
    assert any(b"strongroom/request/1" in body for body in bodies)


@pytest.mark.parametrize(
    ("who", "code"), [("alice", "permission.denied"), ("dave", "permission.denied")]
)
def test_a_signature_gives_nobody_a_role(world: World, who: str, code: str) -> None:
    answer = world.signed(who, "person.create", login="zoe", name="Zoe")
    assert answer["error"]["code"] == code
    assert world.host.site.core.directory.resolve("zoe") is None


def test_the_socket_alone_decides_nothing(world: World) -> None:
    for command in SIGNED:
        assert world.code(command) == "request.signature"


Change = Callable[[Answer], Answer]


@pytest.mark.parametrize(
    "change",
    [
        lambda request: request | {"signature": "00" * 64},
        lambda request: request | {"signature": "zz"},
        lambda request: request | {"signature": 5},
        lambda request: request | {"challenge": "00" * 16},
        lambda request: request | {"arguments": request["arguments"] | {"name": "Other"}},
        lambda request: request | {"command": "person.profile"},
        lambda request: {key: value for key, value in request.items() if key != "person"},
    ],
)
def test_a_request_that_was_changed_on_its_way_is_refused(world: World, change: Change) -> None:
    request = world.request("grace", "person.create", {"login": "zoe", "name": "Zoe"})
    answer = world.ask(change(request))
    assert answer["error"]["code"] == "request.signature"
    assert world.host.site.core.directory.resolve("zoe") is None


def test_somebody_elses_name_does_not_go_with_ones_own_signature(world: World) -> None:
    request = world.request("alice", "person.create", {"login": "zoe", "name": "Zoe"})
    answer = world.ask(request | {"person": world.person("grace").hex()})
    assert answer["error"]["code"] == "request.signature"


def test_a_request_cannot_be_used_twice(world: World) -> None:
    state = {"who": "bob", "state": "disabled"}
    request = world.request("grace", "person.state", state)
    assert world.ask(request) == {"ok": {}}
    world.host.site.run(SITE, SetState("bob", "active"))
    assert world.ask(request)["error"]["code"] == "request.signature"


def test_a_challenge_does_not_outlive_its_minute(world: World) -> None:
    request = world.request("grace", "person.create", {"login": "zoe", "name": "Zoe"})
    world.clock.advance(61_000)
    assert world.ask(request)["error"]["code"] == "request.signature"


def test_a_disabled_administrator_is_not_heard(world: World) -> None:
    world.signed("grace", "person.create", login="zoe", name="Zoe", roles=["administrator"])
    request = world.request("grace", "person.create", {"login": "yan", "name": "Yan"})
    world.host.site.run(SITE, SetState("grace", "disabled"))
    assert world.ask(request)["error"]["code"] == "permission.denied"


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"command": 5},
        {"command": "status", "arguments": []},
        {"command": "status", "arguments": {"no": 1}},
        {"command": "user.show", "arguments": {}},
        {"command": "user.show", "arguments": {"who": 5}},
        {"command": "session.revoke", "arguments": {"who": "alice", "device": "x"}},
        {"command": "conversation.show", "arguments": {"conversation": "x"}},
    ],
)
def test_a_request_that_cannot_be_read_is_refused(world: World, request_: Answer) -> None:
    assert world.ask(request_)["error"]["code"] == "request.invalid"


def test_what_does_not_exist_is_told_so(world: World) -> None:
    assert world.code("nonsense") == "request.unknown"
    assert world.code("user.show", who="nobody") == "person.unknown"
    assert world.code("conversation.show", conversation="00" * 16) == "conversation.unknown"
    assert world.code("session.revoke", who="alice", device="00" * 16) == "device.unknown"


def test_people_are_listed_and_removed_ones_only_on_demand(world: World) -> None:
    world.host.site.run(SITE, SetState("bob", "removed"))
    told = [each["login"] for each in world.ok("user.list")["users"]]
    assert told == ["alice", "dave", "grace"]
    every = world.ok("user.list", removed=True)["users"]
    assert {each["login"]: each["state"] for each in every}["bob"] == "removed"


def test_a_person_is_shown_without_any_credential(world: World) -> None:
    told = json.dumps(world.ok("user.show", who="grace"))
    key = world.host.site.core.directory.resolve("grace")
    assert key is not None
    assert '"has_key": true' in told
    assert key.public_key.hex() not in told


def _with_device(world: World, login: str) -> bytes:
    token = codes.token_hash(world.host.site.ports.entropy.bytes(32))
    device: bytes = world.host.site.run(SITE, RenewToken(login, token, b"", "desk")).device
    return device


def test_devices_and_sessions_are_listed_and_sessions_ended(world: World) -> None:
    device, alice = _with_device(world, "alice"), world.person("alice")
    world.host.gateway.live = [LiveSession(alice, device)] * 2
    (told,) = world.ok("device.list", who="alice")["devices"]
    assert (told["device"], told["name"], told["online"]) == (device.hex(), "desk", 2)
    assert len(world.ok("session.list")["sessions"]) == 2
    assert world.ok("session.list", who="bob")["sessions"] == []
    assert world.ok("session.revoke", who="alice", device=device.hex()) == {"ended": 2}
    assert world.ok("session.revoke", who="alice") == {"ended": 2}
    assert [each[:2] for each in world.host.gateway.ended] == [(alice, device), (alice, b"")]


def test_open_invitations_are_listed_without_their_codes(world: World) -> None:
    world.host.site.run(SITE, CreatePerson("zoe", "Zoe"))
    code = codes.make_code(bytes(range(13)))
    world.host.site.run(SITE, CreateInvite("zoe", codes.code_hash(code)))
    (told,) = world.ok("invite.list")["invites"]
    assert told["login"] == "zoe"
    assert code not in json.dumps(told)
    assert codes.code_hash(code).hex() not in json.dumps(told)


def test_operators_see_conversations_but_neither_titles_nor_words(world: World) -> None:
    device, alice, bob = _with_device(world, "alice"), world.person("alice"), world.person("bob")
    command = Open(id=1, kind="group", members=(Id(bob),), title="CANARY title")
    reply = world.host.site.run(Actor(alice, device), command)
    listed = world.ok("conversation.list")
    shown = world.ok("conversation.show", conversation=reply.conv.hex())
    assert [each["members"] for each in listed["conversations"]] == [2]
    assert world.ok("conversation.list", who="dave")["conversations"] == []
    assert [each["login"] for each in shown["members"]] == ["alice", "bob"]
    assert "CANARY" not in json.dumps([listed, shown])


def test_duties_are_made_by_signature_and_listed(world: World) -> None:
    world.signed("grace", "duty.create", name="on-call", title="On call")
    world.signed("grace", "duty.assign", duty="on-call", who="bob")
    world.signed("grace", "duty.chain", duty="on-call", chain=["alice"], step_seconds=300)
    (told,) = world.ok("duty.list")["duties"]
    assert told["holder"] == "bob"
    assert told["chain"] == ["alice"]
    refused = world.signed("alice", "duty.handover", duty="on-call", who="alice")
    assert refused["error"]["code"] == "duty.not_holder"
    assert "ok" in world.signed("bob", "duty.handover", duty="on-call", who="alice")


def test_failed_logins_are_forgotten_on_request(world: World) -> None:
    for _ in range(5):
        world.host.lockout.begin("alice", "10.0.0.9", 1.0)
    assert world.ok("user.unlock", who="alice") == {"login": "alice", "unlocked": 1}
    world.host.lockout.begin("alice", "10.0.0.9", 2.0)


def test_drain_is_passed_on(world: World) -> None:
    world.ok("drain")
    assert world.drained == [True]


def test_doctor_looks_deep_and_finds_no_contradiction(world: World) -> None:
    world.signed("grace", "person.create", login="zoe", name="Zoe")
    found = world.ok("doctor", deep=True)["findings"]
    assert {each["severity"] for each in found} <= {"notice"}
    assert all(each["id"] and each["evidence"] and each["remedy"] for each in found)


def test_an_unexpected_failure_ends_the_request_only(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> str:
        raise RuntimeError("CANARY")

    monkeypatch.setattr(world.host, "metrics", fail)
    answer = world.ask({"command": "metrics"})
    assert answer["error"]["code"] == "server.failed"
    assert "CANARY" not in json.dumps(answer)
    monkeypatch.undo()
    assert world.ok("metrics")["text"]


def test_every_operation_says_what_it_does() -> None:
    assert all(operation.help.endswith(".") for operation in OPERATIONS.values())
    assert not set(OPERATIONS) & set(SIGNED)


def test_what_a_reply_holds_is_plain_too() -> None:
    class Inner(msgspec.Struct, frozen=True):
        at_ms: int
        ids: tuple[bytes, ...]

    class Outer(msgspec.Struct, frozen=True):
        inner: tuple[Inner, ...]
        by_name: dict[str, bytes]
        from_ms: int

    assert plain(Outer((Inner(7, (b"\x01",)),), {"a": b"\x02"}, 5)) == {
        "inner": [{"at": 7, "ids": ["01"]}],
        "by_name": {"a": "02"},
        "from_at": 5,
    }


def test_a_refusal_for_now_says_when_to_come_back() -> None:
    told = failure(Refusal("approval.cooling", after=86_400.2))
    assert told["error"]["hint"] == "Try again in 86,400 s."
    assert failure(Refusal("approval.same_person"))["error"]["hint"] == ""


def test_replies_are_plain_values() -> None:
    assert plain(Invited(b"\x01" * 16, b"\x02" * 16, 7)) == {
        "invite": "01" * 16,
        "person": "02" * 16,
        "expires_at": 7,
    }
    assert plain(None) == {}

    class Several(msgspec.Struct):
        """A reply with a list of ids."""

        ids: tuple[bytes, ...]

    assert plain(Several((b"\x01",))) == {"ids": ["01"]}


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError([Problem("log.level", "unknown")]), "config.invalid"),
        (CertificateError("the key does not belong"), "tls.certificate"),
    ],
)
def test_a_reload_that_is_refused_says_why(
    world: World, monkeypatch: pytest.MonkeyPatch, error: Exception, code: str
) -> None:
    def reload() -> Plan:
        raise error

    monkeypatch.setattr(world.host, "reload", reload)
    told = world.ask({"command": "reload"})["error"]
    assert (told["code"], told["message"]) == (code, str(error))
    assert told["hint"]
