"""Run commands one after the other and make them durable in batches: the only writer.

While one batch is being synced the next one gathers in the queue, so the batch size follows
the load, and an idle writer commits a lone command at once. A batch goes through these steps:

    snapshot   of the last commit, under one ``Txn``
    decide     each command behind a savepoint; one that raises is rolled back alone
    close      ``before_commit``, for what is due by then
    switch     ``begin_switch``: the rows of a new root, when the batch destroys something
    write      that root, durably
    commit     one ``Engine.batch``: durable when it returns
    finish     the old root is gone when it returns
    deliver    the outcomes of all commands, in order: not before

When the batch could not be applied, its outcomes are void: a later command may have read what
an earlier one wrote. So every command from the first that wrote on gets the error, the engine's
or that of ``begin_switch``, and the writer goes on. A full disk is such a case also when a root
was written: nothing was committed, so it is withdrawn. Pages of the batch may be on the disk:
``abandon_lost`` comes before the next one, which fails too when that does not fit either. After
any other failure from ``write`` on nobody knows which root the store needs: the writer ends and
touches neither.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import Final, Generic, NamedTuple, NoReturn, Protocol, TypeVar

from store.engine.contract import Engine
from store.engine.txn import Txn
from store.errors import (
    BatchFullError,
    EngineError,
    EngineFullError,
    LimitError,
    OverloadedError,
    ReserveError,
)
from store.ports import Clock

MAX_BATCH_COMMANDS: Final = 512
"""Commands in one commit: bounds how long a command waits for its neighbours."""

MAX_QUEUED_COMMANDS: Final = 16_384
"""Commands that wait for the writer; further ones are refused."""

BATCH_TARGET_BYTES: Final = 4 << 20
"""A batch that wrote this many bytes takes no further command."""

COMMIT_RESERVE_BYTES: Final = 1 << 20
"""Part of the engine's largest batch that commands leave to ``before_commit``."""

A = TypeVar("A")
C = TypeVar("C")
R = TypeVar("R")


class Completion(NamedTuple, Generic[R]):
    """What became of one command: ``error`` is None exactly when ``outcome`` counts."""

    context: object
    outcome: R | None
    error: Exception | None


@dataclass(frozen=True, slots=True)
class WriterStats:
    """Counts since the start, and the time spent in commits in nanoseconds."""

    commands: int
    commits: int
    queued: int
    commit_ns: int


class RootSwitch(Protocol):
    """A change of the root of all keys that goes with one batch; see ``store.vault.switch``."""

    def write(self) -> None:
        """Make the new root durable, before the commit."""
        ...

    def finish(self, engine: Engine) -> object:
        """End the old root, after the commit."""
        ...

    def withdraw(self) -> None:
        """End the new root: nothing was committed."""
        ...


class Abandon(Protocol):
    """Sees to it that nothing of a lost batch opens; see ``store.vault.Vault.abandon_lost``."""

    def __call__(self, engine: Engine, token: int, *, urgent: bool) -> None:
        """Raise ``EngineFullError`` when that does not fit; it is tried again then."""
        ...


def _no_switch(txn: Txn) -> RootSwitch | None:
    del txn
    return None


class _Command(NamedTuple, Generic[A, C]):
    actor: A
    command: C
    context: object


class _Batch(Generic[A, C, R]):
    """The commands of one commit, what they answered, and which was the first to write."""

    __slots__ = ("commands", "completions", "first_writer", "is_urgent", "txn")

    def __init__(self, txn: Txn) -> None:
        self.txn = txn
        self.is_urgent = False
        self.commands: list[_Command[A, C]] = []
        self.completions: list[Completion[R]] = []
        self.first_writer: int | None = None

    def void(self, error: Exception) -> None:
        """Undo everything; the commands from the first that wrote on get ``error``."""
        self.txn.rollback(0)
        if self.first_writer is not None:
            lost = self.commands[self.first_writer :]
            self.completions[self.first_writer :] = _failures(lost, error)


class Writer(Generic[A, C, R]):
    """The one writer of an engine, in a thread of its own or inline.

    Args:
        engine: where batches go; the token is acquired here unless given.
        decide: ``(txn, actor, command, now_ms)`` to an outcome. Runs in the writer's thread.
            Any ``Exception`` rolls the command back and becomes its completion's error.
        clock: read once for each batch.
        deliver: gets all completions of a batch, in order of submission, in the writer's
            thread, after the commit. It must not raise.
        before_commit: ``(txn, now_ms)``, once for each batch after its commands.
        begin_switch: ``(txn)``, once for each batch after that; the root switch that the batch
            needs, or None.
        abandon_lost: ``(engine, token, urgent=)``, before the batch that follows one which did
            not fit on the disk; see ``store.vault.Vault``.
        failed: told once, in the writer's thread, when the writer can go on no longer.
        token: the fencing token, when the caller has acquired it.
        urgent: types of commands that go into a batch of their own, which may use the space
            that the engine reserves.

    After a failure other than a full disk, whether of the engine, ``before_commit``, a switch
    that has begun, ``deliver`` or an undo action, the writer takes no further command.
    """

    def __init__(
        self,
        engine: Engine,
        decide: Callable[[Txn, A, C, int], R],
        clock: Clock,
        deliver: Callable[[list[Completion[R]]], None],
        *,
        before_commit: Callable[[Txn, int], None] | None = None,
        begin_switch: Callable[[Txn], RootSwitch | None] | None = None,
        abandon_lost: Abandon | None = None,
        failed: Callable[[BaseException], None],
        token: int | None = None,
        urgent: frozenset[type] = frozenset(),
    ) -> None:
        self._engine = engine
        self._decide = decide
        self._clock = clock
        self._deliver = deliver
        self._before_commit = before_commit
        self._begin_switch = begin_switch or _no_switch
        self._abandon_lost = abandon_lost
        self._has_lost = False
        self._failed = failed
        self._urgent = urgent
        self._token = engine.acquire() if token is None else token
        self._max_bytes = engine.max_batch_bytes - COMMIT_RESERVE_BYTES
        self._target_bytes = min(BATCH_TARGET_BYTES, self._max_bytes)
        # SimpleQueue wakes its reader only when it sleeps: a busy writer costs no wake-ups.
        self._queue: SimpleQueue[_Command[A, C] | None] = SimpleQueue()
        self._carried: _Command[A, C] | None = None
        self._gate = Lock()
        self._is_open = True
        self._is_drained = False
        self._failure: BaseException | None = None
        self._thread: Thread | None = None
        self._commands = self._commits = self._commit_ns = 0

    def submit(self, actor: A, command: C, context: object) -> None:
        """Queue a command; its completion comes through ``deliver``. Never blocks.

        Usable from any thread. Raises ``OverloadedError`` when the queue is full or the writer
        stopped, ``EngineError`` after a failure; the command was then not taken.
        """
        with self._gate:
            if not self._is_open or self._queue.qsize() >= MAX_QUEUED_COMMANDS:
                self._refuse()
            self._queue.put(_Command(actor, command, context))

    def start(self) -> None:
        """Run in a thread of its own from now on; once, and not after ``stop``."""
        assert self._thread is None, "a writer starts once"
        self._thread = Thread(target=self._run, name="writer", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Take no more commands, carry out those submitted, then return. Idempotent."""
        with self._gate:
            was_open, self._is_open = self._is_open, False
            if was_open:
                self._queue.put(None)
        if self._thread is not None:
            self._thread.join()
        else:
            while self.run_pending():
                pass

    def run_pending(self) -> int:
        """Carry out one batch of what is queued, inline; return how many commands that were.

        Their outcomes are delivered before it returns. An ``Exception`` goes to ``failed``;
        anything else, such as a simulated power cut, passes through and ends the writer.
        """
        first = self._next(wait=False)
        return 0 if first is None else self._carry_out(first)

    @property
    def has_lost(self) -> bool:
        """Tell whether the last batch did not fit, and nothing has been abandoned since."""
        return self._has_lost

    def stats(self) -> WriterStats:
        """Return the counts; usable from any thread."""
        return WriterStats(self._commands, self._commits, self._queue.qsize(), self._commit_ns)

    def _run(self) -> None:
        try:
            while self._failure is None and (first := self._next(wait=True)) is not None:
                self._carry_out(first)
        except BaseException as error:  # noqa: BLE001  # a thread has nobody to raise to
            self._failed(error)

    def _refuse(self) -> NoReturn:
        if self._failure is not None:
            raise EngineError("the writer has failed and takes no commands")
        raise OverloadedError(
            "the writer's queue is full" if self._is_open else "the writer has stopped"
        )

    def _next(self, *, wait: bool) -> _Command[A, C] | None:
        """Return the next command; None when there is none now, or none will ever come."""
        if self._carried is not None:
            carried, self._carried = self._carried, None
            return carried
        if self._is_drained:
            return None
        try:
            command = self._queue.get(block=wait)
        except Empty:
            return None
        self._is_drained = command is None
        return command

    def _carry_out(self, first: _Command[A, C]) -> int:
        """Run one batch that begins with ``first``; return its number of commands."""
        batch: _Batch[A, C, R] | None = None
        try:
            if self._has_lost and (error := self._abandon(first)) is not None:
                self._deliver(_failures([first], error))
                return 1
            now_ms = self._clock.wall_ms()
            with self._engine.snapshot() as snapshot:
                batch = _Batch(Txn(snapshot))
                self._decide_all(batch, first, now_ms)
                switch = self._prepare(batch)
            self._commit(batch, switch)
        except Exception as error:  # noqa: BLE001  # told to every command and to ``failed``
            taken = [first] if batch is None else batch.commands
            self._break(error, taken, None if batch is None else batch.txn)
            return len(taken)
        except BaseException as error:
            self._close(error)
            raise
        self._commands += len(batch.commands)
        try:
            self._deliver(batch.completions)
        except Exception as error:  # noqa: BLE001  # told to ``failed``
            self._break(error, [], None)
        return len(batch.commands)

    def _abandon(self, first: _Command[A, C]) -> EngineFullError | None:
        """Abandon what the batch before may have left; return why that could not be done.

        What is reserved is used for it only if ``first`` may use it too.
        """
        try:
            if self._abandon_lost is not None:
                urgent = type(first.command) in self._urgent
                self._abandon_lost(self._engine, self._token, urgent=urgent)
        except EngineFullError as error:
            return error
        self._has_lost = False
        return None

    def _decide_all(self, batch: _Batch[A, C, R], first: _Command[A, C], now_ms: int) -> None:
        """Decide ``first`` and what else is queued, up to the limits of a batch."""
        command: _Command[A, C] | None = first
        batch.is_urgent = type(first.command) in self._urgent
        while command is not None:
            if batch.commands and (batch.is_urgent or type(command.command) in self._urgent):
                self._carried = command
                break
            batch.commands.append(command)
            completion = self._decide_one(batch, command, now_ms)
            if completion is None:
                self._carried = batch.commands.pop()
                break
            batch.completions.append(completion)
            if (
                len(batch.commands) == MAX_BATCH_COMMANDS
                or batch.txn.bytes_written >= self._target_bytes
            ):
                break
            command = self._next(wait=False)
        if self._before_commit is not None:
            self._before_commit(batch.txn, now_ms)

    def _decide_one(
        self, batch: _Batch[A, C, R], command: _Command[A, C], now_ms: int
    ) -> Completion[R] | None:
        """Decide one command; None when it does not fit into what the batch has left."""
        txn = batch.txn
        mark = txn.savepoint()
        try:
            outcome = self._decide(txn, command.actor, command.command, now_ms)
            if txn.bytes_written > self._max_bytes:
                raise LimitError("the command writes more than one batch can hold")
        except Exception as error:  # noqa: BLE001  # whatever it is, it ends this command only
            is_full = txn.bytes_written > self._max_bytes or isinstance(error, BatchFullError)
            txn.rollback(mark)
            return None if is_full and mark > 0 else Completion(command.context, None, error)
        if batch.first_writer is None and txn.savepoint() > mark:
            batch.first_writer = len(batch.completions)
        return Completion(command.context, outcome, None)

    def _prepare(self, batch: _Batch[A, C, R]) -> RootSwitch | None:
        """Let the batch's switch be written into its transaction; a failure voids the batch."""
        try:
            return self._begin_switch(batch.txn)
        except Exception as error:  # noqa: BLE001  # nothing has left the memory yet
            batch.void(error)
            return None

    def _commit(self, batch: _Batch[A, C, R], switch: RootSwitch | None) -> None:
        if not batch.txn.writes:
            return
        started_ns = self._clock.monotonic_ns()
        try:
            if switch is not None:
                switch.write()
            is_urgent = batch.is_urgent or switch is not None
            self._engine.batch(batch.txn.writes, self._token, urgent=is_urgent)
        except EngineFullError as error:
            if switch is not None:
                switch.withdraw()
            batch.void(error)
            self._has_lost = not isinstance(error, ReserveError)
            return
        if switch is not None:
            switch.finish(self._engine)
        self._commits += 1
        self._commit_ns += self._clock.monotonic_ns() - started_ns

    def _break(self, error: Exception, taken: list[_Command[A, C]], txn: Txn | None) -> None:
        """End the writer: undo the batch and fail what it took and what still waits."""
        self._close(error)
        waiting: list[_Command[A, C]] = []
        while (command := self._next(wait=False)) is not None:
            waiting.append(command)
        # Neither of these may raise; if it does, ``error`` stays the one to be told.
        with suppress(Exception):
            if txn is not None:
                txn.rollback(0)
        with suppress(Exception):
            self._deliver(_failures([*taken, *waiting], error))
        self._failed(error)

    def _close(self, error: BaseException) -> None:
        with self._gate:
            self._is_open = False
            self._failure = error


def _failures(commands: Iterable[_Command[A, C]], error: Exception) -> list[Completion[R]]:
    return [Completion(command.context, None, error) for command in commands]
