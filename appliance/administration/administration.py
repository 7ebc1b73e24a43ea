"""Answer requests of the administration socket: operations, and requests that a person signed.

An *operation* (status, lists, ending a session, drain) needs what the socket has already
checked: the peer is root or the service's own user. Whatever writes a privileged or directory
operation is a *signed request*: it names a person, carries a one-time challenge of this site,
and is signed with the person's Ed25519 key over the canonical bytes of
``appliance.directory.requests``. The signature goes into the log with what it allowed. So root
with the socket but without anybody's key can look after the appliance, and decide nothing.

    request    {"command", "arguments"} or also {"person", "challenge", "signature"} in hex
    reply      {"ok": {...}} or {"error": {"code", "message", "hint", "retryable"}}
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
import trio

from appliance.administration import (
    backups,
    disposal,
    endings,
    evidence,
    findings,
    overview,
    people,
    replicas,
    rooms,
    sites,
)
from appliance.administration.contract import (
    Answer,
    Arguments,
    Host,
    Operation,
    failure,
    problem,
)
from appliance.context import Actor
from appliance.directory import commands as directory_commands
from appliance.directory.requests import (
    CHALLENGE_BYTES,
    Challenges,
    canonical_json,
    canonical_request,
    verify_request,
)
from appliance.disposal import commands as disposal_commands
from appliance.disposal.prepare import PREPARED, prepare
from appliance.messaging import commands as messaging_commands
from appliance.operations import Signed
from appliance.sites import commands as site_commands
from store import reading
from store.errors import StoreError
from transports.wire.errors import Refusal

logger = logging.getLogger("strongroom.administration")

OPERATIONS: Final[Mapping[str, Operation]] = {
    **overview.OPERATIONS,
    **findings.OPERATIONS,
    **people.OPERATIONS,
    **rooms.OPERATIONS,
    **disposal.OPERATIONS,
    **endings.OPERATIONS,
    **backups.OPERATIONS,
    **replicas.OPERATIONS,
    **sites.OPERATIONS,
}
"""What the peer's uid alone allows, by name."""

SIGNED: Final[Mapping[str, type[msgspec.Struct]]] = {
    **directory_commands.REQUESTS,
    **messaging_commands.REQUESTS,
    **disposal_commands.REQUESTS,
    **evidence.SIGNED,
    **site_commands.REQUESTS,
}
"""What a person must sign, by name: the command that is decided."""

NS_PER_SECOND: Final = 1e9


class _SignedRequest(msgspec.Struct, frozen=True):
    """A signed request's fields beside command and arguments, in hex."""

    person: str
    challenge: str
    signature: str


class Administration:
    """Answer for one appliance.

    Args:
        host: the appliance.
        on_drain: asks the process to stop in good order; returns at once.
        end: ends a decommissioned site; None where none can be ended.
    """

    def __init__(
        self, host: Host, on_drain: Callable[[], None], end: endings.End | None = None
    ) -> None:
        self._host = host
        self._end = end
        self._on_drain = on_drain
        self._challenges = Challenges()

    async def answer(self, uid: int, request: dict[str, Any]) -> Answer:
        """Answer one request of a peer; never raises for what a peer sends."""
        name, arguments = request.get("command"), request.get("arguments", {})
        if not isinstance(name, str) or not isinstance(arguments, dict):
            return problem("request.invalid")
        try:
            if name in SIGNED:
                result = await self._signed(name, arguments, request)
            elif name in OPERATIONS:
                result = await self._operate(OPERATIONS[name], arguments)
            elif name == "challenge":
                result = self._challenge()
            elif name == endings.FINISH and self._end is not None:
                result = {"note": await self._end.finish()}
                self._on_drain()
            elif name == "drain":
                self._on_drain()
                result = {}
            else:
                return problem("request.unknown")
        except (Refusal, StoreError) as error:
            return failure(error)
        except Exception as error:  # noqa: BLE001 (a request must not end the server)
            logger.error("administration.failed", extra={"error": type(error).__name__})
            return failure(error)
        logger.info("administration.done", extra={"command": name, "uid": uid})
        return {"ok": result}

    async def _operate(self, operation: Operation, arguments: dict[str, Any]) -> Answer:
        return await operation.function(self._host, _read(operation.arguments, arguments))

    def _challenge(self) -> Answer:
        fresh = self._host.site.ports.entropy.bytes(CHALLENGE_BYTES)
        self._challenges.issue(fresh, self._now())
        return {"challenge": fresh.hex(), "node": self._host.site.core.log.node.hex()}

    async def _signed(
        self, name: str, arguments: dict[str, Any], request: dict[str, Any]
    ) -> Answer:
        actor = self._actor(name, arguments, request)
        try:
            command = msgspec.json.decode(canonical_json(arguments), type=SIGNED[name])
        except (ValueError, RecursionError):
            raise Refusal("request.invalid") from None
        if name == endings.RUN and self._end is not None:
            await self._end.expect_replicas()
        if type(command) in PREPARED:
            command = await self._prepare(command)
        reply = await self._host.execute(actor, command)
        finish = evidence.AFTERWARDS.get(name)
        return plain(reply) if finish is None else await finish(self._host, reply)

    async def _prepare(self, command: Any) -> Any:
        """Look up in a snapshot, in a worker thread, what an order means."""
        site = self._host.site
        return await trio.to_thread.run_sync(
            reading.read,
            site.ports.engine,
            lambda reader: prepare(site.core, reader, command),
        )

    def _actor(self, name: str, arguments: dict[str, Any], request: dict[str, Any]) -> Actor:
        """Return who signed; raises ``Refusal`` unless the signature is right and fresh."""
        person_id, challenge, signature = _signature_of(request)
        if not self._challenges.take(challenge, self._now()):
            raise Refusal("request.signature")
        core = self._host.site.core
        person = core.directory.person(person_id)
        if person is None or not person.is_active:
            raise Refusal("permission.denied")
        text = canonical_json(arguments)
        data = canonical_request(core.log.node, challenge, person_id, name, text)
        if not verify_request(person.public_key, data, signature):
            raise Refusal("request.signature")
        return Actor(person_id, b"", Signed(data, signature))

    def _now(self) -> float:
        return self._host.site.ports.clock.monotonic_ns() / NS_PER_SECOND


def _signature_of(request: dict[str, Any]) -> tuple[bytes, bytes, bytes]:
    try:
        fields = msgspec.convert(request, type=_SignedRequest)
        return (
            bytes.fromhex(fields.person),
            bytes.fromhex(fields.challenge),
            bytes.fromhex(fields.signature),
        )
    except ValueError:
        raise Refusal("request.signature") from None


def _read(kind: type[Arguments], arguments: dict[str, Any]) -> Arguments:
    try:
        return msgspec.convert(arguments, type=kind)
    except ValueError:
        raise Refusal("request.invalid") from None


def plain(reply: Any) -> Answer:
    """Return a command's reply as JSON values: ids in hex, times in Unix ms as ``..._at``.

    A time that is called just ``at_ms`` becomes ``at``. So do those of what the reply holds.
    """
    return _fields(reply) if isinstance(reply, msgspec.Struct) else {}


def _fields(struct: msgspec.Struct) -> Answer:
    return {_name(field): _plain(getattr(struct, field)) for field in struct.__struct_fields__}


def _name(field: str) -> str:
    if field == "at_ms":
        return "at"
    return field.removesuffix("_ms") + "_at" if field.endswith("_ms") else field


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, tuple | list):
        return [_plain(each) for each in value]
    if isinstance(value, msgspec.Struct):
        return _fields(value)
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return value
