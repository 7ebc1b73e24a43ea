"""Run parts of the load generator in processes of their own, and tell them what to do.

A crew belongs to one process. It serves its connections in turns; between two turns it does what
it is asked for, one request at a time.
"""

from __future__ import annotations

import multiprocessing
import resource
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any, Final, Protocol

ANSWER_SECONDS: Final = 600.0
"""How long a crew may take for what it was asked."""
END_SECONDS: Final = 10.0
SPARE_FILES: Final = 256
"""Files a process opens besides its connections."""


class CrewError(RuntimeError):
    """A crew could not do what it was asked."""


class Crew(Protocol):
    """What lives in a process of the fleet."""

    def turn(self) -> None:
        """Serve the connections; waits a moment at the most."""
        ...


def allow_files(connections: int) -> None:
    """Let this process open so many connections; raises ``RuntimeError`` when it may not."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + SPARE_FILES
    if hard < wanted:
        raise RuntimeError(f"{wanted} open files are needed, {hard} allowed: see `ulimit -Hn`")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


def _live(pipe: Connection, make: Callable[..., Crew], arguments: tuple[Any, ...]) -> None:
    """Make the crew and serve it until the pipe ends."""
    crew = make(*arguments)
    while True:
        if pipe.poll():
            try:
                name, values = pipe.recv()
            except EOFError:
                return
            try:
                answer = (getattr(crew, name)(*values), "")
            except Exception as error:  # noqa: BLE001 - told to the process that asked
                answer = (None, f"{type(error).__name__}: {error}")
            pipe.send(answer)
        crew.turn()


class Fleet:
    """Processes, each with a crew of its own. Leave it to end them all.

    Args:
        make: makes a crew, in its process.
        arguments: for each process what ``make`` is called with.
    """

    def __init__(self, make: Callable[..., Crew], arguments: Sequence[tuple[Any, ...]]) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipes: list[Connection] = []
        self._processes = []
        for each in arguments:
            ours, theirs = context.Pipe()
            process = context.Process(target=_live, args=(theirs, make, each), daemon=True)
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)

    def __enter__(self) -> Fleet:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.join(END_SECONDS)
            if process.is_alive():
                process.kill()
                process.join()

    @property
    def pids(self) -> list[int]:
        """The processes."""
        return [process.pid for process in self._processes if process.pid is not None]

    def ask(self, name: str, *arguments: Any) -> list[Any]:
        """Let every crew do something at the same time; return what each answers."""
        self.begin(name, *arguments)
        return self.answers()

    def begin(self, name: str, *arguments: Any) -> None:
        """Ask every crew for something, without waiting."""
        for pipe in self._pipes:
            pipe.send((name, arguments))

    def is_done(self) -> bool:
        """Tell whether every crew has answered what was begun, or can answer no more."""
        each = zip(self._pipes, self._processes, strict=True)
        return all(pipe.poll() or not process.is_alive() for pipe, process in each)

    def answers(self) -> list[Any]:
        """Wait for what was begun; raises ``CrewError`` and ``TimeoutError``."""
        deadline = time.monotonic() + ANSWER_SECONDS
        found = []
        for pipe, process in zip(self._pipes, self._processes, strict=True):
            ready = wait([pipe, process.sentinel], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise TimeoutError("a process of the load generator does not answer")
            if pipe not in ready:
                raise CrewError("a process of the load generator has ended")
            try:
                value, failure = pipe.recv()
            except EOFError:
                raise CrewError("a process of the load generator has ended") from None
            if failure:
                raise CrewError(failure)
            found.append(value)
        return found


def dealt(items: Sequence[Any], hands: int) -> list[list[Any]]:
    """Deal things to so many hands, as evenly as they go."""
    return [list(items[hand::hands]) for hand in range(hands)]
