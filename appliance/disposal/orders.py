"""Hold in memory what headquarters ordered its branches to destroy, and what they answered.

Every slice of a run that two people ordered becomes orders of ``ORDER_TARGETS`` operations, in
the transaction that destroys. They wait for every branch that had been approved by then: what a
branch never held it says itself, so nothing hangs on what headquarters believes of its past.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from appliance.disposal.limits import RECEIPTS_PER_SITE
from appliance.operations import (
    BodyStruct,
    DestructionOrder,
    DestructionReceipt,
    Kind,
    SiteAnswer,
    SiteLost,
)
from store.oplog import Op

if TYPE_CHECKING:
    from appliance.sites.registry import Sites

Undo = Callable[[Callable[[], None]], None]

DONE: Final = "done"
HELD: Final = "held"
MISSING: Final = "missing"
LOST: Final = "lost"

FINAL: Final = frozenset((DONE, LOST))
"""States of an answer after which nothing is waited for any more."""


class Order(NamedTuple):
    """One order without its targets, which stand in the operation at ``place``."""

    number: int
    run: int
    cause: str
    person: bytes
    holders: tuple[int, ...]
    place: tuple[int, int]


class Orders:
    """Orders, receipts and branches that are lost; any thread may look them up."""

    def __init__(self) -> None:
        self.known: Mapping[int, Order] = {}
        """By number, in this order."""
        self.receipts: Mapping[int, DestructionReceipt] = {}
        """The newest of each branch and order."""
        self.lost: Mapping[int, SiteLost] = {}
        """Branches of which an officer attests that nothing is left, by site number."""

    def receipt(self, site: int, order: int) -> DestructionReceipt | None:
        """Return what a branch has answered to an order."""
        return self.receipts.get(receipt_number(site, order))

    def runs(self) -> frozenset[int]:
        """Return the runs of headquarters that became orders; O(orders)."""
        return frozenset(order.run for order in self.known.values())

    def answers(self, sites: Sites, run: int) -> tuple[SiteAnswer, ...]:
        """Return how each branch stands to a run of headquarters; O(orders and their holders)."""
        orders = [order for order in self.known.values() if order.run == run]
        holders = sorted({site for order in orders for site in order.holders})
        return tuple(self._answer(sites, site, orders) for site in holders)

    def _answer(self, sites: Sites, site: int, orders: Iterable[Order]) -> SiteAnswer:
        asked = [order for order in orders if site in order.holders]
        receipts = [self.receipt(site, order.number) for order in asked]
        told = [receipt for receipt in receipts if receipt is not None]
        branch = sites.branches.get(site)
        return SiteAnswer(
            site,
            branch.name if branch is not None else str(site),
            LOST if site in self.lost else state_of(receipts),
            sum(each.destroyed for each in told),
            sum(each.held_back for each in told),
            sum(each.absent for each in told),
        )

    # --- following the log ------------------------------------------------------------------------

    def fold(self, op: Op, body: BodyStruct, undo: Undo | None) -> None:
        """Follow an operation; other rooms' kinds change nothing. ``undo`` is None at load."""
        if isinstance(body, DestructionOrder):
            place = (op.origin, op.id.seq)
            order = Order(body.order, body.run, body.cause, body.person, body.holders, place)
            self._put("known", body.order, order, undo)
        elif isinstance(body, DestructionReceipt):
            self._put("receipts", body.receipt, body, undo)
        elif isinstance(body, SiteLost):
            self._put("lost", body.site, body, undo)

    def _put(self, name: str, number: int, value: Any, undo: Undo | None) -> None:
        table = getattr(self, name)
        if undo is None:
            table[number] = value
            return
        undo(partial(setattr, self, name, table))
        setattr(self, name, {**table, number: value})


KINDS: Final = frozenset((Kind.DESTRUCTION_ORDER, Kind.DESTRUCTION_RECEIPT, Kind.SITE_LOST))
"""What ``Orders.fold`` follows."""


def receipt_number(site: int, order: int) -> int:
    """Return the number of a branch's receipt for an order."""
    return site * RECEIPTS_PER_SITE + order


def state_of(receipts: Iterable[DestructionReceipt | None]) -> str:
    """Return how a branch stands to orders, from its receipt for each (None: it sent none)."""
    found = list(receipts)
    if any(receipt is None or receipt.left for receipt in found):
        return MISSING
    held = any(receipt is not None and receipt.held_back for receipt in found)
    return HELD if held else DONE


def is_everywhere(answers: Iterable[SiteAnswer]) -> bool:
    """Tell whether no branch is waited for any more."""
    return all(answer.state in FINAL for answer in answers)
