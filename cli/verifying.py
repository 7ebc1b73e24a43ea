"""Verify a certificate and a ledger export on this machine, and say what that proves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cli.errors import CliError
from cli.output import printable

_BROKEN: Final = "Something was changed, or is not what it says it is: do not rely on it."
_FINAL: Final = "COMPLETE"
_OPERATION_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be verified, all of it in files; ``message`` is an id in hex."""

    certificate: Path | None
    ledger: Path
    key_file: Path
    scope: Path | None = None
    message: str | None = None
    closing: Path | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was checked and holds; ``said`` are the certificate's lines for people.

    ``is_covered`` answers the question about a message, if there was one; ``is_closed`` tells
    that the closing note of a site holds as well.
    """

    steps: tuple[str, ...]
    said: tuple[tuple[str, str], ...] = ()
    is_covered: bool | None = None
    is_closed: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        found = dict(self.said)
        return {
            "verified": True,
            "steps": list(self.steps),
            "run": int(found["run"]) if found else 0,
            "cause": found.get("cause", ""),
            "state": found.get("state", ""),
            "covered": self.is_covered,
            "closed": self.is_closed,
        }

    def as_text(self) -> Iterator[str]:
        """Yield it for people, the state first: not every certificate says destroyed."""
        yield ""
        if not self.said:
            yield "The ledger holds."
            return
        found = dict(self.said)
        yield f"The certificate of run {found['run']} holds."
        yield f"  state    {printable(found['state'])}"
        yield f"  meaning  {printable(found['meaning'])}"
        if self.is_closed:
            yield "The closing note holds: all keys of the site are destroyed."
        elif found["state"] != _FINAL:
            yield "Only a certificate with state COMPLETE says that the records are destroyed."
        if self.is_covered is not None:
            answer = "is" if self.is_covered else "is NOT"
            yield f"The message {answer} among what this run destroyed."


def verified(question: Question, *, step: Callable[[str], None]) -> Verdict:
    """Verify, calling ``step`` with each thing that holds.

    Raises ``CliError`` ("audit.broken") for the first that does not, ``OSError``.
    """
    from store import verifier

    try:
        return _verified(question, step)
    except verifier.VerificationError as error:
        raise CliError("audit.broken", f"verification failed: {error}", _BROKEN) from None
    except UnicodeDecodeError:
        raise CliError("audit.broken", "verification failed: a file is no text", _BROKEN) from None


def _verified(question: Question, step: Callable[[str], None]) -> Verdict:
    from store import verifier

    steps = []
    certificate = None if question.certificate is None else _text(question.certificate)
    closing = None if question.closing is None else _text(question.closing)
    key = verifier.read_key(_text(question.key_file))
    with question.ledger.open(encoding="utf-8", newline="\n") as ledger:
        for each in verifier.steps(certificate, ledger, key, closing):
            steps.append(each)
            step(each)
    if certificate is None:
        return Verdict(tuple(steps))
    is_covered = None
    if question.scope is not None:
        is_covered = _is_covered(certificate, _text(question.scope), question.message or "")
    said = tuple(_said(certificate))
    return Verdict(tuple(steps), said, is_covered, is_closed=closing is not None)


def _is_covered(certificate: str, scope: str, message: str) -> bool:
    from store import verifier

    run, scope_key, leaves = verifier.read_scope(scope)
    if run != verifier.read_body(verifier.read(certificate).body).run:
        raise CliError("cli.usage", f"the scope is of run {run}, the certificate of another")
    try:
        operation = bytes.fromhex(message)
    except ValueError:
        operation = b""
    if len(operation) != _OPERATION_BYTES:
        raise CliError("cli.usage", "--message takes the id of a message: 64 hex digits")
    return verifier.covers(certificate, scope_key, operation, leaves)


def _text(path: Path) -> str:
    return path.read_bytes().decode("utf-8")


def _said(certificate: str) -> Iterator[tuple[str, str]]:
    """Yield the certificate's lines for people; they are what its proof says, once verified."""
    head = certificate.partition("\n\n")[0]
    for line in head.split("\n")[1:]:
        name, _, value = line.partition(": ")
        yield name, value
