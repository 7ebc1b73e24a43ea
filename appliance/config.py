"""Define what an operator can set: one typed tree, its documentation, and how it is read.

Every setting has a type, bounds, a default and a sentence of documentation, all in the class of
its section; the example file and the reference page are made from them. A value comes from the
first of: a flag of the command, the environment (``STRONGROOM_SECTION_KEY``), the file, the
default. Nothing unknown is ignored, and all mistakes of a file are told at once. No setting
holds a secret: secrets stand in files that a setting names.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from appliance.problems import Problem, ProblemsError

FILE_NAME: Final = "strongroom.toml"
"""The configuration file's name inside the data directory."""

FILE_BYTES: Final = 1 << 18
"""Largest configuration file, in bytes."""

MEANT_LETTERS: Final = 3
"""Letters from which a part of a setting's name is taken for it in a suggestion."""

ENVIRONMENT_PREFIX: Final = "STRONGROOM_"

CREDENTIALS_VARIABLE: Final = "CREDENTIALS_DIRECTORY"
"""Where systemd puts a service's credentials; see systemd.exec(5)."""


RELOADS: Final[dict[str, Any]] = {"reloads": True}
"""Marks a setting that a running server takes from the file with ``strongroom reload``."""


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of every section."""


class SiteSection(Section, frozen=True):
    """The organisation."""

    name: Annotated[
        str, Meta(max_length=200, description="Name shown to operators; empty: as given at init.")
    ] = ""
    profile: Annotated[
        Literal["hospital", "bank"],
        Meta(
            description="What a branch still does after a week without headquarters: a hospital's"
            " people go on signing in, a bank's do not."
        ),
    ] = "hospital"
    proxy: Annotated[
        str,
        Meta(
            max_length=300,
            description="HTTP proxy through which a branch reaches headquarters, as"
            " http://HOST[:PORT]; empty: none.",
        ),
    ] = ""
    proxy_credentials: Annotated[
        str,
        Meta(max_length=4_096, description="File with NAME:PASSWORD for the proxy; empty: none."),
    ] = ""
    bytes_per_second: Annotated[
        int,
        Meta(
            ge=0,
            le=1_000_000_000,
            description="Most that a branch's link sends, and most that it takes, each second;"
            " 0: no limit.",
        ),
    ] = 0


class ListenSection(Section, frozen=True):
    """Where clients connect: one port, TCP and UDP."""

    host: Annotated[
        str, Meta(min_length=1, description='Address to listen on; "::" is IPv6 and IPv4.')
    ] = "0.0.0.0"  # noqa: S104 (clients are elsewhere: listening is what a server is for)
    port: Annotated[
        int, Meta(ge=0, le=65_535, description="Port, TCP and UDP; 0 takes a free one.")
    ] = 8443
    names: Annotated[
        tuple[str, ...],
        Meta(
            max_length=100,
            description="Host names and addresses that clients use; they go into the certificate.",
            extra=RELOADS,
        ),
    ] = ()
    origins: Annotated[
        tuple[str, ...],
        Meta(
            max_length=100,
            description="Other web origins that may open sessions from a browser (https://...).",
            extra=RELOADS,
        ),
    ] = ()


class TlsSection(Section, frozen=True):
    """An own certificate instead of the internal CA's. Both settings, or neither."""

    certificate: Annotated[
        str,
        Meta(
            description="PEM file: the certificate, then its chain; empty: internal CA.",
            extra=RELOADS,
        ),
    ] = ""
    key: Annotated[
        str, Meta(description="PEM file with the certificate's private key.", extra=RELOADS)
    ] = ""


class KeysSection(Section, frozen=True):
    """The key directory, kept apart from the data, and what protects it."""

    directory: Annotated[
        str,
        Meta(description='Key directory; empty: the data directory\'s path with "-keys" added.'),
    ] = ""
    wrap: Annotated[
        Literal["none", "passphrase", "credential"],
        Meta(description="What the root key is wrapped with; chosen at init."),
    ] = "none"
    passphrase_file: Annotated[
        str,
        Meta(description="File with the passphrase in its first line; empty: asked on a terminal."),
    ] = ""
    credential_file: Annotated[
        str, Meta(description="File whose whole content (32 bytes or more) is the wrapping secret.")
    ] = ""


class ReplicasSection(Section, frozen=True):
    """Copies of the keys on other devices; without one no backup can be restored."""

    directories: Annotated[
        tuple[str, ...],
        Meta(
            max_length=8,
            description="Directories of key replicas; `strongroom key-replica add` makes them.",
        ),
    ] = ()


class BackupSection(Section, frozen=True):
    """Where backups are."""

    directory: Annotated[
        str,
        Meta(description="Directory in which backups are made; `strongroom drill` looks there."),
    ] = ""


class StoreSection(Section, frozen=True):
    """The database."""

    map_bytes: Annotated[
        int,
        Meta(
            ge=1 << 26,
            le=1 << 44,
            description="Largest size of the database in bytes; it takes disk space only as used.",
        ),
    ] = 1 << 36


class MetricsSection(Section, frozen=True):
    """Figures for Prometheus; the administration socket always gives them."""

    listen: Annotated[
        str, Meta(description='Loopback "HOST:PORT" for /metrics over HTTP; empty: off.')
    ] = ""


class SessionsSection(Section, frozen=True):
    """How long people stay signed in."""

    idle_seconds: Annotated[
        int,
        Meta(
            ge=60, le=86_400, description="Idle time that ends a password session.", extra=RELOADS
        ),
    ] = 1_800
    shared_idle_seconds: Annotated[
        int, Meta(ge=60, le=86_400, description="The same on a shared device.", extra=RELOADS)
    ] = 900
    absolute_seconds: Annotated[
        int,
        Meta(ge=300, le=604_800, description="Longest life of a password session.", extra=RELOADS),
    ] = 43_200
    token_days: Annotated[
        int, Meta(ge=1, le=3_650, description="Days until a device's token expires.", extra=RELOADS)
    ] = 180


class LimitsSection(Section, frozen=True):
    """What one client, one address and all together may use."""

    sends_per_second: Annotated[
        float,
        Meta(gt=0, le=10_000, description="Commands per second of one session.", extra=RELOADS),
    ] = 20.0
    connections: Annotated[
        int,
        Meta(
            ge=1, le=1_000_000, description="Connections at once, TCP and QUIC each.", extra=RELOADS
        ),
    ] = 20_000
    connections_per_address: Annotated[
        int,
        Meta(
            ge=1, le=1_000_000, description="Connections at once from one address.", extra=RELOADS
        ),
    ] = 2_000
    unauthenticated: Annotated[
        int,
        Meta(
            ge=1,
            le=1_000_000,
            description="Connections at once that have not signed in.",
            extra=RELOADS,
        ),
    ] = 2_000


class LogSection(Section, frozen=True):
    """What the server writes to the journal or to stderr; never content."""

    format: Annotated[
        Literal["auto", "text", "json"],
        Meta(
            description="The journal when started by systemd, else text; or lines for people, or"
            " one JSON object per line, on stderr.",
            extra=RELOADS,
        ),
    ] = "auto"
    level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Meta(description="Least severity written.", extra=RELOADS),
    ] = "info"


class QuicSection(Section, frozen=True):
    """QUIC on the same port number over UDP."""

    enabled: Annotated[bool, Meta(description="Whether to offer QUIC.")] = True
    retry: Annotated[
        Literal["auto", "always"],
        Meta(
            description="When a client must prove its address first: under load, or always.",
            extra=RELOADS,
        ),
    ] = "auto"


class Config(Section, frozen=True):
    """Everything an operator can set."""

    site: SiteSection = SiteSection()
    listen: ListenSection = ListenSection()
    tls: TlsSection = TlsSection()
    keys: KeysSection = KeysSection()
    replicas: ReplicasSection = ReplicasSection()
    backup: BackupSection = BackupSection()
    store: StoreSection = StoreSection()
    metrics: MetricsSection = MetricsSection()
    sessions: SessionsSection = SessionsSection()
    limits: LimitsSection = LimitsSection()
    log: LogSection = LogSection()
    quic: QuicSection = QuicSection()


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting as documented: section, key, type, default, description."""

    section: str
    key: str
    type: Any = field(repr=False)
    default: Any
    description: str

    @property
    def name(self) -> str:
        """The setting's full name, ``section.key``."""
        return f"{self.section}.{self.key}"

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return f"{ENVIRONMENT_PREFIX}{self.section}_{self.key}".upper()

    @property
    def bounds(self) -> str:
        """What values are allowed, for people."""
        return _bounds(self.type)

    @property
    def reloads(self) -> bool:
        """Whether a running server takes a new value without a restart."""
        meta: Meta = get_args(self.type)[1]
        return bool((meta.extra or {}).get("reloads"))

    def of(self, config: Config) -> Any:
        """Return the setting's value in a configuration."""
        return getattr(getattr(config, self.section), self.key)


def section_types() -> dict[str, type[Section]]:
    """Return the sections by name, in order."""
    hints = get_type_hints(Config)
    return {name: hints[name] for name in Config.__struct_fields__}


def settings() -> Iterator[Setting]:
    """Yield every setting in the order of the example file."""
    for section, kind in section_types().items():
        hints = get_type_hints(kind, include_extras=True)
        defaults = kind()
        for key in kind.__struct_fields__:
            meta = get_args(hints[key])[1]
            text = meta.description or ""
            yield Setting(section, key, hints[key], getattr(defaults, key), text)


SETTINGS: Final[Mapping[str, Setting]] = {setting.name: setting for setting in settings()}
"""Every setting by its full name."""


class ConfigError(ProblemsError):
    """The configuration cannot be used."""

    code: ClassVar[str] = "config.invalid"
    retryable: ClassVar[bool] = False
    hint: ClassVar[str] = "`strongroom config example` shows every setting."


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration in force, and which source each setting came from."""

    config: Config
    sources: Mapping[str, str]

    def rows(self) -> Iterator[tuple[Setting, Any, str]]:
        """Yield setting, value in force, and source (flag, environment, file or default)."""
        for name, setting in SETTINGS.items():
            yield setting, setting.of(self.config), self.sources[name]


def load(
    text: str, *, environ: Mapping[str, str], flags: Mapping[str, Any] | None = None
) -> Loaded:
    """Read a configuration.

    Args:
        text: the TOML file's content; empty when there is none.
        environ: the environment's variables.
        flags: full setting names to values given on the command line; None values are skipped.

    Raises:
        ConfigError: with every mistake found.
    """
    problems: list[Problem] = []
    values: dict[str, Any] = {}
    sources = dict.fromkeys(SETTINGS, "default")
    given = (
        ("file", False, _from_file(text, problems)),
        ("environment", True, _from_environment(environ, problems)),
        (
            "flag",
            False,
            {name: value for name, value in (flags or {}).items() if value is not None},
        ),
    )
    for source, is_text, found in given:
        for name, raw in found.items():
            setting = SETTINGS[name]
            where = setting.variable if source == "environment" else name
            try:
                values[name] = _convert(setting, raw, is_text=is_text)
                sources[name] = source
            except msgspec.ValidationError as error:
                problems.append(Problem(where, str(error), setting.bounds))
    config = build(values)
    problems += contradictions(config)
    if problems:
        raise ConfigError(problems)
    return Loaded(config, sources)


def load_file(
    path: Path, *, environ: Mapping[str, str], flags: Mapping[str, Any] | None = None
) -> Loaded:
    """Read a configuration file; one that does not exist counts as empty.

    Raises:
        ConfigError: it cannot be read, is no UTF-8 or too large, or as ``load``.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        content = b""
    except OSError as error:
        raise ConfigError([Problem(path.name, f"cannot be read: {error.strerror}")]) from None
    if len(content) > FILE_BYTES:
        raise ConfigError([Problem(path.name, f"is larger than {FILE_BYTES} bytes")])
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        raise ConfigError([Problem(path.name, "is not UTF-8")]) from None
    return load(text, environ=environ, flags=flags)


def key_directory(config: Config, data: Path) -> Path:
    """Return the key directory in force for a data directory, which need not exist."""
    configured = config.keys.directory or f"{data}-keys"
    return Path(os.path.normpath(data / configured))


def replica_directories(config: Config, data: Path) -> tuple[Path, ...]:
    """Return the directories of key replicas for a data directory; they need not exist."""
    return tuple(Path(os.path.normpath(data / name)) for name in config.replicas.directories)


def credential_path(name: str, environ: Mapping[str, str] | None = None) -> Path | None:
    """Return the systemd credential of this name: a plain name in ``$CREDENTIALS_DIRECTORY``."""
    folder = (os.environ if environ is None else environ).get(CREDENTIALS_VARIABLE, "")
    found = Path(folder) / name
    return found if folder and "/" not in name and found.is_file() else None


def secret_path(name: str, data: Path, environ: Mapping[str, str] | None = None) -> Path:
    """Return the file that a setting names: a systemd credential, or relative to the data."""
    return credential_path(name, environ) or data / name


def _from_file(text: str, problems: list[Problem]) -> dict[str, Any]:
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        problems.append(Problem(FILE_NAME, f"not TOML: {error}"))
        return {}
    found: dict[str, Any] = {}
    sections = section_types()
    for section, table in document.items():
        if section not in sections:
            problems.append(Problem(section, "unknown section", _nearest(section, sections)))
        elif not isinstance(table, dict):
            problems.append(Problem(section, "must be a section", f"[{section}]"))
        else:
            found |= _keys(section, table, problems)
    return found


def _keys(section: str, table: dict[str, Any], problems: list[Problem]) -> dict[str, Any]:
    known = section_types()[section].__struct_fields__
    for key in table:
        if key not in known:
            where = f"{section}.{key}"
            problems.append(Problem(where, "unknown setting", _nearest_setting(section, key)))
    return {f"{section}.{key}": value for key, value in table.items() if key in known}


def _nearest_setting(section: str, key: str) -> str:
    known = section_types()[section].__struct_fields__
    part = [name for name in known if len(key) >= MEANT_LETTERS and key in name]
    here = difflib.get_close_matches(key, known, 1, 0.6) or part
    if here:
        return f"did you mean {section}.{here[0]}?"
    elsewhere = [name for name in SETTINGS if name.endswith(f".{key}")]
    return f"did you mean {elsewhere[0]}?" if elsewhere else ""


def _nearest(word: str, known: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(word, list(known), 1, 0.6)
    return f"did you mean {near[0]}?" if near else "sections: " + ", ".join(known)


def _from_environment(environ: Mapping[str, str], problems: list[Problem]) -> dict[str, Any]:
    variables = {setting.variable: name for name, setting in SETTINGS.items()}
    prefixes = tuple(f"{ENVIRONMENT_PREFIX}{section}_".upper() for section in section_types())
    found: dict[str, Any] = {}
    for variable, value in environ.items():
        if variable in variables:
            found[variables[variable]] = value
        elif variable.startswith(prefixes):
            near = difflib.get_close_matches(variable, list(variables), 1, 0.6)
            hint = f"did you mean {near[0]}?" if near else ""
            problems.append(Problem(variable, "unknown setting", hint))
    return found


def _convert(setting: Setting, raw: Any, *, is_text: bool) -> Any:
    """Return a raw value as the setting's type; in the environment a list has commas."""
    if is_text and isinstance(setting.default, tuple):
        raw = [part.strip() for part in raw.split(",") if part.strip()]
    elif is_text and isinstance(setting.default, bool):
        raw = {"1": True, "true": True, "0": False, "false": False}.get(raw.lower(), raw)
    return msgspec.convert(raw, type=setting.type, strict=not is_text)


def build(values: Mapping[str, Any]) -> Config:
    """Return the tree with these values, by full name, and the rest at its default."""
    tree: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        section, _, key = name.partition(".")
        tree.setdefault(section, {})[key] = value
    kinds = section_types()
    chosen: dict[str, Any] = {name: kinds[name](**keys) for name, keys in tree.items()}
    return Config(**chosen)


def contradictions(config: Config) -> list[Problem]:
    """List settings that are each allowed but not together, or not on this machine."""
    found = []
    if bool(config.tls.certificate) != bool(config.tls.key):
        lacking = "tls.key" if config.tls.certificate else "tls.certificate"
        found.append(Problem(lacking, "is needed too", "a certificate and its key go together"))
    if config.keys.wrap == "credential" and not config.keys.credential_file:
        found.append(Problem("keys.credential_file", "is needed", 'keys.wrap is "credential"'))
    if config.metrics.listen and not _is_loopback(config.metrics.listen):
        found.append(Problem("metrics.listen", "must be a loopback address", '"127.0.0.1:9464"'))
    found += [
        Problem("listen.origins", "an origin starts with https://", '"https://chat.example.org"')
        for origin in config.listen.origins
        if not origin.startswith("https://") or origin.count("/") != 2
    ]
    return found


def split_address(text: str) -> tuple[str, int]:
    """Read ``HOST:PORT`` (``[HOST]:PORT`` for IPv6); raises ``ValueError`` otherwise."""
    host, colon, port = text.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not colon or not host or not port.isascii() or not port.isdigit():
        raise ValueError("an address is HOST:PORT")
    if int(port) > 65_535:
        raise ValueError("a port is a number up to 65535")
    return host, int(port)


def _is_loopback(listen: str) -> bool:
    try:
        host, _ = split_address(listen)
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _bounds(kind: Any) -> str:
    """Say what a setting's type allows."""
    base, meta = get_args(kind)
    if get_origin(base) is Literal:
        return " or ".join(f'"{value}"' for value in get_args(base))
    if base is bool:
        return "true or false"
    if get_origin(base) is tuple:
        return "list of strings"
    if base is str:
        return "string"
    low = meta.ge if meta.ge is not None else meta.gt
    return f"{'more than ' if meta.gt is not None else ''}{low:,} to {meta.le:,}"
