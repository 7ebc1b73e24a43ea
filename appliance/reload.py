"""Bring a changed configuration and certificate into a running server: all of it, or nothing.

Whatever can fail comes first: reading and judging the file, loading the certificate. What is
left then are assignments. Settings that only a start can change stay as they are, and are told.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec

from appliance import certificates
from appliance.config import SETTINGS, Config, ReplicasSection, SessionsSection, Setting
from appliance.directory.limits import DAY_MS
from appliance.directory.policy import Lifetimes
from appliance.limits import BODY_BYTES, CONVERSATIONS_PER_PERSON, HISTORY_ITEMS, MEMBERS
from appliance.replicas import Replicas
from transports.certificates import CertificateError
from transports.limits import Limits as TcpLimits
from transports.tls import LiveIdentity
from transports.wire import schema

if TYPE_CHECKING:
    from appliance.gateway.gateway import Gateway
    from appliance.network import Network
    from appliance.site import Site

TLS_SETTINGS = ("tls.certificate", "tls.key")


class Change(NamedTuple):
    """A setting with its value in force and the one that is wanted."""

    setting: Setting
    old: Any
    new: Any
    reloads: bool
    """Whether a running server takes the new value; else the next start does."""

    def as_json(self) -> dict[str, Any]:
        """Return it for output."""
        takes = "reload" if self.reloads else "restart"
        return {"name": self.setting.name, "old": self.old, "new": self.new, "takes": takes}


class Plan(NamedTuple):
    """What a reload does: the configuration that it leads to, and every difference."""

    config: Config
    changes: tuple[Change, ...]

    @property
    def changed(self) -> list[str]:
        """The settings that the server takes."""
        return [each.setting.name for each in self.changes if each.reloads]

    @property
    def waiting(self) -> list[str]:
        """The settings that wait for a restart."""
        return [each.setting.name for each in self.changes if not each.reloads]


class Running(Protocol):
    """The server, as far as a reload changes it."""

    site: Site
    config: Config
    identity: LiveIdentity | None
    gateway: Gateway
    network: Network
    replicas: Replicas


class Following(Protocol):
    """Whatever follows key replicas and has a configuration."""

    @property
    def config(self) -> Config:
        """The configuration in force, but for the replicas."""
        ...

    @property
    def replicas(self) -> Replicas:
        """The key replicas, which come and go while the server runs."""
        ...


def in_force(server: Following) -> Config:
    """Return the configuration with the replicas that are followed now."""
    named = tuple(status.name for status in server.replicas.statuses)
    return msgspec.structs.replace(server.config, replicas=ReplicasSection(named))


def plan(running: Config, wanted: Config) -> Plan:
    """Compare two configurations, setting by setting."""
    is_other_kind = bool(running.tls.certificate) != bool(wanted.tls.certificate)
    changes = []
    sections: dict[str, dict[str, Any]] = {}
    for name, setting in SETTINGS.items():
        old, new = setting.of(running), setting.of(wanted)
        if old == new:
            continue
        # The internal CA and an own certificate are offered on different pages of the server.
        reloads = setting.reloads and not (is_other_kind and name in TLS_SETTINGS)
        changes.append(Change(setting, old, new, reloads))
        if reloads:
            sections.setdefault(setting.section, {})[setting.key] = new
    config = running
    for section, values in sections.items():
        changed = msgspec.structs.replace(getattr(running, section), **values)
        config = msgspec.structs.replace(config, **{section: changed})
    return Plan(config, tuple(changes))


def carry_out(server: Running, wanted: Config) -> Plan:
    """Bring ``wanted`` in force as far as a running server can; own certificates are read anew.

    Raises ``CertificateError`` when a certificate cannot be used; then nothing has changed.
    """
    planned = plan(in_force(server), wanted)
    if server.identity is not None:
        _renew_identity(server, server.identity, planned)
    config = server.config = planned.config
    lifetimes = lifetimes_of(config.sessions)
    server.site.core.directory.lifetimes = lifetimes
    server.gateway.change(limits_of(config), lifetimes)
    server.network.change(config)
    return planned


def lifetimes_of(sessions: SessionsSection) -> Lifetimes:
    """Return how long sessions of each kind live."""
    return Lifetimes(
        idle_ms=sessions.idle_seconds * 1_000,
        shared_idle_ms=sessions.shared_idle_seconds * 1_000,
        absolute_ms=sessions.absolute_seconds * 1_000,
        token_ms=sessions.token_days * DAY_MS,
    )


def limits_of(config: Config) -> schema.Limits:
    """Return the limits that a session is told when it begins."""
    return schema.Limits(
        frame_bytes=TcpLimits().message_bytes,
        body_bytes=BODY_BYTES,
        sends_per_second=config.limits.sends_per_second,
        history=HISTORY_ITEMS,
        members=MEMBERS,
        conversations=CONVERSATIONS_PER_PERSON,
    )


def own_identity(config: Config, now_ms: int, internal: LiveIdentity | None = None) -> LiveIdentity:
    """Return the identity in the files that ``[tls]`` names; raises ``CertificateError``.

    ``internal`` is what branches are shown beside it.
    """
    tls = config.tls
    try:
        return certificates.own_identity(Path(tls.certificate), Path(tls.key), now_ms, internal)
    except OSError as error:
        raise CertificateError(f"a file of [tls] cannot be read: {error.strerror}") from None


def _renew_identity(server: Running, identity: LiveIdentity, planned: Plan) -> None:
    """Present the certificate that the new configuration asks for."""
    config, now_ms = planned.config, server.site.ports.clock.wall_ms()
    if config.tls.certificate:
        identity.replace(own_identity(config, now_ms).identity)
    elif config.listen.names != server.config.listen.names:
        core, entropy = server.site.core, server.site.ports.entropy
        issue = certificates.issuer(core, entropy, config.listen.names)
        identity.replace(issue(certificates.at(now_ms)), issue)


Reread = Callable[[], Config]
"""Reads the configuration from its sources again; raises ``ConfigError``."""
