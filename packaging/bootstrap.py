"""Make or update .venv from the lock files with nothing but Python's standard library.

Debian's python3 has no ensurepip, so pip itself is fetched as a wheel from the package index and
checked against the hash in requirements/bootstrap.txt. From then on pip does the work, with hashes
required. pip's own settings count here too: PIP_* variables, then its configuration files.

Usage: python3 packaging/bootstrap.py [--dev]
"""

from __future__ import annotations

import argparse
import base64
import configparser
import fcntl
import hashlib
import html.parser
import json
import os
import re
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
import venv
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
REQUIREMENTS = ROOT / "requirements"

OLDEST_PYTHON = (3, 11)
DEFAULT_INDEX = "https://pypi.org/simple"
FETCH_TIMEOUT_SECONDS = 60
FETCH_ATTEMPTS = 3
RETRY_SECONDS = 2
FETCH_LIMIT_BYTES = 64 * 1024 * 1024

JSON_PAGE = "application/vnd.pypi.simple.v1+json"


class BootstrapError(Exception):
    """The environment cannot be made; the message says what to do."""


class Pin(NamedTuple):
    """One locked wheel: its version, and the sha256 digests that are good (lowercase hex)."""

    version: str
    sha256: frozenset[str]


def read_pin(text: str, name: str) -> Pin:
    """Find `name==version --hash=sha256:...` in the text of a lock file.

    Raises:
        BootstrapError: the package is not locked there.
    """
    found = re.search(rf"^{re.escape(name)}==(\S+)((?:\s*\\?\s*--hash=sha256:\w+)+)", text, re.M)
    if found is None:
        raise BootstrapError(f"{name} is not in requirements/bootstrap.txt: run `make lock`")
    return Pin(found[1], frozenset(re.findall(r"sha256:(\w+)", found[2])))


def config_files(environ: dict[str, str]) -> list[Path]:
    """List the files pip reads its settings from; a later one wins."""
    own = environ.get("PIP_CONFIG_FILE")
    if own == os.devnull:
        return []
    home = Path(environ.get("HOME", "/"))
    user = Path(environ.get("XDG_CONFIG_HOME", home / ".config"))
    shared = environ.get("XDG_CONFIG_DIRS", "/etc/xdg").split(":")
    files = [Path(folder, "pip", "pip.conf") for folder in shared if folder]
    files += [Path("/etc/pip.conf"), home / ".pip" / "pip.conf", user / "pip" / "pip.conf"]
    return [*files, Path(own)] if own else files


def read_settings(files: list[Path], environ: dict[str, str]) -> dict[str, str]:
    """Collect pip's settings as `index-url -> value`: [global], then [install], then PIP_*."""
    settings: dict[str, str] = {}
    parser = configparser.RawConfigParser()
    for path in files:
        try:
            parser.read(path, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError, PermissionError):
            print(f"strongroom: {path} cannot be read as pip settings, ignored", file=sys.stderr)
    for section in ("global", "install"):
        if parser.has_section(section):
            settings.update({key.replace("_", "-"): value for key, value in parser.items(section)})
    for key, value in environ.items():
        if key.startswith("PIP_") and value:
            settings[key[len("PIP_") :].lower().replace("_", "-")] = value
    return settings


def sources(settings: dict[str, str]) -> list[str]:
    """List the places to look for pip in: folders and pages of find-links, then the indexes."""
    places = settings.get("find-links", "").split()
    if settings.get("no-index", "").lower() in ("1", "true", "yes", "on", "y", "t"):
        return places
    indexes = [settings.get("index-url", DEFAULT_INDEX)]
    indexes += settings.get("extra-index-url", "").split()
    return places + [index.rstrip("/") + "/pip/" for index in indexes]


class Fetcher:
    """Fetch over HTTP(S) with pip's certificate and proxy settings; proxies also as *_proxy."""

    def __init__(self, settings: dict[str, str]) -> None:
        cert = settings.get("cert")
        folder = bool(cert) and os.path.isdir(str(cert))
        context = ssl.create_default_context(
            cafile=None if folder else cert, capath=cert if folder else None
        )
        handlers: list[urllib.request.BaseHandler] = [
            urllib.request.HTTPSHandler(context=context),
        ]
        if "proxy" in settings:
            proxy = settings["proxy"]
            handlers.append(urllib.request.ProxyHandler({"http": proxy, "https": proxy}))
        self._opener = urllib.request.build_opener(*handlers)

    def get(self, url: str, accept: str = "*/*") -> tuple[str, str, bytes]:
        """Return the final address, the content type and the content.

        Raises:
            BootstrapError: not reachable in FETCH_ATTEMPTS attempts, or refused.
        """
        request = _request(url, accept)
        reason = ""
        for attempt in range(1, FETCH_ATTEMPTS + 1):
            try:
                with self._opener.open(request, timeout=FETCH_TIMEOUT_SECONDS) as answer:
                    kind = answer.headers.get_content_type()
                    return answer.geturl(), kind, answer.read(FETCH_LIMIT_BYTES)
            except urllib.error.HTTPError as error:
                reason = f"HTTP {error.code}"
                error.close()
                if error.code < 500:
                    break
            except (OSError, ValueError) as error:
                reason = str(error)
            if attempt < FETCH_ATTEMPTS:
                time.sleep(RETRY_SECONDS * attempt)
        if "CERTIFICATE_VERIFY_FAILED" in reason:
            reason += " (is the Debian package ca-certificates installed, or PIP_CERT set?)"
        raise BootstrapError(f"cannot fetch {_without_password(url)}: {reason}")


def _request(url: str, accept: str) -> urllib.request.Request:
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https"):
        raise BootstrapError(f"not an http(s) address: {_without_password(url)}")
    request = urllib.request.Request(_without_password(url), headers={"Accept": accept})  # noqa: S310 (checked above)
    if parts.username is not None:
        user = urllib.parse.unquote(parts.username)
        password = urllib.parse.unquote(parts.password or "")
        token = base64.b64encode(f"{user}:{password}".encode()).decode("ascii")
        request.add_unredirected_header("Authorization", f"Basic {token}")
    return request


def _without_password(url: str) -> str:
    parts = urllib.parse.urlsplit(url)
    return urllib.parse.urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


class _Links(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for key, value in attrs if tag == "a" and key == "href" and value]


def page_links(address: str, kind: str, content: bytes) -> list[str]:
    """List the files an index page offers (PEP 691 JSON, else PEP 503 HTML), as full addresses.

    Raises:
        BootstrapError: the page says it is JSON and is not an index page.
    """
    text = content.decode("utf-8", "replace")
    if kind.endswith("json"):
        try:
            links = [str(file["url"]) for file in json.loads(text)["files"]]
        except (ValueError, KeyError, TypeError):
            raise BootstrapError(f"no index page at {_without_password(address)}") from None
    else:
        parser = _Links()
        parser.feed(text)
        links = parser.found
    return [urllib.parse.urljoin(address, link.partition("#")[0]) for link in links]


def fetch_wheel(source: str, name: str, fetcher: Fetcher) -> bytes | None:
    """Return the content of the file `name` that a source offers, or None if it has none."""
    local = source[len("file://") :] if source.startswith("file://") else source
    if "://" not in local:
        path = Path(local).expanduser() / name
        return path.read_bytes() if path.is_file() else None
    address, kind, content = fetcher.get(source, f"{JSON_PAGE}, text/html;q=0.5")
    for link in page_links(address, kind, content):
        if urllib.parse.unquote(urllib.parse.urlsplit(link).path).endswith("/" + name):
            return fetcher.get(_with_login_of(source, link))[2]
    return None


def _with_login_of(index: str, link: str) -> str:
    """Carry the index's login over to a file on the same host, as pip does."""
    login, found, host = urllib.parse.urlsplit(index).netloc.rpartition("@")
    parts = urllib.parse.urlsplit(link)
    if not found or parts.netloc != host:
        return link
    return urllib.parse.urlunsplit(parts._replace(netloc=f"{login}@{host}"))


def find_pip(pin: Pin, settings: dict[str, str]) -> bytes:
    """Return the locked pip wheel from the first source that has it.

    Raises:
        BootstrapError: no source has it, or what they have is not what was locked.
    """
    name = f"pip-{pin.version}-py3-none-any.whl"
    fetcher = Fetcher(settings)
    problems = []
    for source in sources(settings):
        try:
            content = fetch_wheel(source, name, fetcher)
        except BootstrapError as error:
            problems.append(str(error))
            continue
        if content is None:
            problems.append(f"{name} is not at {_without_password(source)}")
        elif hashlib.sha256(content).hexdigest() in pin.sha256:
            return content
        else:
            problems.append(f"{name} at {_without_password(source)} is not the locked one")
    raise BootstrapError("\n".join(problems) or "no package index is configured")


def make_environment() -> None:
    """Make .venv, unless one of this Python version is there and runs."""
    probe = "import sys; print(*sys.version_info[:2])"
    if PYTHON.exists():
        answer = subprocess.run([PYTHON, "-I", "-c", probe], capture_output=True, text=True)  # noqa: PLW1510 (looked at)
        if answer.stdout.split() == [str(part) for part in sys.version_info[:2]]:
            return
    print(f"strongroom: making .venv with Python {sys.version.split()[0]}", flush=True)
    venv.create(VENV, clear=True, symlinks=True, with_pip=False)


def installed_pip() -> str:
    """Return the version of pip in .venv, or an empty string."""
    probe = "import importlib.metadata as m; print(m.version('pip'))"
    answer = subprocess.run([PYTHON, "-I", "-c", probe], capture_output=True, text=True)  # noqa: PLW1510 (looked at)
    return answer.stdout.strip() if answer.returncode == 0 else ""


def run_pip(*arguments: str, wheel: Path | None = None) -> None:
    """Run pip inside .venv, from a wheel file if given.

    Raises:
        BootstrapError: pip failed; it has said why itself.
    """
    environ = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    environ["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"
    program = ["-m", "pip"] if wheel is None else [f"{wheel}/pip"]
    command = [str(PYTHON), *program, "install", "--quiet", "--progress-bar", "off", *arguments]
    if subprocess.run(command, env=environ, cwd=ROOT).returncode != 0:  # noqa: PLW1510 (looked at)
        raise BootstrapError("pip could not install what is locked: see above")


def install(dev: bool) -> None:
    """Bring .venv to what the lock files say, and put the project itself into it."""
    locked = ("--require-hashes", "--only-binary", ":all:")
    bootstrap = REQUIREMENTS / "bootstrap.txt"
    pin = read_pin(bootstrap.read_text("utf-8"), "pip")
    if installed_pip() != pin.version:
        settings = read_settings(config_files(dict(os.environ)), dict(os.environ))
        with tempfile.TemporaryDirectory() as folder:
            wheel = Path(folder, f"pip-{pin.version}-py3-none-any.whl")
            wheel.write_bytes(find_pip(pin, settings))
            run_pip(*locked, "-r", str(bootstrap), wheel=wheel)
    files = [bootstrap, REQUIREMENTS / "runtime.txt"] + [REQUIREMENTS / "dev.txt"] * dev
    print(f"strongroom: installing {', '.join(file.name for file in files)}", flush=True)
    run_pip(*locked, *(part for file in files for part in ("-r", str(file))))
    run_pip("--no-deps", "--no-build-isolation", "--no-index", "-e", ".")


def main() -> int:
    """Run as `make` calls it; return 0, or 1 after saying what is wrong."""
    parser = argparse.ArgumentParser(description="Make or update .venv from the lock files.")
    parser.add_argument("--dev", action="store_true", help="also what the tests and gates need")
    dev = parser.parse_args().dev
    if sys.version_info < OLDEST_PYTHON:
        print("strongroom: Python 3.11 or newer is needed: make PYTHON=...", file=sys.stderr)
        return 1
    ROOT.joinpath("build").mkdir(exist_ok=True)
    with ROOT.joinpath("build", "bootstrap.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two runs of make at once take turns
        try:
            make_environment()
            install(dev)
        except (BootstrapError, OSError) as error:
            print(f"strongroom: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
