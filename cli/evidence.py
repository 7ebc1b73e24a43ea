"""Look at evidence without a server: keys of recipients, decryption, verification; and tell it."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import closing, suppress
from hashlib import sha256
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import msgspec

from cli.errors import CliError
from cli.exports import MANIFEST, PRIVATE_DIRECTORY, PRIVATE_FILE, SEALED_SUFFIX, sync_directory
from cli.output import emit_json, local_time, printable, say
from cli.signing import Person, SignedSession

if TYPE_CHECKING:
    from appliance.evidence.proofs import Verdict

KEY_SCHEMA: Final = "strongroom.export-key/1"
RECIPIENT_SCHEMA: Final = "strongroom.export-recipient/1"
PUBLIC_SUFFIX: Final = ".pub"

_KEY_FILE_BYTES: Final = 4_096
_PUBLIC_FILE: Final = 0o644


class KeyFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A recipient's key (hex): both halves, or the public one alone."""

    schema: str
    public: str
    private: str = ""

    def __repr__(self) -> str:
        return "<KeyFile>"


# --- keys ----------------------------------------------------------------------------------------


def make_key(path: Path) -> bytes:
    """Write a new key pair: ``path`` for its owner alone, and beside it ``.pub`` for exporters.

    Returns the public key. Raises ``OSError`` when one of the files is there already.
    """
    from appliance.evidence.sealed import KEY_BYTES, public_key_of

    private = os.urandom(KEY_BYTES)
    public = public_key_of(private)
    secret = KeyFile(KEY_SCHEMA, public.hex(), private.hex())
    _create(path, msgspec.json.encode(secret) + b"\n", PRIVATE_FILE)
    open_half = msgspec.json.encode(KeyFile(RECIPIENT_SCHEMA, public.hex())) + b"\n"
    _create(path.with_name(path.name + PUBLIC_SUFFIX), open_half, _PUBLIC_FILE)
    return public


def recipient_key(path: Path) -> bytes:
    """Return the public key in a file, of a recipient or of a pair; raises ``CliError``."""
    return _read_key(path, (RECIPIENT_SCHEMA, KEY_SCHEMA))[0]


def private_key(path: Path) -> bytes:
    """Return the private key in a file; raises ``CliError``."""
    return _read_key(path, (KEY_SCHEMA,))[1]


def site_key(path: Path) -> bytes:
    """Return a site's public key in a file, as `audit key` writes it; raises ``CliError``."""
    from store.verifier import VerificationError, read_key

    try:
        return read_key(path.read_text(encoding="utf-8"))
    except (VerificationError, UnicodeDecodeError):
        raise CliError("cli.usage", f"{path} holds no public key", "See `audit key`.") from None


def _read_key(path: Path, schemas: tuple[str, ...]) -> tuple[bytes, bytes]:
    from appliance.evidence.sealed import KEY_BYTES

    with path.open("rb") as file:
        content = file.read(_KEY_FILE_BYTES)
    try:
        found = msgspec.json.decode(content, type=KeyFile)
        public, private = bytes.fromhex(found.public), bytes.fromhex(found.private)
    except ValueError:
        raise CliError("cli.usage", f"{path} is no key file of exports") from None
    sizes = (KEY_BYTES, KEY_BYTES if found.schema == KEY_SCHEMA else 0)
    if found.schema not in schemas or (len(public), len(private)) != sizes:
        raise CliError("cli.usage", f"{path} is not the key file that is needed here")
    return public, private


def _create(path: Path, content: bytes, mode: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(path, flags, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)
    sync_directory(path.parent)


# --- decryption ----------------------------------------------------------------------------------


def decrypt(source: Path, target: Path, key: bytes) -> list[Path]:
    """Decrypt a sealed file into ``target``, or each file of a directory into a new one.

    Returns what was written. Raises ``SealedFileError``; then nothing is left of the file that
    did not open, and ``OSError`` where the target is there already.
    """
    if not source.is_dir():
        return [_decrypt_file(source, target, key)]
    target.mkdir(mode=PRIVATE_DIRECTORY)
    sealed = sorted(each for each in source.iterdir() if each.name.endswith(SEALED_SUFFIX))
    return [
        _decrypt_file(each, target / each.name.removesuffix(SEALED_SUFFIX), key) for each in sealed
    ]


def _decrypt_file(source: Path, target: Path, key: bytes) -> Path:
    from appliance.evidence.sealed import open_sealed

    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(target, flags, PRIVATE_FILE)
    try:
        with os.fdopen(descriptor, "wb") as file, source.open("rb") as sealed:
            for chunk in open_sealed(sealed.read, key):
                file.write(chunk)
            file.flush()
            os.fsync(descriptor)
    except BaseException:
        with suppress(OSError):
            target.unlink()
        raise
    sync_directory(target.parent)
    return target


# --- verification --------------------------------------------------------------------------------


def verify(path: Path, site_key: bytes) -> tuple[Verdict, tuple[str, ...]]:
    """Verify an export offline.

    Returns the verdict on its lines, and the message files that are missing, or are not what
    their lines make: only such of an ``eml`` export.
    """
    from appliance.evidence.proofs import verify_export

    if not path.is_dir():
        with path.open("rb") as file:
            return verify_export(_lines(file), site_key), ()
    folder = _Folder(path)
    with closing(folder.lines()) as found:
        verdict = verify_export(found, site_key)
    return verdict, tuple(folder.wrong)


class _Folder:
    """The lines of an ``eml`` export, in the order of its manifest."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._node = ""
        self.wrong: list[str] = []

    def lines(self) -> Generator[bytes, None, None]:
        """Yield the lines; ``wrong`` gathers the files that are not as they should be."""
        with (self._path / MANIFEST).open("rb") as manifest:
            for line in _lines(manifest):
                entry = _decoded(line)
                if entry.get("type") == "file":
                    yield from self._file(entry)
                else:
                    self._node = str(entry.get("node", self._node))
                    yield line

    def _file(self, entry: Mapping[str, Any]) -> list[bytes]:
        from appliance.evidence import eml

        name = str(entry.get("name", ""))
        try:
            content = (self._path / Path(name).name).read_bytes()
            found = eml.lines_in(content)
            is_right = (
                sha256(content).hexdigest() == entry.get("sha256")
                and len(found) == entry.get("lines")
                and eml.message(self._node, found) == content
            )
        except (OSError, ValueError, LookupError):
            found, is_right = [], False
        if not is_right:
            self.wrong.append(name)
        return found


def _lines(file: IO[bytes]) -> Iterable[bytes]:
    return (line.removesuffix(b"\n") for line in file)


def _decoded(line: bytes) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


# --- reconstruction ------------------------------------------------------------------------------


def reconstruct(
    who: Person, data: Path | None, message: str, request: int, reason: str, *, as_json: bool
) -> None:
    """Show one message with all its versions: the body of ``strongroom audit reconstruct``.

    ``message`` is its id in hex, ``request`` the approved review. Raises ``CliError``, with
    "store.part_gone" for what is destroyed.
    """
    from appliance.evidence.decide import Reconstruct

    with SignedSession(who, data) as session:
        answer = session.request("evidence.reconstruct", Reconstruct(message, request, reason))
    if as_json:
        emit_json("audit.reconstruct", answer)
    else:
        say("\n".join(_told(answer["record"])))


def _told(record: Mapping[str, Any]) -> Iterator[str]:
    """Yield a record's lines for people; no line of its text can pass for one of ours."""
    versions, events = record["versions"], record["events"]
    yield f"message       {record['id']}"
    yield f"conversation  {record['conversation']}"
    yield f"state         {record['state']}"
    for number, version in enumerate(versions, 1):
        yield ""
        yield f"version {number} of {len(versions)}  {_made(version)}"
        content = version["content"] or {}
        for name in ("text", "data"):
            text = str(content.get(name, ""))
            yield from (f"  | {printable(line)}" for line in text.split("\n") if text)
    if events:
        yield ""
    for event in events:
        yield f"{event['kind']}  {_made(event)}"


def _made(operation: Mapping[str, Any]) -> str:
    by = operation["by"]
    who = printable(by["login"]) or by["person"] or "the site"
    proof = "proven" if operation["proof"]["statement"] else "in a segment still open"
    return f"{local_time(operation['at'])}  {who}  {operation['id']}  {proof}"
