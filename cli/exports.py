"""Write an export to disk so that an interruption costs at most one page.

Beside the output lies a state file: how far the output is durable, and the server's cursor for
what comes next. It holds nothing that anybody has written. Going on cuts the output back to
there and asks for the next page; of an encrypted output a new segment begins, since no key is
ever written down (``appliance.evidence.sealed``).

format   output
jsonl    one file of lines
eml      a directory: a message file for each conversation-day, and ``manifest.jsonl``, which
         has the export's first and last line and, in order, a line for each file
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from contextlib import closing, suppress
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from cli.errors import CliError

if TYPE_CHECKING:
    from appliance.evidence.sealed import Mark

PRIVATE_FILE: Final = 0o600
PRIVATE_DIRECTORY: Final = 0o700
STATE_SUFFIX: Final = ".state"
SEALED_SUFFIX: Final = ".sealed"
MANIFEST: Final = "manifest.jsonl"

STATE_SCHEMA: Final = "strongroom.export.state/1"

JSONL: Final = "jsonl"
EML: Final = "eml"


class State(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What going on takes: the question's hash, the cursor, and where the output is durable.

    ``group`` and ``part`` are those of the message file written last.
    """

    options: str
    after: str = ""
    size: int = 0
    chain: str = ""
    node: str = ""
    group: str = ""
    part: int = 0
    schema: str = STATE_SCHEMA


class Answer(msgspec.Struct, frozen=True):
    """One page as the server hands it out; fields that this build does not know are ignored."""

    lines: tuple[str, ...]
    after: str
    group: tuple[str, ...]
    progress: int
    records: int
    destroyed: int
    operations: int
    pending: int


class Sink(Protocol):
    """Where pages go."""

    state: State

    def take(self, answer: Answer) -> None:
        """Take a page; ``state`` tells from which cursor on pages would have to come again."""
        ...

    def close(self) -> None:
        """Release what is open; the output stays as far as it is durable."""
        ...


def begin(out: Path, options: str, *, resume: bool) -> State:
    """Return where an export begins, or with ``resume`` where an interrupted one goes on.

    Raises ``CliError``: "cli.exists" where a new one would replace something, "cli.resume"
    where there is nothing to go on with, or another question was asked.
    """
    if resume:
        return _read_state(out, options)
    if os.path.lexists(out) or os.path.lexists(state_file(out)):
        hint = "Choose another name, or go on with --resume."
        raise CliError("cli.exists", f"{out} is there already", hint)
    return State(options)


def open_sink(form: str, out: Path, recipient: bytes | None, state: State) -> Sink:
    """Open an output at a state; raises ``CliError`` and ``OSError``."""
    if form == JSONL:
        return LinesFile(out, recipient, state)
    return MessageFiles(out, recipient, state)


def run(
    ask: Callable[[str], dict[str, Any]],
    state: State,
    open_at: Callable[[State], Sink],
    progress: Callable[[Answer], None],
) -> Answer:
    """Fetch page after page into a sink; return the last answer.

    ``ask`` takes a cursor and returns the server's answer. The sink is opened when the first
    answer is there, so that a refusal leaves nothing behind.
    """
    answer = msgspec.convert(ask(state.after), Answer)
    with closing(open_at(state)) as sink:
        while True:
            sink.take(answer)
            progress(answer)
            if not answer.after:
                return answer
            answer = msgspec.convert(ask(answer.after), Answer)


def state_file(out: Path) -> Path:
    """Return the path of an output's state file."""
    return out.with_name(out.name + STATE_SUFFIX)


# --- the two forms -------------------------------------------------------------------------------


class LinesFile:
    """All lines of an export in one file."""

    def __init__(self, out: Path, recipient: bytes | None, state: State) -> None:
        self._out = out
        self._tape = Tape(out, recipient, state)
        self.state = self._tape.saved(state)
        _save_state(out, self.state)

    def take(self, answer: Answer) -> None:
        """Append a page's lines; they are durable on return."""
        for line in answer.lines:
            self._tape.add(line.encode() + b"\n")
        if answer.after:
            self.state = self._tape.saved(msgspec.structs.replace(self.state, after=answer.after))
            _save_state(self._out, self.state)
        else:
            self._tape.finish()
            state_file(self._out).unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file."""
        self._tape.close()


class MessageFiles:
    """An export as message files; pages hold one conversation-day at most."""

    def __init__(self, out: Path, recipient: bytes | None, state: State) -> None:
        self._out = out
        self._recipient = recipient
        out.mkdir(mode=PRIVATE_DIRECTORY, exist_ok=True)
        self._tape = Tape(out / _named(MANIFEST, recipient), recipient, state)
        self.state = self._tape.saved(state)
        _save_state(out, self.state)
        self._after = state.after
        self._group = ""
        self._lines: list[bytes] = []
        self._bytes = 0

    def take(self, answer: Answer) -> None:
        """Gather a page's lines; write a message file when its day, or its room, is over."""
        from appliance.evidence.limits import EML_BYTES

        ours, last = [line.encode() for line in answer.lines], b""
        if not self._after:
            self._begin(ours.pop(0))
        if not answer.after:
            last = ours.pop()
        group = "-".join(reversed(answer.group)) or "destroyed"
        if self._lines and ours and (group != self._group or self._bytes >= EML_BYTES):
            self._write()
            _save_state(self._out, self.state)
        if ours:
            self._group = group
            self._lines += ours
            self._bytes += sum(map(len, ours))
        self._after = answer.after
        if last:
            self._finish(last)

    def close(self) -> None:
        """Close the manifest."""
        self._tape.close()

    def _begin(self, header: bytes) -> None:
        node = str(msgspec.json.decode(header)["node"])
        self.state = msgspec.structs.replace(self.state, node=node)
        self._tape.add(header + b"\n")

    def _finish(self, last: bytes) -> None:
        """Write what is left; until that is done, the state stays as it is."""
        if self._lines:
            self._write()
        self._tape.add(last + b"\n")
        self._tape.finish()
        state_file(self._out).unlink(missing_ok=True)

    def _write(self) -> None:
        """Write the lines gathered as a file; with the state everything so far is durable."""
        from appliance.evidence import eml

        part = self.state.part + 1 if self._group == self.state.group else 1
        name = f"{self._group}.eml" if part == 1 else f"{self._group}.{part}.eml"
        content = eml.message(self.state.node, self._lines)
        place = self._out / _named(name, self._recipient)
        replace(place, content if self._recipient is None else _sealed(self._recipient, content))
        digest = sha256(content).hexdigest()
        entry = {"type": "file", "name": name, "lines": len(self._lines), "sha256": digest}
        self._tape.add(msgspec.json.encode(entry) + b"\n")
        state = msgspec.structs.replace(self.state, after=self._after, group=self._group, part=part)
        self.state = self._tape.saved(state)
        self._lines, self._bytes = [], 0


# --- files ---------------------------------------------------------------------------------------


class Tape:
    """A file that grows, encrypted to a recipient if there is one; cut back to where it was saved.

    One process at a time has it open. Raises ``CliError`` ("cli.resume") when it is shorter
    than the state says.
    """

    def __init__(self, path: Path, recipient: bytes | None, state: State) -> None:
        from appliance.evidence.sealed import START, Mark, Sealer

        is_new = not state.size
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._descriptor = os.open(path, flags, PRIVATE_FILE)
        try:
            self._claim(path, state.size)
        except BaseException:
            os.close(self._descriptor)
            raise
        mark = START if is_new else Mark(state.size, bytes.fromhex(state.chain))
        self._size = state.size
        self._sealer = None if recipient is None else Sealer(recipient, self._append, mark)
        if is_new:
            sync_directory(path.parent)

    def add(self, data: bytes) -> None:
        """Append; durable with the next ``saved`` or ``finish``."""
        if self._sealer is None:
            self._append(data)
        else:
            self._sealer.add(data)

    def saved(self, state: State) -> State:
        """Make everything durable; return the state with where the file now ends."""
        mark: Mark | None = None if self._sealer is None else self._sealer.flush()
        os.fsync(self._descriptor)
        chain = "" if mark is None else mark.chain.hex()
        return msgspec.structs.replace(state, size=self._size, chain=chain)

    def finish(self) -> None:
        """Say that nothing follows, and make everything durable."""
        if self._sealer is not None:
            self._sealer.finish()
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def _claim(self, path: Path, size: int) -> None:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CliError("cli.running", f"another process writes {path}") from None
        if os.fstat(self._descriptor).st_size < size:
            raise CliError("cli.resume", f"{path} is shorter than it was", "Start anew.")
        os.ftruncate(self._descriptor, size)
        os.lseek(self._descriptor, size, os.SEEK_SET)

    def _append(self, data: bytes) -> None:
        view = memoryview(data)
        self._size += len(view)
        while view:
            view = view[os.write(self._descriptor, view) :]


def replace(path: Path, content: bytes) -> None:
    """Put ``content`` in place of a file: all of it or nothing, mode 0600, durably."""
    part = path.with_name(f".{path.name}.part")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(part, flags, PRIVATE_FILE)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        part.replace(path)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Return once the names in a directory survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _named(name: str, recipient: bytes | None) -> str:
    return name if recipient is None else name + SEALED_SUFFIX


def _sealed(recipient: bytes, content: bytes) -> bytes:
    from appliance.evidence.sealed import seal_whole

    return seal_whole(recipient, content)


def _save_state(out: Path, state: State) -> None:
    replace(state_file(out), msgspec.json.encode(state))


def _read_state(out: Path, options: str) -> State:
    """Read a state file; raises ``CliError`` ("cli.resume")."""
    hint = "Without --resume a new export begins."
    try:
        state = msgspec.json.decode(state_file(out).read_bytes(), type=State)
    except (FileNotFoundError, ValueError):
        raise CliError("cli.resume", f"no interrupted export at {out}", hint) from None
    if state.options != options or state.schema != STATE_SCHEMA:
        raise CliError("cli.resume", "the interrupted export asked for something else", hint)
    return state


def options_of(*values: Any, form: str, recipient: bytes | None) -> str:
    """Return the hash (hex) of what an export is: the same question goes on, no other."""
    from appliance.directory.requests import canonical_json

    text = canonical_json((form, recipient or b"", *values))
    return sha256(text.encode()).hexdigest()
