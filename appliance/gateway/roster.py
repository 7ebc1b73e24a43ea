"""Know who is online: connections by person and by device, and what they say of themselves."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from appliance.gateway.client import Client

STATES = frozenset({"available", "busy", "away"})
"""What a person may say of themselves; ``offline`` is what the server says."""


class Roster:
    """Connections that have signed in. Belongs to the trio thread."""

    def __init__(self) -> None:
        self._people: dict[bytes, set[Client]] = {}
        self._states: dict[bytes, str] = {}
        self._count = 0

    def __len__(self) -> int:
        """Return how many connections have signed in."""
        return self._count

    @property
    def people(self) -> int:
        """How many persons are online."""
        return len(self._people)

    def add(self, client: Client) -> bool:
        """Enter a connection; returns whether its person has just come online."""
        clients = self._people.setdefault(client.person, set())
        clients.add(client)
        self._count += 1
        return len(clients) == 1

    def remove(self, client: Client) -> bool:
        """Take a connection out; returns whether its person has just gone offline."""
        clients = self._people.get(client.person)
        if clients is None or client not in clients:
            return False
        clients.discard(client)
        self._count -= 1
        if clients:
            return False
        del self._people[client.person]
        self._states.pop(client.person, None)
        return True

    def names(self) -> list[bytes]:
        """Return who is online; O(people)."""
        return list(self._people)

    def of(self, person: bytes) -> set[Client] | frozenset[Client]:
        """Return a person's connections (not to be changed)."""
        return self._people.get(person, frozenset())

    def of_device(self, person: bytes, device: bytes) -> list[Client]:
        """Return a device's connections."""
        return [client for client in self.of(person) if client.device == device]

    def online(self, people: Collection[bytes]) -> list[bytes]:
        """Return who of ``people`` is online, walking the smaller of the two sets."""
        here = self._people
        if len(here) < len(people):
            return [person for person in here if person in people]
        return [person for person in people if person in here]

    def presence(self, person: bytes) -> str:
        """Return available, busy, away, or offline."""
        if person not in self._people:
            return "offline"
        return self._states.get(person, "available")

    def set_presence(self, person: bytes, state: str) -> bool:
        """Note what a person says; returns whether it changed."""
        if state not in STATES or self.presence(person) == state:
            return False
        self._states[person] = state
        return True

    def __iter__(self) -> Iterator[Client]:
        """Yield every connection; safe against changes while iterating."""
        for clients in list(self._people.values()):
            yield from list(clients)
