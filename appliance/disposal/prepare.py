"""Look up in a snapshot what some commands mean, before the writer decides them.

Orders can mean very many records. Finding them is reading, so it is done in a worker thread; the
writer gets what was found, and each record is judged once more when it is destroyed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from appliance.context import refuse
from appliance.disposal import decide_clock, decide_requests, planner, remains, selection
from appliance.disposal.commands import (
    EndAsked,
    EndFound,
    OrderFound,
    RequestDecommission,
    RequestDestruction,
    RunDecommission,
    RunDestruction,
    RunFound,
)
from appliance.disposal.decide_slices import ORDERED
from store.engine.contract import Reader

if TYPE_CHECKING:
    from appliance.core import Core

PREPARED: Final = frozenset(
    (RequestDestruction, RunDestruction, RequestDecommission, RunDecommission)
)
"""Commands that come to the writer with what a snapshot says about them."""

_EVERYTHING: Final = 1 << 62


Prepared = OrderFound | RunFound | EndAsked | EndFound


def prepare(core: Core, reader: Reader, command: Any) -> Prepared:
    """Return the command with what it means now; any thread, O(records looked at).

    Raises ``Refusal`` for people, conversations and requests that there are not, "selection.named"
    for an erasure that names somebody otherwise than by id, and ``StaleSnapshotError`` as reading
    does.
    """
    if isinstance(command, RequestDecommission):
        return remains.asked(core, reader, command)
    if isinstance(command, RunDecommission):
        return remains.found(core, reader, command)
    proven_ms = decide_clock.proven_ms(core)
    if isinstance(command, RequestDestruction):
        if command.erase and not selection.names_by_id(command.selection):
            raise refuse("selection.named")
        predicate = selection.resolve(core, command.selection)
        found = planner.ordered(core, reader, predicate, proven_ms, _EVERYTHING)
        return OrderFound(command, found.places, found.held, found.young)
    assert isinstance(command, RunDestruction)
    request = decide_requests.known(core, command.request, *ORDERED)
    again = planner.ordered(core, reader, request.predicate, proven_ms, request.pos)
    return RunFound(command, again.places)
