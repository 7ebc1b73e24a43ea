"""Turn every failure into one message, one hint and one exit status."""

from __future__ import annotations

import errno
import json
import os
import sys
from dataclasses import dataclass
from typing import Any

import click

from cli.exits import Exit, for_code

ERROR_SCHEMA = "strongroom.error/1"


class CliError(Exception):
    """A failure with a stable code; the code decides the exit status (``cli.exits``)."""

    def __init__(self, code: str, message: str, hint: str = "", *, retryable: bool = False) -> None:
        self.code = code
        self.message = message
        self.hint = hint
        self.retryable = retryable
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Report:
    """What is told of a failure."""

    code: str
    message: str
    hint: str
    retryable: bool
    status: int

    def as_json(self) -> str:
        """Return the JSON document."""
        document: dict[str, Any] = {
            "schema": ERROR_SCHEMA,
            "code": self.code,
            "message": self.message,
            "hint": self.hint,
            "retryable": self.retryable,
        }
        return json.dumps(document, ensure_ascii=False)

    def as_text(self) -> str:
        """Return one line, and a second one with the hint if there is one."""
        line = f"error: {self.message} ({self.code})"
        return f"{line}\nhint: {self.hint}" if self.hint else line


def language() -> str:
    """Return the language for people: zh-CN when the locale is Chinese, else en."""
    for variable in ("LC_ALL", "LC_MESSAGES", "LANG"):
        value = os.environ.get(variable)
        if value:
            return "zh-CN" if value.lower().startswith("zh") else "en"
    return "en"


def catalogue_text(code: str, fallback: str) -> str:
    """Return the catalogue's sentence for a code in the user's language."""
    from transports.wire.errors import CATALOGUE, text

    return text(code, language()) if code in CATALOGUE else fallback


def report(error: BaseException) -> Report:
    """Describe a failure; what nobody expected is told by its type alone, without content."""
    if isinstance(error, CliError):
        status = for_code(error.code)
        return Report(error.code, error.message, error.hint, error.retryable, status)
    if isinstance(error, click.UsageError):
        return Report("cli.usage", error.format_message(), _usage_hint(error), False, Exit.USAGE)
    if isinstance(error, click.ClickException):
        return Report("cli.failed", error.format_message(), "", False, Exit.FAILED)
    if isinstance(error, (click.Abort, KeyboardInterrupt)):
        return Report("cli.interrupted", "interrupted", "", True, 130)
    code = getattr(error, "code", None)
    if isinstance(code, str):
        return _coded(error, code)
    if _is_link_error(error):
        return Report("cli.usage", str(error), "", False, Exit.USAGE)
    if isinstance(error, OSError):
        return _from_os(error)
    name = type(error).__name__
    return Report("cli.failed", f"unexpected {name}", _DEBUG_HINT, False, Exit.FAILED)


_DEBUG_HINT = "STRONGROOM_DEBUG=1 shows where it happened."


def _is_link_error(error: BaseException) -> bool:
    """Tell whether an address or link was typed wrong; its message never repeats the link."""
    links = sys.modules.get("transports.wire.links")
    return links is not None and isinstance(error, links.LinkError)


def _coded(error: BaseException, code: str) -> Report:
    """Describe an error of the product: each has a code, and most a hint."""
    message = catalogue_text(code, str(error) or code)
    hint = str(getattr(error, "hint", "") or "")
    after = getattr(error, "after", 0)
    if after and not hint:
        hint = f"Try again in {after:g} s."
    retryable = bool(getattr(error, "retryable", False))
    return Report(code, message, hint, retryable, for_code(code))


def _from_os(error: OSError) -> Report:
    if error.errno == errno.EADDRINUSE:
        hint = "Another program uses it; choose another with --listen or listen.port."
        message = "the port is in use"
        return Report("cli.port_taken", message, hint, True, Exit.FAILED)
    denied = error.errno in (errno.EACCES, errno.EPERM)
    name = f"{error.filename}: " if isinstance(error.filename, (str, os.PathLike)) else ""
    message = f"{name}{error.strerror or type(error).__name__}"
    status = Exit.DENIED if denied else Exit.FAILED
    return Report("cli.denied" if denied else "cli.failed", message, "", False, status)


def _usage_hint(error: click.UsageError) -> str:
    path = error.ctx.command_path if error.ctx is not None else "strongroom"
    return f"`{path} --help` shows options and an example."


def tell(error: BaseException, *, as_json: bool) -> int:
    """Write a failure to stderr and return the exit status."""
    found = report(error)
    if os.environ.get("STRONGROOM_DEBUG") == "1" and found.code == "cli.failed":
        sys.excepthook(type(error), error, error.__traceback__)
    print(found.as_json() if as_json else found.as_text(), file=sys.stderr, flush=True)
    return found.status
