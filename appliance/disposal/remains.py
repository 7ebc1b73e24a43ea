"""Survey everything that survives: what the end of a site takes, and what must still be kept.

Reads from one snapshot, in a worker thread, in bounded memory: the scope of the end is a tree
over every operation whose envelope is there, and its leaves can be computed again from the
skeletons, which the log keeps in clear.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from appliance.context import refuse
from appliance.disposal import calendar, decide_clock, scope
from appliance.disposal.commands import (
    EndAsked,
    EndFound,
    RequestDecommission,
    RunDecommission,
)
from appliance.disposal.gather import Group
from appliance.disposal.judge import Judge
from appliance.operations import Kind
from appliance.policy.decision import Because
from store.engine.contract import Reader
from store.errors import PartGoneError
from store.feeds import FEED_ROW
from store.logreader import LogReader
from store.merkle import Frontier
from store.oplog import Op
from store.records import PartState
from store.skeleton import Skeleton
from store.tables import FEED
from store.vault import AUDIT
from store.vault.vault import generation_of

if TYPE_CHECKING:
    from appliance.core import Core

_LAST_DAY: Final = (1 << 32) - 1


def asked(core: Core, reader: Reader, command: RequestDecommission) -> EndAsked:
    """Return the request with what survives now; raises "clock.unproven"."""
    counts, feeds = _surviving(core, reader)
    return EndAsked(command, sum(counts.values()), _is_young(core, reader, feeds))


def found(core: Core, reader: Reader, command: RunDecommission) -> EndFound:
    """Return the command with all that it ends; O(operations). Raises "clock.unproven".

    Nothing is looked for once the site has been ended.
    """
    generation = generation_of(reader)
    if core.disposal.decommissioned is not None:
        return EndFound(command, generation, False, (), b"", 0, (), ())
    counts, feeds = _surviving(core, reader)
    is_young = _is_young(core, reader, feeds)
    scope_key, tree = core.entropy.bytes(scope.KEY_BYTES), Frontier()
    upto = tuple(extend(core.log, reader, tree, scope_key, {}).items())
    counted = tuple((*key, records) for key, records in sorted(counts.items()))
    peaks = tuple(tree.peaks)
    return EndFound(command, generation, is_young, counted, scope_key, tree.size, peaks, upto)


def extend(
    log: LogReader, reader: Reader, tree: Frontier, scope_key: bytes, upto: dict[int, int]
) -> dict[int, int]:
    """Add a leaf for every operation behind ``upto`` whose envelope is there.

    ``upto`` is the last seq of each origin that is in the tree already; returns the same as
    of now. Nothing is opened.
    """
    now = {}
    for origin in sorted(log.origins):
        now[origin] = upto.get(origin, 0)
        for seq, record in log.records(reader, origin, now[origin] + 1):
            now[origin] = seq
            if record.envelope_state is PartState.PRESENT:
                tree.append(scope.leaf(scope_key, Skeleton.unpack(record.skeleton).id))
    return now


def _surviving(core: Core, reader: Reader) -> tuple[Counter[tuple[str, int]], set[int]]:
    """Return how many records of each class and day survive, and in which feeds."""
    policies = core.disposal.policies
    counts: Counter[tuple[str, int]] = Counter()
    feeds = set()
    for name, number in policies.class_numbers().items():
        for page in calendar.pages(reader, number, _LAST_DAY):
            counts[name, page.day] += page.records
            feeds.add(page.feed)
    return counts, feeds


def _is_young(core: Core, reader: Reader, feeds: set[int]) -> bool:
    """Tell whether any record, also one of the audit, is under a minimum that still runs.

    Ends at the first one; looks at none that is older than the longest minimum there ever was.
    """
    proven_ms = decide_clock.proven_ms(core)
    if proven_ms is None:
        raise refuse("clock.unproven")
    versions = core.disposal.policies.versions
    longest = max((rule.min_ms for each in versions for rule in each.policy.rules), default=0)
    if not longest:
        return False
    judge, first = Judge(core), _first_younger(core, proven_ms - longest)
    return any(
        judge.judge(Group((op,)), proven_ms, is_requested=True).because is Because.MINIMUM
        for feed in feeds
        for op in _records(core, reader, feed, first)
    )


def _first_younger(core: Core, at_ms: int) -> int:
    """Return the first position whose records may have been born after ``at_ms``."""

    def is_younger(pos: int) -> bool:
        born_ms = core.disposal.born_hi(pos)
        return born_ms is None or born_ms > at_ms

    return bisect_left(range(core.log.head.pos + 1), True, key=is_younger)


def _records(core: Core, reader: Reader, feed: int, first: int) -> Iterator[Op]:
    """Yield messages, also passed on, and entries of the audit, from a position of a feed on."""
    for _, value in reader.range(FEED.key(feed, first), FEED.span(feed)[1]):
        origin, seq, _ = FEED_ROW.unpack(value)
        try:
            op = core.log.read(reader, origin, seq)
        except PartGoneError:
            continue
        if op.body is not None and (op.kind == Kind.MESSAGE or core.retention_class(op) == AUDIT):
            yield op
