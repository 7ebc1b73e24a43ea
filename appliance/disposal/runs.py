"""Carry a destruction run out: slice by slice through the writer, then confirmed.

A run yields to everybody else: each slice is a short command of its own, and between two of
them the writer has at least as long for others as the slice has taken. For what ends by age
nobody waits: while others write, such a run leaves them the writer ``PATIENCE`` times as long.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import trio

from appliance.context import SITE, Actor
from appliance.disposal.commands import Confirm, CutLost, Slice
from appliance.disposal.decide_slices import EXPIRY
from appliance.disposal.limits import PATIENCE, SLICE_RECORDS
from appliance.disposal.replies import RunItem, SliceDone
from appliance.messaging.model import Place
from store.errors import LimitError, StoreError
from store.vault.effacement import Evidence
from transports.wire.errors import StrongroomError

if TYPE_CHECKING:
    from appliance.core import Core

logger = logging.getLogger("strongroom.disposal")

PAUSE_SECONDS_MIN: Final = 0.002
"""Shortest pause between two slices of a run, in seconds."""

Execute = Callable[[Actor, Any], Awaitable[Any]]
"""Decides and commits a command; returns its reply, raises its refusal."""

Followed = Callable[[int], Awaitable[tuple[tuple[str, int], ...]]]
"""Waits a while for the key replicas; returns each one's name and acknowledged generation."""


Rest = Callable[[float], Awaitable[None]]
"""Waits for so many seconds."""


@dataclass(slots=True)
class Progress:
    """How far a run is: records looked at, of how many, and how many stayed (``run`` 0: none)."""

    cause: str
    request: int
    total: int
    done: int = 0
    destroyed: int = 0
    held_back: int = 0
    run: int = 0
    is_over: bool = False


class Runner:
    """Carries runs out, one after the other.

    Args:
        core: the site's state.
        execute: gives commands to the writer.
        followed: waits for the key replicas to have followed to a generation.
        now: monotonic seconds.
        rest: waits for so many seconds, or less when something waits for the run's end.
        is_awaited: tells whether something does; then an expiry ends behind its present slice.
    """

    def __init__(
        self,
        core: Core,
        execute: Execute,
        followed: Followed,
        now: Callable[[], float],
        rest: Rest = trio.sleep,
        is_awaited: Callable[[], bool] = lambda: False,
    ) -> None:
        self._core = core
        self._execute = execute
        self._followed = followed
        self._now = now
        self._rest = rest
        self._is_awaited = is_awaited
        self.asked: dict[int, frozenset[bytes]] = {}
        """The devices that were told to drop what each run of this process destroyed."""

    async def carry_out(self, progress: Progress, places: Sequence[Place]) -> RunItem | None:
        """Destroy the records at ``places`` and confirm; None when nothing had to end.

        Copies of them that lost batches left end first: who follows the run has followed that.
        Raises ``Refusal`` when time is no longer proven or the order no longer stands; what was
        destroyed until then is confirmed first. When the server stops meanwhile, the next start
        confirms.
        """
        try:
            await self.cut_lost()
            await self._slices(progress, places)
        except (StrongroomError, StoreError):
            await self.confirm(progress.run, progress.held_back)
            raise
        finally:
            progress.is_over = True
        return await self.confirm(progress.run, progress.held_back)

    async def confirm(self, run: int, held_back: int) -> RunItem | None:
        """Say that a run is over, once its last root is effaced and replicas had their time."""
        known = self._core.disposal.runs.get(run)
        if known is None:
            return None
        replicas = await self._followed(known.intent.generations[1])
        asked = self.asked.get(run)
        if asked is None:
            asked = self.asked[run] = self._told(run)
        confirmed: RunItem = await self._execute(
            SITE,
            Confirm(
                run,
                held_back,
                evidence_lines(self._core.vault.evidence),
                replicas,
                len(asked),
                self.answered(run),
            ),
        )
        logger.info(
            "destruction.confirmed",
            extra={"run": run, "parts": confirmed.parts, "state": confirmed.state},
        )
        return confirmed

    async def cut_lost(self) -> None:
        """End what batches may have left that a crash or a full disk took back."""
        while self._core.vault.is_behind:
            started = self._now()
            await self._execute(SITE, CutLost())
            await trio.sleep(max(PAUSE_SECONDS_MIN, self._now() - started))

    def answered(self, run: int) -> int:
        """Return how many of the devices that were told have answered that they dropped it."""
        wiped = self._core.disposal.wiped
        return sum(wiped.get(device, 0) >= run for device in self.asked.get(run, ()))

    async def _slices(self, progress: Progress, places: Sequence[Place]) -> None:
        size, at = SLICE_RECORDS, 0
        while at < len(places):
            started = self._now()
            piece = tuple(places[at : at + size])
            command = Slice(progress.run, progress.cause, progress.request, piece)
            try:
                done: SliceDone = await self._execute(SITE, command)
            except LimitError:
                if size == 1:
                    raise
                size = max(1, size // 2)
                continue
            at += done.taken
            progress.run = done.run or progress.run
            progress.done = at
            progress.destroyed += done.records
            progress.held_back += done.held_back
            size = min(2 * size, SLICE_RECORDS)
            is_patient = command.cause == EXPIRY
            await self._yield(self._now() - started, is_patient=is_patient)
            if is_patient and self._is_awaited():
                return

    async def _yield(self, took: float, *, is_patient: bool) -> None:
        """Leave the writer to others after a slice; for long only if they use it."""
        newest = self._core.log.head.pos
        await trio.sleep(max(PAUSE_SECONDS_MIN, took))
        if is_patient and self._core.log.head.pos != newest:
            await self._rest((PATIENCE - 1) * took)

    def _told(self, run: int) -> frozenset[bytes]:
        """Return the devices of everybody who may have read what the run destroyed."""
        core, now_ms = self._core, self._core.reading().wall_ms
        people: set[bytes] = set()
        for conversation_id, told in list(core.disposal.told.items()):
            conversation = core.conversations.get(conversation_id)
            if told.run != run or conversation is None:
                continue
            known = (*conversation.members.values(), *conversation.former.values())
            newest = core.conversations.front(conversation.pseudonym).key
            people.update(each.person for each in known if each.may_have_read(told.ranges, newest))
        found = (core.directory.person(person) for person in people)
        return frozenset(
            device.id
            for person in found
            if person is not None
            for device in person.live_devices(now_ms)
        )


def evidence_lines(evidence: Evidence | None) -> tuple[str, ...]:
    """Say in words what was seen when the last root ended."""
    if evidence is None:
        return ()
    shown = "read back as zeros" if evidence.is_verified else "not read back"
    slots = ", ".join(evidence.slots)
    return (
        f"generation {evidence.old_generation}: {slots} overwritten at random and with zeros, "
        f"synced, {shown}",
    )
