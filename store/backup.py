"""Make a copy of the store that opens nothing without the keys, and check such a copy.

A backup is a directory: the compacted store, perhaps the settings, and a signed manifest. It
never holds a root; whoever has it alone sees order, approximate time and count of events. The
manifest is text, one field a line:

    strongroom backup 1
    node NODE                 NodeId, hex
    key KEY                   Ed25519 public key of the site, hex
    incarnation INC           16 hex digits
    seq SEQ                   last sequence number of that incarnation
    chain CHAIN               hash chain up to it, hex
    pos POS                   last position
    generation GENERATION     of the keys
    ledger SIZE ROOT          the incarnation's ledger, root in hex
    created MS                Unix milliseconds
    program VERSION           that made the backup
    schema SCHEMA             of the store's rows; see ``store.schema``
    file BYTES SHA256 NAME    for each file, sorted by name
    signature SIGNATURE       hex; covers "strongroom/backup/1" || all lines before

It is made under another name and renamed when it is complete, so a backup is whole or absent.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import ClassVar, Final

from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from store.engine.contract import Engine, Reader
from store.engine.lmdb import DATA_NAME, LmdbEngine
from store.errors import (
    EngineError,
    EngineFullError,
    FormatError,
    IntegrityError,
    StoreError,
)
from store.heads import read_head
from store.ledger import Ledger
from store.logcheck import verify_unopened
from store.schema import SCHEMA, schema_of
from store.vault import generation_of

MANIFEST_NAME: Final = "manifest"
STORE_NAME: Final = "store"
STORE_FILE: Final = f"{STORE_NAME}/{DATA_NAME}"
SETTINGS_FILE: Final = "strongroom.toml"

MANIFEST_BYTES: Final = 65_536
"""Longest manifest that is read, in bytes."""

SETTINGS_BYTES: Final = 1 << 18
"""Longest settings file that goes into a backup, in bytes."""

FINDINGS: Final = 100
"""Contradictions of the log that one verification tells."""

_DOMAIN: Final = b"strongroom/backup/1"
_FIRST_LINE: Final = "strongroom backup 1"
_FILES: Final = frozenset({STORE_FILE, SETTINGS_FILE})
PARTIAL: Final = ".partial"
"""What the name of an unfinished backup ends in."""

_DIRECTORY_MODE: Final = 0o700
_FILE_MODE: Final = 0o600


class BackupExistsError(StoreError):
    """There is something where the backup should go."""

    code: ClassVar[str] = "backup.exists"
    hint: ClassVar[str] = "Name a directory that does not exist; nothing was written."


class BackupPlaceError(StoreError):
    """A backup must lie apart from what it is for."""

    code: ClassVar[str] = "backup.place"
    hint: ClassVar[str] = "Choose a directory outside of data and keys, best on another machine."


class NoBackupError(StoreError):
    """The directory holds no backup."""

    code: ClassVar[str] = "backup.absent"
    hint: ClassVar[str] = "A backup is a directory with a file `manifest`."


@dataclass(frozen=True, slots=True)
class BackupFile:
    """One file of a backup, by its path inside it."""

    name: str
    size: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup holds, and where the site was when it was made."""

    node: bytes
    verify_key: bytes
    incarnation: int
    seq: int
    chain: bytes
    pos: int
    generation: int
    ledger_size: int
    ledger_root: bytes
    created_ms: int
    program: str
    schema: int
    files: tuple[BackupFile, ...]

    def text(self) -> bytes:
        """Return the lines that are signed."""
        lines = [
            _FIRST_LINE,
            f"node {self.node.hex()}",
            f"key {self.verify_key.hex()}",
            f"incarnation {self.incarnation:016x}",
            f"seq {self.seq}",
            f"chain {self.chain.hex()}",
            f"pos {self.pos}",
            f"generation {self.generation}",
            f"ledger {self.ledger_size} {self.ledger_root.hex()}",
            f"created {self.created_ms}",
            f"program {self.program}",
            f"schema {self.schema}",
            *(f"file {file.size} {file.digest.hex()} {file.name}" for file in self.files),
        ]
        return "".join(f"{line}\n" for line in lines).encode("ascii")

    @property
    def bytes(self) -> int:
        """The size of all files."""
        return sum(file.size for file in self.files)


_NUMBER = r"(0|[1-9][0-9]{0,19})"
_HASH = r"([0-9a-f]{64})"
_FIELDS = re.compile(
    rf"{_FIRST_LINE}\n"
    r"node ([0-9a-f]{32})\n"
    rf"key {_HASH}\n"
    r"incarnation ([0-9a-f]{16})\n"
    rf"seq {_NUMBER}\n"
    rf"chain {_HASH}\n"
    rf"pos {_NUMBER}\n"
    rf"generation {_NUMBER}\n"
    rf"ledger {_NUMBER} {_HASH}\n"
    rf"created {_NUMBER}\n"
    r"program ([!-~]{1,64})\n"
    rf"schema {_NUMBER}\n"
    rf"((?:file {_NUMBER} {_HASH} [a-z./]{{1,32}}\n){{1,8}})"
    r"signature ([0-9a-f]{128})\n"
)


def sign_manifest(manifest: Manifest, sign: Callable[[bytes], bytes]) -> bytes:
    """Return the manifest file; ``sign`` makes the site's 64-byte signature of a message."""
    text = manifest.text()
    return text + f"signature {sign(_DOMAIN + text).hex()}\n".encode("ascii")


def read_manifest(data: bytes) -> tuple[Manifest, bytes]:
    """Return manifest and signature, which is not checked; raises ``FormatError``."""
    try:
        found = _FIELDS.fullmatch(data.decode("ascii"))
    except UnicodeDecodeError:
        found = None
    if found is None or len(data) > MANIFEST_BYTES:
        raise FormatError("not a manifest that this build knows")
    node, key, incarnation, seq, chain, pos, generation, size, root, created, program, schema = (
        found.groups()[:12]
    )
    lines = [line.split(" ") for line in found[13].splitlines()]
    files = tuple(
        BackupFile(name, int(count), bytes.fromhex(digest)) for _, count, digest, name in lines
    )
    manifest = Manifest(
        bytes.fromhex(node),
        bytes.fromhex(key),
        int(incarnation, 16),
        int(seq),
        bytes.fromhex(chain),
        int(pos),
        int(generation),
        int(size),
        bytes.fromhex(root),
        int(created),
        program,
        int(schema),
        files,
    )
    return manifest, bytes.fromhex(found.groups()[-1])


def is_signed(manifest: Manifest, signature: bytes) -> bool:
    """Tell whether the key that the manifest names has signed it."""
    try:
        VerifyKey(manifest.verify_key).verify(_DOMAIN + manifest.text(), signature)
    except (BadSignatureError, ValueError):
        return False
    return True


def describe(
    reader: Reader, files: Sequence[BackupFile], *, created_ms: int, program: str
) -> Manifest:
    """Return the manifest of a copied store, from the copy's own rows."""
    head = read_head(reader)
    ledger = Ledger.open(reader, head.number)
    return Manifest(
        head.node,
        head.verify_key,
        head.incarnation,
        head.seq,
        head.chain,
        head.pos,
        generation_of(reader),
        ledger.size,
        ledger.root(),
        created_ms,
        program,
        schema_of(reader),
        tuple(sorted(files, key=lambda file: file.name)),
    )


# --- making one -----------------------------------------------------------------------------------


def create(
    engine: Engine,
    target: Path,
    *,
    sign: Callable[[bytes], bytes],
    created_ms: int,
    program: str,
    apart_from: Sequence[Path],
    settings: bytes | None = None,
) -> Manifest:
    """Back the store up into a new directory ``target`` while writing goes on. Blocking.

    Args:
        engine: the store; for a copy in a directory, an engine on LMDB.
        target: absolute; its parent exists.
        sign: makes the site's signature of a message.
        created_ms: now, in Unix milliseconds.
        program: version of this program.
        apart_from: directories that the backup must not lie in: data, keys, replicas.
        settings: the configuration file, to go into the backup; it holds no secret.

    Raises:
        BackupExistsError: ``target``, or an unfinished backup of that name, is there.
        BackupPlaceError: it lies inside one of ``apart_from``.
        EngineFullError: it does not fit on the disk; nothing is left of it then.
        EngineError: it cannot be written.
    """
    _expect_place(target, apart_from)
    partial = target.with_name(target.name + PARTIAL)
    with _writing():
        partial.mkdir(mode=_DIRECTORY_MODE)
    try:
        engine.copy(partial / STORE_NAME)
        with _writing():
            manifest = _complete(partial, sign, created_ms, program, settings)
            partial.rename(target)
            _sync(target.parent)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return manifest


def copied_bytes(target: Path) -> int:
    """Return how many bytes of the store a backup that is being made has copied by now."""
    try:
        return (target.with_name(target.name + PARTIAL) / STORE_FILE).stat().st_size
    except OSError:
        return 0


def _complete(
    partial: Path,
    sign: Callable[[bytes], bytes],
    created_ms: int,
    program: str,
    settings: bytes | None,
) -> Manifest:
    """Write all but the store, durably."""
    files = [_measure(partial, STORE_FILE)]
    if settings is not None:
        _write(partial / SETTINGS_FILE, settings)
        files.append(_measure(partial, SETTINGS_FILE))
    with still_store(partial) as reader:
        manifest = describe(reader, files, created_ms=created_ms, program=program)
    _write(partial / MANIFEST_NAME, sign_manifest(manifest, sign))
    _sync(partial)
    return manifest


def _expect_place(target: Path, apart_from: Sequence[Path]) -> None:
    place = target.parent.resolve() / target.name
    if any(place.is_relative_to(directory.resolve()) for directory in apart_from):
        raise BackupPlaceError("the backup would lie inside the data or key directory")
    partial = target.with_name(target.name + PARTIAL)
    if target.is_symlink() or target.exists():
        raise BackupExistsError(f"{target} exists")
    if partial.is_symlink() or partial.exists():
        raise BackupExistsError(f"{partial} is there: a backup that runs, or was interrupted")


@contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        kind = EngineFullError if is_full else EngineError
        raise kind(f"writing a backup: {error.strerror}") from error


def _write(path: Path, data: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    descriptor = os.open(path, flags, _FILE_MODE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(descriptor)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _measure(directory: Path, name: str) -> BackupFile:
    with (directory / name).open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").digest()
        return BackupFile(name, file.tell(), digest)


@contextmanager
def still_store(directory: Path) -> Iterator[Reader]:
    """Give the store of a backup, to be read; nothing is written beside it."""
    engine = LmdbEngine(directory / STORE_NAME, readonly=True, is_still=True)
    try:
        with engine.snapshot() as reader:
            yield reader
    finally:
        engine.close()


# --- checking one ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Verification:
    """What a verification found; ``manifest`` is None when there is none that can be read.

    ``is_pinned`` tells that the site's key was given by whoever asked: otherwise a stranger may
    have made and signed the whole backup.
    """

    manifest: Manifest | None
    problems: tuple[str, ...]
    is_pinned: bool

    @property
    def is_good(self) -> bool:
        """Whether nothing contradicts."""
        return not self.problems


def load_manifest(directory: Path) -> tuple[Manifest, bytes]:
    """Return a backup's manifest and its signature; neither is checked.

    Raises ``NoBackupError`` when there is none, ``FormatError`` when it cannot be read as one,
    ``EngineError`` when reading fails.
    """
    try:
        with (directory / MANIFEST_NAME).open("rb") as file:
            data = file.read(MANIFEST_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        raise NoBackupError(f"{directory} holds no backup") from None
    except OSError as error:
        raise EngineError(f"reading a backup: {error.strerror}") from error
    return read_manifest(data)


def verify(directory: Path, *, key: bytes | None = None) -> Verification:
    """Check a backup as far as that goes without its keys. Blocking; O(bytes).

    Files, signature and the site's ``key`` (32 bytes, None when it is not known) are checked
    before the store is opened; then numbers, chains, segments and ledgers in it.

    Raises ``NoBackupError`` when there is no manifest, ``EngineError`` when reading fails.
    """
    try:
        manifest, signature = load_manifest(directory)
    except FormatError:
        return Verification(None, ("the manifest is damaged or of a newer program",), False)
    problems = [*_wrong_origin(manifest, signature, key), *_wrong_files(directory, manifest)]
    if not problems:
        problems = list(_wrong_store(directory, manifest))
    return Verification(manifest, tuple(problems), key is not None)


def _wrong_origin(manifest: Manifest, signature: bytes, key: bytes | None) -> Iterator[str]:
    if not is_signed(manifest, signature):
        yield "the signature of the manifest is wrong"
    if key is not None and manifest.verify_key != key:
        yield "the backup is signed with another key than the one given"
    if manifest.schema > SCHEMA:
        yield f"the store has schema {manifest.schema}, this program knows {SCHEMA}"


def _wrong_files(directory: Path, manifest: Manifest) -> Iterator[str]:
    named = {file.name: file for file in manifest.files}
    if not {STORE_FILE} <= named.keys() <= _FILES or len(named) < len(manifest.files):
        yield "the manifest names other files than a backup has"
        return
    present = {
        str(path.relative_to(directory))
        for path in directory.rglob("*")
        if path.is_symlink() or not path.is_dir()
    }
    for surplus in sorted(present - named.keys() - {MANIFEST_NAME}):
        yield f"{surplus} does not belong to the backup"
    for name, file in named.items():
        if name not in present or (directory / name).is_symlink():
            yield f"{name} is missing"
        elif (directory / name).stat().st_size != file.size or _measure(directory, name) != file:
            yield f"{name} is not what was backed up"


def _wrong_store(directory: Path, manifest: Manifest) -> Iterator[str]:
    try:
        with still_store(directory) as reader:
            found = describe(
                reader, manifest.files, created_ms=manifest.created_ms, program=manifest.program
            )
            for field in fields(Manifest):
                if getattr(found, field.name) != getattr(manifest, field.name):
                    yield f"the store's {field.name} is not that of the manifest"
            for number, finding in enumerate(verify_unopened(reader)):
                if number == FINDINGS:
                    yield "and more"
                    return
                yield f"operation {finding.origin}/{finding.seq}: {finding.problem}"
    except (FormatError, IntegrityError) as error:
        yield f"the store cannot be read: {error}"
