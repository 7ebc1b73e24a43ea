"""Define what administration needs of the appliance, and what an operation is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from appliance.config import Config, ConfigError
from appliance.context import Actor
from appliance.disposal.runs import Progress
from appliance.health import Health
from appliance.reload import Plan, Reread
from appliance.replicas import Replicas
from appliance.site import Site
from appliance.sites.linking import Links
from appliance.sites.parcels import Parcels
from store.errors import StoreError
from transports.certificates import CertificateError
from transports.http.pages import Readiness
from transports.tls import LiveIdentity
from transports.wire import schema
from transports.wire.errors import CATALOGUE, Refusal, text


class Session(Protocol):
    """A live session."""

    @property
    def person(self) -> bytes:
        """Whose it is."""
        ...

    @property
    def device(self) -> bytes:
        """On which device."""
        ...

    @property
    def method(self) -> str:
        """How they signed in."""
        ...

    @property
    def carrier(self) -> str:
        """The carrier: websocket or quic."""
        ...

    @property
    def peer(self) -> str:
        """The client's address."""
        ...

    @property
    def agent(self) -> str:
        """The client's name for itself."""
        ...

    @property
    def opened_ms(self) -> int:
        """When it began, in Unix milliseconds."""
        ...

    @property
    def idle_seconds(self) -> float:
        """Time since the last command."""
        ...


class Sessions(Protocol):
    """The gateway, as far as administration uses it."""

    def sessions(self) -> Sequence[Session]:
        """Return the sessions that have signed in."""
        ...

    def end_device(self, person: bytes, device: bytes, code: str = ...) -> int:
        """End a device's sessions; returns how many."""
        ...

    def end_person(self, person: bytes, code: str = ...) -> int:
        """End a person's sessions; returns how many."""
        ...


class Disposal(Protocol):
    """The service that destroys, as far as administration uses it."""

    @property
    def progress(self) -> Sequence[Progress]:
        """What this process has carried out or is about to, oldest first."""
        ...


class Host(Protocol):
    """The running appliance, as far as administration uses it."""

    @property
    def site(self) -> Site:
        """The opened store."""
        ...

    @property
    def config(self) -> Config:
        """The configuration in force."""
        ...

    @property
    def identity(self) -> LiveIdentity | None:
        """The TLS identity; None where there is no TLS."""
        ...

    @property
    def health(self) -> Health:
        """What was found last; it knows the data directory, which a simulation has not."""
        ...

    @property
    def replicas(self) -> Replicas:
        """The key replicas."""
        ...

    @property
    def gateway(self) -> Sessions:
        """The client sessions."""
        ...

    @property
    def disposal(self) -> Disposal:
        """The service that destroys."""
        ...

    @property
    def started_ms(self) -> int:
        """When the appliance started, in Unix milliseconds."""
        ...

    @property
    def addresses(self) -> Iterable[str]:
        """Where clients connect, as HOST:PORT."""
        ...

    @property
    def site_addresses(self) -> tuple[str, ...]:
        """Where branches reach this headquarters, as HOST:PORT."""
        ...

    @property
    def links(self) -> Links:
        """The links to other sites."""
        ...

    @property
    def parcels(self) -> Parcels:
        """What is exported to other sites, and imported."""
        ...

    @property
    def line(self) -> schema.Site | None:
        """A branch's line to headquarters as people were told last; None at headquarters."""
        ...

    async def execute(self, actor: Actor, command: Any) -> Any:
        """Decide and commit one command; returns its reply; raises as ``Core.decide``."""
        ...

    def readiness(self) -> Readiness:
        """Return whether the appliance can serve now, with each check's finding."""
        ...

    def metrics(self) -> str:
        """Return the figures in Prometheus' text format."""
        ...

    def reload(self) -> Plan:
        """Take the configuration and the certificate anew; all of it, or nothing.

        Raises ``ConfigError`` and ``CertificateError``.
        """
        ...

    @property
    def reread(self) -> Reread | None:
        """Reads the configuration again; None where there is no file."""
        ...

    def unlock(self, login: str) -> int:
        """Forget failed logins of an account; returns how many addresses were locked or counted."""
        ...


class Arguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of an operation's arguments; alone: none."""


Answer = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Operation:
    """Something the peer's uid alone allows: it writes no operation into the log.

    ``arguments`` is the type they are read into; ``function`` gets the host and them.
    """

    arguments: type[Arguments]
    function: Callable[[Host, Any], Awaitable[Answer]]

    @property
    def help(self) -> str:
        """What it does: the first line of the function's docstring."""
        return (self.function.__doc__ or "").strip().splitlines()[0]


def failure(error: Exception) -> Answer:
    """Return the reply for an error of the product; anything else is ``server.failed``."""
    if isinstance(error, ConfigError | CertificateError):
        reply = problem(error.code, error.hint)
        reply["error"]["message"] = str(error)
        return reply
    if isinstance(error, Refusal | StoreError):
        return problem(error.code, _hint(error), retryable=bool(error.retryable))
    return problem("server.failed", "The server's log tells more.", retryable=True)


def _hint(error: Exception) -> str:
    """Return what the error advises, or when to come back."""
    hint, after = str(getattr(error, "hint", "")), getattr(error, "after", 0)
    return f"Try again in {after:,.0f} s." if after and not hint else hint


def problem(code: str, hint: str = "", *, retryable: bool = False) -> Answer:
    """Return an error reply with the catalogue's English text."""
    message = text(code) if code in CATALOGUE else code
    return {
        "error": {"code": code, "message": message, "hint": hint, "retryable": retryable},
    }
