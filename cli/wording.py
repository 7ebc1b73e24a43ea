"""Put times, counts, acts and states of records management into plain words."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

_EPOCH: Final = date(1970, 1, 1)


def utc(milliseconds: Any) -> str:
    """Return a Unix time in ms as a UTC date and time that says so; a dash for 0."""
    return f"{stamp(milliseconds)} UTC" if milliseconds else "-"


def stamp(milliseconds: Any) -> str:
    """Return a Unix time in ms as UTC, for a column that says so; a dash for 0."""
    if not milliseconds:
        return "-"
    try:
        moment = datetime.fromtimestamp(int(milliseconds) / 1000, UTC)
    except (OverflowError, OSError, ValueError):
        return str(milliseconds)
    return moment.strftime("%Y-%m-%d %H:%M:%S")


def day(number: int) -> str:
    """Return a day counted from 1970-01-01; day 0 is that of records from before any clock."""
    return (_EPOCH + timedelta(days=number)).isoformat() if number else "not dated"


def span(seconds: int) -> str:
    """Return a time span in the largest unit that fits exactly."""
    for size, name in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds and seconds % size == 0:
            return counted(seconds // size, name)
    return counted(seconds, "second")


def counted(number: int, name: str) -> str:
    """Return a number and what it counts, with an s where English wants one."""
    return f"{number:,} {name}" + ("" if number == 1 else "s")


ACTS: Final = {
    "policy.set": "set a policy that keeps less",
    "hold.release": "release a hold",
    "destroy": "destroy records",
    "erase": "erase a person's records",
    "review": "read other people's messages",
    "clock.resume": "say that the clock is right again",
    "replica.retire": "stop waiting for a key replica",
    "decommission": "end this site and destroy all of its keys",
}
"""What each act does, as the end of "asks to"."""

REQUEST_STATES: Final = {
    "open": "waits for a second officer",
    "approved": "approved, cooling off",
    "ready": "approved, may be carried out",
    "running": "being carried out",
    "done": "done",
    "rejected": "rejected",
    "expired": "expired: nobody approved it in time",
    "outgrown": "void: it would now reach records that nobody approved",
}
"""What each state of a request means."""

RUN_STATES: Final = {
    "RUNNING": "running",
    "CLOSING": "decided; the closing note says when the keys are gone",
    "LOCAL": "destroyed on this machine; copies of the keys elsewhere still wait",
    "REPLICAS": "some copies of the keys, or branches, still wait",
    "COMPLETE": "destroyed everywhere",
}
"""What each state of a run means."""

SITE_STATES: Final = {
    "done": "done",
    "held": "a hold keeps some of it there",
    "missing": "not answered yet",
    "lost": "attested lost",
}
"""What a branch has answered to an order."""

CAUSES: Final = {
    "expiry": "end of retention",
    "recall": "recalled by the author",
    "erasure": "erasure of a person",
    "order": "order of two officers",
    "headquarters": "order of headquarters",
    "decommission": "end of the site",
}
"""Why a run destroys."""

OUTCOMES: Final = {
    "keep": "kept",
    "hide": "hidden",
    "destroy": "destroyed",
    "review": "to be reviewed",
}
"""What happens to records, in a plan."""

REASONS: Final = {
    "hold": "a legal hold",
    "minimum": "their minimum has not passed",
    "request": "an approved request",
    "maximum": "their maximum is reached",
    "recall": "recalled by the author",
    "none": "no maximum is reached",
}
"""Why it happens to them."""


def word(table: dict[str, str], key: str) -> str:
    """Return the words for a key; one that is not known here is shown as it is."""
    return table.get(key, key)
