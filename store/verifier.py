"""Check a certificate of destruction and a ledger export, with only Python 3.11 and PyNaCl.

This one file is all an auditor needs, copied to any machine::

    python verifier.py [CERTIFICATE] --ledger EXPORT --key KEY
        [--scope FILE --message OPID] [--closing NOTE]

KEY holds the site's Ed25519 public key: hex, base64 or a verifier key (``name+hash+key``), got
from somewhere else than the certificate. Exit code 0: everything holds; 1: it holds, but the
message is not covered; 2: usage; 5: something was altered, is malformed or contradicts itself.

A certificate is ``key: value`` lines for people, an empty line, and the proof: the opened
operation *destruction.confirmed* (skeleton, envelope, salt, body), its leaf and audit path in the
ledger, the certified key of the day and the checkpoint it signed. The lines for people follow
from the proof; ``write`` is the only place where they are made. A ledger export has the site's
key, its keys of the day, every checkpoint and every leaf; a scope the key and leaves of a run.
All are UTF-8 lines, and nothing but the one right spelling is accepted.
"""

from __future__ import annotations

import argparse
import io
import re
import struct
import sys
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from hmac import digest as hmac
from pathlib import Path
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints

from nacl.bindings import crypto_core_ed25519_is_valid_point
from nacl.exceptions import CryptoError
from nacl.signing import VerifyKey

CERTIFICATE, LEDGER, SCOPE = "strongroom-certificate/1", "strongroom-ledger/1", "strongroom-scope/1"
DECOMMISSIONED = "decommissioned"  # what a closing note says first

HOLDS, NOT_COVERED, USAGE, BROKEN = 0, 1, 2, 5  # exit codes
CONFIRMED, PRIVILEGED = 105, 2  # kind and class of a destruction.confirmed operation
MOST_BYTES, DEEPEST = 65_536, 16  # of a canonical array
CAUSES = dict.fromkeys(("expiry", "recall", "headquarters"), False)
CAUSES |= dict.fromkeys(("order", "erasure", "decommission"), True)
"""Why parts are destroyed, and whether that takes two people."""
SIGNS, APPROVES = "request.sign", "request.approve"
"""What the first of two people signs, and the second; both name the request's digest."""
MEANINGS = {
    "CLOSING": "the keys end once this is written; the closing note says when they are gone",
    "LOCAL": "the keys are effaced here; key replicas have not confirmed it; this is not final",
    "REPLICAS": "the keys are effaced here; not every key replica and site follows; not final",
    "COMPLETE": "the keys are destroyed, here, in every key replica and at every site",
}
"""What a certificate's state says. Only the last may say *destroyed*."""

RISKS = {
    "file": "bytes overwritten in files may survive in flash translation layers, copy-on-write "
    "file systems, and snapshots of virtual machines or storage with the key directory in them",
}
RESIDUE = "order, approximate time and count of events remain"
BEYOND = "what was captured or shown before is not covered, nor what administrators do together"
_LAYOUTS = (">BB16sQQ32s32s", ">B16sQQI32s32s", ">20s16sI32s")
_SKELETON, _STATEMENT, _DAY_KEY = map(struct.Struct, _LAYOUTS)
_DECIMAL = re.compile("0|[1-9][0-9]{0,19}")
_NOTE = re.compile("(([^\n]+)\n([^\n]+)\n([^\n]+)\n((?:[^\n]+\n)*))\n— ([^\n ]+) ([^\n ]+)\n")
_PROOF = re.compile(
    "site key: SHA-256 (.+)\nskeleton: (.+)\nenvelope: (.+)\nsalt: (.+)\nbody: (.+)\nleaf: (.+)\n"
    "((?:path: .+\n)*)day key: (.+)\ncheckpoint:\n(.+\n.+\n.+\n\n.+\n)"
)
_UNSEEN = re.compile("[\0-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]")
_EMPTY_ROOT = sha256().digest()


class VerificationError(Exception):
    """Something does not hold; the message says what, in plain words."""


def _check(holds: object, otherwise: str) -> None:
    if not holds:
        raise VerificationError(otherwise)


class Body(NamedTuple):
    """What *destruction.confirmed* says, field by field as in the product."""

    run: int
    cause: str
    request: int
    dry_run: bytes
    approvals: list[tuple[bytes, bytes, tuple[bytes, bytes]]]
    policy_version: int
    policy_hash: bytes
    parts: int
    counts: list[tuple[str, int, int]]
    held_back: int
    scope_root: bytes
    scope_size: int
    generations: tuple[int, int]
    tier: str
    evidence: list[str]
    replicas: list[tuple[str, int]]
    state: str
    devices_asked: int
    devices_answered: int
    started_ms: int
    confirmed_ms: int
    clock: str
    program: str
    digest: bytes
    sites: list[tuple[int, str, str, int, int, int]] = []  # noqa: RUF012 - never changed

    @property
    def followed(self) -> int:
        """How many key replicas have let go of the last root that died."""
        return sum(generation > self.generations[1] for _name, generation in self.replicas)


class Request(NamedTuple):
    """What a person signed."""

    label: str
    node: bytes
    challenge: bytes
    person: bytes
    command: str
    arguments: str


class Skeleton(NamedTuple):
    """What lives for ever of an operation; ``log`` is the name of the ledger with its leaf."""

    log: str
    node: bytes
    seq: int
    envelope_commit: bytes
    body_commit: bytes


class Certificate(NamedTuple):
    """The proof in a certificate; ``day_key`` is day, key and certification as they are written."""

    site_key_hash: bytes
    skeleton: bytes
    envelope: bytes
    salt: bytes
    body: bytes
    leaf: int
    path: tuple[bytes, ...]
    day_key: str
    checkpoint: str


def read_body(data: bytes) -> Body:
    """Read the canonical bytes of the body; fields that a later version appends are ignored."""
    body: Body = _record(data, Body)
    _check(body.cause in CAUSES, "the cause is not a known one")
    _check(body.state in MEANINGS, "the state is not a known one")
    _check(body.cause == "decommission" or body.state != "CLOSING", "called closing without an end")
    _check(body.state != "COMPLETE" or body.followed == len(body.replicas), "called complete early")
    waits = any(state not in ("done", "lost") for _, _, state, *_ in body.sites)
    _check(body.state != "COMPLETE" or not waits, "called complete before every site")
    _check(body.parts == body.scope_size, "the number of parts is not the size of the scope")
    return body


def read_request(data: bytes) -> Request:
    """Read the canonical bytes that a person signed."""
    request: Request = _record(data, Request)
    _check(request.label == "strongroom/request/1", "what was signed is not a request")
    return request


def read_skeleton(data: bytes) -> Skeleton:
    """Read the 98 bytes of a skeleton."""
    _check(len(data) == _SKELETON.size, "the skeleton does not have 98 bytes")
    version, op_class, node, incarnation, seq, *commits = _SKELETON.unpack(data)
    _check((version, op_class) == (1, PRIVILEGED), "the skeleton is of no privileged operation")
    return Skeleton(f"strongroom/{node.hex()}/{incarnation:016x}", node, seq, *commits)


def _record(data: bytes, kind: type[Any]) -> Any:
    fields, shapes = decode(data), get_type_hints(kind).values()
    if len(fields) < len(shapes):  # written before the last fields were there
        fields += list(kind._field_defaults.values())[len(fields) - len(shapes) :]
    _check(len(fields) >= len(shapes), "a record does not have the fields that it must have")
    return kind(*map(_fit, fields, shapes))


def _fit(value: Any, shape: Any) -> Any:
    """Return the value as the type that it must have: an array comes as a list."""
    kind, inner = get_origin(shape), get_args(shape)
    if kind is None:
        fits = type(value) is shape and (shape is not int or value >= 0)
        _check(fits, "a field is not of the type that it must be")
        return value
    _check(type(value) is list, "a field is not an array")
    if kind is list:
        return [_fit(item, inner[0]) for item in value]
    _check(len(value) >= len(inner), "an array does not have the fields that it must have")
    return tuple(map(_fit, value, inner))


# fmt: off
_SIZED: dict[int, tuple[type, int, int]] = {
    0xC4: (bytes, 1, 0), 0xC5: (bytes, 2, 1 << 8), 0xC6: (bytes, 4, 1 << 16),
    0xCC: (int, 1, 1 << 7), 0xCD: (int, 2, 1 << 8), 0xCE: (int, 4, 1 << 16),
    0xD9: (str, 1, 1 << 5), 0xDA: (str, 2, 1 << 8), 0xDB: (str, 4, 1 << 16),
    0xDC: (list, 2, 1 << 4), 0xDD: (list, 4, 1 << 16), 0xCF: (int, 8, 1 << 32),
}
# fmt: on
"""Type, bytes of the number behind the tag, and the least that has no shorter form."""


def decode(data: bytes) -> list[Any]:
    """Read a canonical array: shortest forms; no nil, floats, maps or negative numbers."""
    _check(len(data) <= MOST_BYTES, "an array is too long")
    value, end = _item(data, 0, DEEPEST)
    _check(type(value) is list and end == len(data), "bytes are not one canonical array")
    return list(value)


def _item(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    tag, at = _number(data, at, 1)
    if tag < 0x80:
        return tag, at
    if 0x90 <= tag < 0xA0:
        return _array(data, at, tag & 0x0F, depth)
    if 0xA0 <= tag < 0xC0:
        return _string(data, at, tag & 0x1F, str)
    if tag in (0xC2, 0xC3):
        return tag == 0xC3, at
    _check(tag in _SIZED, "an array holds what none may hold")
    kind, width, least = _SIZED[tag]
    number, at = _number(data, at, width)
    _check(number >= least, "a number or length is not in its shortest form")
    if kind is int:
        return number, at
    return _array(data, at, number, depth) if kind is list else _string(data, at, number, kind)


def _number(data: bytes, at: int, width: int) -> tuple[int, int]:
    _check(at + width <= len(data), "an array ends too soon")
    return int.from_bytes(data[at : at + width], "big"), at + width


def _string(data: bytes, at: int, length: int, kind: type) -> tuple[str | bytes, int]:
    raw, end = data[at : at + length], at + length
    try:
        return (raw if kind is bytes else raw.decode()), end
    except UnicodeDecodeError:
        raise VerificationError("a text is not UTF-8") from None


def _array(data: bytes, at: int, count: int, depth: int) -> tuple[list[Any], int]:
    _check(depth > 0, "arrays are nested too deeply")
    items = []
    for _ in range(count):
        item, at = _item(data, at, depth - 1)
        items.append(item)
    return items, at


def write(certificate: Certificate) -> str:
    """Return a certificate's text, which says what its proof says and nothing else."""
    skeleton = read_skeleton(certificate.skeleton)
    lines = [
        CERTIFICATE,
        f"log: {skeleton.log}",
        f"operation: {skeleton.seq}",
        *_for_people(read_body(certificate.body)),
        "",
        f"site key: SHA-256 {certificate.site_key_hash.hex()}",
        f"skeleton: {_base64(certificate.skeleton)}",
        f"envelope: {_base64(certificate.envelope)}",
        f"salt: {_base64(certificate.salt)}",
        f"body: {_base64(certificate.body)}",
        f"leaf: {certificate.leaf}",
        *(f"path: {_base64(node)}" for node in certificate.path),
        f"day key: {certificate.day_key}",
        "checkpoint:",
        certificate.checkpoint,
    ]
    return "\n".join(lines)


def read(text: str) -> Certificate:
    """Read a certificate and compare each of its lines with what the proof says."""
    match = _PROOF.fullmatch(text.partition("\n\n")[2])
    if match is None:
        raise VerificationError("the proof of the certificate is not complete")
    site, skeleton, envelope, salt, body, leaf, path, day_key, note = match.groups()
    certificate = Certificate(
        _unhex(site, 32),
        _unbase64(skeleton),
        _unbase64(envelope),
        _unbase64(salt),
        _unbase64(body),
        _decimal(leaf),
        tuple(_unbase64(line.removeprefix("path: ")) for line in path.split("\n")[:-1]),
        day_key,
        note,
    )
    _check(write(certificate) == text, "the text of the certificate is not what its proof says")
    return certificate


def _for_people(body: Body) -> Iterator[str]:
    followed = f" {body.followed}/{len(body.replicas)}" if body.state == "REPLICAS" else ""
    yield f"state: {body.state}{followed}"
    yield f"meaning: {MEANINGS[body.state]}"
    yield f"run: {body.run}"
    yield f"cause: {body.cause}"
    yield f"request: {body.request or 'none'}"
    yield f"digest: {body.digest.hex() or 'none'}"
    yield f"dry run: {body.dry_run.hex() or 'none'}"
    for person, key, (signed, _signature) in body.approvals:
        request = read_request(signed)
        what = clean(f"{request.command} {request.arguments}")
        yield f"approval: person {person.hex()}, key {key.hex()}, signed {what}"
    yield f"policy: version {body.policy_version}, SHA-256 {body.policy_hash.hex() or 'none'}"
    yield f"parts: {body.parts}"
    for retention_class, day, records in body.counts:
        born = _moment(day * 86_400_000).date().isoformat()
        yield f"records: {clean(retention_class)}, from {born}, {records or '<5'}"
    yield f"held back: {body.held_back}"
    yield f"scope: {body.scope_size} leaves, root {body.scope_root.hex()}"
    yield f"generations: {body.generations[0]} to {body.generations[1]}"
    yield f"tier: {clean(body.tier)}"
    yield from (f"evidence: {clean(seen)}" for seen in body.evidence)
    for name, generation in body.replicas:
        yield f"replica: {clean(name)}, generation {generation}"
    for _, name, state, *told in body.sites:
        what = "site: {}: {}, {} destroyed, {} held back, {} not there"
        yield what.format(clean(name), clean(state), *told)
    yield f"devices: {body.devices_asked} asked, {body.devices_answered} answered"
    yield f"started: {_moment(body.started_ms).isoformat(timespec='milliseconds')}"
    yield f"confirmed: {_moment(body.confirmed_ms).isoformat(timespec='milliseconds')}"
    yield f"clock: {clean(body.clock)}"
    yield f"program: {clean(body.program)}"
    yield f"residue: {RESIDUE}"
    yield f"risk: {RISKS.get(body.tier, 'what the maker of this tier states')}"
    yield f"risk: {BEYOND}"


def clean(text: str) -> str:
    """Escape what would not show, or would show something else than it is."""
    return _UNSEEN.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _moment(milliseconds: int) -> datetime:
    _check(milliseconds < 253_402_300_800_000, "a time is beyond the year 9999")
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)


def _base64(data: bytes) -> str:
    return b64encode(data).decode()


def _unbase64(text: str) -> bytes:
    return _exactly(text, b64decode, _base64)


def _unhex(text: str, length: int) -> bytes:
    data = _exactly(text, bytes.fromhex, bytes.hex)
    _check(len(data) == length, "a value does not have its length")
    return data


def _exactly(text: str, read: Callable[[str], bytes], spell: Callable[[bytes], str]) -> bytes:
    try:
        data = read(text)
    except ValueError:
        raise VerificationError("a value is neither base64 nor hexadecimal") from None
    _check(spell(data) == text, "a value is not in its one right spelling")
    return data


def _decimal(text: str) -> int:
    _check(_DECIMAL.fullmatch(text), "a value is not a decimal number")
    return int(text)


def _is_signed(key: bytes, data: bytes, signature: bytes) -> bool:
    """Tell whether the signature is the key's; keys that anybody could sign for are none."""
    is_sound = len(key) == 32 and len(signature) == 64 and crypto_core_ed25519_is_valid_point(key)
    with suppress(CryptoError):
        return is_sound and VerifyKey(key).verify(data, signature) == data
    return False


def _certified(text: str, node: bytes, site_key: bytes) -> bytes:
    """Return the key of a day that the site's key certified."""
    parts = text.split(" ")
    _check(len(parts) == 3, "a key of the day is not complete")
    day, key, signature = _decimal(parts[0]), _unbase64(parts[1]), _unbase64(parts[2])
    _check(day < 1 << 32 and len(key) == 32, "a key of the day is none")
    signed = _DAY_KEY.pack(b"strongroom/day-key/1", node, day, key)
    _check(_is_signed(site_key, signed, signature), "the site's key did not certify a day's key")
    return key


def _checkpoint(note: str, log: str, keys: Iterable[bytes], says: str = "") -> tuple[int, bytes]:
    """Return size and root of a C2SP checkpoint of this log that one of the keys signed."""
    match = _NOTE.fullmatch(note)
    if match is None:
        raise VerificationError("a checkpoint is not written as one")
    text, origin, size, root, more, name, line = match.groups()
    _check(bool(more) == bool(says) and more.startswith(says), "a checkpoint says something else")
    _check(origin == name == log, "a checkpoint is of another ledger")
    signed, encoded = _unbase64(line), text.encode()
    for key in keys:
        short = sha256(log.encode() + b"\n\x01" + key).digest()[:4]
        if short == signed[:4] and _is_signed(key, encoded, signed[4:]):
            return _decimal(size), _unbase64(root)
    who = "not the site's own key" if says else "no certified key of the day"
    raise VerificationError(f"{who} signed a checkpoint")


def _node(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


def _append(peaks: list[bytes], size: int, data: bytes) -> None:
    """Add a leaf to an RFC 6962 tree, kept as its complete subtrees, largest first."""
    node = sha256(b"\x00" + data).digest()
    while size & 1:
        node, size = _node(peaks.pop(), node), size >> 1
    peaks.append(node)


def _root(peaks: Sequence[bytes]) -> bytes:
    node = peaks[-1] if peaks else _EMPTY_ROOT
    for peak in reversed(peaks[:-1]):
        node = _node(peak, node)
    return node


def _climb(index: int, size: int, node: bytes, path: Sequence[bytes]) -> bytes:
    """Return the root that an audit path (RFC 6962, 2.1.1) leads to from a leaf's hash."""
    _check(index < size and (size > 1) == bool(path), "a path does not fit its ledger")
    if size == 1:
        return node
    split = 1 << (size - 1).bit_length() - 1
    if index < split:
        return _node(_climb(index, split, node, path[:-1]), path[-1])
    return _node(path[-1], _climb(index - split, size - split, node, path[:-1]))


class _Place(NamedTuple):
    """Where the certificate's operation is in which ledger."""

    log: str
    size: int
    root: bytes
    leaf: int
    data: bytes


def verify(certificate: str | None, ledger: str | Iterable[str], key: bytes) -> list[str]:
    """Check a certificate (None: none) against a ledger export and the site's public key.

    ``ledger`` may be lines with their newlines, ``key`` has 32 bytes. Returns what was checked;
    raises ``VerificationError`` for the first thing that does not hold.
    """
    return list(steps(certificate, ledger, key))


def steps(
    certificate: str | None, ledger: str | Iterable[str], key: bytes, closing: str | None = None
) -> Iterator[str]:
    """Check as ``verify`` does, and a site's closing note; yield each step once it is done."""
    _check(len(key) == 32, "the site's key does not have 32 bytes")
    place = None
    if certificate is not None:
        proof = read(certificate)
        skeleton, body = read_skeleton(proof.skeleton), read_body(proof.body)
        yield "The certificate is well-formed, and its lines say what its proof says."
        _check_opening(proof, skeleton)
        yield f"Operation {skeleton.seq} of {skeleton.log} says so: envelope and body open it."
        place = _find_place(proof, skeleton, key)
        yield f"A key that the site certified signed that ledger at {place.size} leaves."
        yield f"The operation is its leaf {place.leaf}, counted from 0."
        yield from _approvals(body, skeleton.node)
        if closing is not None:
            yield _closed(closing, body, place, key)
    yield from _ledger(_lines(ledger), key, place)


def covers(certificate: str, scope_key: bytes, op_id: bytes, scope_leaves: Sequence[bytes]) -> bool:
    """Tell whether the operation (packed OpId) is among those that the certificate is about.

    Checks the scope's leaves (32 bytes each, in order) against the certificate, but not who
    signed that: see ``verify``. Raises ``VerificationError``.
    """
    body, peaks = read_body(read(certificate).body), list[bytes]()
    for size, leaf in enumerate(scope_leaves):
        _append(peaks, size, leaf)
    is_whole = (len(scope_leaves), _root(peaks)) == (body.scope_size, body.scope_root)
    _check(is_whole, "these are not the leaves of the certificate's scope")
    _check(len(op_id) == 32, "the id of an operation does not have 32 bytes")
    return hmac(scope_key, op_id, "sha256") in scope_leaves


def _check_opening(proof: Certificate, skeleton: Skeleton) -> None:
    _check(len(proof.salt) == 16, "the salt does not have 16 bytes")
    salt = hmac(proof.salt, b"envelope", "sha256")[:16]
    envelope = sha256(b"strongroom/envelope/1" + salt + proof.envelope).digest()
    body = sha256(b"strongroom/body/1" + proof.salt + proof.body).digest()
    _check(envelope == skeleton.envelope_commit, "the envelope is not what was committed to")
    _check(body == skeleton.body_commit, "the body is not what was committed to")
    _check(decode(proof.envelope)[:1] == [CONFIRMED], "the operation confirms no destruction")


def _find_place(proof: Certificate, skeleton: Skeleton, key: bytes) -> _Place:
    """Check who signed the checkpoint, and that the operation is in its tree."""
    _check(sha256(key).digest() == proof.site_key_hash, "the certificate is of another site's key")
    day_key = _certified(proof.day_key, skeleton.node, key)
    size, root = _checkpoint(proof.checkpoint, skeleton.log, (day_key,))
    data = b"\x02" + sha256(proof.skeleton).digest()
    found = _climb(proof.leaf, size, sha256(b"\x00" + data).digest(), proof.path)
    _check(found == root, "the operation is not in the ledger at that leaf")
    return _Place(skeleton.log, size, root, proof.leaf, data)


def _closed(closing: str, body: Body, place: _Place, key: bytes) -> str:
    """Check that the site's own key closed the ledger where the certificate ends it."""
    _check(body.cause == "decommission", "a closing note goes with the end of a site")
    ended = _checkpoint(closing, place.log, (key,), f"{DECOMMISSIONED}\ntime: ")
    _check(ended == (place.size, place.root), "the closing note is of another end")
    for name, _generation in body.replicas:
        _check(f"\nreplica: {clean(name)}: " in closing, "a key replica is not accounted for")
    return "The site's own key closed it there: the note says which root slots were effaced."


def _approvals(body: Body, node: bytes) -> Iterator[str]:
    requests = []
    for person, key, (signed, signature) in body.approvals:
        request = read_request(signed)
        _check(_is_signed(key, signed, signature), "an approval's signature is not its key's")
        _check(request.person == person, "an approval is signed as another person")
        _check(request.node == node, "an approval was given to another site")
        requests.append(request)
        yield f"Person {person.hex()} signed it with key {key.hex()}."
    if not CAUSES[body.cause]:
        yield f"The cause is {body.cause}: it follows from policy and takes no approval."
        return
    persons, keys = ({approval[at] for approval in body.approvals} for at in (0, 1))
    _check(len(requests) >= 2, "this cause takes two people")
    _check(len(persons) == len(keys) == len(requests), "the two people or their keys are the same")
    _check_agreement(body, requests)
    yield "Two people with keys of their own agreed to it; see that the keys are the officers'."


def _check_agreement(body: Body, requests: Sequence[Request]) -> None:
    """Check that the first signed the request's digest, and the others approved the same one."""
    _check(len(body.digest) == 32, "the certificate does not name the request's digest")
    named = f'{{"digest":"{body.digest.hex()}","request":{body.request}}}'
    for at, request in enumerate(requests):
        _check(request.command == (APPROVES if at else SIGNS), "an approval is of another act")
        _check(request.arguments == named, "an approval is of another request")


def _lines(text: str | Iterable[str]) -> Iterator[str]:
    for line in io.StringIO(text, newline="\n") if isinstance(text, str) else text:
        _check(line.endswith("\n"), "the last line does not end")
        yield line[:-1]


def _next(lines: Iterator[str], prefix: str = "") -> str:
    line = next(lines, None)
    if line is None or not line.startswith(prefix):
        raise VerificationError(f"there is no line {prefix.strip()!r} where it must be")
    return line.removeprefix(prefix)


def _ledger(lines: Iterator[str], key: bytes, place: _Place | None) -> Iterator[str]:
    _check(_next(lines) == LEDGER, "this is not a ledger export that can be read here")
    log = _next(lines, "log: ")
    origin = _unhex(log.removeprefix("strongroom/").replace("/", ""), 24)
    _check(log == f"strongroom/{origin[:16].hex()}/{origin[16:].hex()}", "the ledger has no name")
    _check(_unbase64(_next(lines, "site key: ")) == key, "the export is of another site's key")
    _check(place is None or place.log == log, "the export is of another ledger")
    keys = [
        _certified(_next(lines, "day key: "), origin[:16], key)
        for _ in range(_decimal(_next(lines, "day keys: ")))
    ]
    yield f"The site's key certified the {len(keys)} keys of the day in the export."
    known = [
        _checkpoint("".join(_next(lines) + "\n" for _ in range(5)), log, keys)
        for _ in range(_decimal(_next(lines, "checkpoints: ")))
    ]
    yield f"They signed its {len(known)} checkpoints."
    count = _decimal(_next(lines, "leaves: "))
    sizes = [size for size, _root in known]
    is_whole = sizes[-1:] == [count] and sizes == sorted(set(sizes))
    _check(is_whole, "the export's checkpoints do not lead up to all of its leaves")
    roots, peaks = dict(known), list[bytes]()
    if place is not None:
        _check(place.size <= count, "the export is older than the certificate")
        same = roots.setdefault(place.size, place.root) == place.root
        _check(same, "certificate and export are of two ledgers that call themselves the same")
    _check(roots.get(0, _EMPTY_ROOT) == _EMPTY_ROOT, "a checkpoint is not of these leaves")
    for index, data in enumerate(_leaves(lines, count, origin)):
        if place is not None and index == place.leaf:
            _check(data == place.data, "the certificate's leaf is not in the export")
        _append(peaks, index, data)
        if index + 1 in roots:
            _check(_root(peaks) == roots[index + 1], "a checkpoint is not of these leaves")
    yield f"Its {count} leaves give the root of each checkpoint: none is missing or different."
    if place is not None:
        yield "Among them is the certificate's operation, at its leaf and under its checkpoint."


def _leaves(lines: Iterator[str], count: int, origin: bytes) -> Iterator[bytes]:
    """Yield the leaves' data; each segment must continue the one before."""
    end, previous = 1, bytes(32)
    for _ in range(count):
        kind, _space, text = _next(lines).partition(" ")
        if kind == "operation":
            yield b"\x02" + _unhex(text, 32)
            continue
        _check(kind == "segment", "a leaf is neither an operation nor a segment")
        statement = _unhex(text, _STATEMENT.size)
        version, _node, _inc, first, size, _root, before = _STATEMENT.unpack(statement)
        _check(version == 1 and statement[1:25] == origin, "a segment is of another log")
        _check((first, before) == (end, previous), "a segment does not follow the one before")
        end, previous = first + size, sha256(statement).digest()
        yield b"\x01" + statement
    _check(next(lines, None) is None, "the export goes on behind its leaves")


def read_key(text: str) -> bytes:
    """Return the public key in a file's text: hex, base64, or ``name+hash+base64``."""
    text = text.strip()
    match = re.fullmatch(r"([^\s+]+)\+([0-9a-f]{8})\+(\S+)", text)
    if match is not None:
        data = _unbase64(match[3])
        named = sha256(match[1].encode() + b"\n" + data).hexdigest()[:8] == match[2]
        _check(named and data[:1] == b"\x01", "the verifier key is not one of an Ed25519 key")
        key = data[1:]
    else:
        key = _unhex(text.lower(), 32) if len(text) == 64 else _unbase64(text)
    _check(len(key) == 32, "the site's key does not have 32 bytes")
    return key


def read_scope(text: str) -> tuple[int, bytes, list[bytes]]:
    """Return run number, scope key and leaves of a scope."""
    lines = _lines(text)
    _check(_next(lines) == SCOPE, "this is not a scope that can be read here")
    run, key = _decimal(_next(lines, "run: ")), _unhex(_next(lines, "key: "), 32)
    return run, key, [_unhex(line, 32) for line in lines]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="verifier", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("certificate", nargs="?", type=Path)
    parser.add_argument("--ledger", required=True, type=Path, help="the ledger export")
    parser.add_argument("--key", required=True, type=Path, help="a file with the site's public key")
    parser.add_argument("--scope", type=Path, help="the scope of the certificate's run")
    parser.add_argument("--closing", type=Path, help="a decommissioned site's closing note")
    parser.add_argument("--message", metavar="OPID", help="64 hex digits: was it among the parts?")
    options = parser.parse_args(arguments)
    needs = options.scope or options.closing
    if bool(options.scope) != bool(options.message) or (needs and not options.certificate):
        parser.error("--scope and --message go together; they and --closing need a certificate")
    try:
        return _run(options)
    except (VerificationError, UnicodeDecodeError) as error:
        reason = error if isinstance(error, VerificationError) else "a file is not UTF-8"
        sys.stdout.write(f"FAILED: {reason}.\n")
        return BROKEN
    except OSError as error:
        sys.stderr.write(f"{error.filename}: {error.strerror}\n")
        return USAGE


def _run(options: argparse.Namespace) -> int:
    key = read_key(options.key.read_bytes().decode())
    paths = (options.certificate, options.closing)
    certificate, closing = (path and path.read_bytes().decode() for path in paths)
    with options.ledger.open(encoding="utf-8", newline="\n") as ledger:
        for step in steps(certificate, ledger, key, closing):
            sys.stdout.write(f"ok: {step}\n")
    if certificate is None or options.scope is None:
        return HOLDS
    run, scope_key, leaves = read_scope(options.scope.read_bytes().decode())
    _check(run == read_body(read(certificate).body).run, "the scope is of another run")
    is_covered = covers(certificate, scope_key, _unhex(options.message, 32), leaves)
    answer = "ok: The message is" if is_covered else "no: The message is not"
    sys.stdout.write(f"{answer} among the parts of this certificate.\n")
    return HOLDS if is_covered else NOT_COVERED


if __name__ == "__main__":
    sys.exit(main())
