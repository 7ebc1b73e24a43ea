"""The arena: cells keep, replace and lose their secrets, and the memory is what it says."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.vault.arena import Arena

SECRET = bytes(range(100, 132))


def mapped(arena: Arena) -> bytes:
    """Return everything in the arena's memory."""
    return arena._map[:]


def test_a_cell_keeps_its_secret_until_it_is_freed() -> None:
    arena = Arena(4)
    cell = arena.put(SECRET)
    assert arena.read(cell) == SECRET
    arena.free(cell)
    assert SECRET not in mapped(arena)


def test_replacing_leaves_nothing_of_the_old_secret() -> None:
    arena = Arena(4)
    cell = arena.put(SECRET)
    arena.replace(cell, b"x" * 32)
    assert SECRET not in mapped(arena)
    assert arena.read(cell) == b"x" * 32


def test_wiping_leaves_zeros_and_frees_all() -> None:
    arena = Arena(4)
    for _ in range(4):
        arena.put(SECRET)
    assert arena.free_cells == 0
    arena.wipe()
    assert not any(mapped(arena))
    assert arena.free_cells == 4


@given(st.lists(st.one_of(st.binary(min_size=32, max_size=32), st.none()), max_size=60))
def test_an_arena_is_a_map_of_cells(steps: list[bytes | None]) -> None:
    arena, model = Arena(20), dict[int, bytes]()
    for secret in steps:
        if secret is None and model:
            cell, _ = model.popitem()
            arena.free(cell)
        elif secret is not None and arena.free_cells:
            cell = arena.put(secret)
            assert cell not in model
            model[cell] = secret
        assert arena.free_cells == 20 - len(model)
    assert all(arena.read(cell) == secret for cell, secret in model.items())


def smaps_flags(arena: Arena) -> str:
    """Return the kernel's flags of the arena's mapping, found by the secret's own address."""
    address = ctypes.addressof(ctypes.c_char.from_buffer(arena._map))
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        head = line.split()[0]
        if "-" in head and not head.endswith(":"):
            start, end = (int(part, 16) for part in head.split("-"))
            inside = start <= address < end
        if inside and line.startswith("VmFlags:"):
            return line
    raise AssertionError("the arena is not mapped")


def test_the_memory_is_locked_and_left_out_of_core_dumps() -> None:
    arena = Arena(16)
    flags = smaps_flags(arena).split()
    assert "dd" in flags
    assert "wf" in flags
    assert ("lo" in flags) == arena.is_locked


def test_a_child_process_sees_zeros() -> None:
    arena = Arena(4)
    cell = arena.put(SECRET)
    child = os.fork()
    if child == 0:
        os._exit(0 if arena.read(cell) == bytes(32) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert arena.read(cell) == SECRET


def test_a_refused_lock_is_told_and_not_fatal() -> None:
    code = (
        "import resource, os; from store.vault.arena import Arena\n"
        "resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0))\n"
        "os.getuid() == 0 and os.setuid(65534)\n"
        "a = Arena(4); c = a.put(b'x' * 32)\n"
        "assert not a.is_locked and a.read(c) == b'x' * 32\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("cells", [1, 127, 128, 129])
def test_an_arena_has_as_many_cells_as_asked(cells: int) -> None:
    arena = Arena(cells)
    for n in range(cells):
        arena.put(n.to_bytes(32, "big"))
    assert arena.free_cells == 0
    assert [arena.read(n) for n in range(cells)] == [n.to_bytes(32, "big") for n in range(cells)]
