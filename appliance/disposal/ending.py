"""Carry the end of a site out: efface the root of all keys everywhere, and sign the closing note.

The decision stands in the ledger, and whoever asked has its certificate. Then, in this order:

    1  every key replica is brought in step, so that each is known to be there
    2  the certificate is put into the data directory
    3  the root slots of each replica are effaced and read back
    4  the writer stops, and the root slots here are effaced and read back
    5  the site's key, which is still in memory, signs the closing note
    6  the note is put into the data directory; from then on no server starts there

What is cut off before the end of 4 can be said again, after a restart too. After 4 nobody can
sign any more: where the power fails just then, the certificate and the blank slots remain.

The closing note is a C2SP signed note, by the site's own key under the ledger's name. Its text:

    origin, size, root    of the certificate's checkpoint
    decommissioned
    time: <ISO 8601>
    here: <what was seen>
    replica: <name>: <what was seen, or that two officers retired it>      once for each
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from appliance.context import refuse
from appliance.disposal import certificate
from appliance.disposal.runs import evidence_lines
from appliance.replicas import Replicas
from appliance.site import CERTIFICATE_FILE, CLOSING_FILE, Site
from store import notes, reading, verifier
from store.engine.contract import Reader
from store.errors import EngineError, StoreError
from store.notes import Checkpoint
from store.vault.effacement import Evidence

EFFACED: Final = "root.0, root.1 overwritten at random and with zeros, synced, read back as zeros"
RETIRED: Final = "retired by two officers, not effaced here"

Blocking = Callable[..., Awaitable[Any]]
"""Runs a function that blocks and returns what it returns."""


class Ending:
    """Ends one site.

    Args:
        site: the opened site.
        replicas: its key replicas.
        blocking: runs blocking work.
        data_dir: where certificate and closing note stay; None in a simulation.
    """

    def __init__(
        self, site: Site, replicas: Replicas, blocking: Blocking, data_dir: Path | None
    ) -> None:
        self._site = site
        self._replicas = replicas
        self._blocking = blocking
        self._data_dir = data_dir
        self._effaced: dict[bytes, str] = {}
        self._note = ""

    @property
    def is_over(self) -> bool:
        """Whether the root is gone."""
        return bool(self._note)

    async def expect_replicas(self) -> None:
        """Raise ``Refusal`` "decommission.replica" unless every key replica is there, in step.

        Those that two officers retired are not waited for.
        """
        statuses = await self._replicas.sync()
        there = self._effaced.keys() | {each.identity for each in statuses}
        named = {each.identity for each in self._site.core.disposal.replicas.values()}
        if named - there or any(each.error for each in statuses):
            raise refuse("decommission.replica")

    async def finish(self) -> str:
        """Destroy the root everywhere and return the closing note; no way back.

        Sessions have ended. Said again after a failure it goes on; after the end it returns the
        note again. Raises ``Refusal`` "decommission.undecided" and "decommission.replica", and
        the store's errors: then the root is not gone everywhere yet.
        """
        if not self._note:
            await self._finish()
        await self._keep(CLOSING_FILE, self._note)
        return self._note

    async def _finish(self) -> None:
        core = self._site.core
        ended = core.disposal.decommissioned
        if ended is None:
            raise refuse("decommission.undecided")
        await self.expect_replicas()
        run = core.disposal.runs[ended.run]

        def written(reader: Reader) -> tuple[str, Checkpoint]:
            kept = notes.newest_checkpoint(reader, run.place[0])
            assert kept is not None, "the decision has signed one"
            text = certificate.build(core.log, reader, run.place)
            return text, notes.open_checkpoint(kept.note, kept.day_key.public_key)

        text, checkpoint = await self._blocking(reading.read, self._site.ports.engine, written)
        await self._keep(CERTIFICATE_FILE, text)
        for status in self._replicas.statuses:
            try:
                await self._replicas.remove(status.name)
            except (StoreError, OSError):
                raise refuse("decommission.replica") from None
            self._effaced[status.identity] = status.name
        names = [each.name for each in run.confirmed.replicas] if run.confirmed else []
        evidence = await self._blocking(self._site.end)
        self._note = self._signed(checkpoint, names, evidence)

    def _signed(self, checkpoint: Checkpoint, names: list[str], evidence: Evidence) -> str:
        effaced = set(self._effaced.values())
        seen = {name: EFFACED if name in effaced else RETIRED for name in names}
        seen |= dict.fromkeys(effaced, EFFACED)
        said = closing_lines(self._site.ports.clock.wall_ms(), evidence, seen)
        closed = checkpoint._replace(extensions=said)
        core = self._site.core
        own = core.log.origins[core.log.head.origin].verify_key
        return notes.sign_checkpoint(closed, own, core.sign).decode()

    async def _keep(self, name: str, text: str) -> None:
        if self._data_dir is not None:
            await self._blocking(_write, self._data_dir / name, text)


def closing_lines(now_ms: int, evidence: Evidence, seen: Mapping[str, str]) -> tuple[str, ...]:
    """Return what a closing note says below the checkpoint; ``seen`` by each replica's name."""
    moment = datetime.fromtimestamp(now_ms / 1000, UTC)
    return (
        verifier.DECOMMISSIONED,
        f"time: {moment.isoformat(timespec='milliseconds')}",
        *(f"here: {line}" for line in evidence_lines(evidence)),
        *(f"replica: {verifier.clean(name)}: {line}" for name, line in sorted(seen.items())),
    )


def _write(path: Path, text: str) -> None:
    """Put a file in place, whole and durable; raises ``EngineError``."""
    part = path.with_name(path.name + ".part")
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        with os.fdopen(os.open(part, flags, 0o600), "w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise EngineError(f"writing {path.name}: {error.strerror}") from error
