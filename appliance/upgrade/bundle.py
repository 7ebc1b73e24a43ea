"""Read an upgrade bundle: one file with a signed manifest and the new program's files.

    strongroom bundle 1 MANIFEST SIGNATURE     sizes in bytes; a line of text
    ...                                        the manifest
    ...                                        its signature in minisign's format
    ...                                        each file's content, in the manifest's order

The manifest is text, one field a line:

    strongroom release 1
    version VERSION
    counter COUNTER            goes up with each release, from 1 on
    schema OLDEST NEWEST       versions of the store that it opens; it writes the newest
    file MODE BYTES SHA256 NAME    for each file, sorted by name; mode x can be run, - cannot

Nothing of a file is believed before the signature is checked, and no content is read beyond what
the manifest says.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, ClassVar, Final

from appliance.upgrade.paths import sync_directory
from store.errors import EngineError, StoreError
from store.minisign import FILE_BYTES, PublicKey, SignatureError, verify

PROGRAM_NAME: Final = "strongroom"
"""The file of the tree that is run."""

MANIFEST_BYTES: Final = 4 << 20
"""Longest manifest that is read, in bytes."""

PIECE_BYTES: Final = 1 << 20
"""Bytes of a file that are read and written at a time."""

_HEAD_BYTES = 64
_HEAD = re.compile(rb"strongroom bundle 1 ([1-9][0-9]{0,8}) ([1-9][0-9]{0,8})\n")
_FIRST_LINE = "strongroom release 1"
_NUMBER = r"(0|[1-9][0-9]{0,15})"
_PART = r"(?!\.\.?(?:/|\n))[A-Za-z0-9._+@-]{1,128}"
_NAME = rf"{_PART}(?:/{_PART}){{0,15}}"
_FILE = rf"file ([x-]) {_NUMBER} ([0-9a-f]{{64}}) ({_NAME})\n"
_MANIFEST = re.compile(
    rf"{_FIRST_LINE}\n"
    r"version ([0-9A-Za-z][0-9A-Za-z.+~-]{0,63})\n"
    rf"counter {_NUMBER}\n"
    rf"schema {_NUMBER} {_NUMBER}\n"
    rf"((?:{_FILE})+)"
)
_FILE_LINE = re.compile(_FILE)


class BundleError(StoreError):
    """The file is no upgrade bundle, or not as its manifest says."""

    code: ClassVar[str] = "upgrade.bundle"
    hint: ClassVar[str] = "Get the bundle again; nothing was changed."


@dataclass(frozen=True, slots=True)
class ProgramFile:
    """One file of the program, by its path inside the tree."""

    name: str
    size: int
    digest: bytes
    is_executable: bool


@dataclass(frozen=True, slots=True)
class Release:
    """What a bundle holds: version, release counter, the stores it opens, and its files."""

    version: str
    counter: int
    oldest_schema: int
    newest_schema: int
    files: tuple[ProgramFile, ...]

    @property
    def bytes(self) -> int:
        """The size of all files."""
        return sum(file.size for file in self.files)

    def text(self) -> str:
        """Return the manifest."""
        lines = [
            _FIRST_LINE,
            f"version {self.version}",
            f"counter {self.counter}",
            f"schema {self.oldest_schema} {self.newest_schema}",
            *(
                f"file {'x' if file.is_executable else '-'} {file.size} {file.digest.hex()} "
                f"{file.name}"
                for file in self.files
            ),
        ]
        return "".join(f"{line}\n" for line in lines)


def read_release(data: bytes) -> Release:
    """Read a manifest; raises ``BundleError``."""
    try:
        found = _MANIFEST.fullmatch(data.decode("ascii"))
    except UnicodeDecodeError:
        found = None
    if found is None:
        raise BundleError("the bundle's manifest is not one that this program knows")
    files = tuple(
        ProgramFile(name, int(size), bytes.fromhex(digest), mode == "x")
        for mode, size, digest, name in _FILE_LINE.findall(found[5])
    )
    names = [file.name for file in files]
    if names != sorted(set(names)):
        raise BundleError("the bundle's files are not in order")
    if not any(file.name == PROGRAM_NAME and file.is_executable for file in files):
        raise BundleError("the bundle has no program")
    return Release(found[1], int(found[2]), int(found[3]), int(found[4]), files)


@dataclass(frozen=True, slots=True)
class Bundle:
    """An opened bundle whose manifest is signed; its files are read once, in order."""

    release: Release
    comment: str
    _file: BinaryIO

    def unpack(self, target: Path) -> None:
        """Write the program into a new directory, durably.

        Raises ``BundleError`` for content that is not what the manifest says, and
        ``EngineError`` when it cannot be written; what was written until then stays.
        """
        with _system_errors("unpacking the program"):
            target.mkdir(mode=0o755)
            directories = {target}
            for file in self.release.files:
                path = target / file.name
                path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
                directories.update(parent for parent in path.parents if target in parent.parents)
                _write(path, file, self._content(file))
            for directory in directories:
                directory.chmod(0o755)  # whatever the umask is: the service's user runs it
                sync_directory(directory)
            self._expect_end()

    def check(self) -> None:
        """Read every file and compare; raises ``BundleError``."""
        with _system_errors("reading the bundle"):
            for file in self.release.files:
                for _ in self._content(file):
                    pass
            self._expect_end()

    def _content(self, file: ProgramFile) -> Iterator[bytes]:
        """Yield a file's content; raises ``BundleError`` after the last piece if it is wrong."""
        digest, left = hashlib.sha256(), file.size
        while left:
            piece = self._file.read(min(left, PIECE_BYTES))
            if not piece:
                raise BundleError("the bundle ends too early")
            left -= len(piece)
            digest.update(piece)
            yield piece
        if digest.digest() != file.digest:
            raise BundleError(f"{file.name} is not what the manifest says")

    def _expect_end(self) -> None:
        if self._file.read(1):
            raise BundleError("the bundle goes on after its end")


@contextmanager
def opened(path: Path, public: PublicKey) -> Iterator[Bundle]:
    """Open a bundle and check its signature.

    Raises ``BundleError``, ``SignatureError``, and ``EngineError`` when it cannot be read.
    """
    with _system_errors("reading the bundle"):
        file = path.open("rb")
    with file:
        with _system_errors("reading the bundle"):
            manifest, signature = _signed(file)
        comment = verify(public, manifest, signature)
        yield Bundle(read_release(manifest), comment, file)


def _signed(file: BinaryIO) -> tuple[bytes, str]:
    """Return manifest and signature; neither is believed yet."""
    head = _HEAD.fullmatch(file.readline(_HEAD_BYTES))
    if head is None or int(head[1]) > MANIFEST_BYTES or int(head[2]) > FILE_BYTES:
        raise BundleError("this is no upgrade bundle that this program knows")
    manifest, signature = file.read(int(head[1])), file.read(int(head[2]))
    if len(manifest) < int(head[1]):
        raise BundleError("the bundle ends too early")
    try:
        return manifest, signature.decode("utf-8")
    except UnicodeDecodeError:
        raise SignatureError("this is no signature in minisign's format") from None


# --- making one -----------------------------------------------------------------------------------


def describe(
    tree: Path, *, version: str, counter: int, oldest_schema: int, newest_schema: int
) -> Release:
    """Return the manifest of a program's directory; raises ``BundleError`` if it has links."""
    files = []
    for path in tree.rglob("*"):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise BundleError(f"{path} is neither a file nor a directory")
        if path.is_file():
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").digest()
                size = file.tell()
            name = path.relative_to(tree).as_posix()
            files.append(ProgramFile(name, size, digest, bool(path.stat().st_mode & 0o100)))
    files.sort(key=lambda file: file.name)
    release = Release(version, counter, oldest_schema, newest_schema, tuple(files))
    return read_release(release.text().encode("ascii"))


def write(release: Release, tree: Path, target: Path, sign: Callable[[bytes], str]) -> None:
    """Write the bundle of a program's directory; ``sign`` makes minisign's signature file."""
    manifest = release.text().encode("ascii")
    signature = sign(manifest).encode("utf-8")
    with target.open("xb") as bundle:
        bundle.write(b"strongroom bundle 1 %d %d\n" % (len(manifest), len(signature)))
        bundle.write(manifest + signature)
        for file in release.files:
            with (tree / file.name).open("rb") as source:
                while piece := source.read(PIECE_BYTES):
                    bundle.write(piece)


# --- files ----------------------------------------------------------------------------------------


def _write(path: Path, file: ProgramFile, content: Iterator[bytes]) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(path, flags, 0o600)
    with os.fdopen(descriptor, "wb") as written:
        for piece in content:
            written.write(piece)
        written.flush()
        os.fchmod(descriptor, 0o755 if file.is_executable else 0o644)
        os.fsync(descriptor)


@contextmanager
def _system_errors(doing: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise EngineError(f"{doing}: {error.strerror}") from error
