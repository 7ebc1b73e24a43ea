"""Define what is held in memory of conversations, duties and urgent messages.

Values are immutable and replaced whole, so that other threads may read them while the writer
goes on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from appliance.messaging.membership import OWNER, Membership
from store.ids import OpId, Stream

DIRECT: Final = "direct"
GROUP: Final = "group"

Place = tuple[int, int]
"""Where an operation is in this site's log: origin number and seq."""


class Created(NamedTuple):
    """The operation that began a conversation; ``at`` in Unix ms."""

    id: OpId
    key: int
    pos: int
    at: int


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation as it stands now; titles and people never appear in its repr.

    ``changed_key`` is the timeline key of the last change of membership, ``first_title`` the
    title given at the opening, as long as it is the title. ``past_filings`` are earlier
    retention classes and labels, each with the last position covered; ``archived_pos`` and
    ``case_closed_pos`` tell since when it is closed (0: it is not).
    """

    stream: Stream
    pseudonym: int
    kind: str
    retention_class: int
    created: Created
    changed_key: int
    title: str = field(default="", repr=False)
    first_title: str = field(default="", repr=False)
    labels: tuple[str, ...] = field(default=(), repr=False)
    members: Mapping[bytes, Membership] = field(default_factory=dict, repr=False)
    former: Mapping[bytes, Membership] = field(default_factory=dict, repr=False)
    archived: bool = False
    history: bool = False
    past_filings: tuple[tuple[int, tuple[str, ...], int], ...] = ()
    archived_pos: int = 0
    case_closed_pos: int = 0

    @property
    def id(self) -> bytes:
        """The ConvId, 16 bytes."""
        return self.stream.id

    @property
    def is_direct(self) -> bool:
        """Whether this is a conversation of two that cannot be changed."""
        return self.kind == DIRECT

    def membership(self, person: bytes) -> Membership | None:
        """Return what is known of a person here, present or former."""
        return self.members.get(person) or self.former.get(person)

    def owners(self) -> list[Membership]:
        """Return the owners; O(members)."""
        return [each for each in self.members.values() if each.role == OWNER]

    def first_members(self) -> tuple[bytes, ...]:
        """Return who was there when it was opened, sorted; O(members)."""
        if self.is_direct:
            return tuple(sorted(self.members))
        key = self.created.key
        people = (*self.members.values(), *self.former.values())
        return tuple(sorted(each.person for each in people if each.intervals[0].since == key))


class Root(NamedTuple):
    """The newest messages of a conversation: of anybody, and of anybody but its ``author``."""

    pos: int
    key: int
    author: bytes
    other_pos: int
    other_key: int

    def after(self, pos: int, key: int, author: bytes) -> Root:
        """Return what holds once one more message has arrived."""
        if author == self.author:
            return Root(pos, max(key, self.key), author, self.other_pos, self.other_key)
        return Root(pos, max(key, self.key), author, self.pos, self.key)

    def of_others(self, person: bytes) -> int:
        """Return the position of the newest message by anybody but ``person``; 0 for none."""
        return self.other_pos if person == self.author else self.pos


NO_ROOT: Final = Root(0, 0, b"", 0, 0)


class Front(NamedTuple):
    """The newest position and timeline key in a feed; ``root`` is None until looked up."""

    pos: int
    key: int
    root: Root | None


@dataclass(frozen=True, slots=True)
class Duty:
    """A duty: its address, its holder now (empty: nobody) and who is next."""

    id: bytes
    pseudonym: int
    name: str = field(repr=False)
    title: str = field(repr=False)
    holder: bytes = b""
    chain: tuple[bytes, ...] = ()
    step_seconds: int = 0
