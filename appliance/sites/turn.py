"""Say which incarnation of a branch's log is sent: an earlier one is finished before the next.

A branch that took a new incarnation may have operations of the one before that headquarters never
got. A link carries the log of one incarnation, so the branch says in its greeting which it is,
beginning with the one that headquarters has in part; when that is all there it connects again for
the next.
"""

from __future__ import annotations

from dataclasses import dataclass

from store.engine.contract import Reader
from store.ids import Origin
from store.oplog import OpLog
from sync.errors import ForkedError, StoppedError
from sync.pieces import Standing


class AgainError(StoppedError):
    """It is another incarnation's turn: the link ends, and the next one is for that."""


@dataclass(slots=True)
class Turn:
    """Whose turn it is: the local number of an own origin; 0 until headquarters has told."""

    number: int = 0

    def of(self, log: OpLog) -> int:
        """Return the number of the origin that is sent, the present one if nothing was told."""
        return self.number or log.head.origin

    def origin(self, log: OpLog) -> Origin:
        """Return the incarnation that is sent."""
        return log.origins[self.of(log)].origin

    def is_last(self, log: OpLog) -> bool:
        """Tell whether it is the present incarnation's turn."""
        return self.of(log) == log.head.origin

    def look(self, log: OpLog, reader: Reader, peer: Standing) -> None:
        """Decide by what headquarters has; raises ``AgainError`` when it is another's turn.

        Raises ``ForkedError`` when headquarters has another log of the present incarnation, or
        follows one that is later or not known here: a copy's.
        It never goes back, so that this ends whatever headquarters says.
        """
        before = self.of(log)
        if peer.peer.node == log.node and is_overtaken(log, log.head.origin, peer.peer):
            forgotten = peer.peer.incarnation if log.number_of(peer.peer) is None else 0
            raise ForkedError(log.own.incarnation, peer.held, peer.held_chain, forgotten)
        if before == log.head.origin and is_forked(log, reader, peer):
            raise ForkedError(log.own.incarnation, peer.held, peer.held_chain)
        self.number = max(self.number, _due(log, reader, peer))
        if self.number != before:
            raise AgainError

    def finish(self, log: OpLog) -> None:
        """Go on with the next incarnation; what was settled otherwise is not sent."""
        later = [number for number in _own(log) if number > self.of(log)]
        self.number = min(later, default=self.of(log))


def _due(log: OpLog, reader: Reader, peer: Standing) -> int:
    """Return the first own origin of which headquarters may lack something."""
    own = _own(log)
    if not peer.peer.node:
        return own[0]
    held = log.number_of(peer.peer)
    if held is None or not log.is_own(held):  # forgotten here: all before it is there
        return own[-1]
    if held not in own:
        return min(number for number in own if number > held)
    last = log.prefix(reader, held).seq
    is_whole = max(peer.cursors) <= last and not _contradicts(log, reader, held, peer)
    if held == log.head.origin or (is_whole and min(peer.cursors) < last):
        return held
    return min((number for number in own if number > held), default=held)


def turns(log: OpLog, reader: Reader, peer: Standing) -> list[int]:
    """Return the own origins of which headquarters may lack something, in their order."""
    first = _due(log, reader, peer)
    return [number for number in _own(log) if number >= first]


def is_overtaken(log: OpLog, number: int, followed: Origin) -> bool:
    """Tell whether headquarters follows an incarnation of this site later than an own origin.

    Nothing can be sent under that one any more. What is not known here is later.
    """
    known = log.number_of(followed)
    return known is None or known > number


def is_forked(log: OpLog, reader: Reader, peer: Standing) -> bool:
    """Tell whether headquarters has another log of the present incarnation than this site."""
    return peer.peer == log.own and _contradicts(log, reader, log.head.origin, peer)


def _contradicts(log: OpLog, reader: Reader, number: int, peer: Standing) -> bool:
    """Compare the chains where headquarters' log of an own origin ends, if ours goes that far."""
    found = next(log.records(reader, number, peer.held, peer.held), None) if peer.held else None
    return found is not None and found[1].chain != peer.held_chain


def _own(log: OpLog) -> list[int]:
    """Return the incarnations that are to be sent, the present one last."""
    origins = log.origins.items()
    return sorted(number for number, row in origins if row.is_own and not log.has_rest(number))
