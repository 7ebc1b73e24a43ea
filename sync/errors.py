"""Name every way in which a link ends, and who is at fault."""

from __future__ import annotations

from enum import Enum
from typing import ClassVar

from transports.wire.errors import StrongroomError


class Fault(Enum):
    """Who has to do something about it."""

    HERE = "here"
    PEER = "peer"
    LINE = "line"


class LinkError(StrongroomError):
    """Root of what ends a link; the same ``code`` travels in the farewell.

    ``detail`` names the rule that was broken, never the content that broke it.
    """

    code = "link.failed"
    fault: ClassVar[Fault] = Fault.HERE
    hint = "See the log of this site for what failed; the link is tried again."

    def __init__(self, detail: str = "") -> None:
        super().__init__()
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}" if self.detail else self.code


class MalformedError(LinkError):
    """The peer sent bytes that are no frame, no piece, or no stream of a lane."""

    code = "link.malformed"
    fault = Fault.PEER
    hint = "Something between the sites alters the bytes, or the peer's program is faulty."


class LimitError(LinkError):
    """The peer exceeded a limit that both sides know."""

    code = "link.limit"
    fault = Fault.PEER
    hint = "The peer's program is faulty or hostile."


class UnexpectedError(LinkError):
    """The peer sent a frame that has no place there."""

    code = "link.unexpected"
    fault = Fault.PEER
    hint = "The peer's program is faulty or hostile."


class RejectedError(LinkError):
    """The peer sent an operation that no honest site sends."""

    code = "link.rejected"
    fault = Fault.PEER
    hint = "Look at the site that sent it: its program or its keys are not ours."


class VersionError(LinkError):
    """The two sites have no version of the link in common."""

    code = "link.version"
    fault = Fault.PEER
    hint = "Upgrade headquarters first, then the branch."


class StrangerError(LinkError):
    """The peer is not the site that it says it is, or none that may connect."""

    code = "link.stranger"
    fault = Fault.PEER
    hint = "Enrol the branch, or look whether it was revoked: `strongroom site list`."


class ProxyError(LinkError):
    """The proxy lets us not through."""

    code = "link.proxy"
    hint = "Look at link.proxy and the file with its credentials, or ask who runs the proxy."


class InterceptedError(LinkError):
    """What answers at headquarters' address is not headquarters."""

    code = "link.intercepted"
    fault = Fault.LINE
    hint = "Look for a captive portal or TLS inspection between the sites; the link allows neither."


class FencedError(LinkError):
    """A site's log ends before what the other has of it: it was set back.

    ``incarnation`` is the one concerned, ``seq`` what the other has. ``forgotten`` is a later
    incarnation that only the other site knows, 0 for none; it does not travel.
    """

    code = "link.fenced"
    hint = "The site goes on under a new incarnation by itself."

    def __init__(self, incarnation: int, seq: int, forgotten: int = 0) -> None:
        super().__init__("the log ends before what the other site has of it")
        self.incarnation = incarnation
        self.seq = seq
        self.forgotten = forgotten


class ForkedError(LinkError):
    """Two logs of one incarnation differ: the site runs twice, or was set back and went on.

    ``incarnation`` is the one concerned, ``seq`` where they differ at the latest, ``chain`` the
    hash chain that the other site has there. ``forgotten`` is as in ``FencedError``.
    """

    code = "link.forked"
    hint = "Look whether a copy of the site is running elsewhere."

    def __init__(self, incarnation: int, seq: int, chain: bytes, forgotten: int = 0) -> None:
        super().__init__("two logs of one incarnation differ")
        self.forgotten = forgotten
        self.incarnation = incarnation
        self.seq = seq
        self.chain = chain


class GapError(LinkError):
    """A piece does not follow what is durable: the link begins again from the cursor."""

    code = "link.gap"
    fault = Fault.LINE
    hint = "Nothing to do: the link asks again for what is missing."


class LostError(LinkError):
    """The line ended, or nothing came over it any more."""

    code = "link.lost"
    fault = Fault.LINE
    hint = "Look at the network between the sites; the link is tried again."


class ReplacedError(LinkError):
    """The same site connected again: the older link ends."""

    code = "link.replaced"
    fault = Fault.LINE
    hint = "Normal after a break. If it goes on, two copies of one site are running."


class StoppedError(LinkError):
    """One of the sites is stopping."""

    code = "link.stopped"
    fault = Fault.LINE
    hint = "Nothing to do: the link is tried again."


class FarewellError(LinkError):
    """The peer ended the link; ``said`` is the code that it gave."""

    code = "link.ended_by_peer"
    fault = Fault.PEER
    hint = "The code says why; the peer's own log says more."

    def __init__(self, said: str) -> None:
        super().__init__(said)
        self.said = said


FENCING = (FencedError, ForkedError)
"""What ends a link until the site that is concerned has a new incarnation."""
