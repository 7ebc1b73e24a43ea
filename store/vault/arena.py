"""Keep 32-byte secrets in memory that is locked, left out of core dumps and wiped.

Python's own bytes objects cannot be wiped: a key that is being used exists for moments on the
heap too. What stays for long stays here.
"""

from __future__ import annotations

import ctypes
import mmap

from store.vault.suites import KEY_BYTES

CELL_BYTES = KEY_BYTES
_ZEROS = bytes(CELL_BYTES)

_MADV_WIPEONFORK = 18
"""A child process sees zeros (linux/mman.h; the mmap module lacks the name)."""


class Arena:
    """A block of 32-byte cells. Not thread-safe: its owner guards it.

    ``is_locked`` tells whether the kernel keeps it out of swap; it refuses beyond
    RLIMIT_MEMLOCK, and the product then says so as a finding instead of stopping.
    """

    def __init__(self, cells: int) -> None:
        self._size = -(-cells * CELL_BYTES // mmap.PAGESIZE) * mmap.PAGESIZE
        self._map = mmap.mmap(-1, self._size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._cells = cells
        self._fresh = 0
        self._free: list[int] = []
        self.is_locked = _lock(self._map, self._size)
        _advise(self._map, mmap.MADV_DONTDUMP)
        _advise(self._map, _MADV_WIPEONFORK)

    @property
    def free_cells(self) -> int:
        """Return how many more secrets fit."""
        return self._cells - self._fresh + len(self._free)

    def put(self, secret: bytes) -> int:
        """Store 32 bytes in a free cell and return its number."""
        if self._free:
            cell = self._free.pop()
        else:
            assert self._fresh < self._cells, "the owner makes room first"
            cell = self._fresh
            self._fresh += 1
        self.replace(cell, secret)
        return cell

    def read(self, cell: int) -> bytes:
        """Return a copy of a cell."""
        start = cell * CELL_BYTES
        return self._map[start : start + CELL_BYTES]

    def replace(self, cell: int, secret: bytes) -> None:
        """Overwrite a cell with another 32 bytes."""
        start = cell * CELL_BYTES
        self._map[start : start + CELL_BYTES] = secret

    def free(self, cell: int) -> None:
        """Wipe a cell and make it free."""
        self.replace(cell, _ZEROS)
        self._free.append(cell)

    def wipe(self) -> None:
        """Wipe everything and make every cell free."""
        self._map[:] = bytes(self._size)
        self._fresh = 0
        self._free.clear()


def _lock(memory: mmap.mmap, size: int) -> bool:
    libc = ctypes.CDLL(None, use_errno=True)
    view = (ctypes.c_char * size).from_buffer(memory)
    return bool(libc.mlock(ctypes.c_void_p(ctypes.addressof(view)), ctypes.c_size_t(size)) == 0)


def _advise(memory: mmap.mmap, option: int) -> None:
    """Pass advice to the kernel; an old kernel that does not know it is no reason to stop."""
    try:
        memory.madvise(option)
    except OSError:
        return
