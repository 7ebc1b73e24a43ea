"""Verify an export offline, from its lines and the site's public key alone.

What is checked: every line has exactly the bytes its values have; the site has signed the hash
over all of them with the counts; each operation's commitments hold, its content is what its
body says, and a signed segment covers it; versions and events belong to their message and are
in order. So a bit that flipped, a version or record that was dropped, added or moved, and an
end that is missing are found. Names, titles and receipts are vouched for by the site's
signature at the end alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from nacl.exceptions import CryptoError
from nacl.signing import VerifyKey

from appliance.evidence import lines, openings
from appliance.evidence.cursors import Tally
from appliance.evidence.limits import PROBLEMS, STATEMENTS
from appliance.operations import Kind
from appliance.positions import format_key
from store import hlc, segments, skeleton
from store.errors import FormatError
from store.ids import Origin
from store.skeleton import Skeleton
from store.tables import TENANT


class Problem(StrEnum):
    """What can be wrong with a line."""

    LINE = "line"
    """It is not a line of an export, or not the bytes that its values have."""
    ORDER = "order"
    """It must not stand where it stands."""
    HEADER = "header"
    """The header is not of this site."""
    CONTEXT = "context"
    """The conversation line before it is not the one it names, or has another hash."""
    OPENING = "opening"
    """An operation's bytes do not keep the commitments of its skeleton."""
    CONTENT = "content"
    """What is told of an operation is not what its bytes say."""
    SEGMENT = "segment"
    """No statement signed by its site covers the operation."""
    HISTORY = "history"
    """An operation is not about this message, or not in its place."""
    COUNTS = "counts"
    """The end counts something else than the lines before it."""
    DIGEST = "digest"
    """The hash over all lines is another one."""
    SIGNATURE = "signature"
    """The end is not signed by the site."""
    TRUNCATED = "truncated"
    """There is no end."""


class Finding(NamedTuple):
    """A problem and the number of its line, from 1; 0 for the whole."""

    line: int
    problem: Problem


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a verification found; ``findings`` are the first ``PROBLEMS``, ``problems`` all."""

    tally: Tally
    findings: tuple[Finding, ...]
    problems: int

    @property
    def is_good(self) -> bool:
        """Whether nothing is wrong; operations of open segments are only counted."""
        return not self.problems


def verify_export(data: Iterable[bytes], site_public_key: bytes) -> Verdict:
    """Verify an export's lines (line ends left out), one pass, bounded memory.

    ``site_public_key`` is the site's Ed25519 key (32 bytes), from a source that is trusted.
    Never raises for what the lines hold.
    """
    verifier = _Verifier(site_public_key)
    for number, line in enumerate(data, 1):
        for problem in verifier.step(line):
            verifier.note(number, problem)
    for problem in verifier.finish():
        verifier.note(0, problem)
    return Verdict(verifier.tally, tuple(verifier.findings), verifier.problems)


class _Verifier:
    """Goes through the lines of one export."""

    def __init__(self, site_public_key: bytes) -> None:
        self._site_key = site_public_key
        self._keys: dict[bytes, bytes] = {}
        self._signed: dict[bytes, bool] = {}
        self._header: lines.Header | None = None
        self._context = ("", "")
        self._chain = lines.CHAIN_START
        self._is_over = False
        self.tally = Tally()
        self.findings: list[Finding] = []
        self.problems = 0

    def note(self, line: int, problem: Problem) -> None:
        """Note a problem."""
        self.problems += 1
        if len(self.findings) < PROBLEMS:
            self.findings.append(Finding(line, problem))

    def step(self, data: bytes) -> Iterator[Problem]:
        """Check one line."""
        try:
            line = lines.decode(data)
        except (ValueError, RecursionError):
            self._chain = lines.chain(self._chain, data)
            yield Problem.LINE
            return
        is_first = self._header is None
        if self._is_over or is_first is not isinstance(line, lines.Header):
            yield Problem.ORDER
        match line:
            case lines.Header():
                yield from self._check_header(line)
            case lines.Conversation():
                self._context = (line.context, line.conversation)
                if lines.named(line) != line:
                    yield Problem.CONTEXT
            case lines.Record():
                yield from self._check_record(line)
            case lines.Destroyed():
                yield from self._check_destroyed(line)
            case lines.End():
                yield from self._check_end(line)
        self._chain = lines.chain(self._chain, data)

    def finish(self) -> Iterator[Problem]:
        """Check what can only be seen at the end."""
        if not self._is_over:
            yield Problem.TRUNCATED

    def _check_header(self, header: lines.Header) -> Iterator[Problem]:
        self._header = header
        is_known = header.schema == lines.SCHEMA
        for site in header.sites:
            node, key = _unhex(site.node), _unhex(site.public_key)
            is_known &= len(key) == len(self._site_key) and node == skeleton.node_id(TENANT, key)
            self._keys[node] = key
        if not is_known or self._keys.get(_unhex(header.node)) != self._site_key:
            yield Problem.HEADER

    def _check_record(self, record: lines.Record) -> Iterator[Problem]:
        operations = (*record.versions, *record.events)
        self.tally = self.tally._replace(
            records=self.tally.records + 1,
            operations=self.tally.operations + len(operations),
            pending=self.tally.pending + sum(each.proof.is_pending for each in operations),
        )
        if self._context != (record.context, record.conversation):
            yield Problem.CONTEXT
        claims = [openings.check_opening(each.proof) for each in operations]
        heads: list[_Head] = []
        for operation, claim in zip(operations, claims, strict=True):
            if claim is None:
                yield Problem.OPENING
                continue
            heads.append(_head(operation, claim))
            if not _says(operation, claim):
                yield Problem.CONTENT
            if not openings.check_segment(operation.proof, claim, self._is_signed):
                yield Problem.SEGMENT
        if len(heads) == len(operations) and not _is_history(record, heads):
            yield Problem.HISTORY

    def _check_destroyed(self, stone: lines.Destroyed) -> Iterator[Problem]:
        self.tally = self.tally._replace(destroyed=self.tally.destroyed + 1)
        try:
            name = Skeleton.unpack(stone.skeleton).id.pack().hex()
        except FormatError:
            name = ""
        if name != stone.id:
            yield Problem.CONTENT

    def _check_end(self, end: lines.End) -> Iterator[Problem]:
        self._is_over = True
        if (end.records, end.destroyed, end.operations, end.pending) != self.tally:
            yield Problem.COUNTS
        if end.digest != self._chain.hex():
            yield Problem.DIGEST
        node = self._header.node if self._header is not None else ""
        if not _verifies(self._site_key, lines.end_bytes(end, _unhex(node)), end.signature):
            yield Problem.SIGNATURE

    def _is_signed(self, origin: Origin, statement: bytes, signature: bytes) -> bool:
        """Tell whether a statement is signed by its site; remembers the newest answers."""
        name = statement + signature
        known = self._signed.get(name)
        if known is None:
            if len(self._signed) >= STATEMENTS:
                self._signed.pop(next(iter(self._signed)))
            key = self._keys.get(origin.node, b"")
            known = _verifies(key, segments.signed_bytes(statement), signature)
            self._signed[name] = known
        return known


def _says(operation: lines.Operation, claim: openings.Claim) -> bool:
    """Tell whether what is told of an operation is what its opened bytes say."""
    said = claim.envelope
    told = (
        operation.id,
        operation.kind,
        operation.by.person,
        operation.device,
        operation.n,
        operation.at,
        operation.key,
    )
    return told == (
        claim.skeleton.id.pack().hex(),
        openings.kind_name(said.kind),
        said.actor.hex(),
        said.device.hex(),
        said.counter,
        hlc.millis(said.t),
        format_key(hlc.key(said.t, said.floor)),
    ) and operation.content == openings.content(said.kind, claim.body)


def _is_history(record: lines.Record, heads: list[_Head]) -> bool:
    """Tell whether a record's operations are its own, in their places, and tell its state."""
    if not record.versions:
        return False
    root = record.versions[0]
    if (root.id, root.key, root.at) != (record.id, record.key, record.at):
        return False
    first, later = heads[0], heads[1:]
    edits, events = heads[1 : len(record.versions)], heads[len(record.versions) :]
    return (
        first.kind == Kind.MESSAGE
        and (first.target, first.conversation) == (record.copy_of, record.conversation)
        and all(each.target == record.id for each in later)
        and all(each.kind == Kind.EDIT and each.actor == first.actor for each in edits)
        and not any(each.kind == Kind.EDIT and each.actor == first.actor for each in events)
        and edits == sorted(edits, key=_place)
        and events == sorted(events, key=_place)
        and len({each.id for each in heads}) == len(heads)
        and record.state in _states(root, events)
    )


class _Head(NamedTuple):
    """What an operation's envelope says, ids in hex."""

    id: str
    key: str
    kind: int
    actor: str
    conversation: str
    target: str


def _head(operation: lines.Operation, claim: openings.Claim) -> _Head:
    said = claim.envelope
    return _Head(
        operation.id,
        operation.key,
        said.kind,
        said.actor.hex(),
        said.conversation.hex(),
        said.target.hex(),
    )


def _place(head: _Head) -> tuple[str, str]:
    return head.key, head.id


def _states(root: lines.Operation, events: list[_Head]) -> tuple[str, ...]:
    """Return what may be told of a record's state; whom its site shows it, only the site knows."""
    if root.proof.body is None:
        return (lines.BODY_DESTROYED,)
    is_recalled = any(each.kind == Kind.RECALL for each in events)
    return (lines.RECALLED if is_recalled else lines.PRESENT, lines.ESCROWED)


def _unhex(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        return b""


def _verifies(key: bytes, data: bytes, signature: bytes) -> bool:
    try:
        VerifyKey(key).verify(data, signature)
    except (CryptoError, ValueError, TypeError):
        return False
    return True
