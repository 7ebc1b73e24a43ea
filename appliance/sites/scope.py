"""Tell what a branch holds: the conversations of the people at home there (sans-IO).

Everything else that travels is either for everybody or for the home site of one person. Scope is
read from what is in memory now, so a conversation that has come into scope is in scope with all
of its past; one that has left it stays in scope up to the operation that took it out, or the
branch would never hear of that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from appliance.messaging.model import Conversation
from appliance.messaging.state import Conversations
from appliance.sites.reach import Reach, reach
from store.ids import Stream, StreamKind

ALWAYS: Final = 1 << 63
"""A position beyond every other."""

HomeOf = Callable[[bytes], bytes]
"""Returns the NodeId of the site where a person is at home."""


class Scope:
    """What one branch holds. Belongs to the trio thread."""

    def __init__(self, node: bytes, conversations: Conversations, home_of: HomeOf) -> None:
        self.node = node
        self._conversations = conversations
        self._home_of = home_of

    def is_home(self, person: bytes) -> bool:
        """Tell whether a person is at home at this branch."""
        return self._home_of(person) == self.node

    def until(self, conversation: Conversation) -> int:
        """Return the last position of a conversation that the branch may hear of; 0: none."""
        if any(map(self.is_home, conversation.members)):
            return ALWAYS
        former = conversation.former.values()
        return max((each.changed for each in former if self.is_home(each.person)), default=0)

    def reaches(self, feed: Stream, pos: int) -> bool:
        """Tell whether the branch may have anything that is shown in a feed at position ``pos``.

        What is in no conversation has to be looked at.
        """
        if feed.kind is not StreamKind.CONVERSATION:
            return True
        known = self._conversations.get(feed.id)
        return known is not None and pos <= self.until(known)

    def covers(self, kind: int, stream: Stream, conversation: bytes, pos: int) -> bool:
        """Tell whether the branch may have an operation applied at position ``pos``."""
        far = reach(kind, stream.kind)
        if far is Reach.CONVERSATION:
            known = self._conversations.get(conversation or stream.id)
            return known is not None and pos <= self.until(known)
        if far is Reach.HOME:
            return stream.kind is StreamKind.PERSON and self.is_home(stream.id)
        return far is Reach.EVERYWHERE
