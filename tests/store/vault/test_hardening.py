"""Hardening, seen from the process itself; in a child, since it cannot be taken back."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import ctypes, resource
from store.vault.hardening import harden
assert harden() == []
assert ctypes.CDLL(None).prctl(3, 0, 0, 0, 0) == 0  # PR_GET_DUMPABLE
assert resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)
"""


def test_a_hardened_process_leaves_no_core_and_cannot_be_dumped() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
