"""The collector leaves alone what stays, and is afterwards as it was before."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest

from appliance import collector


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    threshold, was_enabled = gc.get_threshold(), gc.isenabled()
    yield
    assert gc.get_threshold() == threshold
    assert gc.isenabled() is was_enabled
    assert gc.get_freeze_count() == 0


def test_nothing_is_collected_while_paused() -> None:
    with collector.paused():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_a_collector_that_was_off_stays_off() -> None:
    gc.disable()
    try:
        with collector.paused():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_what_exists_is_walked_no_more_and_what_comes_later_is() -> None:
    before: list[object] = []
    with collector.at_rest():
        after: list[object] = []
        walked = {id(each) for each in gc.get_objects()}
        assert id(after) in walked
        assert id(before) not in walked
        assert gc.get_threshold()[0] == collector.ALLOCATIONS


def test_of_two_at_one_time_the_first_decides() -> None:
    first, second = collector.at_rest(), collector.at_rest()
    with first:
        second.__enter__()
    assert gc.get_freeze_count() == 0
    second.__exit__(None, None, None)


@pytest.mark.parametrize("hold", [collector.paused, collector.at_rest])
def test_an_error_restores_it_too(hold: Callable[[], AbstractContextManager[None]]) -> None:
    with pytest.raises(ValueError, match="broken"), hold():
        raise ValueError("broken")
