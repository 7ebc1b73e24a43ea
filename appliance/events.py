"""Name every event that the server logs; ``docs/events.md`` is made from this table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

EVENTS: Final[Mapping[str, str]] = {
    "administration.done": "A request of the administration socket was carried out.",
    "administration.failed": "A request of the administration socket failed unexpectedly.",
    "catchup.failed": "A session could not be brought up to date, and was ended.",
    "certificate.renewed": "The internal CA has issued the next certificate.",
    "clock.jumped": "The wall clock went another way than time did: destruction is suspended.",
    "command.failed": "A client's command failed unexpectedly.",
    "config.refused": "A reload was refused; nothing has changed. `reason` tells every mistake.",
    "config.reloaded": "A reload has taken `changed`; `waiting` takes a restart.",
    "destruction.confirmed": "A destruction has ended, with the state that its certificate has.",
    "disposal.failed": "What was due of retention failed; it is tried again.",
    "expiry.waits": "Records whose time may have come wait until the time is proven.",
    "lease.failed": "A lease that headquarters granted could not be noted; it is asked for again.",
    "lease.malformed": "A note about a lease is none that a site sends.",
    "link.dial_failed": "An attempt to link to headquarters was ended by an error of ours.",
    "link.down": "The link to another site has ended, with the code of why; it is tried again.",
    "link.failed": "The link to headquarters failed unexpectedly.",
    "link.serve_failed": "The link to a branch was ended by an error of ours.",
    "link.up": "The link to another site is up.",
    "orders.wait": "An order of destruction from headquarters could not be followed yet.",
    "parcel.sent": "A file for another site was written.",
    "parcel.taken": "A file of another site was taken in.",
    "pump.accept_paused": "The system ran out of descriptors or memory: newcomers wait.",
    "pump.connection_failed": "A TCP connection was ended by an error of ours.",
    "pump.turn_failed": "A turn of the TCP side failed; the next one goes on.",
    "quic.connection_failed": "A QUIC connection was ended by an error of ours.",
    "replica.failed": "A key replica does not follow; it is tried again.",
    "replica.recovered": "A key replica follows again.",
    "server.draining": "The server takes no new sessions and is about to stop.",
    "server.reopening": "The server stops, as what it shows has to be made anew when it starts.",
    "server.signal": "The process got a signal.",
    "server.started": "The server serves.",
    "server.stopped": "The server has stopped in good order.",
    "site.ended": "The site was decommissioned: its keys are gone.",
    "site.not_moved": "The address that another site told could not be noted.",
    "site.not_renewed": "A branch's certificate could not be renewed; it is tried again.",
    "site.poison": "An operation of another site could not be applied; it is kept without effect.",
    "site.refused": "A machine that asked to be let in as a branch was refused.",
    "site.renewed": "A branch has its next certificate from headquarters.",
    "task.failed": "A sign-in or a task of the link failed unexpectedly.",
    "timer.failed": "A command of the server's own failed; the next attempt comes.",
    "writer.failed": "A commit failed and its outcome is unknown: the server stops at once.",
}
"""Every event by its name, and what happened."""
