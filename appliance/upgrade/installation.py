"""Know the versions of the program that are installed, and change which one is used.

    /opt/strongroom                      link to the version in use
    /opt/strongroom-versions/
        release.pub                      the key that bundles must be signed by, pinned once
        state                            what was applied, and what a rollback goes back to: JSON
        lock                             held by the one upgrade that runs
        VERSION/                         the program, as its bundle or package had it

A package puts a directory in the link's place; ``adopt`` exchanges the two before the first
upgrade. Which version is used changes in one rename. A program that was started through the link
goes on from its own version's directory until it is restarted.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar, Final

import msgspec

from appliance.upgrade.bundle import PROGRAM_NAME, Bundle
from appliance.upgrade.paths import exchange, sync_directory
from store.errors import StoreError
from store.minisign import FILE_BYTES, PublicKey, read_public

KEY_NAME: Final = "release.pub"
STATE_NAME: Final = "state"
LOCK_NAME: Final = "lock"

START_SECONDS: Final = 60.0
"""How long a program may take to say its version."""

_VERSION: Final = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+~-]{0,63}")


class UpgradeError(StoreError):
    """The upgrade cannot be done; nothing was changed."""

    code: ClassVar[str] = "upgrade.refused"
    hint: ClassVar[str] = "`strongroom upgrade plan` tells all that is in the way."


class NoReleaseKeyError(UpgradeError):
    """No key is pinned, so no bundle can be believed."""

    code: ClassVar[str] = "upgrade.no_key"
    hint: ClassVar[str] = "Pin the release key once: strongroom upgrade trust FILE."


class PinnedError(UpgradeError):
    """Another key is pinned already."""

    code: ClassVar[str] = "upgrade.pinned"
    hint: ClassVar[str] = "Only root, by hand, replaces release.pub beside the versions."


class BusyError(UpgradeError):
    """Another upgrade is going on."""

    code: ClassVar[str] = "upgrade.busy"
    retryable: ClassVar[bool] = True
    hint: ClassVar[str] = "Wait for it to end."


class Previous(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a rollback goes back to: a version, the snapshot made before it was left ("" for none).

    ``schema`` is the newest version of the store that it opens, as far as is known.
    """

    version: str
    snapshot: str
    schema: int


class State(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``counter`` is the highest of all releases that were ever applied here."""

    counter: int = 0
    previous: Previous | None = None


class Installation:
    """The versions of one program; ``program`` is the path that is run, such as /opt/strongroom."""

    def __init__(self, program: Path) -> None:
        self.program = program
        self.versions = program.with_name(f"{program.name}-versions")

    # --- what there is --------------------------------------------------------------------------

    def key(self) -> PublicKey:
        """Return the pinned release key; raises ``NoReleaseKeyError``, ``SignatureError``."""
        try:
            with (self.versions / KEY_NAME).open(encoding="utf-8", errors="replace") as file:
                return read_public(file.read(FILE_BYTES))
        except FileNotFoundError:
            raise NoReleaseKeyError("no release key is pinned on this machine") from None

    def trust(self, text: str) -> PublicKey:
        """Pin the release key, once; raises ``PinnedError``, ``SignatureError``."""
        key = read_public(text)
        with suppress(NoReleaseKeyError):
            if self.key() == key:
                return key
            raise PinnedError(f"release key {self.key().name} is pinned already")
        self._write(KEY_NAME, key.text())
        return key

    def state(self) -> State:
        """Return what was noted; raises ``UpgradeError`` when it cannot be read."""
        try:
            return msgspec.json.decode((self.versions / STATE_NAME).read_bytes(), type=State)
        except FileNotFoundError:
            return State()
        except msgspec.MsgspecError:
            raise UpgradeError(f"{self.versions / STATE_NAME} is damaged") from None

    def note(self, state: State) -> None:
        """Write the state durably."""
        self._write(STATE_NAME, msgspec.json.encode(state).decode())

    def current(self) -> str:
        """Start the program in use and return its version; raises ``UpgradeError``."""
        if not (self.program / PROGRAM_NAME).is_file():
            raise UpgradeError(f"{self.program} holds no program")
        return version_of(self.program)

    def directory(self, version: str) -> Path:
        """Return where a version is or will be."""
        return self.versions / version

    # --- changing it ----------------------------------------------------------------------------

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Be the one upgrade of this installation; raises ``BusyError``."""
        self.versions.mkdir(mode=0o755, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(self.versions / LOCK_NAME, flags, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BusyError("another upgrade is going on") from None
            yield
        finally:
            os.close(descriptor)

    def install(self, bundle: Bundle) -> None:
        """Unpack a bundle beside the other versions, and see that it starts here.

        Raises ``BundleError``, ``UpgradeError``, ``EngineError``; nothing is left of it then.
        """
        version = bundle.release.version
        staged = self.versions / f".{version}.new"
        shutil.rmtree(staged, ignore_errors=True)
        try:
            bundle.unpack(staged)
            if version_of(staged) != version:
                raise UpgradeError("the program of the bundle says that it is another version")
            shutil.rmtree(self.directory(version), ignore_errors=True)
            staged.rename(self.directory(version))
            sync_directory(self.versions)
        finally:
            shutil.rmtree(staged, ignore_errors=True)

    @property
    def is_adopted(self) -> bool:
        """Whether the program is a link to one of the versions."""
        return self.program.is_symlink()

    def adopt(self) -> None:
        """Put a package's directory among the versions and a link in its place, in one step.

        What was started from the directory must be started anew before the next upgrade: it
        would go on to read its files under the old path. Raises ``UpgradeError``, ``EngineError``.
        """
        if self.is_adopted:
            return
        place = self.directory(self.current())
        if place.is_symlink():
            place.unlink()
        elif place.exists():
            raise UpgradeError(f"{place} exists, and {self.program} is a directory")
        place.symlink_to(os.path.relpath(place, self.program.parent))
        exchange(place, self.program)

    def switch(self, version: str) -> None:
        """Let ``version`` be the one in use, in one rename; raises ``UpgradeError``."""
        if not self.is_adopted:
            raise UpgradeError(f"{self.program} is not a link to a version")
        link = self.versions / ".link"
        link.unlink(missing_ok=True)
        link.symlink_to(os.path.relpath(self.directory(version), self.program.parent))
        link.replace(self.program)
        sync_directory(self.program.parent)

    def change(self, version: str, state: State) -> None:
        """Note a state and switch; the state is as before when switching fails."""
        before = self.state()
        self.note(state)
        try:
            self.switch(version)
        except BaseException:
            self.note(before)
            raise

    def prune(self, kept: set[str]) -> None:
        """Remove the versions that nobody goes back to."""
        for path in self.versions.iterdir():
            if path.is_dir() and not path.is_symlink() and path.name not in kept:
                shutil.rmtree(path, ignore_errors=True)

    def _write(self, name: str, text: str) -> None:
        self.versions.mkdir(mode=0o755, exist_ok=True)
        new = self.versions / f".{name}.new"
        with new.open("w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), 0o644)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self.versions / name)
        sync_directory(self.versions)


def version_of(tree: Path) -> str:
    """Start the program in a directory and return the version that it says.

    Raises ``UpgradeError`` when it does not start on this machine.
    """
    answer: Any = None
    with suppress(OSError, subprocess.SubprocessError, ValueError):
        done = subprocess.run(
            [tree / PROGRAM_NAME, "version", "--json"],
            capture_output=True,
            check=True,
            timeout=START_SECONDS,
        )
        answer = json.loads(done.stdout)["version"]
    if not isinstance(answer, str) or not _VERSION.fullmatch(answer):
        raise UpgradeError(f"the program in {tree} does not start on this machine")
    return answer
