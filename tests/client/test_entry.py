"""What ends a session while a block runs comes out of it, and so does what the block raises."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from client.entry import _open


class Ending:
    """A session that ends with an error after a second."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    async def run(self) -> None:
        """Fail."""
        await trio.sleep(1)
        raise self._error

    async def close(self) -> None:
        """Close."""
        await trio.lowlevel.checkpoint()


async def wait_in_tasks(session: Any, error: BaseException | None) -> None:
    """Open the session around a block with tasks of its own, which wait, or raise an error."""
    async with _open(session, None), trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        if error is not None:
            raise error
        await trio.sleep_forever()


def run(session: Any, error: BaseException | None) -> None:
    """Do it in virtual time."""
    clock = trio.testing.MockClock(autojump_threshold=0)
    trio.run(wait_in_tasks, session, error, clock=clock)


def test_an_interrupt_of_the_session_is_not_lost_in_what_it_cancels() -> None:
    with pytest.RaisesGroup(KeyboardInterrupt, flatten_subgroups=True, allow_unwrapped=True):
        run(Ending(KeyboardInterrupt()), None)


def test_what_the_block_raises_comes_out_alone() -> None:
    with pytest.RaisesGroup(LookupError, flatten_subgroups=True):
        run(Ending(KeyboardInterrupt()), LookupError())
