"""Write a conversation's day as one e-mail message (RFC 5322), for archives that take only those.

The text tells each message with its versions and what happened to it, for people. The exact
lines of the export are attached, for programs and for proof. People have addresses that lead
nowhere (``.invalid``, RFC 2606): their login name at their site's node. The same lines always
give the same bytes.

Nothing that people have written gets into a header but titles, names and labels, each as one
line; the standard library encodes them.
"""

from __future__ import annotations

import email
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from hashlib import sha256
from typing import Final

from appliance.evidence import lines
from appliance.evidence.limits import EML_ADDRESSES

RECORDS_NAME: Final = "records.jsonl"

_DOMAIN: Final = "strongroom.invalid"
_LOCAL: Final = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*")
_LINE_MARKS: Final = dict.fromkeys((*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029), " ")
_BOUNDARY_CHARACTERS: Final = 32


def message(node: str, data: Sequence[bytes]) -> bytes:
    """Return the message for some lines of one conversation and day, CRLF line ends.

    ``node`` is the site's (hex); ``data`` begins with a conversation line, unless it tells of
    nothing but destroyed messages. Raises ``ValueError`` for lines that are none.
    """
    parsed = [lines.decode(line) for line in data]
    records = [line for line in parsed if isinstance(line, lines.Record)]
    contexts = [line for line in parsed if isinstance(line, lines.Conversation)]
    if not records or not contexts:
        return _tombstones(node, parsed, data)
    context = contexts[0]
    digest = sha256(b"\n".join(data)).hexdigest()
    made = EmailMessage(policy=SMTP)
    at = min(each.at for each in records)
    made["Date"] = format_datetime(_moment(at))
    made["From"] = _authors(node, records)
    made["Sender"] = _address("", "archive", node)
    made["To"] = _people(node, contexts)
    made["Subject"] = f"{_line(context.title) or _kind(context)}, {_moment(at):%Y-%m-%d}"
    made["Message-ID"] = f"<{digest[:_BOUNDARY_CHARACTERS]}@{node}.{_DOMAIN}>"
    made["X-Strongroom-Conversation"] = context.conversation
    made["X-Strongroom-Kind"] = _line(context.kind)
    if context.labels:
        made["X-Strongroom-Labels"] = ", ".join(map(_line, context.labels))
    made["X-Strongroom-Retention-Class"] = str(context.retention_class)
    _fill(made, _text(parsed), data, digest)
    return made.as_bytes()


def lines_in(data: bytes) -> list[bytes]:
    """Return the export's lines in a message; raises ``ValueError`` when it holds none."""
    read = email.message_from_bytes(data, policy=SMTP)
    for part in read.iter_attachments():
        if part.get_filename() == RECORDS_NAME:
            content = part.get_content()
            if isinstance(content, bytes):
                return content.split(b"\n")[:-1]
    raise ValueError("no lines of an export")


def _tombstones(node: str, parsed: Sequence[lines.AnyLine], data: Sequence[bytes]) -> bytes:
    """Return the message for lines about messages of which nothing is left."""
    stones = [line for line in parsed if isinstance(line, lines.Destroyed)]
    digest = sha256(b"\n".join(data)).hexdigest()
    made = EmailMessage(policy=SMTP)
    made["Date"] = format_datetime(_moment(max((each.at for each in stones), default=0)))
    made["From"] = _address("", "archive", node)
    made["Subject"] = "Destroyed messages"
    made["Message-ID"] = f"<{digest[:_BOUNDARY_CHARACTERS]}@{node}.{_DOMAIN}>"
    _fill(made, (line for each in stones for line in _stone(each)), data, digest)
    return made.as_bytes()


def _fill(made: EmailMessage, text: Iterable[str], data: Sequence[bytes], digest: str) -> None:
    """Add text and attachment, with a boundary that depends on the lines alone."""
    made.set_content("".join(f"{line}\n" for line in text), cte="base64")
    content = b"".join(line + b"\n" for line in data)
    made.add_attachment(content, maintype="application", subtype="x-ndjson", filename=RECORDS_NAME)
    made.set_boundary(f"=_{digest[-_BOUNDARY_CHARACTERS:]}")


# --- headers -------------------------------------------------------------------------------------


def _authors(node: str, records: Iterable[lines.Record]) -> list[Address]:
    people = {each.versions[0].by.person: each.versions[0].by for each in records}
    return [_of(each, node) for each in people.values()]


def _people(node: str, contexts: Iterable[lines.Conversation]) -> list[Address]:
    """Return everybody who was there, by address; beyond ``EML_ADDRESSES`` the first ones."""
    people = {each.person: each for context in contexts for each in context.members}
    found = sorted((_of(each, node) for each in people.values()), key=lambda each: each.addr_spec)
    return found[:EML_ADDRESSES]


def _of(person: lines.Named | lines.Member, node: str) -> Address:
    """Return a person's address: by login name, or by id once the name is erased."""
    if _LOCAL.fullmatch(person.login):
        return _address(person.name, person.login, node)
    return _address(person.name, person.person or "site", node)


def _address(name: str, user: str, node: str) -> Address:
    return Address(_line(name), user, f"{node}.{_DOMAIN}")


def _line(text: str) -> str:
    """Return a text as one line: nothing in it ends a header or passes for an encoded word."""
    return " ".join(text.translate(_LINE_MARKS).replace("=?", "= ?").split())


def _kind(context: lines.Conversation) -> str:
    return f"{context.kind} conversation"


# --- text ----------------------------------------------------------------------------------------


def _text(parsed: Iterable[lines.AnyLine]) -> Iterator[str]:
    """Yield the lines that people read."""
    for each in parsed:
        if isinstance(each, lines.Conversation):
            yield from _context(each)
        elif isinstance(each, lines.Record):
            yield from _record(each)
        elif isinstance(each, lines.Destroyed):
            yield from _stone(each)
        yield ""


def _context(context: lines.Conversation) -> Iterator[str]:
    yield f"Conversation {context.conversation}"
    yield f"Title:   {_line(context.title) or '-'}"
    yield f"Kind:    {context.kind}"
    yield f"Labels:  {', '.join(map(_line, context.labels)) or '-'}"
    yield f"Members: {', '.join(_who(each) for each in context.members) or '-'}"


def _record(record: lines.Record) -> Iterator[str]:
    root = record.versions[0]
    yield f"{_time(record.at)}  {_who(root.by)}  {record.id}"
    if record.state != lines.PRESENT:
        yield f"  [{record.state}]"
    if record.copy_of:
        yield f"  [passes on {record.copy_of}]"
    for number, version in enumerate(record.versions, 1):
        if number > 1:
            yield f"  [version {number}, {_time(version.at)}, {_who(version.by)}]"
        yield from _said(version)
    for event in record.events:
        yield f"  [{event.kind} by {_who(event.by)}, {_time(event.at)}{_detail(event)}]"
    yield f"  [delivered to {record.delivered}, read by {record.read}]"


def _said(version: lines.Operation) -> Iterator[str]:
    """Yield what was said; no line of it can pass for one of ours."""
    content = version.content
    if content is None:
        yield "  [body destroyed]"
        return
    for name in ("text", "data"):
        text = str(content.get(name, ""))
        if text:
            yield from ("  | " + line for line in text.splitlines())


def _detail(event: lines.Operation) -> str:
    content = event.content or {}
    if "emoji" in content:
        return f", {_line(str(content['emoji']))} {'on' if content.get('on') else 'off'}"
    return f", to {content['to']}" if content.get("to") else ""


def _stone(stone: lines.Destroyed) -> Iterator[str]:
    about = f"about {_time(stone.at)}" if stone.at else "at an unknown time"
    yield f"{stone.id} in {stone.conversation}: {stone.state}, made {about}"


def _who(person: lines.Named | lines.Member) -> str:
    name = _line(person.name)
    if not person.login:
        return person.person or "the site"
    return f"{name} ({person.login})" if name else person.login


def _time(at_ms: int) -> str:
    return _moment(at_ms).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _moment(at_ms: int) -> datetime:
    """Return a Unix time in ms as UTC; the first and last that have a date stand for all beyond."""
    return datetime.fromtimestamp(min(max(at_ms, 0), _LAST_MS) / 1000, UTC)


_LAST_MS: Final = 253_402_300_799_000
"""The end of the year 9999, in Unix ms."""
