"""`make demo-sites` shows what it promises: a line is cut, work goes on, and all sites agree."""

from __future__ import annotations

import re
import subprocess
import sys

SECONDS = 280


def test_three_sites_agree_after_a_cut_that_a_newcomer_can_watch() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", "demo-sites"],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1] == ("All sites agree: 5 messages, each once, in the same order everywhere.")
    shown = re.findall(r"line: +(\w+)", done.stdout)
    assert shown == ["reachable", "unreachable", "reachable"]
    waiting = [int(found) for found in re.findall(r"waiting: +(\d+)", done.stdout)]
    assert waiting[1] >= 2, "what was written at the branch while it was cut off waits"
    assert waiting[2] == 0
